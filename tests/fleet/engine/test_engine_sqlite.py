"""What only the SQLite driver has: its file, and commits that many share."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from worlds import ManualClock

from wasmote_fleet.engine import (
    DataInUse,
    DataUnusable,
    EngineError,
    RevisionConflict,
    SnapshotEnd,
    open_engine,
)
from wasmote_fleet.engine.clock import SystemClock
from wasmote_fleet.engine.sqlite.database import Database


async def test_one_process_has_the_file(tmp_path: Path) -> None:
    location = str(tmp_path / "new" / "fleet.db")
    engine = await open_engine(location)
    with pytest.raises(DataInUse, match="is in use") as caught:
        await open_engine(location)
    assert "NATS" in caught.value.next_step
    await engine.close()
    await (await open_engine(location)).close()


async def test_another_process_may_look(tmp_path: Path) -> None:
    location = str(tmp_path / "fleet #1?.db")
    for _ in range(2):  # nor does that make a file
        with pytest.raises(DataUnusable, match="cannot use"):
            await open_engine(location, look_only=True)
    engine = await open_engine(location)
    await engine.kv.put("a/b", b"1")
    looking = await open_engine(location, look_only=True)
    await engine.kv.put("a/c", b"2")
    assert [entry.value for entry in await looking.kv.entries("a/")] == [b"1", b"2"]
    with pytest.raises(EngineError, match="cannot write"):
        await looking.kv.put("a/b", b"3")
    await looking.close()
    await engine.kv.put("a/b", b"4")  # nothing is held
    await engine.close()


async def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.db"
    text.write_text("no database, but long enough to have a header " * 10)
    with pytest.raises(DataUnusable, match="cannot use"):
        await open_engine(str(text))
    foreign = tmp_path / "foreign.db"
    connection = sqlite3.connect(foreign)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    with pytest.raises(DataUnusable, match="is not a fleet server's"):
        await open_engine(str(foreign))
    newer = tmp_path / "newer.db"
    await (await open_engine(str(newer))).close()
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(DataUnusable, match="has format 99"):
        await open_engine(str(newer))
    with pytest.raises(DataUnusable, match="cannot use"):
        await open_engine(str(text / "below" / "fleet.db"))
    with pytest.raises(EngineError, match="no engine for http"):
        await open_engine("http://127.0.0.1")
    # Refused, they are not held.
    connection = sqlite3.connect(newer)
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    await (await open_engine(str(newer))).close()


async def test_a_commit_waits_for_the_disk_and_serves_all_that_wait(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "fleet.db", SystemClock())
    commits = 0

    def trace(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    (mode,) = await db.write(lambda c: c.execute("PRAGMA journal_mode").fetchone())
    (synchronous,) = await db.write(lambda c: c.execute("PRAGMA synchronous").fetchone())
    assert (mode, synchronous) == ("wal", 2)
    db._write.set_trace_callback(trace)
    held, go = threading.Event(), threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        held.set()
        go.wait(10)

    first = asyncio.ensure_future(db.write(hold))
    await asyncio.to_thread(held.wait, 10)
    rest = [asyncio.ensure_future(db.write(insert(f"k{number}"))) for number in range(300)]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *rest)
    assert commits == 2
    await db.close()


def insert(key: str, revision: int | None = None):  # type: ignore[no-untyped-def]
    def operation(connection: sqlite3.Connection) -> None:
        number = revision
        if number is None:
            (number,) = connection.execute("SELECT 1 + coalesce(max(revision), 0) FROM kv").fetchone()
        connection.execute("INSERT INTO kv VALUES ('b', ?, 0, ?, NULL, 0, x'')", (key, number))

    return operation


async def test_an_operation_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "fleet.db", SystemClock())

    def half(connection: sqlite3.Connection) -> None:
        insert("half")(connection)
        raise ValueError("no")

    results = await asyncio.gather(
        db.write(insert("a")), db.write(half), db.write(insert("a", 99)), db.write(insert("b")),
        return_exceptions=True,
    )  # fmt: skip
    assert [type(result) for result in results] == [
        type(None),
        ValueError,
        sqlite3.IntegrityError,
        type(None),
    ]
    assert await db.read(lambda c: c.execute("SELECT key FROM kv ORDER BY key").fetchall()) == [
        ("a",),
        ("b",),
    ]
    await db.close()


async def test_cancelled_before_it_began_it_does_not_run(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "fleet.db", SystemClock())
    held = threading.Event()

    def hold(_connection: sqlite3.Connection) -> None:
        held.set()
        time.sleep(0.1)

    first = asyncio.ensure_future(db.write(hold))
    await asyncio.to_thread(held.wait, 10)
    late = asyncio.ensure_future(db.write(insert("late")))
    await asyncio.sleep(0)
    late.cancel()
    await first
    await db.write(insert("other"))
    assert await db.read(lambda c: c.execute("SELECT key FROM kv").fetchall()) == [("other",)]
    await db.close()


async def test_a_full_disk_is_an_error_and_not_the_end(tmp_path: Path) -> None:
    engine = await open_engine(str(tmp_path / "fleet.db"))
    db = engine._driver._db  # type: ignore[attr-defined]
    await engine.kv.put("small", b"1")
    (pages,) = await db.read(lambda c: c.execute("PRAGMA page_count").fetchone())
    # A database that must not grow answers as a full disk does.
    await db.write(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone())
    results = await asyncio.gather(
        *(engine.kv.put(f"k/{number}", bytes(100_000)) for number in range(3)), return_exceptions=True
    )
    assert all(isinstance(result, EngineError) and "full" in result.cause for result in results)
    assert await engine.kv.keys() == ["small"]
    await db.write(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone())
    await engine.kv.put("k/0", bytes(100_000))
    assert await engine.kv.keys() == ["k/0", "small"]
    await engine.close()


async def test_what_was_begun_before_close_is_finished(tmp_path: Path) -> None:
    location = str(tmp_path / "fleet.db")
    engine = await open_engine(location)
    puts = [asyncio.ensure_future(engine.kv.put(f"k/{number}", b"x")) for number in range(100)]
    await asyncio.sleep(0)
    await engine.close()
    assert all(isinstance(revision, int) for revision in await asyncio.gather(*puts))
    engine = await open_engine(location)
    assert len(await engine.kv.keys()) == 100
    await engine.close()


async def test_info(tmp_path: Path) -> None:
    engine = await open_engine(str(tmp_path / "fleet.db"))
    info = await engine.info()
    assert (info.driver, info.version, info.shared) == ("sqlite", sqlite3.sqlite_version, False)
    assert "synchronous=FULL" in info.durability
    await engine.close()


async def test_what_has_expired_is_gone_before_it_is_swept(tmp_path: Path) -> None:
    clock = ManualClock()
    engine = await open_engine(str(tmp_path / "fleet.db"), clock=clock)
    engine._driver._expiry.cancel()  # type: ignore[attr-defined]
    revision = await engine.kv.put("a", b"1", ttl_s=5)
    clock.advance(5)
    assert await engine.kv.get("a") is None
    assert await engine.kv.keys() == []
    assert await engine.kv.delete("a") is False
    for expected in (revision, -1):
        with pytest.raises(RevisionConflict):
            await engine.kv.put("a", b"2", expected=expected)
        with pytest.raises(RevisionConflict):
            await engine.kv.delete("a", expected=expected)
    async with engine.kv.watch() as changes:
        assert isinstance(await anext(changes), SnapshotEnd)
    assert await engine.kv.put("a", b"2", expected=0) == revision + 1
    await engine.close()
