"""Buckets, on every driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from worlds import PATIENCE_S, World

from wasmote_fleet.engine import (
    MAX_VALUE_BYTES,
    Change,
    ChangeKind,
    Engine,
    EngineClosed,
    Entry,
    RevisionConflict,
    RevisionTooOld,
    SnapshotEnd,
    TooLarge,
)

PUT, DELETE, EXPIRE = ChangeKind.PUT, ChangeKind.DELETE, ChangeKind.EXPIRE


async def following(changes: AsyncIterator[Change | SnapshotEnd]) -> Change | SnapshotEnd:
    return await asyncio.wait_for(anext(changes), PATIENCE_S)


async def snapshot(changes: AsyncIterator[Change | SnapshotEnd]) -> tuple[list[Change], int]:
    """What comes before the marker, and the marker's revision."""
    found = []
    while True:
        change = await following(changes)
        if isinstance(change, SnapshotEnd):
            return found, change.revision
        found.append(change)


async def test_put_get_delete(engine: Engine) -> None:
    kv = engine.kv
    assert await kv.get("a") is None
    first = await kv.put("a", b"1")
    second = await kv.put("a", b"2")
    assert second > first > 0
    assert await kv.get("a") == Entry("a", b"2", second)
    assert await kv.delete("a") is True
    assert await kv.get("a") is None
    assert await kv.delete("a") is False
    assert await kv.put("a", b"3") > second + 1


@pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", bytes(range(256)) * (MAX_VALUE_BYTES // 256)])
async def test_values_come_back_as_they_are(engine: Engine, value: bytes) -> None:
    await engine.kv.put("a", value)
    entry = await engine.kv.get("a")
    assert entry is not None and entry.value == value
    assert [entry] == await engine.kv.entries()


async def test_too_large_and_ill_formed(engine: Engine) -> None:
    with pytest.raises(TooLarge):
        await engine.kv.put("a", bytes(MAX_VALUE_BYTES + 1))
    for key in ("", "/a", "a/", "a//b", "a\nb", "a" * 257):
        with pytest.raises(ValueError, match="not a key"):
            await engine.kv.put(key, b"")
    with pytest.raises(ValueError, match="not a prefix"):
        await engine.kv.keys("a")
    with pytest.raises(ValueError, match="time to live"):
        await engine.kv.put("a", b"", ttl_s=0)
    assert await engine.kv.keys() == []


async def test_expected_revision(engine: Engine) -> None:
    kv = engine.kv
    first = await kv.put("a", b"1", expected=0)
    with pytest.raises(RevisionConflict, match="a is not at revision 0"):
        await kv.put("a", b"x", expected=0)
    second = await kv.put("a", b"2", expected=first)
    for wrong in (first, second + 100):
        with pytest.raises(RevisionConflict):
            await kv.put("a", b"x", expected=wrong)
        with pytest.raises(RevisionConflict):
            await kv.delete("a", expected=wrong)
    assert await kv.get("a") == Entry("a", b"2", second)
    assert await kv.delete("a", expected=second) is True
    with pytest.raises(RevisionConflict):
        await kv.delete("a", expected=second)
    with pytest.raises(RevisionConflict):
        await kv.put("a", b"x", expected=second)
    # What was deleted does not exist.
    third = await kv.put("a", b"3", expected=0)
    assert third > second
    with pytest.raises(RevisionConflict):
        await kv.put("never", b"x", expected=third)


async def test_expected_revision_of_a_deletion(engine: Engine) -> None:
    await engine.kv.put("a", b"1")
    async with engine.kv.watch() as changes:
        await snapshot(changes)
        await engine.kv.delete("a")
        gone = await following(changes)
    assert isinstance(gone, Change) and gone.kind is DELETE
    await engine.kv.put("a", b"2", expected=gone.revision)


