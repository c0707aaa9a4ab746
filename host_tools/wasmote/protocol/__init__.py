"""Formats and state machines without I/O: no sockets, no clock, no files, no prints."""
