"""The ledger of nodes: one change of a node after the other, each with its events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from fleet_world import PATIENCE_S, sqlite

from wasmote_fleet.engine import Log
from wasmote_fleet.registry import Change, Record, State, events
from wasmote_fleet.registry.ledger import Ledger, Wanted
from wasmote_fleet.registry.news import News

OVERTAKE_S = 0.1


class SlowAtFirst:
    """The engine's log, which takes the first record only once it may."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def append(self, data: bytes) -> int:
        if not self.asked.is_set():
            self.asked.set()
            await self.may.wait()
        return await self._log.append(data)


def becomes(id: str, state: State) -> Callable[[Record | None], Wanted]:
    def change(record: Record | None) -> Wanted:
        return (record or Record(id, id, "coap://192.0.2.1")).changed(state=state), [Change(state.value)]

    return change


async def test_ledger_tells_a_nodes_events_in_the_order_of_its_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite(tmp_path) as engine:
        slow = SlowAtFirst(await engine.log(events.LOG))

        async def log(name: str) -> SlowAtFirst:
            assert name == events.LOG
            return slow

        ledger = Ledger(engine, "one", News())
        with monkeypatch.context() as patch:
            patch.setattr(engine, "log", log)
            first = asyncio.create_task(ledger.change("a", becomes("a", State.SILENT)))
            await slow.asked.wait()
            known = ledger.get("a")
            assert known is not None and known.state is State.SILENT  # written, and about to be told
            second = asyncio.create_task(ledger.change("a", becomes("a", State.DOWN)))
            async with asyncio.timeout(PATIENCE_S):  # another node's does not wait
                await ledger.change("b", becomes("b", State.UP))
            await asyncio.wait({second}, timeout=OVERTAKE_S)
            slow.may.set()
            await asyncio.gather(first, second)
        told = [(event.node, event.kind) async for event in events.follow(engine, wait=False)]
        assert told == [("b", Change.UP), ("a", Change.SILENT), ("a", Change.DOWN)]
        assert (await ledger.stored("a")) == ledger.get("a") == await second
