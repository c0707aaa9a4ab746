"""wasmiot's addresses: one for the whole fleet, and one for each node, served beside the fleet's own HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from starlette.requests import Request

from wasmote.errors import InputError
from wasmote_fleet.compat.fetch import Reach
from wasmote_fleet.compat.wasmiot.app import make_app
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices
from wasmote_fleet.compat.wasmiot.errors import NotThere
from wasmote_fleet.compat.wasmiot.ports import Ports
from wasmote_fleet.compat.wasmiot.supervisor import Supervisor
from wasmote_fleet.compat.wasmiot.supervisor_http import SupervisorHttp
from wasmote_fleet.deploy import Deployments
from wasmote_fleet.engine import Engine
from wasmote_fleet.gateway.keys import Keys
from wasmote_fleet.registry import Registry
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests
from wasmote_fleet.server.addresses import Address, bind
from wasmote_fleet.server.http import HttpServer, configured

MAX_NODE_PORTS = 256
_STOPPING_S = 60.0


@dataclass(frozen=True)
class WasmiotSettings:
    """listen: for the whole fleet, at the same address as nodes. node_ports: one for each node; empty for none.
    trusted: addresses and networks of wasmiot's programs, which need no key and may be fetched from and called."""

    listen: Address
    node_ports: range = range(0)
    trusted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wasmiot:
    """What is served. url: of the whole fleet. host: its IP address. port_of: by a node's id; None for none."""

    url: str
    host: str
    port_of: Callable[[str], int | None]

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
) -> AsyncIterator[Wasmiot | None]:
    """None without settings. Raises InputError, LocalError."""
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
        supervisor = await stack.enter_async_context(
            Supervisor(engine, repository, deployments, requests, Reach((*settings.trusted, *here)))
        )
        devices = Devices(registry)

        def device_of(request: Request) -> str:
            port = (request.scope.get("server") or ("", 0))[1]
            node = FLEET if port == fleet_port else ports.node_at(port or 0)
            if node is None:
                raise NotThere("no node has this port", next_step="`wasmote fleet nodes` lists the nodes")
            return node

        routes = SupervisorHttp(supervisor, devices, device_of).routes()
        app = make_app(routes, None if local else keys, settings.trusted)
        watching = asyncio.create_task(ports.run())
        stack.push_async_callback(_end, watching)
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
        url = f"http://{replace(settings.listen, port=fleet_port)}"
        yield Wasmiot(url, settings.listen.host, ports.port_of)


async def _stop(http: HttpServer, serving: asyncio.Task[None]) -> None:
    """Requests that run may end, for a while."""
    http.should_exit = True
    done, _ = await asyncio.wait({serving}, timeout=_STOPPING_S)
    if not done:
        await _end(serving)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()
