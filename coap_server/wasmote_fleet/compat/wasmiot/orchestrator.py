"""This fleet as a wasmiot orchestrator: manifests that say which functions follow each other, solved to devices, put
there, and run.

A step on one of our nodes is a deployment of the fleet, so that its failover is the fleet's own. A step elsewhere moves
to the next of its failovers when its device misses two beats, or does not take a call.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.fetch import Reach
from wasmote_fleet.compat.wasmiot import manifests
from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.deployer import Deployer
from wasmote_fleet.compat.wasmiot.devices import Devices
from wasmote_fleet.compat.wasmiot.executor import Executor
from wasmote_fleet.compat.wasmiot.failover import Failover
from wasmote_fleet.compat.wasmiot.manifests import Manifests
from wasmote_fleet.compat.wasmiot.solver import Solver
from wasmote_fleet.compat.wasmiot.supervisor import Supervisor
from wasmote_fleet.compat.wasmiot.uploads import Document, Uploads
from wasmote_fleet.engine import Engine, LeaseLost
from wasmote_fleet.engine.tasks import end

log = logging.getLogger("wasmote.fleet.wasmiot")

LEASE = "wasmiot-orchestrator"


class Orchestrator:
    """`async with`: polls devices and moves steps meanwhile. beat_s: between two polls. reach: where devices may be,
    beside those that registered. What it is made of does the rest: `book` has the devices, `manifests` those that are
    kept, `deployer` tells devices, `executor` runs."""

    def __init__(
        self,
        engine: Engine,
        uploads: Uploads,
        book: Book,
        supervisor: Supervisor,
        devices: Devices,
        reach: Reach,
        *,
        beat_s: float,
        holder: str,
    ) -> None:
        self._engine = engine
        self._beat_s = beat_s
        self._holder = holder
        self.book = book
        self.manifests = Manifests(engine)
        self.deployer = Deployer(self.manifests, uploads, book, supervisor, devices, reach)
        self._solver = Solver(uploads, book, devices)
        self._failover = Failover(self.manifests, book, self._solver, self.deployer)
        self.executor = Executor(self.manifests, book, supervisor, self.deployer, self._failover, reach)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Orchestrator:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._task is not None:
            await end(self._task)

    async def create(self, told: Any) -> str:
        """The id of a new manifest, solved. Raises BadBody, CannotRun, NotThere."""
        name, wanted = manifests.parse(told)
        await self.manifests.check_room()
        made = manifests.new(name, wanted)
        made |= await self._solver.solve(made["_id"], wanted)
        await self.manifests.put(made)
        return str(made["_id"])

    async def update(self, id: str, told: Any) -> Document | None:
        """Another sequence for a manifest, deployed if it is: then what Deployer.deploy() gives. Raises NotThere, and
        as create() and Deployer.deploy()."""
        before = await self.manifests.get(id)
        name, wanted = manifests.parse(told, before["name"])
        made = before | {"name": name, "wanted": wanted, "isInFailover": False}
        made |= await self._solver.solve(before["_id"], wanted)
        await self.manifests.put(made)
        if not before["active"]:
            return None
        await self.deployer.withdraw(before, keep=made["fullManifest"])
        return await self.deployer.deploy(before["_id"])

    async def delete(self, id: str | None) -> int:
        """One, or all; how many. What was deployed is withdrawn."""
        gone = 0
        for manifest in await self.manifests.all():
            if id is None or id == manifest["_id"]:
                gone += await self.manifests.delete(manifest["_id"])
                if manifest["active"]:
                    await self.deployer.withdraw(manifest)
        return gone

    async def _run(self) -> None:
        """One server of the fleet polls, and moves steps."""
        while True:
            try:
                lease = await self._engine.leases.acquire(LEASE, self._holder, max(3 * self._beat_s, 5.0))
                while lease is not None:
                    await self.book.beat()
                    await self._failover.look()
                    await self._engine.clock.sleep(self._beat_s)
                    lease = await self._engine.leases.renew(lease)
            except LeaseLost:
                pass
            except WasmoteError as error:
                log.warning("wasmiot's devices were not looked at: %s", error)
            except Exception:
                log.exception("wasmiot's devices were not looked at")
            await self._engine.clock.sleep(self._beat_s)
