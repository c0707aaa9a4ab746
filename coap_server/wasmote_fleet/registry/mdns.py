"""Multicast DNS (DNS-SD, RFC 6763): services that announce themselves as `_coap._udp`, and announcing the fleet's
nodes, as `_coap._udp` and, for wasmiot, as `_webthing._tcp`.

    async with Mdns() as mdns:
        async for service in mdns.follow(): ...      # each one that comes, for ever
        await mdns.announce(Service(COAP, "kitchen", ("192.0.2.7",), 5683, {"ep": "kitchen"}))
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from zeroconf import Error as ZeroconfError
from zeroconf import InterfaceChoice, ServiceStateChange
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from wasmote.errors import LocalError, WasmoteError
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry.presence import State
from wasmote_fleet.registry.registry import NodeView, Registry

log = logging.getLogger("wasmote.fleet.mdns")

COAP = "_coap._udp.local."
WEBTHING = "_webthing._tcp.local."
MAX_ASKED = 64  # services whose addresses are asked for at a time; more are not looked at
_RESOLVE_MS = 3000
_LABEL_BYTES = 63
_ADOPTING = 8
_LOOK_S = 5.0


@dataclass(frozen=True)
class Service:
    """type: COAP or WEBTHING. name: of the instance, 63 bytes at most. addresses: IP addresses. properties: TXT."""

    type: str
    name: str
    addresses: tuple[str, ...]
    port: int
    properties: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def uris(self) -> tuple[str, ...]:
        """Where it is, one for each address."""
        return tuple(
            f"coap://{f'[{address}]' if ':' in address else address}:{self.port}"
            for address in self.addresses
        )


class Mdns:
    """`async with`. addresses: of the interfaces to use; none: all. Raises LocalError where port 5353 or multicast
    cannot be used."""

    def __init__(self, addresses: Sequence[str] = ()) -> None:
        self.addresses = tuple(addresses)
        self._announced: dict[Service, AsyncServiceInfo] = {}
        self._zeroconf: AsyncZeroconf | None = None

    async def __aenter__(self) -> Mdns:
        try:
            for address in self.addresses:
                _check_ours(address)
            self._zeroconf = AsyncZeroconf(interfaces=list(self.addresses) or InterfaceChoice.All)
            await self._zeroconf.zeroconf.async_wait_for_start()
        except (OSError, ZeroconfError) as error:
            raise LocalError(
                "multicast DNS cannot be used here",
                cause=str(error) or type(error).__name__,
                next_step="check that a network with multicast is up; --mdns-address ADDRESS chooses an interface",
            ) from None
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._zeroconf is not None:
            await self._zeroconf.async_close()  # says good-bye for all that was announced

    async def follow(self, type: str = COAP) -> AsyncGenerator[Service, None]:
        """Services as they come, or change, for ever; those that are there first."""
        queue: asyncio.Queue[Service] = asyncio.Queue(MAX_ASKED)
        tasks: set[asyncio.Task[None]] = set()

        async def resolve(name: str) -> None:
            with contextlib.suppress(ZeroconfError, OSError):
                if (service := await self._resolve(type, name)) is not None:
                    await queue.put(service)

        def changed(name: str, state_change: ServiceStateChange, **_more: Any) -> None:
            if state_change is ServiceStateChange.Removed or len(tasks) >= MAX_ASKED:
                return
            task = asyncio.create_task(resolve(name))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        browser = AsyncServiceBrowser(self._open.zeroconf, [type], handlers=[changed])
        try:
            while True:
                yield await queue.get()
        finally:
            await browser.async_cancel()
            await end(*tasks)

    async def browse(self, wait_s: float, type: str = COAP) -> list[Service]:
        """What is announced, as far as it answers in time."""
        found: dict[str, Service] = {}
        async with contextlib.aclosing(self.follow(type)) as services:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    async for service in services:
                        found[service.name] = service
        return list(found.values())

    async def announce(self, service: Service) -> None:
        """Until withdraw(), or the end. Where the name is taken, another one is chosen. Raises LocalError."""
        info = AsyncServiceInfo(
            service.type,
            f"{service.name}.{service.type}",
            port=service.port,
            addresses=[ipaddress.ip_address(address).packed for address in service.addresses],
            properties=dict(service.properties),
            server=_host(service),
        )
        try:
            await (await self._open.async_register_service(info, allow_name_change=True, strict=False))
        except (OSError, ZeroconfError) as error:
            raise LocalError(
                f"{service.name} was not announced", cause=str(error), next_step="check the network"
            ) from None
        self._announced[service] = info

    async def withdraw(self, service: Service) -> None:
        """Announce it no longer, and say so. That it was not announced is no error."""
        info = self._announced.pop(service, None)
        if info is not None:
            with contextlib.suppress(OSError, ZeroconfError):
                await (await self._open.async_unregister_service(info))

    @property
    def _open(self) -> AsyncZeroconf:
        if self._zeroconf is None:
            raise RuntimeError("use `async with Mdns()`")
        return self._zeroconf

    async def _resolve(self, type: str, name: str) -> Service | None:
        info = AsyncServiceInfo(type, name)
        if not await info.async_request(self._open.zeroconf, _RESOLVE_MS) or not info.port:
            return None
        addresses = tuple(info.parsed_scoped_addresses())
        properties = {
            key.decode(errors="replace"): (value or b"").decode(errors="replace")
            for key, value in info.properties.items()
        }
        instance = name.removesuffix("." + type)
        return Service(type, instance, addresses, info.port, properties) if addresses else None


# A node's address for wasmiot's programs (IP address and port); None where it has none.
WebthingOf = Callable[[str], tuple[str, int] | None]


class Announcer:
    """Announces the nodes that this server speaks with, while they answer. coap: as `_coap._udp`, where they have an
    address that others can use. webthing: as `_webthing._tcp`, at what it gives for a node's id."""

    def __init__(
        self, mdns: Mdns, registry: Registry, *, coap: bool = True, webthing: WebthingOf | None = None
    ) -> None:
        self._mdns = mdns
        self._registry = registry
        self._coap = coap
        self._webthing = webthing
        self._now: dict[tuple[str, str], Service] = {}
        # On loopback interfaces only, what is at loopback addresses is of use.
        self._local = bool(mdns.addresses) and all(map(_is_loopback, mdns.addresses))

    async def run(self) -> None:
        """For ever."""
        while True:
            news = asyncio.ensure_future(self._registry.news())
            try:
                await self._follow()
                await asyncio.wait({news}, timeout=_LOOK_S)
            finally:
                news.cancel()

    async def _follow(self) -> None:
        wanted: dict[tuple[str, str], Service] = {}
        for view in self._registry.nodes():
            if view.server == self._registry.holder and view.state in (State.UP, State.SILENT):
                for service in await self._services(view):
                    wanted[service.type, view.record.id] = service
        gone = [service for key, service in self._now.items() if wanted.get(key) != service]
        new = [(key, service) for key, service in wanted.items() if self._now.get(key) != service]
        await asyncio.gather(*(self._mdns.withdraw(service) for service in gone))
        self._now = {key: service for key, service in self._now.items() if service not in gone}
        results = await asyncio.gather(
            *(self._mdns.announce(service) for _key, service in new), return_exceptions=True
        )
        for (key, service), error in zip(new, results, strict=True):
            if error is None:
                self._now[key] = service
            elif isinstance(error, WasmoteError):
                log.warning("%s", error)
            else:
                raise error

    async def _services(self, view: NodeView) -> list[Service]:
        record = view.record
        name = record.ep.encode()[:_LABEL_BYTES].decode(errors="ignore")
        found = []
        target = parse_target(record.uri)
        if self._coap and target.kind == "udp":
            address = await _address(target.host)
            if address is not None and (self._local or not _is_loopback(address)):
                properties = {"ep": record.ep, "rt": "wm.d", "path": "/d"}
                found.append(Service(COAP, name, (address.partition("%")[0],), target.port, properties))
        at = None if self._webthing is None else self._webthing(record.id)
        if at is not None and (addresses := self._ours(at[0])):
            properties = {"path": "/", "tls": "0", "address": addresses[0]}
            found.append(Service(WEBTHING, name, addresses, at[1], properties))
        return found

    def _ours(self, address: str) -> tuple[str, ...]:
        """Where others reach what listens at this address of this machine."""
        if not ipaddress.ip_address(address).is_unspecified:
            return (address,) if self._local or not _is_loopback(address) else ()
        if self._mdns.addresses:
            return self._mdns.addresses
        return _outgoing()


