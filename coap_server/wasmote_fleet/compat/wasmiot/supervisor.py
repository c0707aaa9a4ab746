"""This fleet as a wasmiot supervisor: the whole of it as one device (""), and each node as one.

    await supervisor.deploy(device, body, caller="192.0.2.7")
    made = await supervisor.call(device, "0", "fiboMod", "fibo", asked)
    entry = await supervisor.entry(device, made.request_id)

What it deploys are deployments of the fleet; what it calls goes to nodes as every call does. It keeps the rest: the
bodies, and the history in wasmiot's words.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from wasmote_fleet.compat.fetch import MAX_URL, Limits, Reach, fetch
from wasmote_fleet.compat.wasmiot import bodies, records, values
from wasmote_fleet.compat.wasmiot.errors import BadBody, BadCall, CannotRun, NotReady, NotThere
from wasmote_fleet.compat.wasmiot.modules import plain_name, prepared
from wasmote_fleet.compat.wasmiot.records import Call, Deployed
from wasmote_fleet.compat.wasmiot.runs import Runs
from wasmote_fleet.deploy import Deployments, FunctionSpec, Rollout, Spec, UnknownDeployment
from wasmote_fleet.deploy.plan import Phase
from wasmote_fleet.engine import Engine
from wasmote_fleet.repository import MAX_MODULE_BYTES, ModuleInfo, Repository
from wasmote_fleet.requests import Requests
from wasmote_fleet.requests.records import new_id

FETCH = Limits(max_bytes=MAX_MODULE_BYTES, timeout_s=20.0, redirects=3, elsewhere=False)
FETCHES_AT_ONCE = 4
READY_S = 20.0  # POST /deploy waits so long for the nodes
AT_ONCE_S = 30.0  # a GET's deadline
QUEUED_S = 300.0  # a POST's
LISTED = 200  # entries of GET /request-history


@dataclass(frozen=True)
class Asked:
    """A call as it came. query: in order. files: by name; None if the body was no form. until, hops: of the call that
    led to it, by the engine's clock; 0 for none."""

    method: str
    query: Sequence[tuple[str, str]]
    files: Mapping[str, bytes] | None = field(default=None, repr=False)
    until: float = 0.0
    hops: int = 0


