"""A function is replaced while it is in use: no call fails, none is answered by a version that has gone, no memory is
lost; and a replacement that does not start leaves the old one as it was."""

from __future__ import annotations

import asyncio
import struct
import time
from dataclasses import dataclass, field

import pytest
from nodes import HOST, MPS2, STM32, app, free_bytes, metrics, module, padded, running

from wasmote.errors import RefusedError
from wasmote.node import Node
from wasmote.protocol.section import Section, with_section

CALLERS = 2


def version(number: int) -> bytes:
    """A module that answers with this number. All are equally long."""
    data = module("stamp")
    assert data.count(b"VERS") == 1
    return data.replace(b"VERS", struct.pack("<I", number))


@dataclass
class Watch:
    """What may be answered now: not older than the version whose push was acknowledged, not newer than the one that
    was sent. answers: how often each version answered."""

    sent: int = 0
    acknowledged: int = 0
    done: bool = False
    calls: int = 0
    answers: dict[int, int] = field(default_factory=dict)

    async def call_until_done(self, uri: str) -> float:
        """Call all the time; the seconds that this client waited because the node was busy."""
        async with Node(uri) as node:
            while not self.done:
                oldest = self.acknowledged
                value = (await node.call("stamp")).value
                assert isinstance(value, int)
                assert oldest <= value <= self.sent, "a version that is not there answered"
                self.calls += 1
                self.answers[value] = self.answers.get(value, 0) + 1
            return node.traffic.delayed_s

    async def replace(self, node: Node, times: int) -> None:
        try:
            for number in range(1, times + 1):
                self.sent = number
                assert not (await node.push(version(number), name="stamp")).created
                self.acknowledged = number
                await asyncio.sleep(0)  # the callers' turn
        finally:
            self.done = True


