"""This fleet as a wasmiot orchestrator: manifests that say which functions follow each other, solved to devices, put
there, and run. `wasmiot/manifests/<id>` in the engine's kv.

A step on one of our nodes is a deployment of the fleet, so that its failover is the fleet's own. A step elsewhere moves
to the next of its failovers when its device misses two beats, or does not take a call.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from wasmote.errors import UnreachableError, WasmoteError
from wasmote_fleet.compat.fetch import Limits, Reach, exchange
from wasmote_fleet.compat.wasmiot import multipart
from wasmote_fleet.compat.wasmiot.book import Book, Device, json_of, own_id
from wasmote_fleet.compat.wasmiot.describe import endpoint, lacking, mounts_of
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices, interfaces, is_there
from wasmote_fleet.compat.wasmiot.errors import (
    BadBody,
    BadCall,
    CannotRun,
    DeployFailed,
    Failed,
    Forgotten,
    NotThere,
)
from wasmote_fleet.compat.wasmiot.records import ROOT, is_key
from wasmote_fleet.compat.wasmiot.supervisor import Asked, Supervisor
from wasmote_fleet.compat.wasmiot.uploads import Document, Uploads, new_id
from wasmote_fleet.engine import Engine, EngineError, LeaseLost
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.requests import NoPlace

log = logging.getLogger("wasmote.fleet.wasmiot")

PREFIX = f"{ROOT}manifests/"
LEASE = "wasmiot-orchestrator"
MAX_STEPS = 64
MAX_MANIFESTS = 1000
RECOVERED = 2  # beats that a device must have answered before steps go back to it
DEPLOY = Limits(max_bytes=256 * 1024, timeout_s=60.0, redirects=0)
CALL = Limits(max_bytes=1 << 20, timeout_s=60.0, redirects=0)
RESULT_S = 60.0  # for the end of a chain
_AGAIN_S = 0.5
_MAX_DEPTH = 20
Step = dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """What an execution starts with."""

    args: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Orchestrator:
    """`async with`: polls devices and moves steps meanwhile. beat_s: between two polls. reach: where devices may be,
    beside those that registered."""

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
        self._uploads = uploads
        self.book = book
        self._supervisor = supervisor
        self._devices = devices
        self._reach = reach
        self._beat_s = beat_s
        self._holder = holder
        self._locks: dict[str, asyncio.Lock] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Orchestrator:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._task is not None:
            await end(self._task)

    async def found(self, name: str, addresses: Sequence[str], port: int) -> None:
        """A supervisor was announced by mDNS: one of ours, or one to take in."""
        own = {self.book.url_of(FLEET, address) for address in addresses}
        own |= {self.book.url_of(view.record.id, a) for view in self._devices.nodes() for a in addresses}
        if any(f"http://{f'[{a}]' if ':' in a else a}:{port}" in own for a in addresses):
            return
        if any(device.name == name and device.there for device in await self.book.all()):
            return
        try:
            await self.book.register({"name": name, "addresses": list(addresses), "port": port}, "")
        except WasmoteError as error:
            log.warning("the supervisor '%s' was announced and not taken in: %s", name, error)

    # ---- manifests ----

    async def create(self, told: Any) -> str:
        """The id of a new manifest, solved. Raises BadBody, CannotRun, NotThere."""
        name, wanted = _manifest(told)
        if len(await self._engine.kv.keys(PREFIX)) >= MAX_MANIFESTS:
            raise CannotRun(f"there are {MAX_MANIFESTS} manifests", next_step="delete some")
        made: Document = {
            "_id": new_id(),
            "name": name,
            "active": False,
            "wanted": wanted,
            "isInFailover": False,
        }
        made |= await self._solve(made["_id"], wanted, None)
        await self._put(made)
        return str(made["_id"])

    async def update(self, id: str, told: Any) -> Document | None:
        """Another sequence for a manifest, deployed if it is: then what deploy() gives. Raises NotThere, and as
        create() and deploy()."""
        before = await self.get(id)
        name, wanted = _manifest(
            told if isinstance(told, dict) and "name" in told else {**_dict(told), "name": before["name"]}
        )
        made = before | {"name": name, "wanted": wanted, "isInFailover": False}
        made |= await self._solve(before["_id"], wanted, None)
        await self._put(made)
        if not before["active"]:
            return None
        await self._withdraw(before, keep=set(made["fullManifest"]))
        return await self.deploy(before["_id"])

    async def all(self) -> list[Document]:
        return [json.loads(entry.value) for entry in await self._engine.kv.entries(PREFIX)]

    async def get(self, which: str) -> Document:
        """By its id, or else by its name: the latest of it. Raises NotThere."""
        entry = await self._engine.kv.get(PREFIX + which) if is_key(which) else None
        if entry is not None:
            found: Document = json.loads(entry.value)
            return found
        entries = await self._engine.kv.entries(PREFIX)
        named = [(e.revision, found) for e in entries if (found := json.loads(e.value))["name"] == which]
        if not named:
            raise NotThere(f"no deployment matches ID '{which}'", next_step="GET /file/manifest lists them")
        newest: Document = max(named, key=lambda each: each[0])[1]
        return newest

    async def delete(self, id: str | None) -> int:
        """One, or all; how many. What was deployed is withdrawn."""
        gone = 0
        for manifest in await self.all():
            if id is None or id == manifest["_id"]:
                gone += await self._engine.kv.delete(PREFIX + manifest["_id"])
                if manifest["active"]:
                    await self._withdraw(manifest, keep=set())
        return gone

    # ---- which device for which step ----

    async def _solve(self, id: str, wanted: Sequence[Step], chosen: Sequence[str] | None) -> Document:
        """fullManifest, sequence and the failovers. chosen: the devices, where a step has moved; None: the first
        ones."""
        devices = {device.id: device for device in await self.book.all()}
        steps: list[tuple[Device, Document, str]] = []
        groups: list[list[str]] = []
        for index, step in enumerate(wanted):
            module = await self._uploads.get(step["module"])
            if step["func"] not in [export["name"] for export in module["exports"]]:
                raise CannotRun(
                    f"Failed to find function '{step['func']}' from requested module: {module['name']}",
                    cause=f"it exports {', '.join(e['name'] for e in module['exports']) or 'none'}",
                    next_step="correct the function's name",
                )
            if step["device"] is None and chosen is None:
                device = self._any(list(devices.values()), module)
                group = [device.id]
            else:
                group = [each for each in (step["device"], *step["failovers"]) if each is not None]
                device = _known(devices, chosen[index] if chosen is not None else group[0])
                for each in group:
                    _check(_known(devices, each), module)
            groups.append(group or [device.id])
            steps.append((device, module, step["func"]))
        return {
            "sequence": [
                {"device": device.id, "module": module["_id"], "func": func} for device, module, func in steps
            ],
            "failoversBySequence": groups,
            **({"goalDeployment": [device.id for device, _, _ in steps]} if chosen is None else {}),
            "fullManifest": self._bodies(id, steps),
        }

    def _any(self, devices: Sequence[Device], module: Document) -> Device:
        """A device for a step that names none: our fleet if one of its nodes will do, else a supervisor elsewhere."""
        for view in self._devices.nodes():
            if is_there(view) and not lacking(interfaces(view.record.imports), module):
                return next(device for device in devices if device.own == FLEET)
        for device in devices:
            if (
                device.own is None
                and device.there
                and not device.barred
                and not lacking(device.interfaces, module)
            ):
                return device
        needs = ", ".join(need["name"] for need in module["requirements"]) or "nothing"
        raise CannotRun(
            f"no matching device satisfying all requirements: {needs}",
            cause=f"{len(devices)} devices are known",
            next_step="GET /file/device shows what they offer",
        )

    def _bodies(self, id: str, steps: Sequence[tuple[Device, Document, str]]) -> dict[str, Any]:
        """What each device is told, by its id."""
        bodies: dict[str, Any] = {}
        endpoints = []
        for index, (device, module, func) in enumerate(steps):
            # Our devices are named as the one that comes before in the chain reaches them.
            before = steps[index - 1][0].addresses[0] if index and steps[index - 1][0].own is None else ""
            url = device.url if device.own is None else self.book.url_of(device.own, before)
            endpoints.append(endpoint(module, func, id, url))
        for index, (device, module, func) in enumerate(steps):
            told = bodies.setdefault(
                device.id,
                {
                    "deploymentId": id,
                    "modules": [],
                    "endpoints": {},
                    "instructions": {"modules": {}},
                    "mounts": {},
                },
            )
            base = self.book.url_of(FLEET, device.addresses[0] if device.own is None else "")
            files = f"{base}/file/module/{module['_id']}"
            listed = {
                "id": module["_id"],
                "name": module["name"],
                "urls": {
                    "binary": f"{files}/wasm",
                    "description": f"{files}/description",
                    "other": {
                        name: f"{files}/{quote(name, safe='')}" for name in module.get("dataFiles", {})
                    },
                },
            }
            if listed not in told["modules"]:
                told["modules"].append(listed)
            name = module["name"]
            if func in told["endpoints"].get(name, {}):
                raise CannotRun(
                    f"'{func}' of '{name}' is twice on the device '{device.name}'",
                    cause="a device knows one successor of a function",
                    next_step="put one of the two on another device",
                )
            to = endpoints[index + 1] if index + 1 < len(steps) else None
            told["endpoints"].setdefault(name, {})[func] = endpoints[index]
            told["instructions"]["modules"].setdefault(name, {})[func] = {"from": endpoints[index], "to": to}
            told["mounts"].setdefault(name, {})[func] = mounts_of(module, func)
        return bodies

    # ---- to the devices ----

    async def deploy(self, which: str) -> Document:
        """What each device answered, by its id. Raises NotThere, DeployFailed if one did not take it."""
        manifest = await self.get(which)
        async with self._lock(manifest["_id"]):
            answers = dict(
                zip(
                    manifest["fullManifest"],
                    await asyncio.gather(
                        *(self._tell(manifest, id, body) for id, body in manifest["fullManifest"].items())
                    ),
                    strict=True,
                )
            )
            failed = {id: said for id, said in answers.items() if not 200 <= said["status"] < 300}
            if failed:
                id, said = next(iter(failed.items()))
                why = said["data"].get("result") if isinstance(said["data"], dict) else said["data"]
                raise DeployFailed(
                    "deployment failed",
                    cause=f"device {id} answered {said['status']}: {why}",
                    next_step="see what it says",
                    responses=answers,
                )
            latest = await self.get(manifest["_id"])
            await self._put(latest | {"active": True})
        return {"deviceResponses": answers}

    async def _tell(self, manifest: Document, id: str, body: Document) -> Document:
        device = await self.book.get(id)
        try:
            if device.own is not None:
                await self._supervisor.deploy(
                    device.own,
                    body,
                    caller="",
                    nodes=self._nodes(manifest, device, body),
                    known=await self._own_files(body),
                )
                return {"status": 200, "data": {"status": "success"}}
            answer = await exchange(
                "POST",
                f"{device.url}/deploy",
                reach=self._reach.also(*device.reached),
                limits=DEPLOY,
                headers={"Content-Type": "application/json"},
                body=json.dumps(body).encode(),
            )
            return {"status": answer.status, "data": json_of(answer)}
        except WasmoteError as error:
            if isinstance(error, EngineError):
                raise
            return {"status": 502, "data": {"status": "error", "result": str(error)}}

    def _nodes(self, manifest: Document, device: Device, body: Document) -> dict[str, tuple[str, ...]] | None:
        """Where each module of one of our nodes may run: on it, then on those of its failovers that are ours."""
        if device.own in (None, FLEET):
            return None
        own = {own_id(view.record.id): view.record.id for view in self._devices.nodes()}
        found: dict[str, tuple[str, ...]] = {}
        for step, group in zip(manifest["sequence"], manifest["failoversBySequence"], strict=True):
            if step["device"] == device.id:
                name = next(each["name"] for each in body["modules"] if each["id"] == step["module"])
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

    async def _withdraw(self, manifest: Document, keep: set[str]) -> None:
        """Tell devices that they need it no longer; those that are not there are left alone."""
        for id in set(manifest["fullManifest"]) - keep:
            try:
                device = await self.book.get(id)
                if device.own is not None:
                    await self._supervisor.undeploy(device.own, manifest["_id"])
                else:
                    url = f"{device.url}/deploy/{manifest['_id']}"
                    await exchange("DELETE", url, reach=self._reach.also(*device.reached), limits=DEPLOY)
            except WasmoteError as error:
                if isinstance(error, EngineError):
                    raise
                log.info("manifest %s was not withdrawn from device %s: %s", manifest["_id"], id, error)

    # ---- runs ----

    async def execute(self, which: str, inputs: Inputs) -> Document:
        """The result of the last step. Raises NotThere, BadCall, and what failed."""
        tried: set[str] = set()
        while True:
            manifest = await self.get(which)
            first = manifest["sequence"][0]["device"]
            if not manifest["active"]:
                raise CannotRun(
                    f"deployment '{manifest['name']}' is not deployed",
                    next_step=f"POST /file/manifest/{manifest['_id']} deploys it",
                )
            try:
                url = await self._start(manifest, await self.book.get(first), inputs)
                break
            except Forgotten as error:
                # A supervisor keeps deployments in memory only, and has been started again.
                if first in tried:
                    raise
                log.info("%s", error)
                tried.add(first)
                await self.deploy(manifest["_id"])
            except (UnreachableError, Failed) as error:
                # Nothing ran: the same call goes to the next device, if there is one.
                inner = error.error if isinstance(error, Failed) else error
                tried.add(first)
                if not isinstance(inner, UnreachableError | NoPlace):
                    raise
                await self.book.missed(first)
                if not await self._move(manifest["_id"], first, tried):
                    raise
        result, at = await self._end_of(url)
        return {
            "result": result,
            "fetched_from_device": urlsplit(at).hostname,
            "resultUrl": at,
            "isInFailover": bool(manifest["isInFailover"]),
        }

    async def _start(self, manifest: Document, device: Device, inputs: Inputs) -> str:
        """Call the first function; where its result is."""
        step = manifest["sequence"][0]
        body = manifest["fullManifest"][device.id]
        module = next(each["name"] for each in body["modules"] if each["id"] == step["module"])
        how = body["endpoints"][module][step["func"]]
        query: list[tuple[str, str]] = []
        for parameter in how["request"]["parameters"]:
            if parameter["name"] not in inputs.args:
                raise BadCall(
                    "parameter missing",
                    cause=f"{module}/{step['func']} takes '{parameter['name']}'",
                    next_step="add it to the form",
                )
            query.append((parameter["name"], inputs.args[parameter["name"]]))
        method = how["method"].upper()
        if device.own is not None:
            base = self.book.url_of(device.own, "")
            asked = Asked("GET" if method == "GET" else "POST", query, inputs.files)
            made = await self._supervisor.call(device.own, manifest["_id"], module, step["func"], asked)
            return f"{base}/request-history/{quote(made.request_id, safe=':')}"
        url = device.url + how["path"]
        if query:
            url += "?" + "&".join(f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in query)
        headers, form = {}, b""
        if method != "GET" and inputs.files:
            parts = [
                multipart.Part(name, data, name, "application/octet-stream")
                for name, data in inputs.files.items()
            ]
            headers["Content-Type"], form = multipart.encode(parts)
        answer = await exchange(
            method, url, reach=self._reach.also(*device.reached), limits=CALL, headers=headers, body=form
        )
        said = json_of(answer)
        found = said.get("resultUrl") if isinstance(said, dict) else None
        if answer.status != 200 or not isinstance(found, str):
            kind = Forgotten if answer.status == 404 else CannotRun
            raise kind(
                f"the device '{device.name}' did not do {module}/{step['func']}",
                cause=f"it answered {answer.status}: {said}"[:300],
                next_step="look at that device",
            )
        return found

    async def _end_of(self, url: str) -> tuple[Any, str]:
        """Follow results that are URLs to the last one. Raises CannotRun, and what exchange() raises."""
        end = asyncio.get_running_loop().time() + RESULT_S
        reach = await self._results_reach()
        for _ in range(_MAX_DEPTH):
            while True:
                answer = await exchange("GET", url, reach=reach, limits=CALL)
                if answer.status != 404 or asyncio.get_running_loop().time() >= end:
                    break
                await asyncio.sleep(_AGAIN_S)
            said = json_of(answer)
            if answer.status != 200 or not isinstance(said, dict):
                why = said.get("result") if isinstance(said, dict) else said
                raise CannotRun(
                    "fetching result failed",
                    cause=f"{url} answered {answer.status}: {why}"[:300],
                    next_step="look there",
                )
            result = said.get("result")
            if not isinstance(result, str) or not result.startswith(("http://", "https://")):
                return result, url
            url = result
        raise CannotRun(
            "fetching result failed",
            cause=f"more than {_MAX_DEPTH} results that are URLs",
            next_step="look there",
        )

    async def _results_reach(self) -> Reach:
        devices = await self.book.all()
        hosts = {
            urlsplit(self.book.url_of(FLEET, peer)).hostname or ""
            for d in devices
            for peer in ("", d.addresses[0])
        }
        return self._reach.also(*{a for d in devices if d.own is None for a in d.reached}, hosts=hosts - {""})

    # ---- when a device is gone ----

    async def _move(self, id: str, gone: str, not_to: set[str]) -> bool:
        """Put the steps of a device that is gone onto their next ones, and deploy that; False if nothing changes."""
        manifest = await self.get(id)
        devices = {device.id: device for device in await self.book.all()}
        chosen = [step["device"] for step in manifest["sequence"]]
        for index, group in enumerate(manifest["failoversBySequence"]):
            if chosen[index] != gone:
                continue
            fits = [
                each
                for each in group
                if each in devices
                and devices[each].there
                and not devices[each].barred
                and each not in {gone, *not_to}
            ]
            if not fits and manifest["wanted"][index]["device"] is None:
                module = await self._uploads.get(manifest["sequence"][index]["module"])
                try:
                    fits = [
                        self._any([d for d in devices.values() if d.id not in {gone, *not_to}], module).id
                    ]
                except (CannotRun, StopIteration):
                    fits = []
            if fits:
                chosen[index] = fits[0]
        return await self._choose(manifest, chosen)

    async def _choose(self, manifest: Document, chosen: Sequence[str]) -> bool:
        if list(chosen) == [step["device"] for step in manifest["sequence"]]:
            return False
        changed = manifest | await self._solve(manifest["_id"], manifest["wanted"], chosen)
        changed["isInFailover"] = list(chosen) != manifest["goalDeployment"]
        await self._put(changed)
        await self.deploy(manifest["_id"])
        return True

    async def _run(self) -> None:
        """One server of the fleet polls, and moves steps."""
        while True:
            try:
                lease = await self._engine.leases.acquire(LEASE, self._holder, max(3 * self._beat_s, 5.0))
                while lease is not None:
                    await self.book.beat(self._register)
                    await self._look()
                    await self._engine.clock.sleep(self._beat_s)
                    lease = await self._engine.leases.renew(lease)
            except LeaseLost:
                pass
            except WasmoteError as error:
                log.warning("wasmiot's devices were not looked at: %s", error)
            except Exception:
                log.exception("wasmiot's devices were not looked at")
            await self._engine.clock.sleep(self._beat_s)

    async def _look(self) -> None:
        """Move steps from devices that are gone, and back to those that have come again."""
        devices = {device.id: device for device in await self.book.all()}
        for manifest in await self.all():
            if not manifest["active"]:
                continue
            try:
                for step in manifest["sequence"]:
                    device = devices.get(step["device"])
                    if device is None or not device.there or device.barred:
                        await self._move(manifest["_id"], step["device"], set())
                if manifest["isInFailover"] and all(
                    _is_back(devices.get(id)) for id in manifest["goalDeployment"]
                ):
                    await self._choose(await self.get(manifest["_id"]), manifest["goalDeployment"])
            except WasmoteError as error:
                if isinstance(error, EngineError):
                    raise
                log.warning("manifest %s was not moved: %s", manifest["_id"], error)

    async def _register(self, device: Device) -> None:
        """Tell a supervisor who orchestrates it."""
        told = json.dumps({"url": self.book.url_of(FLEET, device.addresses[0])}).encode()
        headers = {"Content-Type": "application/json"}
        await exchange(
            "POST", f"{device.url}/register", reach=self._reach.also(*device.reached), limits=DEPLOY,
            headers=headers, body=told,
        )  # fmt: skip

    def _lock(self, id: str) -> asyncio.Lock:
        if len(self._locks) > MAX_MANIFESTS:
            self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(id, asyncio.Lock())

    async def _put(self, manifest: Document) -> None:
        await self._engine.kv.put(PREFIX + manifest["_id"], json.dumps(manifest, ensure_ascii=False).encode())


def public(manifest: Document) -> Document:
    """Without what is ours."""
    return {name: value for name, value in manifest.items() if name != "wanted"}


def _is_back(device: Device | None) -> bool:
    return device is not None and device.there and (device.own is not None or device.ok >= RECOVERED)


def _known(devices: Mapping[str, Device], id: str) -> Device:
    if id not in devices:
        raise CannotRun(f"there is no device '{id}'", next_step="GET /file/device lists them")
    return devices[id]


def _check(device: Device, module: Document) -> None:
    if device.barred:
        raise CannotRun(
            f"Cannot create deployment: device '{device.id}' ({device.name}) is blacklisted",
            next_step="POST /file/device/ID/unblacklist allows it",
        )
    missing = lacking(device.interfaces, module)
    if missing:
        raise CannotRun(
            f"device '{device.name}' does not satisfy module's requirements",
            cause=f"it lacks {', '.join(missing)}",
            next_step="choose another one, or none",
        )


def _dict(told: Any) -> dict[str, Any]:
    return told if isinstance(told, dict) else {}


def _manifest(told: Any) -> tuple[str, list[Step]]:
    """The name and the steps. Raises BadBody."""
    told = _dict(told)
    name, sequence = told.get("name"), told.get("sequence")
    if not isinstance(name, str) or not 1 <= len(name) <= 128:
        raise BadBody("manifest must have a name", next_step="send {name, sequence}")
    if not isinstance(sequence, list) or not 1 <= len(sequence) <= MAX_STEPS:
        raise BadBody("manifest must have a sequence of operations", next_step=f"send 1 to {MAX_STEPS} steps")
    steps: list[Step] = []
    for item in sequence:
        item = _dict(item)
        for key, word in (("module", "module"), ("func", "function")):
            if not isinstance(item.get(key), str):
                raise BadBody(
                    f"manifest node must have a {word}", next_step="send {device, module, func} for each"
                )
        device, failovers = item.get("device"), item.get("failovers") or []
        if device is not None and not isinstance(device, str):
            raise BadBody("a manifest node's device is no id", next_step="send its _id, or null")
        if not isinstance(failovers, list) or not all(isinstance(each, str) for each in failovers):
            raise BadBody("a manifest node's failovers are no list of ids", next_step="send their _id")
        others = [each for each in dict.fromkeys(failovers) if each and each != device]
        steps.append({"device": device, "module": item["module"], "func": item["func"], "failovers": others})
    return name, steps
