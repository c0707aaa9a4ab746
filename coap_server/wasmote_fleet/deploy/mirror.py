"""What the engine's kv says of deployments, in memory, as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from wasmote_fleet.deploy.records import DEPLOYMENTS, PLACED, ROLLOUTS, Deployment, Placed, RolloutState
from wasmote_fleet.engine import (
    Change,
    ChangeKind,
    Engine,
    EngineUnavailable,
    Entry,
    RevisionConflict,
    SnapshotEnd,
)
from wasmote_fleet.engine.tasks import end

log = logging.getLogger("wasmote.fleet.deploy")
_RETRY_S = 1.0


class Mirror:
    """start(), close(). ring: called when something has changed, with the deployments that it concerns."""

    def __init__(self, engine: Engine, ring: Callable[[Collection[str]], None]) -> None:
        self._engine = engine
        self._ring = ring
        self.version = 0  # another one after each change
        self._values: dict[str, tuple[bytes, int]] = {}
        self.deployments: dict[str, Deployment] = {}
        self.rollouts: dict[str, RolloutState] = {}
        self.placed: dict[str, dict[str, Placed]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._synced: dict[str, asyncio.Event] = {}

    async def start(self) -> None:
        """Returns when all that is there is known. Raises EngineError."""
        for prefix in (DEPLOYMENTS, ROLLOUTS, PLACED):
            self._synced[prefix] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._follow(prefix)))
        all_synced = asyncio.create_task(self._all_synced())
        await asyncio.wait({all_synced, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not all_synced.done():
            all_synced.cancel()
            failed = next(task for task in self._tasks if task.done())
            await self.close()
            await failed

    async def _all_synced(self) -> None:
        for event in self._synced.values():
            await event.wait()

    async def close(self) -> None:
        await end(*self._tasks)

    async def write_placed(
        self, node: str, name: str, change: Callable[[Placed | None], Placed | None]
    ) -> Placed | None:
        """Compare and swap until it is done. change: the record wanted, None to leave it as it is. Returns what is
        there now. Raises EngineError, and what change raises."""
        key = f"{PLACED}{node}/{name}"
        while True:
            before = self.placed.get(node, {}).get(name)
            wanted = change(before)
            if wanted is None or wanted == before:
                return before
            if await self.put(key, wanted.encode()):
                return wanted

    async def put(self, key: str, value: bytes) -> bool:
        """Write a key as it is known here; False, and the key is known better, if it has changed. Raises
        EngineError."""
        known = self._values.get(key)
        try:
            revision = await self._engine.kv.put(key, value, expected=0 if known is None else known[1])
        except RevisionConflict:
            await self._read(key)
            return False
        self._set(key, value, revision)
        return True

    async def delete(self, key: str) -> bool:
        """As put()."""
        known = self._values.get(key)
        if known is None:
            return True
        try:
            await self._engine.kv.delete(key, expected=known[1])
        except RevisionConflict:
            await self._read(key)
            return False
        self._drop(key)
        return True

    async def _read(self, key: str) -> None:
        entry = await self._engine.kv.get(key)
        if entry is None:
            self._drop(key)
        else:
            self._set(key, entry.value, entry.revision)

    async def _follow(self, prefix: str) -> None:
        while True:
            try:
                async with self._engine.kv.watch(prefix) as changes:
                    seen: set[str] | None = set()
                    async for change in changes:
                        if isinstance(change, SnapshotEnd):
                            self._forget_others(prefix, seen or set())
                            seen = None
                            self._synced[prefix].set()
                            continue
                        if seen is not None:
                            seen.add(change.key)
                        self._take(change)
            except EngineUnavailable as error:
                log.warning("%s: %s", prefix, error)
                await self._engine.clock.sleep(_RETRY_S)

    def _forget_others(self, prefix: str, seen: set[str]) -> None:
        """What went while the watch was away."""
        for key in [key for key in self._values if key.startswith(prefix) and key not in seen]:
            self._drop(key)

    def _take(self, change: Change | Entry) -> None:
        if isinstance(change, Change) and change.kind is not ChangeKind.PUT:
            known = self._values.get(change.key)
            if known is not None and known[1] < change.revision:
                self._drop(change.key)
        else:
            self._set(change.key, change.value, change.revision)

    def _set(self, key: str, value: bytes, revision: int) -> None:
        known = self._values.get(key)
        if known is not None and known[1] >= revision:
            return
        self._values[key] = value, revision
        self.version += 1
        if key.startswith(PLACED):
            placed = Placed.decode(key, value)
            of_node = self.placed.setdefault(placed.node, {})
            concerned = {*_concerned(placed), *_concerned(of_node.get(placed.name))}
            of_node[placed.name] = placed
            self._ring(concerned)
        elif key.startswith(DEPLOYMENTS):
            deployment = Deployment.decode(value)
            self.deployments[deployment.id] = deployment
            self._ring([deployment.id])
        else:
            rollout = RolloutState.decode(value)
            self.rollouts[rollout.id] = rollout
            self._ring([rollout.id])

    def _drop(self, key: str) -> None:
        self._values.pop(key, None)
        self.version += 1
        if key.startswith(PLACED):
            _, node, name = key.split("/")
            gone = self.placed.get(node, {}).pop(name, None)
            if not self.placed.get(node):
                self.placed.pop(node, None)
            self._ring(_concerned(gone))
        elif key.startswith(DEPLOYMENTS):
            id = key.removeprefix(DEPLOYMENTS)
            self.deployments.pop(id, None)
            self._ring([id])
        else:
            id = key.removeprefix(ROLLOUTS)
            self.rollouts.pop(id, None)
            self._ring([id])


def _concerned(placed: Placed | None) -> tuple[str, ...]:
    """Others that wait for the name on this node look again by time."""
    return () if placed is None else (*placed.deployments, *placed.was)