async def replace_under_load(uri: str, times: int) -> Watch:
    async with Node(uri) as node:
        await node.push(version(0), name="stamp")
        assert (await node.call("stamp")).value == 0
        before = await metrics(node)
        watch = Watch()
        async with asyncio.TaskGroup() as group:
            callers = [group.create_task(watch.call_until_done(uri)) for _ in range(CALLERS)]
            group.create_task(watch.replace(node, times))
        assert (await node.call("stamp")).value == times
        after = await metrics(node)
    assert after["ram/free"] == before["ram/free"]
    assert after["ram/largest"] >= before["ram/largest"] - (before["ram/free"] // 10)  # nor in crumbs
    assert after["f/stamp/ram"] == before["f/stamp/ram"]
    assert after["traps"] == 0
    # Every call was answered once, and nobody called but the two: no call was lost or done again.
    assert after["f/stamp/calls"] == before["f/stamp/calls"] + watch.calls + 1
    assert watch.calls >= times / 2, "the callers were idle most of the time"
    assert len(watch.answers) >= min(times, watch.calls) / 4, "few of the versions were in use at all"
    assert sum(task.result() for task in callers) < 5
    return watch


async def test_replace_1000_times_under_load() -> None:
    began = time.monotonic()
    async with running(HOST, sanitize=False) as uri, asyncio.timeout(60):
        await replace_under_load(uri, 1000)
    assert time.monotonic() - began < 60


@pytest.mark.slow
async def test_replace_under_load_with_sanitizers() -> None:
    async with running(HOST) as uri, asyncio.timeout(60):
        await replace_under_load(uri, 200)


@pytest.mark.slow
@pytest.mark.parametrize("board", [STM32, MPS2])
async def test_replace_100_times_on_a_chip(board: str) -> None:
    async with running(board) as uri, asyncio.timeout(60):
        await replace_under_load(uri, 100)


# ---- a replacement that does not work ----

BOTH = [HOST, pytest.param(STM32, marks=pytest.mark.slow)]


@pytest.mark.parametrize("board", BOTH)
async def test_replace_refused_keeps_the_old_one_and_its_memory(board: str) -> None:
    async with running(board) as uri, Node(uri) as node:
        pushed = await node.push(app("counter"), name="counter")
        await node.call("counter/add", [41])
        before = await free_bytes(node)

        with pytest.raises(RefusedError) as refused:
            await node.push(module("missing_import"), name="counter")
        assert refused.value.details["code"] == "4.22"
        assert refused.value.details["reason"] == "import"
        assert refused.value.details["import"] == ["wasmote", "teleport"]
        assert "restarted" not in refused.value.details

        assert (await node.call("counter/add", [1])).value == 42
        info = await node.info("counter")
        assert info.etag is not None
        assert pushed.etag is not None
        assert info.etag[:4] == pushed.etag[:4]
        assert await node.fetch_module("counter") == app("counter")
        assert await free_bytes(node) == before

        # A module that is cut off, or none at all, changes as little.
        for damaged in (
            app("counter")[:-3],
            b"\0asm\2\0\0\0",
            b"not a module",
            padded(app("counter"), 3000)[:-1],
        ):
            with pytest.raises(RefusedError) as refused:
                await node.push(damaged, name="counter")
            assert refused.value.details["code"] == "4.22"
        assert (await node.call("counter/get")).value == 42
        assert await free_bytes(node) == before


def with_heap(name: str, heap_bytes: int) -> bytes:
    """A module of modules/ that gets this much memory beyond its 32 bytes."""
    return with_section(module(name), Section(name="sum", abi=1, heap=heap_bytes, stack=1024))


# A pool in which one instance of 40 KB has room, and a second has not.
SMALL_POOL = ("--pool", "64k")
ROOMY = 40 * 1024


async def test_replace_without_room_for_both_succeeds() -> None:
    async with running(HOST, *SMALL_POOL) as uri, Node(uri) as node:
        await node.push(with_heap("sum", ROOMY), name="sum")
        assert (await node.call("sum/add", [5])).value == 5
        before = await free_bytes(node)
        assert before < ROOMY
        for _ in range(3):
            assert not (await node.push(with_heap("sum", ROOMY), name="sum")).created
            assert (await node.call("sum/add", [7])).value == 7  # a new instance: a sum of its own
            assert await free_bytes(node) == before


@pytest.mark.parametrize("why", ["start", "room"])
async def test_replace_without_room_for_both_restarts_the_old_one(why: str) -> None:
    """Stop the old one, try the new one, start the old one again: its memory is fresh, and the reply says so."""
    bad, code = (
        (with_heap("sum_trap", ROOMY), "4.22")
        if why == "start"
        else (with_heap("sum", 64 * 1024 - 32), "4.13")
    )
    async with running(HOST, *SMALL_POOL) as uri, Node(uri) as node:
        await node.push(with_heap("sum", ROOMY), name="sum")
        assert (await node.call("sum/add", [5])).value == 5
        before = await free_bytes(node)

        with pytest.raises(RefusedError) as refused:
            await node.push(bad, name="sum")
        assert refused.value.details["code"] == code
        assert refused.value.details["restarted"] is True
        assert "fresh memory" in str(refused.value)
        if why == "start":
            assert refused.value.details["reason"] == "start"
        else:
            assert refused.value.details["need"] > refused.value.details["free"]

        assert (await node.call("sum/add", [7])).value == 7
        assert await node.fetch_module("sum") == with_heap("sum", ROOMY)
        assert await free_bytes(node) == before


async def test_replace_by_a_start_that_traps_keeps_the_memory_where_there_is_room() -> None:
    async with running(HOST) as uri, Node(uri) as node:
        await node.push(with_heap("sum", ROOMY), name="sum")
        assert (await node.call("sum/add", [5])).value == 5
        with pytest.raises(RefusedError) as refused:
            await node.push(with_heap("sum_trap", ROOMY), name="sum")
        assert refused.value.details["reason"] == "start"
        assert "restarted" not in refused.value.details
        assert (await node.call("sum/add", [7])).value == 12


async def test_replace_preconditions_hold_at_the_last_block() -> None:
    """If-Match is looked at again when the module is complete: somebody else may have been faster."""
    async with running(HOST) as uri, Node(uri) as node, Node(uri) as other:
        first = await node.push(version(1), name="stamp")
        assert first.etag is not None

        async def overtake(acknowledged: int) -> None:
            if acknowledged:
                await other.push(version(2), name="stamp")

        pending: list[asyncio.Task[None]] = []
        slow = padded(version(3), 4096)

        def progress(acknowledged: int, total: int) -> None:
            if acknowledged and not pending:
                pending.append(asyncio.get_running_loop().create_task(overtake(acknowledged)))

        try:
            await node.push(slow, name="stamp", if_match=first.etag, progress=progress)
        except RefusedError as refused:
            assert refused.details["code"] == "4.12"
        else:
            pytest.fail("the replacement of another version went through")
        await pending[0]
        assert (await node.call("stamp")).value == 2
