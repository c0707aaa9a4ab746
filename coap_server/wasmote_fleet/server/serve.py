"""One fleet server: everything opened in order, run until it is told to stop, closed in the other order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from wasmote.adapters.validator import Validator
from wasmote.errors import InputError
from wasmote.node import Tuning
from wasmote_fleet.compat.fetch import Reach
from wasmote_fleet.compat.openwhisk import routes as openwhisk
from wasmote_fleet.compat.openwhisk.fleet import FetchedObjects, FleetActions
from wasmote_fleet.compat.openwhisk.service import OpenWhisk
from wasmote_fleet.compat.wasmiot import records as wasmiot_records
from wasmote_fleet.deploy import Deployments
from wasmote_fleet.engine import Engine, EngineError, open_engine
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.gateway.coap.rpc import Rpc
from wasmote_fleet.gateway.coap.site import CoapServer
from wasmote_fleet.gateway.http.app import make_app
from wasmote_fleet.gateway.keys import Keys
from wasmote_fleet.registry import Directory, Feed, Registry
from wasmote_fleet.registry.discovery import Discovery
from wasmote_fleet.registry.events import LOG as EVENTS
from wasmote_fleet.registry.feed import KEPT_IN_LOG
from wasmote_fleet.registry.registry import BEAT_S, LEASE_S
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests
from wasmote_fleet.requests.places import RegistryPresence
from wasmote_fleet.server.addresses import Address, bind, default_data
from wasmote_fleet.server.http import HttpServer, configured
from wasmote_fleet.server.mdns import MdnsSettings, run_mdns
from wasmote_fleet.server.wasmiot import WasmiotSettings, serve_wasmiot

HOUSEKEEPING_S = 3600.0


@dataclass(frozen=True)
class Settings:
    """data: a file, or nats://HOST. name: what other servers of the fleet call this one by. beat_s: how often a node is
    asked whether it is there. lease_s: how long after this server's death others take its nodes over. wasmiot: None
    for none. urls: addresses and networks where the parameter `url` of OpenWhisk's actions may lead, beside public
    ones. tuning: how patient calls and transfers are with nodes."""

    data: str
    http: Address
    coap: Address
    name: str
    beat_s: float = BEAT_S
    lease_s: float = LEASE_S
    wasmiot: WasmiotSettings | None = None
    urls: tuple[str, ...] = ()
    mdns: MdnsSettings = field(default_factory=MdnsSettings)
    tuning: Tuning = field(default_factory=Tuning)


@dataclass(frozen=True)
class Started:
    """What to tell who started the server. Ports are those that were got. wasmiot: None for none."""

    http: str
    coap: str
    data: str
    keys_needed: bool
    server: str
    wasmiot: str | None = None


async def serve(
    settings: Settings, started: Callable[[Started], None], log: Callable[[str], None] = lambda _line: None
) -> None:
    """Run until SIGTERM or SIGINT; requests that run then end first. A second signal ends them, too. started: called
    once, when everything answers. log: what goes wrong in the background. Raises InputError, LocalError, EngineError,
    MissingError."""
    async with AsyncExitStack() as stack:
        engine = await _open(settings.data)
        stack.push_async_callback(engine.close)
        keys = Keys(engine)
        if not settings.http.loopback and not await keys.list():
            raise InputError(
                f"the server has no keys, and {settings.http} can be reached by others",
                next_step=f"make one with `wasmote fleet keys add deploy{_data_words(settings.data)}`, "
                "or listen at 127.0.0.1 only",
            )
        validator = await asyncio.to_thread(Validator.load)
        repository = Repository(engine, validator)
        coap_socket = bind(settings.coap, socket.SOCK_DGRAM, "CoAP", "--coap")
        coap_at = _address_of(coap_socket)
        coap_socket.close()  # aiocoap binds by itself; this says in time, and in words, if it cannot
        http_socket = bind(settings.http, socket.SOCK_STREAM, "HTTP", "--http")
        stack.callback(http_socket.close)
        http_at = _address_of(http_socket)
        registry = await stack.enter_async_context(
            Registry(
                engine,
                server=settings.name,
                beat_s=settings.beat_s,
                lease_s=settings.lease_s,
                tuning=settings.tuning,
            )
        )
        gateway = await stack.enter_async_context(Gateway(registry, repository, validator, engine))
        deployments = await stack.enter_async_context(
            Deployments(engine, repository, registry, gateway, lease_s=settings.lease_s)
        )
        calls = await stack.enter_async_context(
            Requests(engine, repository, gateway, deployments, RegistryPresence(registry))
        )
        feed = await stack.enter_async_context(Feed(engine))
        coap = CoapServer(
            coap_at.host, coap_at.port, repository, Directory(engine.kv), feed, Rpc(calls, registry)
        )
        await stack.enter_async_context(coap)
        await stack.enter_async_context(_task(_housekeeping(engine, repository, deployments, log)))
        wasmiot = await stack.enter_async_context(
            serve_wasmiot(
                settings.wasmiot,
                engine=engine,
                repository=repository,
                registry=registry,
                deployments=deployments,
                requests=calls,
                keys=keys,
                server=settings.name,
                beat_s=settings.beat_s,
            )
        )
        whisk = await stack.enter_async_context(
            OpenWhisk(
                engine,
                FleetActions(repository, deployments, calls, gateway, engine.clock),
                FetchedObjects(Reach(settings.urls)),
            )
        )
        await stack.enter_async_context(
            run_mdns(
                settings.mdns, registry, wasmiot.at if wasmiot else None, wasmiot.found if wasmiot else None
            )
        )
        app = make_app(
            engine=engine,
            repository=repository,
            registry=registry,
            gateway=gateway,
            deployments=deployments,
            calls=calls,
            feed=feed,
            discovery=Discovery(registry, addresses=settings.mdns.addresses),
            keys=None if settings.http.loopback else keys,
            mounts=[openwhisk.mount(whisk)],
        )
        at = Started(
            f"http://{http_at}",
            f"coap://{coap_at}",
            settings.data,
            not settings.http.loopback,
            registry.holder,
            wasmiot.url if wasmiot else None,
        )
        http = HttpServer(configured(app), lambda: started(at))
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # bugs, not what clients send
        with _signals(http, feed.end), contextlib.suppress(asyncio.CancelledError):
            await http.serve(sockets=[http_socket])


def _data_words(data: str) -> str:
    """What makes a command of this data's, behind its other words."""
    return "" if data == str(default_data()) else f" --data {data}"


