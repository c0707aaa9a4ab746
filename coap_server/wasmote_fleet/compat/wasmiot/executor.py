"""Runs of manifests: the first function is called, and the results are followed to the last."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from wasmote.errors import UnreachableError
from wasmote_fleet.compat.fetch import Limits, Reach, exchange
from wasmote_fleet.compat.wasmiot import multipart
from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.deployer import Deployer
from wasmote_fleet.compat.wasmiot.device import Device, ask, json_of
from wasmote_fleet.compat.wasmiot.devices import FLEET
from wasmote_fleet.compat.wasmiot.errors import BadCall, CannotRun, Failed, Forgotten
from wasmote_fleet.compat.wasmiot.failover import Failover
from wasmote_fleet.compat.wasmiot.instructions import entry_of
from wasmote_fleet.compat.wasmiot.manifests import Manifests
from wasmote_fleet.compat.wasmiot.supervisor import Asked, Supervisor
from wasmote_fleet.compat.wasmiot.uploads import Document
from wasmote_fleet.requests import NoPlace

log = logging.getLogger("wasmote.fleet.wasmiot")

LIMITS = Limits(max_bytes=1 << 20, timeout_s=60.0, redirects=0)
RESULT_S = 60.0  # for the end of a chain
MAX_RESULTS = 20  # that are URLs of others
_AGAIN_S = 0.5


@dataclass(frozen=True)
class Inputs:
    """What a run starts with."""

    args: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)


class Executor:
    """supervisor: of our own devices. reach: where others may be, beside those that registered."""

    def __init__(
        self,
        manifests: Manifests,
        book: Book,
        supervisor: Supervisor,
        deployer: Deployer,
        failover: Failover,
        reach: Reach,
    ) -> None:
        self._manifests = manifests
        self._book = book
        self._supervisor = supervisor
        self._deployer = deployer
        self._failover = failover
        self._reach = reach

    async def execute(self, which: str, inputs: Inputs) -> Document:
        """The result of the last step. Raises NotThere, BadCall, and what failed."""
        tried: set[str] = set()
        while True:
            manifest = await self._manifests.get(which)
            first = manifest["sequence"][0]["device"]
            if not manifest["active"]:
                raise CannotRun(
                    f"deployment '{manifest['name']}' is not deployed",
                    next_step=f"POST /file/manifest/{manifest['_id']} deploys it",
                )
            try:
                url = await self._start(manifest, await self._book.get(first), inputs)
                break
            except Forgotten as error:
                # A supervisor keeps deployments in memory only, and has been started again.
                if first in tried:
                    raise
                log.info("%s", error)
                tried.add(first)
                await self._deployer.deploy(manifest["_id"])
            except (UnreachableError, Failed) as error:
                # Nothing ran: the same call goes to the next device, if there is one.
                inner = error.error if isinstance(error, Failed) else error
                tried.add(first)
                if not isinstance(inner, UnreachableError | NoPlace):
                    raise
                await self._book.missed(first)
                if not await self._failover.move(manifest["_id"], first, tried):
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
        module, endpoint = entry_of(manifest["fullManifest"][device.id], step)
        function = f"{module}/{step['func']}"
        query: list[tuple[str, str]] = []
        for parameter in endpoint["request"]["parameters"]:
            if parameter["name"] not in inputs.args:
                raise BadCall(
                    "parameter missing",
                    cause=f"{function} takes '{parameter['name']}'",
                    next_step="add it to the form",
                )
            query.append((parameter["name"], inputs.args[parameter["name"]]))
        method = endpoint["method"].upper()
        if device.own is None:
            path = endpoint["path"] + _query(query)
            return await self._call(device, function, method, path, inputs.files)
        asked = Asked("GET" if method == "GET" else "POST", query, inputs.files)
        made = await self._supervisor.call(device.own, manifest["_id"], module, step["func"], asked)
        return f"{self._book.url_of(device.own, '')}/request-history/{quote(made.request_id, safe=':')}"

    async def _call(
        self, device: Device, function: str, method: str, path: str, files: Mapping[str, bytes]
    ) -> str:
        """Call a function of a supervisor elsewhere; where its result is. Raises Forgotten, CannotRun, and what
        exchange() raises."""
        content = None
        if method != "GET" and files:
            content = multipart.encode(
                multipart.Part(name, data, name, "application/octet-stream") for name, data in files.items()
            )
        answer = await ask(device, method, path, reach=self._reach, limits=LIMITS, content=content)
        said = json_of(answer)
        found = said.get("resultUrl") if isinstance(said, dict) else None
        if answer.status != 200 or not isinstance(found, str):
            kind = Forgotten if answer.status == 404 else CannotRun
            raise kind(
                f"the device '{device.name}' did not do {function}",
                cause=f"it answered {answer.status}: {said}"[:300],
                next_step="look at that device",
            )
        return found

    async def _end_of(self, url: str) -> tuple[Any, str]:
        """Follow results that are URLs to the last one; it, and where it is. Raises CannotRun, and what exchange()
        raises."""
        end = asyncio.get_running_loop().time() + RESULT_S
        reach = await self._results_reach()
        for _ in range(MAX_RESULTS):
            while True:
                answer = await exchange("GET", url, reach=reach, limits=LIMITS)
                if answer.status != 404 or asyncio.get_running_loop().time() >= end:
                    break
                await asyncio.sleep(_AGAIN_S)
            said = json_of(answer)
            if answer.status != 200 or not isinstance(said, dict):
                why = said.get("result") if isinstance(said, dict) else said
                raise _no_result(f"{url} answered {answer.status}: {why}"[:300])
            result = said.get("result")
            if not isinstance(result, str) or not result.startswith(("http://", "https://")):
                return result, url
            url = result
        raise _no_result(f"more than {MAX_RESULTS} results that are URLs")

    async def _results_reach(self) -> Reach:
        """Where results may be: at our devices, and at those elsewhere."""
        devices = await self._book.all()
        peers = {"", *(device.addresses[0] for device in devices)}
        hosts = {urlsplit(self._book.url_of(FLEET, peer)).hostname or "" for peer in peers}
        reached = {address for device in devices if device.own is None for address in device.reached}
        return self._reach.also(*reached, hosts=hosts - {""})


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    """As it stands behind a path."""
    query = "&".join(f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in pairs)
    return f"?{query}" if query else ""


def _no_result(why: str) -> CannotRun:
    return CannotRun("fetching result failed", cause=why, next_step="look there")
