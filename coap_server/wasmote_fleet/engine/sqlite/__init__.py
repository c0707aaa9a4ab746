"""The engine in one SQLite file, for one process."""