async def _open(data: str) -> Engine:
    if "://" not in data:
        try:
            await asyncio.to_thread(Path(data).parent.mkdir, parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"there is no place for {data}", cause=str(error), next_step="choose another one with --data"
            ) from None
    return await open_engine(data)


@contextlib.contextmanager
def _signals(http: uvicorn.Server, stopping: Callable[[], None]) -> Iterator[None]:
    """stopping: called when the server is told to stop, for what would not end by itself."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def told() -> None:
        if http.should_exit:
            http.force_exit = True
            logging.getLogger("uvicorn.error").setLevel(
                logging.CRITICAL
            )  # or it tells of each that is dropped
            task.cancel()
        http.should_exit = True
        stopping()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _task(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await end(task)


async def _housekeeping(
    engine: Engine, repository: Repository, deployments: Deployments, log: Callable[[str], None]
) -> None:
    """Of several servers, one at a time does it."""
    holder = f"{socket.gethostname()}-{secrets.token_hex(8)}"

    async def pinned(digest: str) -> bool:
        return await deployments.pinned(digest) or await wasmiot_records.holds(engine, digest)

    while True:
        try:
            lease = await engine.leases.acquire("housekeeping", holder, HOUSEKEEPING_S)
            if lease is not None:
                await repository.collect(pinned)
                await engine.compact()
                await (await engine.log(EVENTS)).trim(keep=KEPT_IN_LOG)
        except EngineError as error:
            log(f"housekeeping: {error}")
        await engine.clock.sleep(HOUSEKEEPING_S)


def _address_of(made: socket.socket) -> Address:
    host, port = made.getsockname()[:2]
    return Address(host, port)
