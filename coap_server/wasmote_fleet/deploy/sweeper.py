"""What should no longer be on nodes: removed as soon as the node is there. One server of the fleet does it, under the
lease `sweeper`, for all deployments, those that are gone included."""

from __future__ import annotations

import asyncio
import functools
import logging
import random

from wasmote.errors import WasmoteError
from wasmote_fleet.deploy.records import Placed, PlacedState
from wasmote_fleet.deploy.transitions import leave, not_removed, removing
from wasmote_fleet.deploy.worker import TICK_S, LeaseGone, Shared
from wasmote_fleet.engine import EngineError, Lease
from wasmote_fleet.engine.tasks import end, sleep_or_bell

log = logging.getLogger("wasmote.fleet.deploy")

LEASE = "sweeper"
REMOVE_S = 30.0
_TOGETHER_S = 0.02


class Sweeper:
    """run() until the lease is gone. lease: renewed by Deployments."""

    def __init__(self, lease: Lease, shared: Shared) -> None:
        self.lease = lease
        self._shared = shared
        self._bell = asyncio.Event()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()

    async def run(self) -> None:
        """Raises LeaseGone, EngineError."""
        try:
            while True:
                self._bell.clear()
                if self._shared.clock.time() >= self.lease.expires_at:
                    raise LeaseGone
                await self._orphans()
                wake_at = self._turn()
                now = self._shared.clock.time()
                delay_s = TICK_S if wake_at is None else min(max(wake_at - now, 0.0), TICK_S)
                await sleep_or_bell(delay_s, self._bell, self._shared.clock)
                await asyncio.sleep(_TOGETHER_S)
        finally:
            await end(*self._tasks.values())

    async def _orphans(self) -> None:
        """What a deployment that is gone has left: a server may have died between two writes."""
        mirror, now = self._shared.mirror, self._shared.clock.time()
        for placed in [placed for of_node in mirror.placed.values() for placed in of_node.values()]:
            for id in placed.deployments:
                if id not in mirror.deployments:
                    change = functools.partial(leave, id=id, now=now)
                    await mirror.write_placed(placed.node, placed.name, change)

    def _turn(self) -> float | None:
        """Begin what can be done now; when there may be more."""
        waits = []
        now = self._shared.clock.time()
        for of_node in list(self._shared.mirror.placed.values()):
            for placed in of_node.values():
                key = (placed.node, placed.name)
                if not placed.going or key in self._tasks:
                    continue
                if now < placed.retry_at:
                    waits.append(placed.retry_at)
                    continue
                node = self._shared.facts.one(placed.node, of_node)
                # A node that is not known any more cannot be told anything.
                if node is None or node.up or not placed.owned:
                    task = asyncio.create_task(self._remove(placed, known=node is not None))
                    self._tasks[key] = task
                    task.add_done_callback(functools.partial(self._ended, key))
        return min(waits, default=None)

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            if isinstance(error, EngineError | LeaseGone):
                log.warning("removal of %s on %s: %s", key[1], key[0], error)
            else:
                log.error("removal of %s on %s: %r", key[1], key[0], error, exc_info=error)
        else:
            self._bell.set()

    async def _remove(self, placed: Placed, *, known: bool) -> None:
        shared, mirror = self._shared, self._shared.mirror
        async with shared.node(placed.node):
            if known and placed.owned:
                begun = await mirror.write_placed(placed.node, placed.name, removing)
                if begun is None or begun.state is not PlacedState.REMOVING:
                    return  # a deployment wants it again
                if shared.clock.time() >= self.lease.expires_at:
                    raise LeaseGone
                try:
                    await shared.hands.remove(placed.node, placed.name, deadline_s=REMOVE_S)
                except WasmoteError as error:
                    if isinstance(error, EngineError):
                        raise
                    await self._not_done(placed, error)
                    return
            record = mirror.placed.get(placed.node, {}).get(placed.name)
            if record is not None and record.going:
                # If it has changed meanwhile, the next turn looks again.
                await mirror.delete(record.key)

    async def _not_done(self, placed: Placed, error: WasmoteError) -> None:
        now, chance = self._shared.clock.time(), random.random()
        cause = f"{error.message}: {error.cause}" if error.cause else error.message
        log.info("removal of %s on %s: %s", placed.name, placed.node, cause)
        await self._shared.mirror.write_placed(
            placed.node, placed.name, lambda record: not_removed(record, cause, now, chance=chance)
        )
