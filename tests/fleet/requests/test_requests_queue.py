"""Queued calls: accepted once, done once, or the record says why not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from requests_world import (
    DEADLINE_S,
    ECHO,
    MATHS,
    World,
    counter,
    kill,
    module,
    node,
    sqlite,
    world,
)

from wasmote.errors import InputError
from wasmote_fleet.gateway.errors import Overloaded, WrongBody
from wasmote_fleet.requests import (
    Cancelled,
    HopLimit,
    MayHaveRun,
    NotFinished,
    Request,
    RequestExists,
    State,
    Target,
    UnknownRequest,
    UnknownTarget,
)
from wasmote_fleet.requests.context import Context
from wasmote_fleet.requests.history import History
from wasmote_fleet.requests.records import Stored
from wasmote_fleet.requests.requests import MAX_HOPS

pytestmark = pytest.mark.slow
LONG = 200_000_000  # turns of the loop: seconds
COUNT = Target(deployment="d", function="counter", export="count")


@pytest_asyncio.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    """The deployment `d` with counter, maths and echo on the nodes a and b."""
    async with sqlite(tmp_path) as engine, world(engine, "a", "b") as made:
        await made.deploy("d", "counter", counter(), "a", "b")
        await made.deploy("d", "maths", module(MATHS, "maths"), "b", "a")
        await made.deploy("d", "echo", module(ECHO, "echo"), "a", "b")
        yield made


async def done(two: World, target: Target, body: list[int | float | str] | bytes | None) -> Request:
    """A queued call, ended."""
    made = await two.requests.submit(target, body)
    assert made.state is State.QUEUED
    return await two.requests.wait(made.id, DEADLINE_S)


async def test_a_queued_call_and_its_history(two: World) -> None:
    ended = await done(two, COUNT, [5])
    assert ended.state is State.DONE and ended.error is None
    assert ended.started_at is not None and ended.ended_at is not None
    assert ended.queued_at <= ended.started_at <= ended.ended_at <= ended.deadline_at
    (hop,) = ended.hops
    assert (hop.node, hop.function, hop.export, hop.outcome) == ("a", "counter", "count", "done")
    assert hop.ended_at is not None and ended.started_at <= hop.began_at <= hop.ended_at <= ended.ended_at
    result = await two.requests.result(ended.id)
    assert (result.kind, result.results, result.value) == ("numbers", ("i32",), 5)


async def test_a_call_on_a_named_node(two: World) -> None:
    ended = await done(two, Target(node="b", function="counter", export="count"), [7])
    assert ended.state is State.DONE and ended.hops[0].node == "b" and await two.sum_of("b") == 7
    ended = await done(two, Target(node="b", function="counter", export="none"), [7])
    assert ended.state is State.FAILED and isinstance(ended.error, UnknownTarget)


async def test_what_is_wrong_is_refused_and_not_queued(two: World) -> None:
    for body, error in (([1, 2], InputError), (["x"], InputError), (b"x", WrongBody), ([2**40], InputError)):
        with pytest.raises(error):
            await two.requests.submit(COUNT, body)
    with pytest.raises(UnknownTarget):
        await two.requests.submit(Target(deployment="d", chain="none"), None)
    with pytest.raises(InputError, match="no request's id"):
        await two.requests.submit(COUNT, [1], id="a/b")
    assert await two.requests.list() == []


async def test_asking_twice_with_an_id_is_asking_once(two: World) -> None:
    for _ in range(3):
        made = await two.requests.submit(COUNT, [5], id="mine")
        assert made.id == "mine"
    assert (await two.requests.wait("mine", DEADLINE_S)).state is State.DONE
    again = await two.requests.submit(COUNT, [5], id="mine")
    assert again.state is State.DONE and await two.sum_of("a") == 5
    assert (await two.requests.submit(COUNT, ["5"], id="mine")).id == "mine"
    with pytest.raises(RequestExists) as refused:
        await two.requests.submit(COUNT, [6], id="mine")
    assert refused.value.cause == "it is of d:counter/count, with another input"
    assert await two.sum_of("a") == 5
    with pytest.raises(RequestExists):
        await two.requests.submit(Target(deployment="d", function="counter", export="spin"), [5], id="mine")


async def test_large_bodies_are_blobs(two: World) -> None:
    """Files in and out: 100 bytes are in the record, 700 times as many are not."""
    await two.deploy("d", "big", module(ECHO, "big", output=20_000), "a")
    for size in (0, 100, 4096, 4097, 20_000):
        data = (bytes(range(256)) * (size // 256 + 1))[:size]
        ended = await done(two, Target(deployment="d", function="big"), data)
        assert ended.state is State.DONE, ended.error
        assert (await two.requests.result(ended.id)).output == data
        entry = await two.engine.kv.get(ended.key)
        assert entry is not None and len(entry.value) < 13_000


# ---- chains ----


async def test_chains_of_numbers_and_of_bytes(two: World) -> None:
    cases: list[tuple[list[str], list[int | float | str] | bytes | None, object]] = [
        (["maths/twice", "counter/count", "maths/twice"], [10], 40),
        (["maths/pair", "maths/add"], [3], 7),
        (["maths/twice", "maths/half"], [3], 3.0),
        (["maths/pair", "echo"], [3], b"[3,4]"),
        (["maths/tenth", "echo"], [3], b"[0.1]"),
        (["maths/big", "echo"], [3], b'["9007199254740995"]'),
        (["maths/list", "maths/add"], None, 7),
        (["echo", "echo", "maths/add"], b"[40, 2]", 42),
        (["echo", "maths/twice"], b"4", 8),
    ]
    for number, (steps, body, expected) in enumerate(cases):
        two.places.chains["d", f"c{number}"] = steps
        ended = await done(two, Target(deployment="d", chain=f"c{number}"), body)
        assert ended.state is State.DONE, (steps, ended.error)
        assert (await two.requests.result(ended.id)).value == expected, steps
        assert [hop.step for hop in ended.hops] == list(range(len(steps)))
        assert [hop.outcome for hop in ended.hops] == ["done"] * len(steps)


async def test_a_chain_that_never_fits_is_refused(two: World) -> None:
    two.places.chains["d", "count"] = ["maths/twice", "maths/add"]
    two.places.chains["d", "type"] = ["maths/half", "maths/twice"]
    for name, why in (("count", "1 results, 2 parameters"), ("type", "result 1 is f64, the parameter i32")):
        with pytest.raises(InputError, match=why):
            await two.requests.submit(Target(deployment="d", chain=name), [1])


async def test_a_value_that_does_not_fit_ends_the_chain(two: World) -> None:
    two.places.chains["d", "big"] = ["maths/big", "counter/count"]
    two.places.chains["d", "text"] = ["echo", "counter/count"]
    for name, body, why in (("big", [1], "out of range"), ("text", b"no", "no JSON array")):
        ended = await done(two, Target(deployment="d", chain=name), body)  # type: ignore[arg-type]
        assert ended.state is State.FAILED and why in str(ended.error)
        assert ended.hops[0].outcome == "done" and len(ended.hops) == 1
    assert await two.sum_of("a") == 0


async def test_a_to_b_to_a_with_one_worker_and_many_at_once(tmp_path: Path) -> None:
    """Nothing waits for another while it holds a worker or a node: one worker, one chain through a, b and a again, 30
    times at once."""
    async with sqlite(tmp_path) as engine, world(engine, "a", "b", workers=1) as made:
        await made.deploy("d", "counter", counter(), "a")
        await made.deploy("d", "maths", module(MATHS, "maths"), "b")
        made.places.chains["d", "aba"] = ["counter/spin", "maths/twice", "counter/count"]
        target = Target(deployment="d", chain="aba")
        sent = [await made.requests.submit(target, [1000]) for _ in range(30)]
        for each in sent:
            ended = await made.requests.wait(each.id, DEADLINE_S)
            assert ended.state is State.DONE, ended.error
            assert [hop.node for hop in ended.hops] == ["a", "b", "a"]
        assert await made.sum_of("a") == 30 * (1 + 14)


# ---- what goes wrong ----


async def test_a_node_that_dies_in_the_middle(two: World) -> None:
    again = await two.requests.submit(Target(deployment="d", function="counter", export="spin"), [LONG])
    once = await two.requests.submit(Target(deployment="d", function="counter", export="once"), [LONG])
    await eventually_running(two, again.id, once.id)
    kill(two.nodes["a"])
    ended = await two.requests.wait(once.id, DEADLINE_S)
    assert ended.state is State.MAY_HAVE_RUN and isinstance(ended.error, MayHaveRun)
    assert [(hop.node, hop.outcome) for hop in ended.hops] == [("a", "no answer")]
    ended = await two.requests.wait(again.id, DEADLINE_S)
    assert ended.state is State.DONE and (await two.requests.result(again.id)).value == 7
    assert [(hop.node, hop.outcome) for hop in ended.hops] == [("a", "no answer"), ("b", "done")]
    with pytest.raises(MayHaveRun):
        await two.requests.result(once.id)


async def eventually_running(two: World, *ids: str) -> None:
    async def all_run() -> bool:
        return all([(await two.requests.get(rid)).state is State.RUNNING for rid in ids])

    async with asyncio.timeout(DEADLINE_S):
        while not await all_run():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_call_waits_for_a_node_to_come_back(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as engine, world(engine, "a") as made:
        await made.deploy("d", "maths", module(MATHS, "maths"), "a")
        uri = made.nodes["a"].uri
        kill(made.nodes["a"])
        asked = await made.requests.submit(Target(deployment="d", function="maths", export="twice"), [21])
        await asyncio.sleep(1.5)
        waits = await made.requests.get(asked.id)
        assert not waits.state.finished and waits.retries > 0
        assert uri is not None
        async with node("a", port=int(uri.rpartition(":")[2])):
            digest = made.places.functions["d", "maths"][0]
            await made.gateway.push("a", "maths", digest, deadline_s=DEADLINE_S)
            ended = await made.requests.wait(asked.id, DEADLINE_S)
            assert ended.state is State.DONE and (await made.requests.result(asked.id)).value == 42


async def test_cancelled(two: World) -> None:
    runs = await two.requests.submit(Target(deployment="d", function="counter", export="once"), [LONG])
    await eventually_running(two, runs.id)
    with pytest.raises(NotFinished):
        await two.requests.result(runs.id)
    ended = await two.requests.cancel(runs.id)
    assert ended.state is State.CANCELLED and ended.hops[0].outcome == "cancelled"
    with pytest.raises(Cancelled, match="may have run"):
        await two.requests.result(runs.id)
    assert (await two.requests.cancel(runs.id)).state is State.CANCELLED
    await asyncio.sleep(0.3)
    assert (await two.requests.get(runs.id)).state is State.CANCELLED
    await two.requests.forget(runs.id)
    with pytest.raises(UnknownRequest):
        await two.requests.get(runs.id)


async def test_one_that_waits_is_cancelled_and_never_runs(two: World) -> None:
    async with two.other(workers=0) as idle:
        await two.requests.__aexit__(None, None, None)
        made = await idle.submit(COUNT, [5])
        await idle.cancel(made.id)
        assert (await idle.get(made.id)).state is State.CANCELLED
    async with two.other() as again:
        ended = await again.submit(COUNT, [1])
        assert (await again.wait(ended.id, DEADLINE_S)).state is State.DONE
        assert await two.sum_of("a") == 1


async def test_the_queue_is_bounded(two: World) -> None:
    await two.requests.__aexit__(None, None, None)
    async with two.other(workers=0, max_waiting=5) as full:
        for _ in range(5):
            await full.submit(COUNT, [1])
        with pytest.raises(Overloaded) as error:
            await full.submit(COUNT, [1])
        assert error.value.whole and error.value.retry_after_s > 0
        assert len(await full.list()) == 5
    async with two.other(max_waiting=5) as works:
        for each in await works.list():
            assert (await works.wait(each.id, DEADLINE_S)).state is State.DONE
        await asyncio.sleep(0.6)
        last = await works.submit(COUNT, [1])
        assert (await works.wait(last.id, DEADLINE_S)).state is State.DONE
    # A place that is free is called before one where others wait.
    assert sum([int(str(await two.sum_of(each))) for each in ("a", "b")]) == 6


# ---- a server that ends in the middle ----


async def test_what_a_dead_server_left(two: World) -> None:
    """Its jobs come back. A call that began and may not be repeated is not begun again; another one is."""
    once = await two.requests.submit(Target(deployment="d", function="counter", export="once"), [LONG])
    again = await two.requests.submit(Target(deployment="d", function="counter", export="spin"), [LONG])
    await eventually_running(two, once.id, again.id)
    # As kill -9 does it: nothing is written any more, and nothing let go.
    runner = two.requests._runner
    dead = [*runner._tasks, *(task for _, task in runner._running.values())]
    for task in dead:
        task.cancel()
    await asyncio.gather(*dead, return_exceptions=True)
    async with two.other() as next_server:
        ended = await next_server.wait(once.id, DEADLINE_S)
        assert ended.state is State.MAY_HAVE_RUN and ended.hops[-1].outcome == "server ended"
        ended = await next_server.wait(again.id, DEADLINE_S)
        assert ended.state is State.DONE, ended.error
        assert [hop.outcome for hop in ended.hops] == ["server ended", "done"]
        assert len([hop for hop in ended.hops if hop.ended_at is None]) == 0


# ---- the history ----


async def test_the_history_is_listed_in_pages_and_bounded(two: World) -> None:
    ids = [None, "zz", None, "00", None, "a", None]  # the order is that of time
    sent = []
    for id in ids:
        sent.append((await two.requests.submit(COUNT, [1], id=id)).id)
        await asyncio.sleep(0.002)
    for rid in sent:
        await two.requests.wait(rid, DEADLINE_S)
    listed = [each.id for each in await two.requests.list(limit=3)]
    assert listed == sent[:3:-1]
    listed += [each.id for each in await two.requests.list(limit=30, before=listed[-1])]
    assert listed == sent[::-1]
    assert await two.requests.list(deployment="x") == []
    assert await two.requests.list(state=State.FAILED) == []
    assert len(await two.requests.list(state=State.DONE, deployment="d")) == 7
    assert await History(two.engine, max_kept=4).tidy() == []
    assert [each.id for each in await two.requests.list()] == sent[:2:-1]


async def test_a_request_whose_job_was_lost_ends(two: World) -> None:
    """Its server ended between the record and the job."""
    await two.requests.__aexit__(None, None, None)
    now = two.engine.clock.time()
    body = Stored({"kind": "numbers", "numbers": [1]})
    lost = Request("lost", COUNT, (("counter", "count"),), body, now - 200, now - 100)
    await two.engine.kv.put(lost.key, lost.encode())
    async with two.other() as again:
        ended = await again.wait("lost", DEADLINE_S)
        assert ended.state is State.FAILED and "was not finished" in str(ended.error)


# ---- asked for by nodes ----


async def test_a_node_asks_for_a_call(two: World) -> None:
    ask = two.requests.submit_from_node
    made = await ask("a", "echo", None, "counter", "count", b"[5]")
    ended = await two.requests.wait(made.id, DEADLINE_S)
    assert ended.state is State.DONE and (await two.requests.result(made.id)).value == 5
    assert ended.hops_before == 0 and ended.parent is None
    told = Context(3, two.engine.clock.time() + 20, made.id)
    made = await ask("a", None, told.text, "counter", "count", [5])
    ended = await two.requests.wait(made.id, DEADLINE_S)
    assert ended.hops_before == 3 and ended.parent == told.request and ended.state is State.DONE
    assert abs(ended.deadline_at - told.until) < 0.01
    with pytest.raises(UnknownTarget):
        await ask("a", None, None, "none", None, b"")
    with pytest.raises(UnknownTarget):
        await ask("x", None, None, "counter", "count", b"[1]")
    with pytest.raises(HopLimit):
        deep = Context(MAX_HOPS + 1, two.engine.clock.time() + 20, "x")
        await ask("a", None, deep.text, "counter", "count", b"[1]")
    assert await two.sum_of("a") == 10
