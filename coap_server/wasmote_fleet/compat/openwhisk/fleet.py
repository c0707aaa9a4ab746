"""Actions on the fleet: published, deployed, called, and what they log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import UTC, datetime
from typing import Any

from wasmote.errors import WasmoteError
from wasmote.protocol.answers import CallResult, Export, LogLine
from wasmote.protocol.module import parse_module
from wasmote.protocol.section import ABI_VERSION, Section, section_of, with_section
from wasmote.protocol.table_index import plain_table_indexes
from wasmote_fleet.compat.fetch import Limits, Reach, fetch
from wasmote_fleet.compat.openwhisk import actions
from wasmote_fleet.compat.openwhisk.actions import FUNCTION, Placement
from wasmote_fleet.compat.openwhisk.limits import COLD_START_S
from wasmote_fleet.deploy import Deployments, FunctionSpec, Phase, Progress, Spec, UnknownDeployment, Where
from wasmote_fleet.engine import Clock
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.repository import ModuleInfo, Repository, UnknownFunction
from wasmote_fleet.requests import NoPlace, Place, Requests

FETCH_TIMEOUT_S = 10.0
_NEWEST = 0xFFFFFFFF  # above every line's number: asks for none, and tells the next number
_LOG_S = 5.0
_LOG_PAGES = 64
_LOOK_S = 0.05
_ERROR_LEVELS = 2  # errors and warnings


class FleetActions:
    """The repository, the deployments and the requests, as actions need them."""

    def __init__(
        self,
        repository: Repository,
        deployments: Deployments,
        requests: Requests,
        gateway: Gateway,
        clock: Clock,
    ) -> None:
        self._repository = repository
        self._deployments = deployments
        self._requests = requests
        self._gateway = gateway
        self._clock = clock
        self._calls: dict[tuple[str, str], int] = {}  # that tapped ones run, by node and function

    async def publish(self, function: str, module: bytes) -> ModuleInfo:
        module = as_published(function, module)
        version = hashlib.sha256(module).hexdigest()[:12]
        published = await self._repository.publish(function, module, version=version)
        return published.module

    async def deploy(self, id: str, function: str, digest: str, on_node: str, placement: Placement) -> None:
        wanted = FunctionSpec(
            FUNCTION,
            function=function,
            digest=digest,
            nodes=placement.nodes,
            count=placement.count,
            where=Where(labels=dict(placement.labels)),
            as_name=on_node,
        )
        try:
            there = await self._deployments.get(id)
        except UnknownDeployment:
            there = None
        done = there is not None and not there.removing and _same(there.spec.functions, wanted)
        if not done or (await self._deployments.now(id)).phase in (Phase.STOPPED, Phase.DEGRADED):
            await self._deployments.apply(Spec(id, (wanted,)))
        for version in await self._repository.versions(function):
            if version.digest != digest:
                await self._repository.remove(function, version.version)

    async def withdraw(self, id: str, function: str) -> None:
        with contextlib.suppress(UnknownDeployment):
            await self._deployments.remove(id)
        with contextlib.suppress(UnknownFunction):
            await self._repository.remove(function)

    async def deployed(self) -> list[str]:
        """The ids of all deployments that should run."""
        return [found.id for found in await self._deployments.list() if not found.removing]

    async def read(self, digest: str) -> bytes:
        return await self._repository.read(digest)

    async def ready(self, id: str) -> None:
        """Wait until the deployment runs somewhere, or will not without help; COLD_START_S at most. Raises
        WasmoteError."""
        end = asyncio.get_running_loop().time() + COLD_START_S
        while not await self._deployments.places(id, FUNCTION):
            progress = await self._deployments.now(id)
            if progress.phase is not Phase.ROLLING or asyncio.get_running_loop().time() > end:
                return
            await asyncio.sleep(_LOOK_S)

    async def call(
        self,
        id: str,
        export: str,
        body: list[Any] | bytes | None,
        *,
        deadline_s: float,
        tap: actions.Tap | None,
    ) -> CallResult:
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        began = tap.began if isinstance(tap, LogTap) else _nothing
        while True:
            left_s = max(end - loop.time(), 0.01)
            try:
                return await self._requests.call(id, FUNCTION, export, body, deadline_s=left_s, began=began)
            except NoPlace as error:
                progress = await self._deployments.now(id)
                if error.busy or progress.settled or end - loop.time() < _LOOK_S:
                    raise _with_progress(error, progress) from None
            await asyncio.sleep(_LOOK_S)  # nothing ran: it is on its way to a node

    def tap(self) -> LogTap:
        return LogTap(self._gateway, self._clock, self._calls)


class LogTap:
    """The nodes' logs from just before a call to just after it. A node does not say which call a line belongs to: where
    the same function was called twice at a time, a line says so."""

    def __init__(self, gateway: Gateway, clock: Clock, calls: dict[tuple[str, str], int]) -> None:
        self._gateway = gateway
        self._clock = clock
        self._calls = calls
        self._marks: list[tuple[Place, int | None]] = []
        self._shared = False

    async def began(self, place: Place, _export: Export) -> None:
        key = place.node_id, place.name_on_node
        self._shared = self._shared or self._calls.get(key, 0) > 0
        self._calls[key] = self._calls.get(key, 0) + 1
        following: int | None = None
        self._marks.append((place, None))
        with contextlib.suppress(WasmoteError):
            following = (await self._gateway.log(place.node_id, _NEWEST, deadline_s=_LOG_S)).next
        self._marks[-1] = (place, following)

    async def lines(self) -> list[str]:
        found: list[str] = []
        for place, number in self._marks:
            key = place.node_id, place.name_on_node
            self._shared = self._shared or self._calls[key] > 1
            try:
                if number is not None:
                    found += await self._read(place, number)
            except WasmoteError as error:
                found.append(self._text("stderr", f"the log of node '{place.node_id}' was not read: {error}"))
            finally:
                self._calls[key] -= 1
                if not self._calls[key]:
                    del self._calls[key]
        if self._shared and found:
            found.append(
                self._text(
                    "stderr", "this function ran more than once at a time: lines may be another call's"
                )
            )
        return found

    async def _read(self, place: Place, number: int) -> list[str]:
        found: list[str] = []
        for _ in range(_LOG_PAGES):
            page = await self._gateway.log(place.node_id, number, deadline_s=_LOG_S)
            if page.next < number or not page.lines:
                break
            found += [self._line(line) for line in page.lines if line.source == place.name_on_node]
            number = page.lines[-1].number + 1
            if number >= page.next:
                break
        return found

    def _line(self, line: LogLine) -> str:
        return self._text("stderr" if line.level < _ERROR_LEVELS else "stdout", line.text)

    def _text(self, stream: str, text: str) -> str:
        at = datetime.fromtimestamp(self._clock.time(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        return f"{at}Z {stream}: {text}"


class FetchedObjects:
    """What `url` names, by HTTP."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """Raises WasmoteError."""
        limits = Limits(max_bytes=max_bytes, timeout_s=FETCH_TIMEOUT_S)
        return (await fetch(url, reach=self._reach, limits=limits)).body


def as_published(function: str, module: bytes) -> bytes:
    """The module; one without a `wasmote` section gets it, from its exports, and plain
    table indexes. Raises InputError."""
    parsed = parse_module(module)
    if section_of(parsed) is not None:
        return module
    heap = None if parsed.heap_base is None else 0
    return with_section(plain_table_indexes(module), Section(name=function, abi=ABI_VERSION, heap=heap))


async def _nothing(_place: Place, _export: Export) -> None:
    pass


def _same(functions: tuple[FunctionSpec, ...], wanted: FunctionSpec) -> bool:
    """Whether a deployment is what is wanted, but for what was filled in when it was applied."""
    if len(functions) != 1:
        return False
    had = functions[0]
    return (had.digest, had.nodes, had.count, had.as_name) == (
        wanted.digest,
        wanted.nodes,
        wanted.count,
        wanted.as_name,
    ) and dict(had.where.labels) == dict(wanted.where.labels)


def _with_progress(error: NoPlace, progress: Progress) -> NoPlace:
    """The error, with what keeps the deployment from running."""
    causes = [progress.cause, *(node.cause for node in progress.nodes)]
    why = next((cause for cause in causes if cause), "")
    return NoPlace(
        error.message,
        cause=f"{error.cause}; {why}" if why else error.cause,
        next_step=error.next_step,
        busy=error.busy,
    )
