"""Which node has which port: a node keeps its port as long as it is known, also when the server starts again.

Kept as `wasmiot/ports/<server>`: one JSON, written when a node comes or goes.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence

from wasmote_fleet.compat.wasmiot.records import ROOT
from wasmote_fleet.engine import Engine, EngineError
from wasmote_fleet.registry import Registry, State

log = logging.getLogger("wasmote.fleet.wasmiot")
_RETRY_S = 5.0


class Ports:
    """ports: those that this server listens at. run() keeps them up to date."""

    def __init__(self, engine: Engine, registry: Registry, server: str, ports: Sequence[int]) -> None:
        self._engine = engine
        self._registry = registry
        self._key = f"{ROOT}ports/{server}"
        self._ports = ports
        self._by_node: dict[str, int] = {}
        self._short = False

    def node_at(self, port: int) -> str | None:
        """The node of a port; None for none."""
        return next((node for node, its in self._by_node.items() if its == port), None)

    def port_of(self, node: str) -> int | None:
        return self._by_node.get(node)

    async def run(self, changed: Callable[[], None] = lambda: None) -> None:
        """For ever, if there are ports. changed: called when a node got a port, or lost it."""
        if not self._ports:
            return
        entry = await self._engine.kv.get(self._key)
        if entry is not None:
            kept = json.loads(entry.value)
            self._by_node = {node: port for node, port in kept.items() if port in self._ports}
            changed()
        while True:
            news = asyncio.ensure_future(self._registry.news())
            try:
                if self._follow():
                    await self._engine.kv.put(self._key, json.dumps(self._by_node).encode())
                    changed()
            except EngineError as error:
                log.warning("the ports of nodes were not written: %s", error)
            try:
                await asyncio.wait({news}, timeout=_RETRY_S)
            finally:
                news.cancel()

    def _follow(self) -> bool:
        """Whether something has changed."""
        known = {view.record.id for view in self._registry.nodes() if view.state is not State.LEFT}
        before = dict(self._by_node)
        for node in before.keys() - known:
            del self._by_node[node]
        free = [port for port in self._ports if port not in self._by_node.values()]
        waiting = sorted(known - self._by_node.keys())
        self._by_node.update(zip(waiting, free, strict=False))
        if len(waiting) > len(free) and not self._short:
            log.warning(
                "%d nodes have no wasmiot port: there are %d ports",
                len(waiting) - len(free),
                len(self._ports),
            )
        self._short = len(waiting) > len(free)
        return self._by_node != before