async def test_prefixes_are_whole_segments(engine: Engine) -> None:
    keys = ["a", "a/b", "a/b/c", "a-x", "a0", "ab/c", "b/ä ö.=*>", "b/.."]
    for key in keys:
        await engine.kv.put(key, key.encode())
    assert await engine.kv.keys() == sorted(keys)
    assert await engine.kv.keys("a/") == ["a/b", "a/b/c"]
    assert await engine.kv.keys("a/b/") == ["a/b/c"]
    assert await engine.kv.keys("b/") == ["b/..", "b/ä ö.=*>"]
    assert await engine.kv.keys("c/") == []
    assert [entry.value.decode() for entry in await engine.kv.entries("b/")] == ["b/..", "b/ä ö.=*>"]


async def test_ttl(world: World, engine: Engine) -> None:
    kv = engine.kv
    await kv.put("short", b"1", ttl_s=0.5)  # rounded up to a second
    await kv.put("kept", b"1", ttl_s=1)
    await kv.put("kept", b"2")
    await kv.put("long", b"1", ttl_s=1000)
    assert await kv.keys() == ["kept", "long", "short"]
    async with kv.watch() as changes:
        await snapshot(changes)
        await world.pass_time(1.1)
        gone = await following(changes)
    assert isinstance(gone, Change) and (gone.kind, gone.key, gone.value) == (EXPIRE, "short", b"")
    assert await kv.get("short") is None
    assert await kv.keys() == ["kept", "long"]
    again = await kv.put("short", b"2", expected=0)
    assert again > gone.revision


async def test_an_expired_key_is_not_at_its_old_revision(world: World, engine: Engine) -> None:
    revision = await engine.kv.put("a", b"1", ttl_s=1)
    await world.pass_time(3.1)
    with pytest.raises(RevisionConflict):
        await engine.kv.put("a", b"2", expected=revision)
    with pytest.raises(RevisionConflict):
        await engine.kv.delete("a", expected=revision)
    await engine.kv.put("a", b"2", expected=0)


async def test_watch_snapshot_then_changes(engine: Engine) -> None:
    kv = engine.kv
    await kv.put("n/1", b"1")
    await kv.put("other", b"1")
    await kv.put("n/2", b"1")
    await kv.put("n/1", b"2")
    await kv.put("n/3", b"1")
    await kv.delete("n/3")
    async with kv.watch("n/") as changes:
        told, end = await snapshot(changes)
        assert [(c.kind, c.key, c.value) for c in told] == [(PUT, "n/2", b"1"), (PUT, "n/1", b"2")]
        assert told[-1].revision <= end
        revision = await kv.put("n/4", b"1")
        await kv.put("other", b"2")
        assert await following(changes) == Change(PUT, "n/4", b"1", revision)
        await kv.delete("n/1")
        gone = await following(changes)
        assert isinstance(gone, Change) and (gone.kind, gone.key) == (DELETE, "n/1")
        assert gone.revision > revision > end


async def test_watch_of_nothing_has_a_snapshot_too(engine: Engine) -> None:
    async with engine.kv.watch("n/") as changes:
        assert await snapshot(changes) == ([], 0)
        await engine.kv.put("n/1", b"1")
        change = await following(changes)
        assert isinstance(change, Change) and change.key == "n/1"


async def test_watch_after_a_revision_and_a_restart(world: World, engine: Engine) -> None:
    kv = engine.kv
    for key in ("n/1", "n/2", "n/3"):
        await kv.put(key, b"1")
    async with kv.watch("n/") as changes:
        _told, end = await snapshot(changes)
    await kv.put("n/1", b"2")
    await kv.put("n/1", b"3")
    await kv.delete("n/2")
    await engine.close()

    engine = await world.open()
    await engine.kv.put("n/4", b"1")
    async with engine.kv.watch("n/", after=end) as changes:
        told, newer = await snapshot(changes)
        assert [(c.kind, c.key, c.value) for c in told] == [
            (PUT, "n/1", b"3"),
            (DELETE, "n/2", b""),
            (PUT, "n/4", b"1"),
        ]
    async with engine.kv.watch("n/", after=newer) as changes:
        assert await snapshot(changes) == ([], newer)


