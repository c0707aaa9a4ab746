"""One step at a time for each node, and one more for whatever happened meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from wasmote_fleet.engine import EngineUnavailable
from wasmote_fleet.registry.settler import Settler


class Steps:
    """Steps that last until they are let go. begun: the ids, in order; ended: how many."""

    def __init__(self, slots: int = 10) -> None:
        self.begun: list[str] = []
        self.ended = 0
        self.go = asyncio.Semaphore(0)
        self.settler = Settler(self._step, asyncio.Semaphore(slots))

    async def _step(self, id: str) -> None:
        self.begun.append(id)
        await self.go.acquire()
        self.ended += 1

    async def are(self, begun: list[str], ended: int) -> None:
        await settled()
        assert (self.begun, self.ended) == (begun, ended)


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_settler_steps_once_more_for_all_that_happened_meanwhile() -> None:
    steps = Steps()
    steps.settler.wake("a")  # not open yet
    steps.settler.open()
    steps.settler.wake("b")
    await steps.are(["b"], 0)
    for _ in range(3):
        steps.settler.wake("b")
    steps.settler.wake("c")  # another node does not wait
    await steps.are(["b", "c"], 0)
    steps.go.release()
    await steps.are(["b", "c", "b"], 1)
    steps.go.release()
    steps.go.release()
    await steps.are(["b", "c", "b"], 3)
    steps.settler.wake("b")
    await steps.are(["b", "c", "b", "b"], 3)
    await steps.settler.close()
    steps.settler.wake("d")
    await steps.are(["b", "c", "b", "b"], 3)


async def test_settler_has_so_many_slots() -> None:
    steps = Steps(slots=2)
    steps.settler.open()
    for id in "abc":
        steps.settler.wake(id)
    await steps.are(["a", "b"], 0)
    steps.go.release()
    await steps.are(["a", "b", "c"], 1)
    await steps.settler.close()


async def test_settler_goes_on_after_an_error_of_the_engine(caplog: pytest.LogCaptureFixture) -> None:
    tried: list[str] = []

    async def step(id: str) -> None:
        tried.append(id)
        if len(tried) == 1:
            raise EngineUnavailable("the disk is full")

    settler = Settler(step, asyncio.Semaphore(1))
    settler.open()
    settler.wake("a")
    await settled()
    assert tried == ["a"] and "node a: the disk is full" in caplog.text
    settler.wake("a")
    await settled()
    assert tried == ["a", "a"]
    await settler.close()
