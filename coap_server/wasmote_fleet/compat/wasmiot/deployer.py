"""Tells devices what they have to do for a manifest, and when they need it no longer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.fetch import Limits, Reach
from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.device import Device, ask, json_content, json_of, own_id
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices
from wasmote_fleet.compat.wasmiot.errors import DeployFailed
from wasmote_fleet.compat.wasmiot.instructions import entry_of
from wasmote_fleet.compat.wasmiot.manifests import MAX_MANIFESTS, Manifests
from wasmote_fleet.compat.wasmiot.supervisor import Supervisor
from wasmote_fleet.compat.wasmiot.uploads import Document, Uploads
from wasmote_fleet.engine import EngineError

log = logging.getLogger("wasmote.fleet.wasmiot")

LIMITS = Limits(max_bytes=256 * 1024, timeout_s=60.0, redirects=0)


class Deployer:
    """supervisor: of our own devices. reach: where others may be, beside those that registered."""

    def __init__(
        self,
        manifests: Manifests,
        uploads: Uploads,
        book: Book,
        supervisor: Supervisor,
        devices: Devices,
        reach: Reach,
    ) -> None:
        self._manifests = manifests
        self._uploads = uploads
        self._book = book
        self._supervisor = supervisor
        self._devices = devices
        self._reach = reach
        self._locks: dict[str, asyncio.Lock] = {}

    async def deploy(self, which: str) -> Document:
        """What each device answered, by its id. Raises NotThere, DeployFailed if one did not take it."""
        manifest = await self._manifests.get(which)
        bodies = manifest["fullManifest"]
        async with self._lock(manifest["_id"]):
            said = await asyncio.gather(*(self._tell(manifest, id, body) for id, body in bodies.items()))
            answers = dict(zip(bodies, said, strict=True))
            for id, answer in answers.items():
                if not 200 <= answer["status"] < 300:
                    data = answer["data"]
                    why = data.get("result") if isinstance(data, dict) else data
                    raise DeployFailed(
                        "deployment failed",
                        cause=f"device {id} answered {answer['status']}: {why}",
                        next_step="see what it says",
                        responses=answers,
                    )
            latest = await self._manifests.get(manifest["_id"])
            await self._manifests.put(latest | {"active": True})
        return {"deviceResponses": answers}

    async def withdraw(self, manifest: Document, keep: Collection[str] = ()) -> None:
        """Tell devices that they need it no longer, but for those to keep; those that are not there are left alone."""
        for id in set(manifest["fullManifest"]) - set(keep):
            try:
                device = await self._book.get(id)
                if device.own is not None:
                    await self._supervisor.undeploy(device.own, manifest["_id"])
                else:
                    path = f"/deploy/{manifest['_id']}"
                    await ask(device, "DELETE", path, reach=self._reach, limits=LIMITS)
            except WasmoteError as error:
                if isinstance(error, EngineError):
                    raise
                log.info("manifest %s was not withdrawn from device %s: %s", manifest["_id"], id, error)

    async def _tell(self, manifest: Document, id: str, body: Document) -> Document:
        """The device's answer; an error is one of status 502. Raises NotThere, EngineError."""
        device = await self._book.get(id)
        try:
            if device.own is None:
                answer = await ask(
                    device, "POST", "/deploy", reach=self._reach, limits=LIMITS, content=json_content(body)
                )
                return {"status": answer.status, "data": json_of(answer)}
            await self._supervisor.deploy(
                device.own,
                body,
                caller="",
                nodes=self._nodes(manifest, device, body),
                known=await self._own_files(body),
            )
            return {"status": 200, "data": {"status": "success"}}
        except WasmoteError as error:
            if isinstance(error, EngineError):
                raise
            return {"status": 502, "data": {"status": "error", "result": str(error)}}

    def _nodes(self, manifest: Document, device: Device, body: Document) -> dict[str, tuple[str, ...]] | None:
        """Where each module of one of our nodes may run: on it, then on those of its failovers that are ours. None for
        the whole fleet: anywhere."""
        if device.own == FLEET:
            return None
        own = {own_id(view.record.id): view.record.id for view in self._devices.nodes()}
        found: dict[str, tuple[str, ...]] = {}
        for step, group in zip(manifest["sequence"], manifest["failoversBySequence"], strict=True):
            if step["device"] == device.id:
                name, _ = entry_of(body, step)
                ours = [own[id] for id in (device.id, *group) if id in own]
                found[name] = tuple(dict.fromkeys([*found.get(name, ()), *ours]))
        return found

    async def _own_files(self, body: Document) -> dict[str, bytes]:
        """What the URLs of our own modules lead to, so that they are not fetched."""
        found: dict[str, bytes] = {}
        for listed in body["modules"]:
            module = await self._uploads.get(listed["id"])
            found[listed["urls"]["binary"]] = await self._uploads.read(module, "wasm")
            for name, url in listed["urls"]["other"].items():
                found[url] = await self._uploads.read(module, name)
        return found

    def _lock(self, id: str) -> asyncio.Lock:
        if len(self._locks) > MAX_MANIFESTS:
            self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(id, asyncio.Lock())
