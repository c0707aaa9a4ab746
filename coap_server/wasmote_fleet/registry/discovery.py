"""Nodes that are there and may be taken in: those that answer a CoAP multicast, and those that announce themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from wasmote.adapters.discover import discover
from wasmote.errors import WasmoteError
from wasmote.protocol.target import COAP_PORT
from wasmote_fleet.registry.mdns import Mdns
from wasmote_fleet.registry.registry import Registry

ASKING_S = 2.0  # what is announced, for /d


@dataclass
class Found:
    """ep: what it calls itself; None: it is announced, and is no wasmote node, or does not answer. name: as it is
    announced; None: it is not. how: multicast, mdns. node: its id in the fleet; None: it is not of it."""

    uri: str
    ep: str | None = None
    name: str | None = None
    how: list[str] = field(default_factory=list)
    node: str | None = None


class Discovery:
    """addresses: of the interfaces for multicast DNS; none: all. interfaces: names, for CoAP; none: all."""

    def __init__(
        self,
        registry: Registry,
        *,
        addresses: Sequence[str] = (),
        interfaces: Sequence[str] = (),
        port: int = COAP_PORT,
    ) -> None:
        self._registry = registry
        self._addresses = addresses
        self._interfaces = interfaces
        self._port = port
        self.busy = False

    async def look(self, timeout_s: float) -> tuple[list[Found], list[str]]:
        """What was found, and what kept it from finding more. It takes timeout_s, and ASKING_S more."""
        found: dict[str, Found] = {}
        problems: list[str] = []
        self.busy = True
        try:
            await asyncio.gather(
                self._multicast(found, problems, timeout_s), self._mdns(found, problems, timeout_s)
            )
            await self._ask(found)
        finally:
            self.busy = False
        known = {view.record.uri: view.record.id for view in self._registry.nodes()}
        for one in found.values():
            one.node = known.get(one.uri)
        return sorted(found.values(), key=lambda one: (one.ep or one.name or "", one.uri)), problems

    async def _multicast(self, found: dict[str, Found], problems: list[str], timeout_s: float) -> None:
        try:
            async for node in discover(interfaces=self._interfaces, port=self._port, timeout_s=timeout_s):
                one = found.setdefault(node.address, Found(node.address))
                one.ep = node.ep
                one.how.append("multicast")
        except WasmoteError as error:
            problems.append(str(error))

    async def _mdns(self, found: dict[str, Found], problems: list[str], timeout_s: float) -> None:
        try:
            async with Mdns(self._addresses) as mdns:
                services = await mdns.browse(timeout_s)
        except WasmoteError as error:
            problems.append(str(error))
            return
        for service in services:
            for uri in service.uris:
                one = found.setdefault(uri, Found(uri))
                one.name = service.name
                one.how.append("mdns")

    async def _ask(self, found: dict[str, Found]) -> None:
        """Those that are only announced, for their names."""
        asked = []
        for one in found.values():
            parts = urlsplit(one.uri)
            if one.ep is None and parts.hostname is not None:
                asked.append((parts.hostname, parts.port or COAP_PORT))
        if asked:
            async for node in discover(asked, multicast=False, timeout_s=ASKING_S):
                if node.address in found:
                    found[node.address].ep = node.ep