async def adopt_announced(mdns: Mdns, registry: Registry) -> None:
    """Take in every node that announces itself as `_coap._udp`, for ever. Other services are asked for `/d` once, and
    left alone."""
    slots = asyncio.Semaphore(_ADOPTING)

    async def adopt(service: Service) -> None:
        try:
            for uri in service.uris:
                try:
                    await registry.adopt(uri)
                    return
                except WasmoteError as error:
                    log.info("%s at %s was not adopted: %s", service.name, uri, error)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group, contextlib.aclosing(mdns.follow()) as services:
        async for service in services:
            known = {view.record.uri for view in registry.nodes() if view.state is not State.LEFT}
            if not known & set(service.uris):
                await slots.acquire()
                group.create_task(adopt(service))


async def _address(host: str) -> str | None:
    """An IP address of a host; None where it has none."""
    with contextlib.suppress(ValueError):
        return str(ipaddress.ip_address(host))
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return None
    return str(found[0][4][0])


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback


def _outgoing() -> tuple[str, ...]:
    """This machine's address on the network that its multicasts go to; nothing where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("224.0.0.251", 5353))  # sends nothing
        except OSError:
            return ()
        return (str(sock.getsockname()[0]),)


def _check_ours(address: str) -> None:
    """Raises OSError, where zeroconf would, too, and leave a socket open."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((address, 0))


def _host(service: Service) -> str:
    """A host name for its addresses, which are another machine's than this one's."""
    text = f"{service.type} {service.name} {service.addresses}"
    return f"wasmote-{hashlib.sha256(text.encode()).hexdigest()[:12]}.local."
