"""Logs, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from worlds import PATIENCE_S, World

from wasmote_fleet.engine import MAX_VALUE_BYTES, Engine, EngineClosed, TooLarge


async def test_append_and_read(engine: Engine) -> None:
    log, other = await engine.log("events"), await engine.log("other")
    assert await log.read() == []
    offsets = []
    for number in range(6):
        offsets.append(await log.append(str(number).encode()))
        await other.append(b"x")
    assert offsets == sorted(set(offsets)) and offsets[0] > 0
    records = await log.read()
    assert [(record.offset, record.data) for record in records] == [
        (offset, str(number).encode()) for number, offset in enumerate(offsets)
    ]
    assert [record.at for record in records] == sorted(record.at for record in records)
    assert await log.read(limit=2) == records[:2]
    assert await log.read(offsets[1], limit=2) == records[2:4]
    assert await log.read(offsets[5]) == []
    assert len(await other.read()) == 6


async def test_values(engine: Engine) -> None:
    log = await engine.log("events")
    for data in (b"", b"\x00\xff\r\n", bytes(MAX_VALUE_BYTES)):
        offset = await log.append(data)
        assert [record.data for record in await log.read(offset - 1)] == [data]
    with pytest.raises(TooLarge):
        await log.append(bytes(MAX_VALUE_BYTES + 1))
    with pytest.raises(ValueError, match="not a log"):
        await engine.log("a/b")


async def test_more_than_a_batch(engine: Engine) -> None:
    log = await engine.log("events")
    await asyncio.gather(*(log.append(str(number).encode()) for number in range(250)))
    seen: list[bytes] = []
    after = 0
    while records := await log.read(after):
        assert len(records) <= 100
        seen += [record.data for record in records]
        after = records[-1].offset
    assert sorted(seen, key=int) == [str(number).encode() for number in range(250)]


async def test_who_waits_is_woken(engine: Engine) -> None:
    log = await engine.log("events")
    first = await log.append(b"1")
    for number in range(3):
        waiting = asyncio.create_task(log.read(first, wait_s=PATIENCE_S))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        offset = await log.append(str(number).encode())
        assert [record.offset for record in await asyncio.wait_for(waiting, PATIENCE_S)] == [offset]
        first = offset


async def test_waiting_ends(world: World, engine: Engine) -> None:
    log = await engine.log("events")
    waiting = asyncio.create_task(log.read(wait_s=0.5))
    await asyncio.sleep(0.1)
    await world.pass_time(0.6)
    assert await asyncio.wait_for(waiting, PATIENCE_S) == []
    waiting = asyncio.create_task(log.read(wait_s=1000))
    await asyncio.sleep(0.1)
    await engine.close()
    with pytest.raises(EngineClosed):
        await asyncio.wait_for(waiting, PATIENCE_S)


async def test_trim_by_number(engine: Engine) -> None:
    log, other = await engine.log("events"), await engine.log("other")
    await other.append(b"x")
    offsets = [await log.append(b"x") for _ in range(5)]
    assert await log.trimmed() == 0
    assert await log.trim(keep=9) == 0
    assert await log.trim(keep=2) == 3
    assert [record.offset for record in await log.read()] == offsets[3:]
    assert offsets[2] <= await log.trimmed() < offsets[3]
    assert await log.trim(keep=0) == 2
    assert await log.read() == []
    assert offsets[4] <= await log.trimmed() < await log.append(b"y")
    assert len(await other.read()) == 1 and await other.trimmed() == 0
    for wrong in ({}, {"keep": 1, "older_than_s": 1.0}):
        with pytest.raises(ValueError, match="either"):
            await log.trim(**wrong)  # type: ignore[arg-type]


async def test_trim_by_age(world: World, engine: Engine) -> None:
    log = await engine.log("events")
    old = [await log.append(b"old") for _ in range(4)]
    await world.pass_time(1.0)
    young = await log.append(b"young")
    assert await log.trim(older_than_s=3600) == 0
    assert await log.trim(older_than_s=0.5) == 4
    assert [record.offset for record in await log.read()] == [young]
    assert old[3] <= await log.trimmed() < young


async def test_offsets_go_up_after_trim_and_restart(world: World, engine: Engine) -> None:
    log = await engine.log("events")
    last = [await log.append(b"x") for _ in range(3)][-1]
    await log.trim(keep=0)
    await engine.close()
    engine = await world.open()
    log = await engine.log("events")
    assert last <= await log.trimmed() < await log.append(b"y")