class Supervisor:
    """`async with`. reach: where modules may be fetched from and chains may go, beside the caller and the registered
    orchestrator of a device."""

    def __init__(
        self,
        engine: Engine,
        repository: Repository,
        deployments: Deployments,
        requests: Requests,
        reach: Reach,
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._deployments = deployments
        self._reach = reach
        self._modules: dict[str, ModuleInfo] = {}
        self.runs = Runs(engine, requests, self.reach_of, self._module)

    async def __aenter__(self) -> Supervisor:
        await self.runs.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.runs.close()

    # ---- its orchestrator ----

    async def register(self, device: str, url: object, *, caller: str) -> None:
        """Who orchestrates the device; caller: the address that says it, where requests for the device may go then.
        Raises BadBody."""
        try:
            parts = urlsplit(url) if isinstance(url, str) and len(url) <= MAX_URL else None
        except ValueError:
            parts = urlsplit("")
        if parts is None:
            raise BadBody("No url found", next_step='send {"url": "http://HOST:PORT"}')
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadBody("Orchestrator url is invalid", next_step='send {"url": "http://HOST:PORT"}')
        await self._engine.kv.put(
            records.orchestrator_key(device), json.dumps({"url": url, "caller": caller}).encode()
        )

    async def orchestrator(self, device: str) -> str | None:
        """The URL that was registered."""
        entry = await self._engine.kv.get(records.orchestrator_key(device))
        return None if entry is None else str(json.loads(entry.value)["url"])

    async def reach_of(self, device: str, caller: str = "") -> Reach:
        """Where requests for a device may go: as allowed, to who asks, and to who registered as its orchestrator."""
        entry = await self._engine.kv.get(records.orchestrator_key(device))
        registered = "" if entry is None else str(json.loads(entry.value).get("caller", ""))
        return self._reach.also(*(address for address in (caller, registered) if address))

    # ---- deployments ----

    async def deploy(
        self,
        device: str,
        body: object,
        *,
        caller: str,
        nodes: Mapping[str, tuple[str, ...]] | None = None,
        known: Mapping[str, bytes] | None = None,
    ) -> None:
        """Fetch the modules, and have them run. caller: the address of who asks. nodes: where each module may run, in
        order of preference; otherwise on the device, or anywhere for the whole fleet. known: what is at some URLs, so
        that it is not fetched. A deployment of the same id is replaced. Raises BadBody, CannotRun, NotReady, what
        fetch() raises, and what the fleet's admission says."""
        plan = bodies.parse(body)
        kept = await self._engine.kv.keys(f"{records.ROOT}deployments/{records.hashed(device)}/")
        if (
            len(kept) >= records.MAX_DEPLOYMENTS
            and records.deployment_key(device, plan.deployment_id) not in kept
        ):
            raise CannotRun(
                f"there are {len(kept)} deployments on the device",
                next_step="DELETE /deploy/ID removes one",
            )
        reach = await self.reach_of(device, caller)
        turns = asyncio.Semaphore(FETCHES_AT_ONCE)

        async def get(url: str) -> bytes:
            if known is not None and url in known:
                return known[url]
            async with turns:
                return (await fetch(url, reach=reach, limits=FETCH)).body

        gives_files = {function.module for function in plan.functions.values() if function.output}
        wanted = {
            module.name: {
                file
                for function in plan.functions.values()
                if function.module == module.name
                for file in function.deployment
            }
            for module in plan.modules
        }
        names, digests, files = dict[str, str](), dict[str, str](), dict[str, dict[str, str]]()
        for module in plan.modules:
            missing = wanted[module.name] - set(module.other)
            if missing:
                raise BadBody(
                    f"the module '{module.name}' lacks the file '{sorted(missing)[0]}'",
                    cause="mounts names it for the deployment, and urls.other does not have it",
                    next_step="upload the file with the module",
                )
            data = await get(module.binary)
            name = plain_name(module.name)
            published = await self._repository.publish(
                name, prepared(data, name, gives_files=module.name in gives_files)
            )
            info = published.module
            digests[module.name], names[module.name] = info.digest, _free(name, names)
            for function in plan.functions.values():
                if function.module == module.name:
                    values.check(function, info)
            fetched = await asyncio.gather(*(get(module.other[file]) for file in sorted(wanted[module.name])))
            files[module.name] = {
                file: (await self._engine.blobs.put(content)).digest
                for file, content in zip(sorted(wanted[module.name]), fetched, strict=True)
            }
        deployed = Deployed(device, plan, names, digests, files, caller)
        own = None if device == "" else (device,)
        spec = Spec(
            deployed.fleet_id,
            tuple(
                {
                    names[module.name]: FunctionSpec(
                        name=names[module.name],
                        function=plain_name(module.name),
                        digest=digests[module.name],
                        nodes=(nodes or {}).get(module.name, own),
                        # Deployments that are made of the same module share it on a node, others never collide.
                        as_name=f"{plain_name(module.name)}-{digests[module.name][:12]}",
                    )
                    for module in plan.modules
                }.values()
            ),
            rollout=Rollout(waves=()),
        )
        await self._deployments.apply(spec)
        await self._engine.kv.put(deployed.key, deployed.encode())
        found = await self._deployments.wait(deployed.fleet_id, timeout_s=READY_S)
        if found.phase is not Phase.READY:
            raise NotReady(
                f"deployment '{plan.deployment_id}' does not run yet",
                cause=found.cause or f"{found.ready} of {found.wanted} functions are on their nodes",
                next_step="it goes on by itself: `wasmote fleet deployments` shows how far it is",
            )

    async def undeploy(self, device: str, deployment: str) -> None:
        """Raises NotThere."""
        if await self._engine.kv.get(records.deployment_key(device, deployment)) is None:
            raise no_deployment()
        with suppress(UnknownDeployment):  # it was removed as the fleet's
            await self._deployments.remove(records.fleet_id(device, deployment))
        await self._engine.kv.delete(records.deployment_key(device, deployment))

    async def deployed(self, device: str, deployment: str) -> Deployed:
        """Raises NotThere."""
        entry = await self._engine.kv.get(records.deployment_key(device, deployment))
        if entry is None:
            raise no_deployment()
        return Deployed.decode(entry.value)

    # ---- calls ----

    async def call(self, device: str, deployment: str, module: str, function: str, asked: Asked) -> Call:
        """A GET is done when this returns, a POST is queued. What fails is raised, and a GET that ran is in the history
        besides. Raises NotThere, BadCall, Overloaded, Failed."""
        deployed = await self.deployed(device, deployment)
        if module not in deployed.digests:
            raise NotThere(
                f"module {module} not found for this deployment",
                cause=f"it has: {', '.join(deployed.digests)}",
                next_step="correct the name, or deploy it",
            )
        found = deployed.plan.functions.get((module, function))
        if found is None:
            have = [name for of, name in deployed.plan.functions if of == module]
            raise NotThere(
                f"function {function} of module {module} not found for this deployment",
                cause=f"it has: {', '.join(have) or 'none'}",
                next_step="correct the name, or deploy it with its instructions",
            )
        export = values.check(found, await self._module(deployed.digests[module]))
        body = (
            values.arguments(found, export, asked.query)
            if export.kind == "numbers"
            else await self._input(deployed, found, asked.files or {})
        )
        now = self._engine.clock.time()
        until = now + (AT_ONCE_S if asked.method == "GET" else QUEUED_S)
        made = Call(
            new_id(now),
            device,
            deployment,
            module,
            function,
            asked.method,
            dict(asked.query),
            {name: name for name in asked.files or {}},
            now,
            until=min(until, asked.until) if asked.until else until,
            hops=asked.hops,
        )
        run = self.runs.now if asked.method == "GET" else self.runs.later
        return await run(deployed, found, export, made, body)

    async def _input(
        self, deployed: Deployed, function: bodies.Function, files: Mapping[str, bytes]
    ) -> bytes | None:
        """The stream that a function reads: the call's file, or the deployment's. Raises BadCall."""
        for name in files:
            if name not in function.execution:
                raise BadCall(
                    f'Unexpected input file "{name}"',
                    cause=f"expected: {', '.join(function.execution) or 'none'}",
                    next_step="leave it out, or correct its name",
                )
        missing = [name for name in function.execution if name not in files]
        if missing:
            raise BadCall(
                f"required input files not found: {', '.join(missing)}",
                next_step="send them as multipart/form-data",
            )
        for name in function.deployment:
            return await self._engine.blobs.read(deployed.files[function.module][name])
        return next(iter(files.values()), None)

    async def entry(self, device: str, request_id: str, *, wait_s: float = 0.0) -> Call:
        """A call that has ended; waits so long for it. Raises NotThere."""
        made = await self.runs.get(device, request_id.rpartition(":")[2], wait_s=wait_s)
        if made is None or made.request_id != request_id:
            raise NotThere("no matching entry in history", next_step="look at GET /request-history")
        if not made.done:
            raise NotThere(
                "no matching entry in history", cause="the call has not ended yet", next_step="ask again"
            )
        return made

    async def entries(self, device: str) -> list[Call]:
        """The latest calls that have ended, the oldest first."""
        prefix = f"{records.ROOT}history/{records.hashed(device)}/"
        found: list[Call] = []
        for key in reversed(await self._engine.kv.keys(prefix)):
            made = await self.runs.get(device, key.rpartition("/")[2])
            if made is not None and made.done:
                found.append(made)
            if len(found) == LISTED:
                break
        return found[::-1]

    async def file(self, device: str, module: str, name: str) -> bytes:
        """The latest output file of this name. Raises NotThere."""
        entry = await self._engine.kv.get(records.file_key(device, module, name))
        if entry is None:
            raise NotThere(
                f"there is no file '{name}' of the module '{module}'",
                cause=f"nothing gave it in the last {records.HISTORY_S / 3600:g} hours",
                next_step="call the function that does",
            )
        return await self._engine.blobs.read(entry.value.decode())

    async def _module(self, digest: str) -> ModuleInfo:
        if len(self._modules) > 256:
            self._modules.clear()
        if digest not in self._modules:
            self._modules[digest] = await self._repository.module(digest)
        return self._modules[digest]


def _free(name: str, names: Mapping[str, str]) -> str:
    """The name, or, where another module of the deployment has it, one like it."""
    taken, number, found = set(names.values()), 2, name
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found


def no_deployment() -> NotThere:
    return NotThere("deployment does not exist", next_step="POST /deploy makes one")
