"""wasmiot's addresses: one for the whole fleet, and one for each node, served beside the fleet's own HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote, urlsplit

from starlette.requests import Request

from wasmote.errors import InputError
from wasmote_fleet.compat.fetch import Reach
from wasmote_fleet.compat.wasmiot.app import make_app
from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices, is_there
from wasmote_fleet.compat.wasmiot.errors import NotThere
from wasmote_fleet.compat.wasmiot.joining import Joining
from wasmote_fleet.compat.wasmiot.orchestrator import Orchestrator
from wasmote_fleet.compat.wasmiot.orchestrator_http import OrchestratorHttp
from wasmote_fleet.compat.wasmiot.ports import Ports
from wasmote_fleet.compat.wasmiot.supervisor import Supervisor
from wasmote_fleet.compat.wasmiot.supervisor_http import SupervisorHttp
from wasmote_fleet.compat.wasmiot.uploads import Uploads
from wasmote_fleet.deploy import Deployments
from wasmote_fleet.engine import Engine
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.gateway.keys import Keys
from wasmote_fleet.registry import Registry
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests
from wasmote_fleet.server.addresses import Address, bind
from wasmote_fleet.server.http import HttpServer, configured
from wasmote_fleet.server.mdns import Found

MAX_NODE_PORTS = 256
_STOPPING_S = 60.0


@dataclass(frozen=True)
class WasmiotSettings:
    """listen: for the whole fleet, at the same address as nodes. node_ports: one for each node; empty for none.
    trusted: addresses and networks of wasmiot's programs, which need no key and may be fetched from and called.
    orchestrator: the URL of one that is to know our devices; "" for none."""

    listen: Address
    node_ports: range = range(0)
    trusted: tuple[str, ...] = ()
    orchestrator: str = ""


@dataclass(frozen=True)
class Wasmiot:
    """What is served. url: of the whole fleet. host: its IP address. port_of: by a node's id; None for none. found: is
    told of supervisors that announce themselves."""

    url: str
    host: str
    port_of: Callable[[str], int | None]
    found: Found

    def at(self, node: str) -> tuple[str, int] | None:
        """Where a node is a supervisor of its own."""
        port = self.port_of(node)
        return None if port is None else (self.host, port)


@asynccontextmanager
async def serve_wasmiot(
    settings: WasmiotSettings | None,
    *,
    engine: Engine,
    repository: Repository,
    registry: Registry,
    deployments: Deployments,
    requests: Requests,
    keys: Keys,
    server: str,
    beat_s: float,
) -> AsyncIterator[Wasmiot | None]:
    """None without settings. beat_s: how often supervisors elsewhere are asked. Raises InputError, LocalError."""
    if settings is None:
        yield None
        return
    local = settings.listen.loopback
    here = ("127.0.0.0/8", "::1") if local else ()
    if not local and not settings.trusted and not await keys.list():
        raise InputError(
            f"wasmiot's address {settings.listen} can be reached by others, and nothing says by whom",
            next_step="name the orchestrator with --wasmiot-trust ADDRESS, make keys with `wasmote fleet keys add "
            "deploy`, or listen at 127.0.0.1 only",
        )
    async with AsyncExitStack() as stack:
        first = bind(settings.listen, socket.SOCK_STREAM, "wasmiot", "--wasmiot")
        sockets = [first]
        stack.callback(_close, sockets)
        for port in settings.node_ports:
            at = replace(settings.listen, port=port)
            sockets.append(bind(at, socket.SOCK_STREAM, "wasmiot", "--wasmiot-nodes"))
        fleet_port = first.getsockname()[1]
        ports = Ports(engine, registry, server, settings.node_ports)
        reach = Reach((*settings.trusted, *here))
        supervisor = await stack.enter_async_context(
            Supervisor(engine, repository, deployments, requests, reach)
        )
        devices = Devices(registry)

        def device_of(request: Request) -> str:
            port = (request.scope.get("server") or ("", 0))[1]
            node = FLEET if port == fleet_port else ports.node_at(port or 0)
            if node is None:
                raise NotThere("no node has this port", next_step="`wasmote fleet nodes` lists the nodes")
            return node

        def url_of(device: str, peer: str) -> str:
            port = fleet_port if device == FLEET else ports.port_of(device)
            host = address_toward(settings.listen.host, peer)
            host = f"[{host}]" if ":" in host else host
            if port is None:
                return f"http://{host}:{fleet_port}/nodes/{quote(device, safe='@%')}"
            return f"http://{host}:{port}"

        def only_fleet(request: Request) -> None:
            if device_of(request) != FLEET:
                raise NotThere("a node is no orchestrator", next_step=f"ask at port {fleet_port}")

        modules = Uploads(engine)
        orchestrator = await stack.enter_async_context(
            Orchestrator(
                engine,
                modules,
                Book(engine, devices, reach, url_of),
                supervisor,
                devices,
                reach,
                beat_s=beat_s,
                holder=registry.holder,
            )
        )
        supervising = SupervisorHttp(supervisor, devices, device_of)
        routes = [
            *OrchestratorHttp(engine, modules, orchestrator, only_fleet).routes(),
            *supervising.routes(),
        ]
        app = make_app(routes, None if local else keys, settings.trusted)
        watching = asyncio.create_task(ports.run())
        stack.push_async_callback(end, watching)
        ready = asyncio.Event()
        http = HttpServer(configured(app), ready.set)
        serving = asyncio.create_task(http.serve(sockets=sockets))
        stack.push_async_callback(_stop, http, serving)
        await asyncio.wait(
            {serving, waiting := asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        waiting.cancel()
        if serving.done():
            serving.result()
        if settings.orchestrator:
            peer = urlsplit(settings.orchestrator).hostname or ""

            def known() -> dict[str, tuple[str, str]]:
                """Each node that has a port; without ports, the fleet, once it can do something: an orchestrator reads
                the description only once."""
                if not settings.node_ports:
                    there = any(is_there(view) for view in devices.nodes())
                    return {FLEET: (f"wasmote-{server}", url_of(FLEET, peer))} if there else {}
                views = [view for view in devices.nodes() if is_there(view) and ports.port_of(view.record.id)]
                return {view.record.id: (view.record.ep, url_of(view.record.id, peer)) for view in views}

            joining = Joining(settings.orchestrator, known, supervising.asked)
            stack.push_async_callback(end, asyncio.create_task(joining.run()))
        url = f"http://{replace(settings.listen, port=fleet_port)}"
        yield Wasmiot(url, settings.listen.host, ports.port_of, orchestrator.book.announced)


async def _stop(http: HttpServer, serving: asyncio.Task[None]) -> None:
    """Requests that run may end, for a while."""
    http.should_exit = True
    done, _ = await asyncio.wait({serving}, timeout=_STOPPING_S)
    if not done:
        await end(serving)


def address_toward(host: str, peer: str) -> str:
    """Under which address a peer reaches what listens at host: that, or, where it is any address, the one that packets
    to the peer leave from. peer "": this machine."""
    if not ipaddress.ip_address(host).is_unspecified:
        return host
    try:
        kind = socket.AF_INET6 if ipaddress.ip_address(peer or "127.0.0.1").version == 6 else socket.AF_INET
        with socket.socket(kind, socket.SOCK_DGRAM) as probe:
            probe.connect((peer or "127.0.0.1", 9))  # sends nothing
            return str(probe.getsockname()[0])
    except (OSError, ValueError):
        return socket.gethostname()


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
