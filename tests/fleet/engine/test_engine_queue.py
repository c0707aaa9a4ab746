"""Queues, on every driver. A job that was enqueued a moment ago may take another until it can be leased, so the tests
wait for those that must come."""

from __future__ import annotations

import asyncio

import pytest
from worlds import PATIENCE_S, World

from wasmote_fleet.engine import (
    MAX_VALUE_BYTES,
    Engine,
    EngineClosed,
    Job,
    LeaseLost,
    Queue,
    QueuePolicy,
    QueueStats,
    TooLarge,
)

QUICK = QueuePolicy(visibility_s=1.0, max_deliveries=2, remember_s=2.0)


async def ids(queue: Queue, limit: int = 10, *, wait_s: float = 0.0) -> list[str]:
    return [job.id for job in await queue.lease(limit, wait_s=wait_s)]


async def lease_one(world: World, queue: Queue) -> Job:
    """The next job, waiting for it in the world's time."""
    for _ in range(100):
        for job in await queue.lease():
            return job
        await world.pass_time(0.1)
    raise AssertionError("no job came")


async def test_enqueue_lease_ack(engine: Engine) -> None:
    queue = await engine.queue("calls")
    assert await queue.lease() == []
    for number in range(5):
        assert await queue.enqueue(str(number).encode(), id=f"job/{number}") is True
    assert await queue.stats() == QueueStats(waiting=5, leased=0, dead=0)
    first = await queue.lease(2, wait_s=PATIENCE_S)
    assert [(job.id, job.data, job.attempt) for job in first] == [("job/0", b"0", 1), ("job/1", b"1", 1)]
    assert await queue.stats() == QueueStats(waiting=3, leased=2, dead=0)
    for job in first:
        await queue.ack(job)
    assert await ids(queue) == ["job/2", "job/3", "job/4"]
    assert await queue.lease(10) == []
    assert await queue.stats() == QueueStats(waiting=0, leased=3, dead=0)


async def test_an_id_is_taken_once(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QUICK)
    assert await queue.enqueue(b"1", id="a ä/=") is True
    assert await queue.enqueue(b"2", id="a ä/=") is False
    (job,) = await queue.lease(10, wait_s=PATIENCE_S)
    assert (job.id, job.data) == ("a ä/=", b"1")
    assert await queue.enqueue(b"2", id="a ä/=") is False
    await queue.ack(job)
    assert await queue.enqueue(b"2", id="a ä/=") is False
    await world.pass_time(2.5)
    assert await queue.enqueue(b"3", id="a ä/=") is True
    assert [job.data for job in await queue.lease(10, wait_s=PATIENCE_S)] == [b"3"]


async def test_ill_formed(engine: Engine) -> None:
    queue = await engine.queue("calls")
    with pytest.raises(TooLarge):
        await queue.enqueue(bytes(MAX_VALUE_BYTES + 1), id="a")
    with pytest.raises(ValueError, match="not a key"):
        await queue.enqueue(b"", id="")
    with pytest.raises(ValueError, match="not a queue"):
        await engine.queue("a.b")
    assert await queue.enqueue(bytes(MAX_VALUE_BYTES), id="a") is True
    (job,) = await queue.lease(wait_s=PATIENCE_S)
    assert job.data == bytes(MAX_VALUE_BYTES)


async def test_after_the_visibility_timeout_another_gets_it(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QUICK)
    await queue.enqueue(b"x", id="a")
    (job,) = await queue.lease(wait_s=PATIENCE_S)
    assert await queue.lease() == []
    await world.pass_time(1.1)
    again = await lease_one(world, queue)
    assert (again.id, again.attempt) == ("a", 2)
    for late in (queue.ack(job), queue.nack(job), queue.extend(job)):
        with pytest.raises(LeaseLost):
            await late
    await queue.ack(again)
    with pytest.raises(LeaseLost):
        await queue.ack(again)
    await world.pass_time(1.1)
    assert await queue.lease() == []
    assert await queue.stats() == QueueStats(0, 0, 0)


async def test_extended_it_stays_hidden(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QUICK)
    await queue.enqueue(b"x", id="a")
    (job,) = await queue.lease(wait_s=PATIENCE_S)
    for _ in range(3):
        await world.pass_time(0.6)
        await queue.extend(job)
        assert await queue.lease() == []
    await queue.ack(job)
    assert await queue.stats() == QueueStats(0, 0, 0)


