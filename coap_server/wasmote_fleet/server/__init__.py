"""The server: opens, starts and stops all of it."""
