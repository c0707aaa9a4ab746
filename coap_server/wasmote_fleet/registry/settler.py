"""One thing at a time for each node: whatever happens to a node wakes it, and then a step does what is due now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from wasmote_fleet.engine import EngineError
from wasmote_fleet.engine.tasks import end

log = logging.getLogger("wasmote.fleet.registry")


class Settler:
    """step: does what is due for the node of this id, and may be called at any time. slots: steps at a time, of all
    nodes. Until open() nothing is done, nor after close()."""

    def __init__(self, step: Callable[[str], Awaitable[None]], slots: asyncio.Semaphore) -> None:
        self._step = step
        self._slots = slots
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._open = False

    def open(self) -> None:
        """All is known that steps need."""
        self._open = True

    async def close(self) -> None:
        """End the steps that run; no other begins."""
        self._open = False
        await end(*self._running.values())

    def wake(self, id: str) -> None:
        """A step for this node soon; one more behind the one that runs."""
        if not self._open:
            return
        if id in self._running:
            self._again.add(id)
        else:
            self._running[id] = asyncio.create_task(self._settle(id))

    async def _settle(self, id: str) -> None:
        try:
            while True:
                self._again.discard(id)
                async with self._slots:
                    await self._step(id)
                if id not in self._again:
                    return
        except EngineError as err:
            log.warning("node %s: %s", id, err)  # whoever wakes all nodes now and then comes back to it
        finally:
            self._running.pop(id, None)
