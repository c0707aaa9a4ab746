"""Real nodes and engines for the registry's tests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from support import HOST, built

from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote_fleet.engine import Engine, open_engine
from wasmote_fleet.registry import Change, Event, Registry

BEAT_S = 0.4
LEASE_S = 2.0
PATIENCE_S = 40.0


@contextlib.asynccontextmanager
async def node(ep: str, *options: str, port: int = 0, serial: bool = False) -> AsyncIterator[Emulator]:
    """A host node. It may be killed."""
    board = find_board(Project.find(), HOST)
    emulator = Emulator(board, built(HOST), udp_port=port, serial=serial, arguments=["--ep", ep, *options])
    async with emulator:
        yield emulator


def kill(emulator: Emulator) -> None:
    assert emulator.pid is not None
    os.kill(emulator.pid, signal.SIGKILL)


def port_of(emulator: Emulator) -> int:
    assert emulator.uri is not None
    return int(emulator.uri.rpartition(":")[2])


@contextlib.asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Engine]:
    engine = await open_engine(str(folder / "fleet.db"))
    try:
        yield engine
    finally:
        await engine.close()


class Watcher:
    """The events of a registry, from the beginning on."""

    def __init__(self, registry: Registry) -> None:
        self.seen: list[Event] = []
        self._registry = registry

    async def until(self, node: str, kind: Change, *, after: int = 0) -> Event:
        """The first event of this kind behind an offset; waits for it."""

        def wanted(event: Event) -> bool:
            return (event.node, event.kind) == (node, kind) and event.offset > after

        for event in self.seen:
            if wanted(event):
                return event
        async with asyncio.timeout(PATIENCE_S):
            async for event in self._registry.events(self.seen[-1].offset if self.seen else 0):
                self.seen.append(event)
                if wanted(event):
                    return event
        raise AssertionError("events() ended")

    async def kinds(self, node: str) -> list[Change]:
        """All that has happened to a node so far."""
        after = self.seen[-1].offset if self.seen else 0
        self.seen += [event async for event in self._registry.events(after, wait=False)]
        return [event.kind for event in self.seen if event.node == node]


async def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait until it is so."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if true():
                    return
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in {PATIENCE_S} s: {what}") from None
