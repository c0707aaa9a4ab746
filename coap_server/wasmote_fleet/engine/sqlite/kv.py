"""Buckets in SQLite. A key that was deleted or has expired keeps its row, without a value, until compact()."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from wasmote_fleet.engine.checks import check_key, check_prefix, check_value, whole_seconds
from wasmote_fleet.engine.errors import conflict, too_old
from wasmote_fleet.engine.interface import Change, ChangeKind, Entry, SnapshotEnd
from wasmote_fleet.engine.sqlite.database import Database

_THERE, _DELETED, _EXPIRED = 0, 1, 2
_KINDS = {_THERE: ChangeKind.PUT, _DELETED: ChangeKind.DELETE, _EXPIRED: ChangeKind.EXPIRE}
_PAGE = 64  # rows that a watch takes at a time
_SWEEP = 500  # keys that expire in one operation
EXPIRY = "expiry"


class SqliteBucket:
    """A KeyValue."""

    def __init__(self, db: Database, name: str) -> None:
        self._db = db
        self._name = name
        self._topic = f"kv {name}"

    async def put(
        self, key: str, value: bytes, *, ttl_s: float | None = None, expected: int | None = None
    ) -> int:
        check_key(key)
        check_value(value)
        ttl = None if ttl_s is None else whole_seconds(ttl_s)

        def operation(connection: sqlite3.Connection) -> int:
            now = self._db.clock.time()
            if expected is not None:
                self._expect(connection, key, expected, now, absent_is=0)
            if ttl is not None:
                self._db.ring(EXPIRY)
            return self._store(connection, key, _THERE, value, None if ttl is None else now + ttl, now)

        return await self._db.write(operation)

    async def get(self, key: str) -> Entry | None:
        check_key(key)

        def operation(connection: sqlite3.Connection) -> Entry | None:
            row = connection.execute(
                "SELECT value, revision FROM kv WHERE bucket = ? AND key = ? AND state = 0"
                " AND (expires_at IS NULL OR expires_at > ?)",
                (self._name, key, self._db.clock.time()),
            ).fetchone()
            return None if row is None else Entry(key, *row)

        return await self._db.read(operation)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        check_key(key)

        def operation(connection: sqlite3.Connection) -> bool:
            now = self._db.clock.time()
            if expected is not None:
                self._expect(connection, key, expected, now, absent_is=None)
            elif self._current(connection, key, now)[0] != _THERE:
                return False
            self._store(connection, key, _DELETED, b"", None, now)
            return True

        return await self._db.write(operation)

    async def keys(self, prefix: str = "") -> list[str]:
        return [key for (key,) in await self._select("key", prefix)]

    async def entries(self, prefix: str = "") -> list[Entry]:
        return [Entry(*row) for row in await self._select("key, value, revision", prefix)]

    async def _select(self, columns: str, prefix: str) -> list[Any]:
        within, bounds = _within(check_prefix(prefix))

        def operation(connection: sqlite3.Connection) -> list[Any]:
            return connection.execute(
                f"SELECT {columns} FROM kv WHERE bucket = ? {within} AND state = 0"
                " AND (expires_at IS NULL OR expires_at > ?) ORDER BY key",
                (self._name, *bounds, self._db.clock.time()),
            ).fetchall()

        return await self._db.read(operation)

    @asynccontextmanager
    async def watch(
        self, prefix: str = "", *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Change | SnapshotEnd]]:
        changes = self._changes(check_prefix(prefix), after)
        try:
            yield changes
        finally:
            await changes.aclose()

    async def _changes(self, prefix: str, after: int | None) -> AsyncGenerator[Change | SnapshotEnd, None]:
        within, bounds = _within(prefix)
        begin, horizon = await self._db.read(self._revisions)
        if after is not None and not horizon <= after <= begin:
            raise too_old(after)
        # Deletions up to this are of no interest: whoever watches has never seen those keys.
        dull = begin if after is None else after
        seen = after or 0

        def page(connection: sqlite3.Connection) -> tuple[list[Any], int]:
            rows = connection.execute(
                f"SELECT state, key, value, revision, expires_at FROM kv WHERE bucket = ? {within}"
                " AND revision > ? AND (state = 0 OR revision > ?) ORDER BY revision LIMIT ?",
                (self._name, *bounds, seen, dull, _PAGE),
            ).fetchall()
            return rows, self._revisions(connection)[0]

        in_snapshot = True
        while True:
            bell = self._db.bell(self._topic)
            rows, current = await self._db.read(page)
            now = self._db.clock.time()
            for state, key, value, revision, expires_at in rows:
                seen = revision
                if expires_at is None or expires_at > now:  # otherwise the sweeper's EXPIRE comes
                    yield Change(_KINDS[state], key, value, revision)
            if len(rows) == _PAGE:
                continue
            seen = max(seen, current)
            if in_snapshot and not rows:
                in_snapshot = False
                yield SnapshotEnd(seen)
            if not rows:
                await self._db.wait(bell, None)

    async def compact(self, older_than_s: float = 86400) -> int:
        def operation(connection: sqlite3.Connection) -> int:
            until = self._db.clock.time() - older_than_s
            old = "FROM kv WHERE bucket = ? AND state > 0 AND changed_at <= ?"
            highest, count = connection.execute(
                f"SELECT max(revision), count(*) {old}", (self._name, until)
            ).fetchone()
            if count:
                connection.execute(f"DELETE {old}", (self._name, until))
                connection.execute(
                    "INSERT INTO kv_horizon VALUES (?, ?) ON CONFLICT (bucket)"
                    " DO UPDATE SET revision = max(revision, excluded.revision)",
                    (self._name, highest),
                )
            return int(count)

        return await self._db.write(operation)

    # ---- inside operations ----

    def _revisions(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """The bucket's revision, and the highest whose deletion was compacted away."""
        (latest,) = connection.execute(
            "SELECT max(revision) FROM kv WHERE bucket = ?", (self._name,)
        ).fetchone()
        row = connection.execute("SELECT revision FROM kv_horizon WHERE bucket = ?", (self._name,)).fetchone()
        horizon = 0 if row is None else row[0]
        return max(latest or 0, horizon), horizon

    def _current(self, connection: sqlite3.Connection, key: str, now: float) -> tuple[int | None, int | None]:
        """State (None: no row) and revision of a key, as of now."""
        row = connection.execute(
            "SELECT state, revision, expires_at FROM kv WHERE bucket = ? AND key = ?", (self._name, key)
        ).fetchone()
        if row is None:
            return None, None
        state, revision, expires_at = row
        if expires_at is not None and expires_at <= now:
            # Not swept yet: its expiry will have a revision, which nobody knows now.
            return _EXPIRED, None
        return state, revision

    def _expect(
        self, connection: sqlite3.Connection, key: str, expected: int, now: float, *, absent_is: int | None
    ) -> None:
        state, revision = self._current(connection, key, now)
        if expected == 0 and absent_is == 0:
            if state == _THERE:
                raise conflict(key, expected, f"it has revision {revision}")
            return
        if revision != expected or (absent_is is None and state != _THERE):
            cause = f"it has revision {revision}" if state == _THERE else "it does not exist"
            raise conflict(key, expected, cause)

    def _store(
        self,
        connection: sqlite3.Connection,
        key: str,
        state: int,
        value: bytes,
        expires_at: float | None,
        now: float,
    ) -> int:
        revision = self._revisions(connection)[0] + 1
        connection.execute(
            "INSERT INTO kv (bucket, key, state, revision, expires_at, changed_at, value)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET state = excluded.state,"
            " revision = excluded.revision, expires_at = excluded.expires_at,"
            " changed_at = excluded.changed_at, value = excluded.value",
            (self._name, key, state, revision, expires_at, now, value),
        )
        self._db.ring(self._topic)
        return revision


async def expire_keys(db: Database) -> None:
    """Turn keys that have expired into EXPIRE changes, at their time, until cancelled."""

    def sweep(connection: sqlite3.Connection) -> float | None:
        now = db.clock.time()
        rows = connection.execute(
            "SELECT bucket, key FROM kv WHERE expires_at <= ? ORDER BY expires_at LIMIT ?", (now, _SWEEP)
        ).fetchall()
        for bucket, key in rows:
            SqliteBucket(db, bucket)._store(connection, key, _EXPIRED, b"", None, now)
        (first,) = connection.execute(
            "SELECT min(expires_at) FROM kv WHERE expires_at IS NOT NULL"
        ).fetchone()
        return None if first is None else float(first) - now

    while True:
        bell = db.bell(EXPIRY)
        await db.wait(bell, await db.write(sweep))


def _within(prefix: str) -> tuple[str, tuple[str, ...]]:
    """SQL and its parameters for the keys below a prefix."""
    if not prefix:
        return "", ()
    # "0" is what follows "/" in Unicode.
    return "AND key >= ? AND key < ?", (prefix, f"{prefix[:-1]}0")
