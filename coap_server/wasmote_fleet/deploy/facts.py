"""The nodes as placement sees them: from the registry, and what they said when they were asked for free memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wasmote.errors import WasmoteError
from wasmote_fleet.deploy.hands import Hands
from wasmote_fleet.deploy.placement import DEFAULT_STACK_BYTES, NodeFacts
from wasmote_fleet.deploy.records import Boot, Placed, PlacedState
from wasmote_fleet.engine import Clock
from wasmote_fleet.registry import NodeView, Registry

ASK_S = 5.0
FRESH_S = 30.0
_PARALLEL = 32


def boot_of(view: NodeView) -> Boot | None:
    """Which boot of the node it is; None while it was not heard of."""
    record = view.record
    if record.boot is None or record.began_at is None:
        return None
    return record.boot, record.began_at


@dataclass(frozen=True, slots=True)
class _Said:
    """device: /d; None if the node did not answer."""

    at: float
    device: Mapping[str, Any] | None


class Facts:
    """Of all nodes; what they said is forgotten after a while."""

    def __init__(self, registry: Registry, hands: Hands, clock: Clock) -> None:
        self._registry = registry
        self._hands = hands
        self._clock = clock
        self._said: dict[str, _Said] = {}
        self._slots = asyncio.Semaphore(_PARALLEL)

    def unknown(self, nodes: Iterable[str]) -> list[str]:
        """Those that have not said lately what they have free."""
        now = self._clock.time()
        return [id for id in nodes if id not in self._said or not now - FRESH_S < self._said[id].at <= now]

    async def ask(self, nodes: Iterable[str]) -> None:
        """Ask those that have not said lately what they have free."""
        await asyncio.gather(*(self._ask(id) for id in self.unknown(nodes)))

    async def _ask(self, id: str) -> None:
        device: Mapping[str, Any] | None = None
        async with self._slots:
            with contextlib.suppress(WasmoteError):
                device = await self._hands.device(id, deadline_s=ASK_S)
        self._said[id] = _Said(self._clock.time(), device)

    def all(self, placed: Mapping[str, Mapping[str, Placed]]) -> dict[str, NodeFacts]:
        """By id. placed: all records, by node."""
        return {
            view.record.id: self._of(view, placed.get(view.record.id, {}).values())
            for view in self._registry.nodes()
        }

    def one(self, id: str, placed: Mapping[str, Placed]) -> NodeFacts | None:
        """One node; None if there is none. placed: its records, by name."""
        view = self._registry.get(id)
        return None if view is None else self._of(view, placed.values())

    def _of(self, view: NodeView, placed: Iterable[Placed]) -> NodeFacts:
        record = view.record
        said = self._said.get(record.id)
        now = self._clock.time()
        device = said.device if said is not None and now - FRESH_S < said.at <= now else None
        ram_free = flash_free = None
        count = 0
        later = 0
        for one in placed:
            count += 1
            if said is not None and _came_after(one, said.at):
                later += one.ram
        if device is not None:
            ram, flash = device.get("ram"), device.get("flash")
            if isinstance(ram, Mapping) and isinstance(ram.get("free"), int):
                ram_free = ram["free"] - later
            if isinstance(flash, Mapping) and isinstance(flash.get("free"), int):
                flash_free = flash["free"]
        limits, defaults = record.device.get("limits"), record.device.get("defaults")
        stack = defaults.get("stack") if isinstance(defaults, Mapping) else None
        return NodeFacts(
            record.id,
            view.state,
            boot_of(view),
            record.labels,
            record.imports,
            record.device.get("abi"),
            limits if isinstance(limits, Mapping) else {},
            record.memory_bytes or None,
            ram_free,
            record.flash_bytes,
            flash_free,
            count,
            bool(record.device),
            record.since,
            stack if isinstance(stack, int) else DEFAULT_STACK_BYTES,
        )


def _came_after(placed: Placed, at: float) -> bool:
    """Whether it takes memory that the node did not count when it was asked."""
    if placed.state is PlacedState.READY:
        return placed.ready_at > at
    return placed.state is PlacedState.PENDING and not placed.rolled and placed.at > at
