"""Registries and real host nodes."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from fleet_world import BEAT_S, LEASE_S, Watcher, eventually, kill, node, port_of, sqlite

sys.path.append(str(Path(__file__).resolve().parents[2] / "integration"))
from lossy import LossyRelay, Weather

from wasmote.errors import InputError, RefusedError, UnreachableError
from wasmote.protocol.messages import GET
from wasmote_fleet.registry import Change, NodeView, Registry, State
from wasmote_fleet.registry.records import decode

pytestmark = pytest.mark.slow


def view_of(registry: Registry, id: str) -> NodeView:
    view = registry.get(id)
    assert view is not None
    return view


async def test_registry_a_node_that_misses_one_beat_is_silent_and_not_down(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as engine, node("a") as emulator:
        at = ("127.0.0.1", port_of(emulator))
        async with (
            LossyRelay(at, Weather(double=0, late=0)) as relay,
            Registry(engine, beat_s=1.0) as registry,
        ):
            await registry.adopt(relay.uri)
            events = Watcher(registry)
            last = await events.until("a", Change.UP)
            rounds = 4
            for _ in range(rounds):
                relay.deaf_to = frozenset({GET})
                last = await events.until("a", Change.SILENT, after=last.offset)
                relay.deaf_to = frozenset()
                last = await events.until("a", Change.UP, after=last.offset)
            assert await events.kinds("a") == [Change.JOINED, Change.UP, *[Change.SILENT, Change.UP] * rounds]


async def test_registry_adopts_a_node_and_knows_what_it_can(tmp_path: Path) -> None:
    async with (
        sqlite(tmp_path) as engine,
        node("a") as emulator,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
    ):
        assert emulator.uri is not None
        record = await registry.adopt(emulator.uri, labels={"room": "1"})
        assert (record.id, record.uri, record.adopted) == ("a", emulator.uri, True)
        events = Watcher(registry)
        await events.until("a", Change.UP)
        assert await events.kinds("a") == [Change.JOINED, Change.UP]
        view = view_of(registry, "a")
        assert (view.state, view.server) == (State.UP, registry.holder)
        assert view.record.labels == {"room": "1"}
        assert view.record.imports == tuple((await (await registry.node("a")).device())["imports"])
        assert "wasmote" in view.record.imports
        assert "sign-ext" in view.record.features
        # The same figures as the node gives itself, through the client that the registry shares.
        device = await (await registry.node("a")).device()
        assert view.record.memory_bytes == device["ram"]["total"] > 0
        assert view.record.flash_bytes is None
        assert view.record.device["limits"] == device["limits"]
        # Beats do not write.
        before = await engine.kv.get("nodes/a")
        await asyncio.sleep(4 * BEAT_S)
        assert before is not None
        assert await engine.kv.get("nodes/a") == before
        assert decode(before.value) == view.record

        await registry.adopt(emulator.uri)  # again: nothing new
        await registry.set_labels("a", {"room": "2"})
        assert view_of(registry, "a").record.labels == {"room": "2"}
        assert await registry.remove("a")
        assert not await registry.remove("a")
        await eventually(lambda: not registry.nodes(), "it is forgotten")
        assert await events.kinds("a") == [Change.JOINED, Change.UP, Change.LEFT]
        async with asyncio.timeout(10):
            while True:
                if not await engine.leases.held():
                    break
                await asyncio.sleep(0.05)


async def test_registry_tells_silence_death_return_and_reboot(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as engine, Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry:
        events = Watcher(registry)
        async with node("a") as emulator:
            assert emulator.uri is not None
            port = port_of(emulator)
            await registry.adopt(emulator.uri)
            up = await events.until("a", Change.UP)
            await asyncio.sleep(1.5)  # longer than clocks may differ
            kill(emulator)
            silent = await events.until("a", Change.SILENT)
            down = await events.until("a", Change.DOWN)
            assert silent.cause
        async with node("a", port=port):
            again = await events.until("a", Change.UP, after=down.offset)
            assert await events.kinds("a") == [
                Change.JOINED,
                Change.UP,
                Change.SILENT,
                Change.DOWN,
                Change.REBOOTED,
                Change.UP,
            ]
            assert up.at < silent.at < down.at < again.at
            assert view_of(registry, "a").state is State.UP


async def test_registry_adopts_a_serial_node(tmp_path: Path) -> None:
    async with (
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
        node("a", serial=True) as emulator,
    ):
        events = Watcher(registry)
        record = await registry.adopt(f"serial:{emulator.serial_device}")
        assert record.uri == f"serial:{emulator.serial_device}"
        await events.until("a", Change.UP)
        assert (await (await registry.node("a")).device())["ep"] == "a"  # beside the beats, on one line
        await registry.adopt(record.uri, labels={"x": "y"})  # again, while it is open
        assert view_of(registry, "a").record.labels == {"x": "y"}
        kill(emulator)
        await events.until("a", Change.DOWN)


async def test_registry_does_not_take_one_node_for_another(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as engine, Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry:
        events = Watcher(registry)
        async with node("a") as emulator:
            assert emulator.uri is not None
            port = port_of(emulator)
            await registry.adopt(emulator.uri)
            await events.until("a", Change.UP)
        async with node("b", port=port):
            await events.until("a", Change.DOWN)
            await asyncio.sleep(3 * BEAT_S)
            assert view_of(registry, "a").state is State.DOWN
            assert registry.get("b") is None


async def test_registry_says_what_is_wrong(tmp_path: Path) -> None:
    async with sqlite(tmp_path) as engine, Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry:
        with pytest.raises(UnreachableError):
            await registry.adopt("coap://127.0.0.1:1")
        with pytest.raises(InputError):
            await registry.adopt("http://127.0.0.1")
        with pytest.raises(InputError):
            await registry.set_labels("nobody", {})
        with pytest.raises(InputError):
            await registry.set_beat("nobody", 0.0)
        with pytest.raises(RefusedError, match="no such node"):
            await registry.node("nobody")
        assert registry.nodes() == []


async def test_registry_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with node("a") as emulator:
        assert emulator.uri is not None
        async with sqlite(tmp_path) as engine:
            async with Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry:
                await registry.adopt(emulator.uri)
                await Watcher(registry).until("a", Change.UP)
            assert await engine.leases.held() == []  # a server that stops in order lets go at once
        async with sqlite(tmp_path) as engine, Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry:
            await eventually(lambda: view_of(registry, "a").server == registry.holder, "it has the lease")
            await asyncio.sleep(2 * BEAT_S)
            assert await Watcher(registry).kinds("a") == [Change.JOINED, Change.UP]  # nothing happened to it


async def test_registry_asks_each_node_at_its_own_pace(tmp_path: Path) -> None:
    """What the nodes count themselves tells how often they were asked, also beside one that is dead."""
    async with (
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
        node("a") as fast,
        node("b") as slow,
        node("c") as dead,
    ):
        events = Watcher(registry)
        for emulator, beat_s in ((fast, 0.2), (slow, 2.0), (dead, None)):
            assert emulator.uri is not None
            await registry.adopt(emulator.uri, beat_s=beat_s)
        for name in "abc":
            await events.until(name, Change.UP)
        kill(dead)
        await events.until("c", Change.DOWN)
        before = {name: await received(registry, name) for name in "ab"}
        await asyncio.sleep(4.0)
        asked = {name: await received(registry, name) - before[name] for name in "ab"}
        assert asked["a"] > 8  # 20 to 24 on a machine that has time
        assert asked["b"] <= 6
        assert await events.kinds("b") == [Change.JOINED, Change.UP]


async def received(registry: Registry, id: str) -> int:
    client = await registry.node(id)
    return int({entry.name: float(entry.value) for entry in await client.metrics()}["rx"])
