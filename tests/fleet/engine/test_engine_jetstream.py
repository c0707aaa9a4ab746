"""What only the NATS driver has: several servers on one fleet, and a NATS server that comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats_server import NatsServer
from worlds import PATIENCE_S, NatsWorld

from wasmote_fleet.engine import (
    Call,
    Change,
    ChangeKind,
    DataUnusable,
    Engine,
    EngineUnavailable,
    RevisionConflict,
    SnapshotEnd,
    open_engine,
)
from wasmote_fleet.engine.jetstream.connection import decode_key, encode_key, seconds


@pytest_asyncio.fixture
async def world(nats_server: NatsServer) -> AsyncIterator[NatsWorld]:
    made = NatsWorld(nats_server)
    yield made
    await made.end()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path / "own")
    yield server
    server.kill()


async def next_put(changes: AsyncIterator[Change | SnapshotEnd]) -> Change:
    while True:
        change = await asyncio.wait_for(anext(changes), PATIENCE_S)
        if isinstance(change, Change):
            return change


async def test_two_servers_share_a_fleet(world: NatsWorld) -> None:
    one, two = await world.open(), await world.open()
    revision = await one.kv.put("a", b"1")
    entry = await two.kv.get("a")
    assert entry is not None and entry.revision == revision
    async with two.kv.watch() as changes:
        assert (await next_put(changes)).value == b"1"
        await one.kv.put("a", b"2")
        assert (await next_put(changes)).value == b"2"
    with pytest.raises(RevisionConflict):
        await two.kv.put("a", b"3", expected=revision)

    digest = (await one.blobs.put(b"module" * 200_000)).digest
    assert await two.blobs.read(digest) == b"module" * 200_000

    jobs, same = await one.queue("jobs"), await two.queue("jobs")
    waiting = asyncio.create_task(same.lease(wait_s=PATIENCE_S))
    await asyncio.sleep(0.1)
    assert await jobs.enqueue(b"x", id="1") and not await same.enqueue(b"x", id="1")
    (job,) = await waiting
    assert await jobs.lease() == []
    await same.ack(job)

    log, also = await one.log("events"), await two.log("events")
    reading = asyncio.create_task(also.read(wait_s=PATIENCE_S))
    await asyncio.sleep(0.1)
    offset = await log.append(b"x")
    assert [record.offset for record in await reading] == [offset]


async def test_calls_between_servers(world: NatsWorld) -> None:
    one, two = await world.open(), await world.open()

    def says(text: bytes) -> object:
        async def handler(call: Call) -> bytes:
            return text + call.data

        return handler

    async with (
        one.calls.serve("node", says(b"one "), instance="1"),  # type: ignore[arg-type]
        two.calls.serve("node", says(b"two "), instance="2"),  # type: ignore[arg-type]
    ):
        assert await one.calls.request("node", b"x", instance="2") == b"two x"
        assert await two.calls.request("node", b"x", instance="1") == b"one x"
        assert {await one.calls.request("node", b"") for _ in range(40)} == {b"one ", b"two "}


async def test_a_dead_servers_lease_goes_to_another(world: NatsWorld) -> None:
    one, two = await world.open(), await world.open()
    mine = await one.leases.acquire("nodes/1", "one", 1)
    assert mine is not None
    async with two.leases.watch() as changes:
        await next_put(changes)
        await one.close()  # without a word about the lease, as one that was killed
        gone = await next_put(changes)
        assert (gone.kind, gone.key) == (ChangeKind.EXPIRE, "nodes/1")
    yours = await two.leases.acquire("nodes/1", "two", 1)
    assert yours is not None and yours.token > mine.token


async def test_fleets_are_apart(nats_server: NatsServer) -> None:
    worlds = NatsWorld(nats_server), NatsWorld(nats_server)
    one, two = [await world.open() for world in worlds]
    await one.kv.put("a", b"1")
    assert await two.kv.keys() == []
    for world in worlds:
        await world.end()
    with pytest.raises(ValueError, match="not a fleet"):
        await open_engine(f"{nats_server.url}#a.b")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_server_that_comes_back(own_server: NatsServer, how: str) -> None:
    engine = await open_engine(own_server.url)
    queue, log = await engine.queue("jobs"), await engine.log("events")
    await engine.kv.put("a", b"1")
    await queue.enqueue(b"x", id="1")
    offset = await log.append(b"1")
    async with engine.kv.watch() as changes:
        assert (await next_put(changes)).value == b"1"
        assert isinstance(await asyncio.wait_for(anext(changes), PATIENCE_S), SnapshotEnd)
        told = asyncio.ensure_future(anext(changes))
        reading = asyncio.ensure_future(log.read(offset, wait_s=60))
        await asyncio.sleep(0.1)
        getattr(own_server, how)()
        with pytest.raises(EngineUnavailable):
            await engine.kv.get("a")
        reading.cancel()
        own_server.start()
        other = await open_engine(own_server.url)
        await other.kv.put("b", b"2")
        change = await asyncio.wait_for(told, PATIENCE_S)
        assert isinstance(change, Change) and (change.key, change.value) == ("b", b"2")
    assert (await engine.kv.entries())[0].value == b"1"
    assert [job.id for job in await queue.lease(wait_s=5)] == ["1"]
    assert [record.data for record in await log.read()] == [b"1"]
    await other.close()
    await engine.close()


async def test_nobody_there_and_no_jetstream(own_server: NatsServer, tmp_path: Path) -> None:
    url = own_server.url
    own_server.stop()
    with pytest.raises(EngineUnavailable, match="cannot connect") as caught:
        await open_engine(url)
    assert "nats-server -js" in caught.value.next_step
    plain = NatsServer(tmp_path / "plain", jetstream=False)
    try:
        with pytest.raises(DataUnusable, match="has no JetStream"):
            await open_engine(plain.url)
    finally:
        plain.stop()


async def test_info(world: NatsWorld) -> None:
    engine: Engine = await world.open()
    info = await engine.info()
    assert info.driver == "jetstream" and info.shared
    assert tuple(map(int, info.version.split(".")[:2])) >= (2, 11)
    assert info.location == world.server.url


@pytest.mark.parametrize("key", ["a", "a/b", "ä ö/=*>.", "A-z_9", "=2E", "a.b/c"])
def test_keys_as_subjects(key: str) -> None:
    subject = encode_key(key)
    assert decode_key(subject) == key
    assert subject.count(".") == key.count("/")
    assert not set(subject) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-=.")


def test_times_of_the_server() -> None:
    assert seconds("1970-01-01T00:00:01Z") == 1.0
    assert seconds("2026-01-01T00:00:00.123456789Z") == pytest.approx(1767225600.123456789)