async def test_nack_brings_it_back_at_once_or_later(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QueuePolicy(max_deliveries=3))
    await queue.enqueue(b"x", id="a")
    (job,) = await queue.lease(wait_s=PATIENCE_S)
    await queue.nack(job)
    with pytest.raises(LeaseLost):
        await queue.ack(job)
    (job,) = await queue.lease(wait_s=PATIENCE_S)
    assert job.attempt == 2
    await queue.nack(job, delay_s=1.0)
    assert await queue.lease() == []
    stats = await queue.stats()
    assert stats.waiting + stats.leased == 1
    await world.pass_time(1.1)
    assert (await lease_one(world, queue)).attempt == 3


async def test_dead_letters_by_nack_and_by_time(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QUICK)
    await queue.enqueue(b"n", id="nacked")
    await queue.nack(await lease_one(world, queue))
    await queue.nack(await lease_one(world, queue))
    await queue.enqueue(b"t", id="timed/out")
    for _ in range(2):
        await lease_one(world, queue)
        await world.pass_time(1.1)
    for _ in range(20):
        assert await queue.lease() == []
        if (await queue.stats()).dead == 2:
            break
        await world.pass_time(0.1)
    assert await queue.stats() == QueueStats(waiting=0, leased=0, dead=2)
    dead = await queue.dead_letters()
    assert [(job.id, job.data, job.attempt) for job in dead] == [("nacked", b"n", 2), ("timed/out", b"t", 2)]
    assert await queue.enqueue(b"x", id="nacked") is False

    assert await queue.revive("nacked") is True
    assert await queue.revive("nacked") is False
    assert await queue.discard("timed/out") is True
    assert await queue.discard("timed/out") is False
    job = await lease_one(world, queue)
    assert (job.id, job.data, job.attempt) == ("nacked", b"n", 1)
    await queue.ack(job)
    assert await queue.stats() == QueueStats(0, 0, 0)


async def test_who_waits_is_woken(engine: Engine) -> None:
    queue = await engine.queue("calls")
    waiting = asyncio.create_task(queue.lease(5, wait_s=PATIENCE_S))
    await asyncio.sleep(0.1)
    await queue.enqueue(b"x", id="a")
    (job,) = await asyncio.wait_for(waiting, PATIENCE_S)
    assert job.id == "a"


async def test_waiting_ends(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls")
    waiting = asyncio.create_task(queue.lease(wait_s=0.5))
    await asyncio.sleep(0.1)
    await world.pass_time(0.6)
    assert await asyncio.wait_for(waiting, PATIENCE_S) == []


async def test_a_cancelled_wait_takes_no_job(engine: Engine) -> None:
    queue = await engine.queue("calls")
    waiting = asyncio.create_task(queue.lease(wait_s=PATIENCE_S))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await queue.enqueue(b"x", id="a")
    assert await ids(queue, wait_s=PATIENCE_S) == ["a"]


async def test_each_job_goes_to_one_worker(engine: Engine) -> None:
    queue = await engine.queue("calls")
    done: list[str] = []

    async def work() -> None:
        while len(done) < 60:
            for job in await queue.lease(3):
                done.append(job.id)
                await queue.ack(job)
            await asyncio.sleep(0)

    await asyncio.gather(*(queue.enqueue(b"", id=str(number)) for number in range(60)))
    await asyncio.gather(*(work() for _ in range(5)))
    assert sorted(done, key=int) == [str(number) for number in range(60)]
    assert await queue.stats() == QueueStats(0, 0, 0)


async def test_jobs_survive_a_restart(world: World, engine: Engine) -> None:
    queue = await engine.queue("calls", QUICK)
    await queue.enqueue(b"1", id="waiting")
    await queue.enqueue(b"2", id="done")
    jobs = {job.id: job for job in await queue.lease(2, wait_s=PATIENCE_S)}
    await queue.ack(jobs["done"])
    await queue.nack(jobs["waiting"])
    await engine.close()
    with pytest.raises(EngineClosed):
        await queue.lease()
    engine = await world.open()
    queue = await engine.queue("calls", QUICK)
    assert await queue.enqueue(b"x", id="done") is False
    job = await lease_one(world, queue)
    assert (job.id, job.data, job.attempt) == ("waiting", b"1", 2)


async def test_queues_are_apart(engine: Engine) -> None:
    one, two = await engine.queue("one"), await engine.queue("two")
    assert await one.enqueue(b"1", id="a") and await two.enqueue(b"2", id="a")
    assert [job.data for job in await two.lease(5)] == [b"2"]
    assert [job.data for job in await one.lease(5)] == [b"1"]
