"""Nodes by multicast DNS, on the loopback interface: found, taken in, announced. What speaks with us is zeroconf
itself, in an instance of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fleet_world import BEAT_S, LEASE_S, eventually, kill, node, port_of, sqlite
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from wasmote.errors import LocalError
from wasmote_fleet.registry import Registry, State
from wasmote_fleet.registry.discovery import Discovery
from wasmote_fleet.registry.mdns import COAP, WEBTHING, Announcer, Mdns, Service, adopt_announced

pytestmark = pytest.mark.slow
LOOPBACK = ("127.0.0.1",)


def unused() -> str:
    """A name that no other test on this machine has: they all hear each other."""
    return f"n{secrets.token_hex(5)}"


@contextlib.asynccontextmanager
async def others() -> AsyncIterator[AsyncZeroconf]:
    zeroconf = AsyncZeroconf(interfaces=list(LOOPBACK))
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()


async def offer(zeroconf: AsyncZeroconf, name: str, port: int, type: str = COAP) -> AsyncServiceInfo:
    info = AsyncServiceInfo(
        type,
        f"{name}.{type}",
        port=port,
        addresses=[ipaddress.ip_address("127.0.0.1").packed],
        properties={"x": "y"},
        server=f"{name}.local.",
    )
    await (await zeroconf.async_register_service(info))
    return info


async def look_up(zeroconf: AsyncZeroconf, type: str, name: str) -> AsyncServiceInfo | None:
    """What somebody who asks for this service is told now."""
    info = AsyncServiceInfo(type, f"{name}.{type}")
    return info if await info.async_request(zeroconf.zeroconf, 1500) else None


async def until_told(
    zeroconf: AsyncZeroconf, type: str, name: str, right: Callable[[AsyncServiceInfo], bool]
) -> AsyncServiceInfo:
    async with asyncio.timeout(20):
        while True:
            info = await look_up(zeroconf, type, name)
            if info is not None and right(info):
                return info
            await asyncio.sleep(0.2)


async def running(work: asyncio.Task[None]) -> None:
    work.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await work


async def test_mdns_finds_what_others_announce() -> None:
    name = unused()
    async with others() as other, Mdns(LOOPBACK) as mdns:
        await offer(other, name, 5700)
        found = {service.name: service for service in await mdns.browse(2.0)}
        assert found[name] == Service(COAP, name, LOOPBACK, 5700, {"x": "y"})
        assert found[name].uris == ("coap://127.0.0.1:5700",)


async def test_mdns_says_where_it_cannot_be_used() -> None:
    with pytest.raises(LocalError, match="multicast DNS cannot be used"):
        async with Mdns(["192.0.2.1"]):
            pass


async def test_mdns_takes_in_nodes_and_leaves_others_alone(tmp_path: Path) -> None:
    name, stranger = unused(), unused()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with (
            sqlite(tmp_path) as engine,
            Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
            others() as other,
            Mdns(LOOPBACK) as mdns,
            node(name) as emulator,
        ):
            await offer(other, stranger, silent.getsockname()[1])
            work = asyncio.create_task(adopt_announced(mdns, registry))
            try:
                await offer(other, f"{name} in the hall", port_of(emulator))
                await eventually(lambda: registry.get(name) is not None, "it was taken in")
                view = registry.get(name)
                assert view is not None and view.record.uri == emulator.uri and view.record.adopted
                assert stranger not in {view.record.id for view in registry.nodes()}
            finally:
                await running(work)


async def test_mdns_announces_the_nodes_that_answer(tmp_path: Path) -> None:
    name = unused()
    async with (
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
        Mdns(LOOPBACK) as mdns,
        node(name) as emulator,
    ):
        announcer = Announcer(mdns, registry, webthing=lambda id: ("127.0.0.1", 5123) if id == name else None)
        work = asyncio.create_task(announcer.run())
        try:
            assert emulator.uri is not None
            await registry.adopt(emulator.uri)
            async with others() as other:
                info = await until_told(other, COAP, name, lambda _info: True)
                assert (info.parsed_addresses(), info.port) == (["127.0.0.1"], port_of(emulator))
                assert info.properties == {b"ep": name.encode(), b"rt": b"wm.d", b"path": b"/d"}
                thing = await until_told(other, WEBTHING, name, lambda _info: True)
                assert (thing.parsed_addresses(), thing.port) == (["127.0.0.1"], 5123)
                assert thing.properties == {b"path": b"/", b"tls": b"0", b"address": b"127.0.0.1"}
            kill(emulator)
            await eventually(
                lambda: (view := registry.get(name)) is not None and view.state is State.DOWN, "it is down"
            )
            async with asyncio.timeout(20):
                while True:
                    async with others() as other:  # one that has heard nothing yet
                        if await look_up(other, COAP, name) is None:
                            break
        finally:
            await running(work)


async def test_mdns_does_not_announce_loopback_to_a_network(tmp_path: Path) -> None:
    name = unused()
    async with (
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
        Mdns(LOOPBACK) as mdns,
        node(name) as emulator,
    ):
        assert emulator.uri is not None
        await registry.adopt(emulator.uri)
        await eventually(
            lambda: (view := registry.get(name)) is not None and view.state is State.UP, "it is up"
        )
        view = registry.get(name)
        assert view is not None
        assert [service.type for service in await Announcer(mdns, registry)._services(view)] == [COAP]
        mdns.addresses = ()  # all interfaces
        assert await Announcer(mdns, registry)._services(view) == []


async def test_discovery_lists_both_ways_of_finding(tmp_path: Path) -> None:
    here, there, stranger = unused(), unused(), unused()
    async with (
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
        others() as other,
        node(here) as one,
        node(there, "--bind", "any") as two,
    ):
        assert one.uri is not None
        await registry.adopt(one.uri)
        await offer(other, "in the fleet", port_of(one))
        await offer(other, "announced only", port_of(two))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            await offer(other, stranger, silent.getsockname()[1])
            # The multicast goes to the port of the second node, which listens to the groups.
            discovery = Discovery(registry, addresses=LOOPBACK, port=port_of(two))
            looking = asyncio.create_task(discovery.look(6.0))
            await asyncio.sleep(0.1)
            assert discovery.busy
            found, problems = await looking
        assert problems == []
        by_uri = {one.uri: one for one in found}
        adopted = by_uri[one.uri]
        assert (adopted.ep, adopted.node, adopted.name) == (here, here, "in the fleet")
        announced = by_uri[f"coap://127.0.0.1:{port_of(two)}"]
        assert (announced.ep, announced.node, announced.name) == (there, None, "announced only")
        assert "mdns" in adopted.how and "mdns" in announced.how
        assert [one for one in found if one.ep == there and "multicast" in one.how]
        assert stranger in {one.name for one in found if one.ep is None}
        assert not discovery.busy
