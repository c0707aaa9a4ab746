"""Logs in SQLite: one table for all, so that a log's offsets ascend with gaps."""

from __future__ import annotations

import sqlite3

from wasmote_fleet.engine.checks import check_value
from wasmote_fleet.engine.interface import Record
from wasmote_fleet.engine.sqlite.database import Database


class SqliteLog:
    """A Log."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name
        self._topic = f"log {name}"

    async def append(self, data: bytes) -> int:
        check_value(data)

        def operation(connection: sqlite3.Connection) -> int:
            self._db.ring(self._topic)
            number = connection.execute(
                "INSERT INTO records (log, at, data) VALUES (?, ?, ?)",
                (self._name, self._db.clock.time(), data),
            ).lastrowid
            assert number is not None
            return number

        return await self._db.write(operation)

    async def read(self, after: int = 0, *, limit: int = 100, wait_s: float = 0.0) -> list[Record]:
        deadline = self._db.clock.time() + wait_s

        def operation(connection: sqlite3.Connection) -> list[Record]:
            return [
                Record(*row)
                for row in connection.execute(
                    "SELECT number, data, at FROM records WHERE log = ? AND number > ? ORDER BY number LIMIT ?",
                    (self._name, after, limit),
                )
            ]

        while True:
            bell = self._db.bell(self._topic)
            records = await self._db.read(operation)
            now = self._db.clock.time()
            if records or now >= deadline:
                return records
            await self._db.wait(bell, deadline - now)

    async def trim(self, *, keep: int | None = None, older_than_s: float | None = None) -> int:
        if (keep is None) == (older_than_s is None):
            raise ValueError("give either keep or older_than_s")

        def operation(connection: sqlite3.Connection) -> int:
            if keep is not None:
                row = connection.execute(
                    "SELECT number FROM records WHERE log = ? ORDER BY number DESC LIMIT 1 OFFSET ?",
                    (self._name, keep),
                ).fetchone()
            else:
                assert older_than_s is not None
                row = connection.execute(
                    "SELECT max(number) FROM records WHERE log = ? AND at < ?",
                    (self._name, self._db.clock.time() - older_than_s),
                ).fetchone()
            if row is None or row[0] is None:
                return 0
            connection.execute(
                "INSERT INTO log_trimmed VALUES (?, ?) ON CONFLICT (log) DO UPDATE SET number = excluded.number",
                (self._name, row[0]),
            )
            return connection.execute(
                "DELETE FROM records WHERE log = ? AND number <= ?", (self._name, row[0])
            ).rowcount

        return await self._db.write(operation)

    async def trimmed(self) -> int:
        def operation(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT number FROM log_trimmed WHERE log = ?", (self._name,)).fetchone()
            return 0 if row is None else int(row[0])

        return await self._db.read(operation)
