"""The SQLite driver: put together."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

from wasmote_fleet.engine.checks import check_name
from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.interface import Calls, EngineInfo, KeyValue, Log, Queue, QueuePolicy
from wasmote_fleet.engine.sqlite.calls import LocalCalls
from wasmote_fleet.engine.sqlite.database import Database
from wasmote_fleet.engine.sqlite.kv import SqliteBucket, expire_keys
from wasmote_fleet.engine.sqlite.log import SqliteLog
from wasmote_fleet.engine.sqlite.queue import SqliteQueue


class SqliteDriver:
    """A Driver. Use open()."""

    def __init__(self, db: Database, *, look_only: bool) -> None:
        self._db = db
        self._calls = LocalCalls(db.clock)
        self._expiry = None if look_only else asyncio.create_task(expire_keys(db), name="expire keys")

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, look_only: bool = False) -> SqliteDriver:
        """look_only: as Database.open. Raises DataInUse, DataUnusable."""
        return cls(await Database.open(path, clock, look_only=look_only), look_only=look_only)

    async def bucket(self, name: str) -> KeyValue:
        return SqliteBucket(self._db, check_name(name, "bucket"))

    async def queue(self, name: str, policy: QueuePolicy) -> Queue:
        return SqliteQueue(self._db, check_name(name, "queue"), policy)

    async def log(self, name: str) -> Log:
        return SqliteLog(self._db, check_name(name, "log"))

    @property
    def calls(self) -> Calls:
        return self._calls

    async def info(self) -> EngineInfo:
        return EngineInfo(
            driver="sqlite",
            version=sqlite3.sqlite_version,
            location=str(self._db.path),
            shared=False,
            durability="a power cut: every commit waits for the disk (WAL, synchronous=FULL)",
        )

    async def close(self) -> None:
        await self._calls.close()
        if self._expiry is not None:
            self._expiry.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._expiry
        await self._db.close()
