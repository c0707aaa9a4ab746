"""Multicast DNS while the server runs: what was asked for of announcing and taking in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import Registry
from wasmote_fleet.registry.mdns import WEBTHING, Announcer, Mdns, WebthingOf, adopt_announced

log = logging.getLogger("wasmote.fleet.mdns")
_AGAIN_S = 5.0
# A name, addresses, a port.
Found = Callable[[str, Sequence[str], int], Awaitable[None]]


@dataclass(frozen=True)
class MdnsSettings:
    """announce: the fleet's nodes, as _coap._udp. webthing: also as wasmiot's _webthing._tcp. adopt: take in every node
    that is announced. supervisors: wasmiot's, too. addresses: of the interfaces to use; none: all."""

    announce: bool = False
    webthing: bool = False
    adopt: bool = False
    supervisors: bool = False
    addresses: tuple[str, ...] = ()


@asynccontextmanager
async def run_mdns(
    settings: MdnsSettings,
    registry: Registry,
    webthing_of: WebthingOf | None = None,
    supervisor_found: Found | None = None,
) -> AsyncIterator[None]:
    """Meanwhile. webthing_of: a node's address for wasmiot. supervisor_found: called with the name, the
    addresses and the port of each that is announced. Where nothing was asked for, nothing is opened. Raises
    LocalError."""
    webthing = webthing_of if settings.webthing else None
    found = supervisor_found if settings.supervisors else None
    if not (settings.announce or webthing or settings.adopt or found):
        yield
        return
    async with Mdns(settings.addresses) as mdns:
        work: list[Callable[[], Awaitable[None]]] = []
        if settings.announce or webthing:
            work.append(Announcer(mdns, registry, coap=settings.announce, webthing=webthing).run)
        if settings.adopt:
            work.append(lambda: adopt_announced(mdns, registry))
        if found is not None:
            work.append(lambda: _follow_supervisors(mdns, found))
        tasks = [asyncio.create_task(_lasting(one)) for one in work]
        try:
            yield
        finally:
            await end(*tasks)


async def _follow_supervisors(mdns: Mdns, found: Found) -> None:
    async with contextlib.aclosing(mdns.follow(WEBTHING)) as services:
        async for service in services:
            await found(service.name, service.addresses, service.port)


async def _lasting(work: Callable[[], Awaitable[None]]) -> None:
    """An error is said, and does not end it."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("mDNS: it begins again in %g s", _AGAIN_S)
        await asyncio.sleep(_AGAIN_S)
