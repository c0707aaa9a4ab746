"""Moves the steps of manifests when their device is gone, and back when it has come again."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.deployer import Deployer
from wasmote_fleet.compat.wasmiot.device import Device
from wasmote_fleet.compat.wasmiot.manifests import Manifests, devices_of
from wasmote_fleet.compat.wasmiot.solver import Solver
from wasmote_fleet.compat.wasmiot.uploads import Document
from wasmote_fleet.engine import EngineError

log = logging.getLogger("wasmote.fleet.wasmiot")

RECOVERED = 2  # beats that a device must have answered before steps go back to it


class Failover:
    """look() is for each beat, move() for a call that a device did not take."""

    def __init__(self, manifests: Manifests, book: Book, solver: Solver, deployer: Deployer) -> None:
        self._manifests = manifests
        self._book = book
        self._solver = solver
        self._deployer = deployer

    async def look(self) -> None:
        """At all manifests that are deployed, once: move steps from devices that are gone, and back to those that have
        come again. Raises EngineError."""
        devices = await self._book.by_id()
        for manifest in await self._manifests.all():
            if not manifest["active"]:
                continue
            try:
                for id in devices_of(manifest):
                    if id not in devices or not devices[id].usable:
                        await self.move(manifest["_id"], id)
                goal = manifest["goalDeployment"]
                if manifest["isInFailover"] and all(_is_back(devices.get(id)) for id in goal):
                    await self._choose(await self._manifests.get(manifest["_id"]), goal)
            except WasmoteError as error:
                if isinstance(error, EngineError):
                    raise
                log.warning("manifest %s was not moved: %s", manifest["_id"], error)

    async def move(self, id: str, gone: str, not_to: Collection[str] = ()) -> bool:
        """Put the steps of a device that is gone onto their next ones, and deploy that; False if nothing changes.
        Raises NotThere, CannotRun, DeployFailed."""
        manifest = await self._manifests.get(id)
        others = {key: each for key, each in (await self._book.by_id()).items() if key not in {gone, *not_to}}
        chosen = devices_of(manifest)
        for index, group in enumerate(manifest["failoversBySequence"]):
            if chosen[index] != gone:
                continue
            found = next((each for each in group if each in others and others[each].usable), None)
            if found is None and manifest["wanted"][index]["device"] is None:
                module = manifest["sequence"][index]["module"]
                device = await self._solver.another(module, others.values())
                found = None if device is None else device.id
            if found is not None:
                chosen[index] = found
        return await self._choose(manifest, chosen)

    async def _choose(self, manifest: Document, chosen: Sequence[str]) -> bool:
        if list(chosen) == devices_of(manifest):
            return False
        changed = manifest | await self._solver.solve(manifest["_id"], manifest["wanted"], chosen)
        changed["isInFailover"] = list(chosen) != manifest["goalDeployment"]
        await self._manifests.put(changed)
        await self._deployer.deploy(manifest["_id"])
        return True


def _is_back(device: Device | None) -> bool:
    return device is not None and device.there and (device.own is not None or device.ok >= RECOVERED)
