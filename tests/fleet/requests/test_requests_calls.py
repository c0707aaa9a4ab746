"""Calls at once: failover, and never twice what may not be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from requests_world import DEADLINE_S, MATHS, World, counter, eventually, kill, killed, module, sqlite, world

from wasmote.errors import InputError, TrapError
from wasmote_fleet.gateway.errors import WrongBody
from wasmote_fleet.requests import MayHaveRun, NoPlace, Target, TooLate, UnknownTarget

pytestmark = pytest.mark.slow
LONG = 200_000_000  # turns of the loop: seconds


@pytest_asyncio.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    """The deployment `d` with counter and maths on the nodes a and b."""
    async with sqlite(tmp_path) as engine, world(engine, "a", "b") as made:
        await made.deploy("d", "counter", counter(), "a", "b")
        await made.deploy("d", "maths", module(MATHS, "maths"), "a", "b")
        yield made


async def test_the_first_place_is_called_and_only_it(two: World) -> None:
    for expected in (5, 10):
        result = await two.requests.call("d", "counter", "count", [5], deadline_s=DEADLINE_S)
        assert result.value == expected
    assert [await two.sum_of("a"), await two.sum_of("b")] == [10, 0]


async def test_what_is_wrong_is_said_before_anything_is_sent(two: World) -> None:
    call = two.requests.call
    with pytest.raises(UnknownTarget, match="no deployment 'x'"):
        await call("x", "counter", None, None, deadline_s=1)
    with pytest.raises(UnknownTarget, match="no function 'y'"):
        await call("d", "y", None, None, deadline_s=1)
    with pytest.raises(UnknownTarget, match="no such export"):
        await call("d", "counter", "z", None, deadline_s=1)
    with pytest.raises(WrongBody):
        await call("d", "counter", "count", b"5", deadline_s=1)
    with pytest.raises(WrongBody):
        await call("d", "maths", "list", [1], deadline_s=1)
    with pytest.raises(InputError, match="takes 1 argument"):
        await call("d", "counter", "count", [1, 2], deadline_s=1)
    assert [await two.sum_of("a"), await two.sum_of("b")] == [0, 0]


async def test_a_place_that_is_gone_is_passed_over(two: World) -> None:
    """Nothing was sent, so another one may do it, although the export may not be repeated."""
    await killed(two.nodes["a"])
    result = await two.requests.call("d", "counter", "count", [5], deadline_s=DEADLINE_S)
    assert result.value == 5 and await two.sum_of("b") == 5


async def test_a_place_that_lacks_the_function_is_passed_over(two: World) -> None:
    await two.gateway.remove("a", "counter", deadline_s=DEADLINE_S)
    result = await two.requests.call("d", "counter", "count", [5], deadline_s=DEADLINE_S)
    assert result.value == 5 and await two.sum_of("b") == 5


async def test_a_node_that_dies_in_the_middle(two: World) -> None:
    """A repeatable call ends right, on another node; the other kind says that it may have run, and is not repeated."""
    again = asyncio.create_task(two.requests.call("d", "counter", "spin", [LONG], deadline_s=DEADLINE_S))
    once = asyncio.create_task(two.requests.call("d", "counter", "once", [LONG], deadline_s=DEADLINE_S))
    await asyncio.sleep(0.5)
    assert not again.done() and not once.done()
    kill(two.nodes["a"])
    with pytest.raises(MayHaveRun, match="may have run"):
        await once
    assert (await again).value == 7
    assert await two.sum_of("b") == 1  # spin ran there, once did not


async def test_a_trap_is_the_answer_and_no_reason_to_try_elsewhere(two: World) -> None:
    with pytest.raises(TrapError):
        await two.requests.call("d", "maths", "trap", [1], deadline_s=DEADLINE_S)


async def test_nothing_left_to_try(two: World) -> None:
    for name in ("a", "b"):
        await killed(two.nodes[name])
    with pytest.raises(NoPlace) as error:
        await two.requests.call("d", "counter", "count", [5], deadline_s=DEADLINE_S)
    assert "a: " in error.value.cause and "b: " in error.value.cause

    def down() -> bool:
        return all(not two_down(two, name) for name in ("a", "b"))

    await eventually(down, "both are down")
    with pytest.raises(NoPlace, match="not there"):
        await two.requests.call("d", "counter", "count", [5], deadline_s=DEADLINE_S)


def two_down(two: World, name: str) -> bool:
    view = two.registry.get(name)
    return view is None or view.state.value != "down"


async def test_a_deadline_that_passes_in_a_call(two: World) -> None:
    with pytest.raises(MayHaveRun, match="may have run"):
        await two.requests.call("d", "counter", "once", [LONG], deadline_s=0.3)


async def test_a_deadline_that_has_passed(two: World) -> None:
    made = await two.requests.submit(
        Target(deployment="d", function="counter", export="count"), [1], deadline_s=0.001
    )
    ended = await two.requests.wait(made.id, 20)
    assert ended.state == "failed" and isinstance(ended.error, TooLate)
    assert await two.sum_of("a") == 0