async def test_compact_and_watches_that_come_too_late(engine: Engine) -> None:
    kv = engine.kv
    early = await kv.put("a", b"1")
    await kv.put("b", b"1")
    await kv.delete("a")
    assert await kv.compact(3600) == 0
    async with kv.watch(after=early) as changes:
        told, end = await snapshot(changes)
    assert [(c.kind, c.key) for c in told] == [(PUT, "b"), (DELETE, "a")]
    assert await kv.compact(0) == 1
    for revision in (early, end + 1000):
        async with kv.watch(after=revision) as changes:
            with pytest.raises(RevisionTooOld):
                await following(changes)
    async with kv.watch(after=end) as changes:
        assert await snapshot(changes) == ([], end)
    assert await kv.compact(0) == 0
    assert await kv.put("a", b"2", expected=0) > end


async def test_a_slow_watcher_gets_the_latest(engine: Engine) -> None:
    async with engine.kv.watch() as changes:
        await snapshot(changes)
        for number in range(200):
            await engine.kv.put(f"k/{number % 4}", str(number).encode())
        seen: dict[str, bytes] = {}
        last = 0
        while seen.get("k/3") != b"199":
            change = await following(changes)
            assert isinstance(change, Change) and change.revision > last
            last, seen[change.key] = change.revision, change.value
    assert seen == {"k/0": b"196", "k/1": b"197", "k/2": b"198", "k/3": b"199"}


async def test_many_keys(engine: Engine) -> None:
    await asyncio.gather(*(engine.kv.put(f"k/{number:04}", b"x" * number) for number in range(700)))
    keys = [f"k/{number:04}" for number in range(700)]
    assert await engine.kv.keys() == keys
    assert [len(entry.value) for entry in await engine.kv.entries("k/")] == list(range(700))
    async with engine.kv.watch() as changes:
        told, _end = await snapshot(changes)
    assert sorted(change.key for change in told) == keys


async def test_concurrent_writers_count_right(engine: Engine) -> None:
    async def count() -> None:
        for _ in range(20):
            while True:
                entry = await engine.kv.get("count")
                value, revision = (0, 0) if entry is None else (int(entry.value), entry.revision)
                try:
                    await engine.kv.put("count", str(value + 1).encode(), expected=revision)
                    break
                except RevisionConflict:
                    continue

    await asyncio.gather(*(count() for _ in range(5)))
    entry = await engine.kv.get("count")
    assert entry is not None and entry.value == b"100"


async def test_cancelled_writes_happen_or_not(engine: Engine) -> None:
    tasks = [asyncio.create_task(engine.kv.put(f"k/{number}", b"x")) for number in range(100)]
    for number, task in enumerate(tasks):
        if number % 3 == 0:
            await asyncio.sleep(0)
        if number % 2 == 0:
            task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    there = set(await engine.kv.keys())
    for number, result in enumerate(done):
        if isinstance(result, int):
            assert f"k/{number}" in there
        else:
            assert isinstance(result, asyncio.CancelledError)
    assert len([result for result in done if isinstance(result, int)]) >= 50
    assert await engine.kv.put("after", b"") > 0


async def test_buckets_are_apart(engine: Engine) -> None:
    await engine.kv.put("a", b"1")
    assert await engine.leases.acquire("a", "me", 10) is not None
    assert await engine.kv.entries() == [Entry("a", b"1", 1)]


async def test_closed(engine: Engine) -> None:
    async with engine.kv.watch() as changes:
        await snapshot(changes)
        waiting = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0.05)
        await engine.close()
        with pytest.raises(EngineClosed):
            await asyncio.wait_for(waiting, PATIENCE_S)
    for call in (engine.kv.get("a"), engine.kv.put("a", b""), engine.kv.keys()):
        with pytest.raises(EngineClosed):
            await call
    await engine.close()
