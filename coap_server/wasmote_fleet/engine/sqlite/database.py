"""One SQLite file, one thread that writes and one that reads.

Group commit: the writer takes every operation that waits, runs each in a savepoint of its own, and commits them all
with one fsync; then their callers go on. So an operation costs an fsync when it is alone, and a
share of one under load.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import DataInUse, DataUnusable, EngineClosed, EngineError
from wasmote_fleet.engine.tasks import sleep_or_bell

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

APPLICATION_ID = 0x776D_6F74  # "wmot"
FORMAT = 1
MAX_BATCH = 512

SCHEMA = """
CREATE TABLE kv (
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    state INTEGER NOT NULL,        -- 0: there, 1: deleted, 2: expired
    revision INTEGER NOT NULL,
    expires_at REAL,
    changed_at REAL NOT NULL,
    value BLOB NOT NULL
);
CREATE UNIQUE INDEX kv_key ON kv (bucket, key);
CREATE UNIQUE INDEX kv_revision ON kv (bucket, revision);
CREATE INDEX kv_expiry ON kv (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE kv_horizon (bucket TEXT PRIMARY KEY, revision INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    id TEXT NOT NULL,
    state INTEGER NOT NULL,        -- 0: waiting, 1: leased, 2: dead, 3: done and remembered
    visible_at REAL NOT NULL,
    attempt INTEGER NOT NULL,
    enqueued_at REAL NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX jobs_id ON jobs (queue, id);
CREATE INDEX jobs_visible ON jobs (queue, visible_at, number) WHERE state < 2;
CREATE INDEX jobs_done ON jobs (queue, enqueued_at) WHERE state = 3;

CREATE TABLE records (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    log TEXT NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX records_log ON records (log, number);
CREATE TABLE log_trimmed (log TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""


class Database:
    """Create it with open(). Operations are functions of a connection; they run in another thread, and must not keep
    the connection. lock: None to look only."""

    def __init__(self, path: Path, clock: Clock, lock: FileLock | None) -> None:
        self.path = path
        self.clock = clock
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._waiting: queue.SimpleQueue[tuple[asyncio.Future[Any], Operation[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._rung: set[str] = set()
        self._bells: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="sqlite-read")
        self._write = _connect(path, look_only=lock is None)
        try:
            _prepare(self._write, path, look_only=lock is None)
            self._read = _connect(path, look_only=lock is None)
            self._read.execute("PRAGMA query_only = 1")
        except BaseException:
            self._write.close()
            raise
        self._writer = threading.Thread(target=self._run, name="sqlite-write", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, clock: Clock, *, look_only: bool = False) -> Database:
        """Open the file, or make it. look_only: beside a process that has it open; every write fails. Raises DataInUse,
        DataUnusable."""
        lock: FileLock | None = None
        try:
            if not look_only:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(f"{path}.lock", timeout=0)
                lock.acquire()
        except Timeout:
            raise DataInUse(
                f"{path} is in use",
                cause="another process has it open, and this driver is for one",
                next_step="stop the other one, give another file, or use a NATS server for several servers",
            ) from None
        except OSError as err:
            raise DataUnusable(
                f"cannot use {path}",
                cause=err.strerror or str(err),
                next_step="give a file that can be written",
            ) from None
        try:
            return cls(path, clock, lock)
        except sqlite3.Error as err:
            if lock is not None:
                lock.release()
            raise DataUnusable(
                f"cannot use {path}",
                cause=str(err),
                next_step="check that it is a file of this program, and that you may write there; or give another one",
            ) from None
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    async def write(self, operation: Operation[T]) -> T:
        """Run operation in the next commit and return its result when that is on disk. What it raises is raised here,
        and its own changes are undone. Cancelled before it began, it does not run."""
        if self._closing:
            raise _closed(self.path)
        if self._lock is None:
            raise EngineError(
                f"cannot write to {self.path}",
                cause="it was opened to look only",
                next_step="stop the process that has it open, and open it as that one did",
            )
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put((future, operation))
        return await future

    async def read(self, operation: Operation[T]) -> T:
        """Run operation on one state of the database, with all that was acknowledged so far."""
        if self._closing:
            raise _closed(self.path)

        def snapshot() -> T:
            self._read.execute("BEGIN")
            try:
                return operation(self._read)
            finally:
                self._read.execute("COMMIT")

        return await self._loop.run_in_executor(self._readers, snapshot)

    def ring(self, topic: str) -> None:
        """For operations: tell those who wait for topic, once this is on disk."""
        self._rung.add(topic)

    def bell(self, topic: str) -> asyncio.Event:
        """Set when topic is rung next. Take it before reading what it is about."""
        return self._bells[topic]

    async def wait(self, bell: asyncio.Event, timeout_s: float | None) -> None:
        """Until the bell rings, or timeout_s passed by the clock. Raises EngineClosed when the database closes."""
        if timeout_s is None:
            await bell.wait()
        else:
            await sleep_or_bell(max(timeout_s, 0.0), bell, self.clock)
        if self._closing:
            raise _closed(self.path)

    async def close(self) -> None:
        """Commit what waits, end the threads and give the file back."""
        if self._closing:
            return
        self._closing = True
        self._waiting.put(None)
        await self._loop.run_in_executor(None, self._writer.join)
        self._readers.shutdown()
        # What the last commit has to say comes by call_soon: before this goes on.
        await asyncio.sleep(0)
        self._ring_now(set(self._bells))
        self._read.close()
        self._write.close()
        if self._lock is not None:
            self._lock.release()

    # ---- the writer's thread ----

    def _run(self) -> None:
        going = True
        while going:
            batch = []
            item = self._waiting.get()
            while True:
                if item is None:
                    going = False
                    break
                batch.append(item)
                if len(batch) == MAX_BATCH:
                    break
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(batch)

    def _commit(self, batch: list[tuple[asyncio.Future[Any], Operation[Any]]]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        self._rung = set()
        try:
            self._write.execute("BEGIN IMMEDIATE")
            for future, operation in batch:
                if future.cancelled():
                    continue
                self._write.execute("SAVEPOINT operation")
                try:
                    outcomes.append((future, operation(self._write), None))
                except Exception as err:
                    if not self._write.in_transaction:
                        raise  # SQLite gave up the whole transaction: the disk is full, or broken
                    self._write.execute("ROLLBACK TO operation")
                    outcomes.append((future, None, err))
                self._write.execute("RELEASE operation")
            self._write.execute("COMMIT")
        except Exception as err:
            with contextlib.suppress(sqlite3.Error):
                self._write.execute("ROLLBACK")
            outcomes = [(future, None, _failed(self.path, err)) for future, _operation in batch]
        with contextlib.suppress(RuntimeError):  # the loop ended while this was going on
            self._loop.call_soon_threadsafe(self._finish, outcomes, self._rung)

    def _finish(
        self, outcomes: list[tuple[asyncio.Future[Any], Any, BaseException | None]], rung: set[str]
    ) -> None:
        for future, result, error in outcomes:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._ring_now(rung)

    def _ring_now(self, topics: set[str]) -> None:
        for topic in topics:
            bell = self._bells.pop(topic, None)
            if bell is not None:
                bell.set()


def _connect(path: Path, *, look_only: bool) -> sqlite3.Connection:
    # Autocommit: transactions are begun and ended here, not by the module. One thread at a time uses a connection.
    return sqlite3.connect(
        path.absolute().as_uri() + ("?mode=ro" if look_only else ""),
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def _prepare(connection: sqlite3.Connection, path: Path, *, look_only: bool) -> None:
    if not look_only:
        connection.execute("PRAGMA journal_mode = WAL")
        # Every commit waits for the disk: what is acknowledged survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = 1")  # on macOS fsync alone does not reach the disk
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application, version, tables) == (0, 0, 0) and not look_only:
        connection.executescript(
            f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; COMMIT;"
        )
    elif application != APPLICATION_ID:
        raise DataUnusable(
            f"{path} is not a fleet server's", cause="it is another program's", next_step="give another file"
        )
    elif version != FORMAT:
        raise DataUnusable(
            f"{path} has format {version}",
            cause=f"this program knows format {FORMAT}",
            next_step="use the version of wasmote that wrote it",
        )


def _closed(path: Path) -> EngineClosed:
    return EngineClosed(f"{path} was closed", next_step="open the engine again")


def _failed(path: Path, err: Exception) -> EngineError:
    return EngineError(
        f"cannot write to {path}", cause=str(err), next_step="look at the disk: is it full, or failing?"
    )
