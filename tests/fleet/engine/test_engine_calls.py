"""Calls between servers, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from worlds import PATIENCE_S, World

from wasmote_fleet.engine import (
    MAX_VALUE_BYTES,
    Busy,
    Call,
    CallFailed,
    CallTimeout,
    Engine,
    EngineClosed,
    NoSuchService,
    TooLarge,
)


async def double(call: Call) -> bytes:
    return call.data * 2


async def test_request_and_reply(world: World, engine: Engine) -> None:
    deadlines = []

    async def handler(call: Call) -> bytes:
        deadlines.append(call.deadline)
        return call.data * 2

    async with engine.calls.serve("node", handler):
        assert await engine.calls.request("node", b"ab", timeout_s=7) == b"abab"
        assert await engine.calls.request("node", b"") == b""
        big = bytes(MAX_VALUE_BYTES // 2)
        assert await engine.calls.request("node", big) == big * 2
        for many in await asyncio.gather(*(engine.calls.request("node", b"x") for _ in range(50))):
            assert many == b"xx"
    assert deadlines[0] == world.clock.time() + 7
    with pytest.raises(NoSuchService):
        await engine.calls.request("node", b"ab")


async def test_instances(engine: Engine) -> None:
    async def one(_call: Call) -> bytes:
        return b"one"

    async def two(_call: Call) -> bytes:
        return b"two"

    async with engine.calls.serve("node", one, instance="1"):
        async with engine.calls.serve("node", two, instance="2"):
            assert await engine.calls.request("node", b"", instance="1") == b"one"
            assert await engine.calls.request("node", b"", instance="2") == b"two"
            with pytest.raises(NoSuchService):
                await engine.calls.request("node", b"", instance="3")
            answers = {await engine.calls.request("node", b"") for _ in range(40)}
            assert answers == {b"one", b"two"}
        with pytest.raises(NoSuchService):
            await engine.calls.request("node", b"", instance="2")
        assert await engine.calls.request("node", b"") == b"one"


async def test_what_a_handler_raises_reaches_the_caller(engine: Engine) -> None:
    async def failing(_call: Call) -> bytes:
        raise RuntimeError("no such node: ä")

    async def chatty(_call: Call) -> bytes:
        return bytes(MAX_VALUE_BYTES + 1)

    async with engine.calls.serve("a", failing), engine.calls.serve("b", chatty):
        with pytest.raises(CallFailed, match="a: no such node: ä"):
            await engine.calls.request("a", b"")
        with pytest.raises(CallFailed, match="too many"):
            await engine.calls.request("b", b"")
        with pytest.raises(TooLarge):
            await engine.calls.request("b", bytes(MAX_VALUE_BYTES + 1))
        for name, instance in (("a.b", None), ("a", "*")):
            with pytest.raises(ValueError, match="not a"):
                await engine.calls.request(name, b"", instance=instance)


async def test_deadline(world: World, engine: Engine) -> None:
    began = asyncio.Event()

    async def slow(_call: Call) -> bytes:
        began.set()
        await asyncio.sleep(3600)
        return b""

    async with engine.calls.serve("slow", slow):
        call = asyncio.create_task(engine.calls.request("slow", b"", timeout_s=0.5))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        await world.pass_time(0.6)
        with pytest.raises(CallTimeout):
            await asyncio.wait_for(call, PATIENCE_S)


async def test_no_more_than_the_limit(engine: Engine) -> None:
    go = asyncio.Event()
    running = asyncio.Semaphore(0)

    async def wait(_call: Call) -> bytes:
        running.release()
        await go.wait()
        return b"done"

    async with engine.calls.serve("s", wait, limit=3):
        calls = [asyncio.create_task(engine.calls.request("s", b"")) for _ in range(3)]
        for _ in calls:
            await asyncio.wait_for(running.acquire(), PATIENCE_S)
        with pytest.raises(Busy):
            await engine.calls.request("s", b"")
        go.set()
        assert await asyncio.gather(*calls) == [b"done"] * 3
        assert await engine.calls.request("s", b"") == b"done"


async def test_when_serving_ends_running_calls_fail(engine: Engine) -> None:
    began = asyncio.Event()
    cancelled = False

    async def slow(_call: Call) -> bytes:
        nonlocal cancelled
        began.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled = True
            raise
        return b""

    async with engine.calls.serve("slow", slow):
        call = asyncio.create_task(engine.calls.request("slow", b""))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
    with pytest.raises(CallFailed, match="stopped"):
        await asyncio.wait_for(call, PATIENCE_S)
    assert cancelled


async def test_a_call_goes_on_when_its_caller_is_gone(engine: Engine) -> None:
    began, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def slow(_call: Call) -> bytes:
        began.set()
        await go.wait()
        done.set()
        return b""

    async with engine.calls.serve("slow", slow):
        call = asyncio.create_task(engine.calls.request("slow", b""))
        await asyncio.wait_for(began.wait(), PATIENCE_S)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        go.set()
        await asyncio.wait_for(done.wait(), PATIENCE_S)


async def test_within_calls_there_may_be_calls(engine: Engine) -> None:
    async def chain(call: Call) -> bytes:
        left = int(call.data)
        return b"end" if left == 0 else await engine.calls.request("chain", str(left - 1).encode())

    async with engine.calls.serve("chain", chain):
        assert await engine.calls.request("chain", b"20") == b"end"


async def test_closed(engine: Engine) -> None:
    async with engine.calls.serve("node", double):
        await engine.close()
        with pytest.raises(EngineClosed):
            await engine.calls.request("node", b"")
