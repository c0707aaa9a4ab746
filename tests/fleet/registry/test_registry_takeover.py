"""Two registries on one fleet: one dies, and the other takes its nodes over."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fleet_world import BEAT_S, LEASE_S, Watcher, eventually, node, sqlite
from nats_server import NatsServer

from wasmote.errors import RefusedError
from wasmote_fleet.engine import Engine, open_engine
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import Change, Registry, State

pytestmark = pytest.mark.slow

EXPIRY_LATE_S = 2.0  # of the engine


@contextlib.asynccontextmanager
async def engines(driver: str, folder: Path) -> AsyncIterator[tuple[Engine, Engine]]:
    """Two servers' engines on the same data; SQLite has one for both."""
    if driver == "sqlite":
        async with sqlite(folder) as engine:
            yield engine, engine
        return
    server = NatsServer(folder)
    try:
        first = await open_engine(server.url)
        second = await open_engine(server.url)
        try:
            yield first, second
        finally:
            await first.close()
            await second.close()
    finally:
        server.stop()


async def die(registry: Registry) -> None:
    """What kill -9 leaves: tasks that have ended, leases that nobody renews or releases."""
    await registry._settler.close()
    keepers = registry._holdings._keepers
    await end(*registry._tasks, *(task for _, task in keepers.values()))
    keepers.clear()


@pytest.mark.parametrize("driver", ["sqlite", "jetstream"])
async def test_registry_takes_over_from_one_that_died(driver: str, tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    async with (
        engines(driver, tmp_path) as (first_engine, second_engine),
        contextlib.AsyncExitStack() as stack,
    ):
        emulators = [await stack.enter_async_context(node(name)) for name in names]
        first = Registry(first_engine, server="one", beat_s=BEAT_S, lease_s=LEASE_S)
        await first.start()
        for emulator in emulators:
            assert emulator.uri is not None
            await first.adopt(emulator.uri)
        for name in names:
            await Watcher(first).until(name, Change.UP)
        async with Registry(second_engine, server="two", beat_s=BEAT_S, lease_s=LEASE_S) as second:
            await eventually(lambda: len(second.nodes()) == 3, "the second knows all nodes")
            await asyncio.sleep(LEASE_S + EXPIRY_LATE_S)
            assert {view.server for view in second.nodes()} == {first.holder}  # as long as the first lives
            with pytest.raises(RefusedError, match="does not speak with node a"):
                await second.node("a")
            tokens = {name: first.lease(name).token for name in names}
            loop = asyncio.get_running_loop()
            died_at = loop.time()
            await die(first)
            await eventually(
                lambda: all(
                    view.server == second.holder and view.state is State.UP for view in second.nodes()
                ),
                "the second has all nodes",
            )
            took_s = loop.time() - died_at
            assert took_s < 2 * LEASE_S + EXPIRY_LATE_S
            assert all(second.lease(name).token > tokens[name] for name in names)
            events = Watcher(second)
            for name in names:
                unknown = await events.until(name, Change.UNKNOWN)
                await events.until(name, Change.UP, after=unknown.offset)
                assert await events.kinds(name) == [Change.JOINED, Change.UP, Change.UNKNOWN, Change.UP]
            assert (await (await second.node("a")).device())["ep"] == "a"


@pytest.mark.parametrize("driver", ["sqlite", "jetstream"])
async def test_registry_that_stops_hands_over_at_once(driver: str, tmp_path: Path) -> None:
    async with engines(driver, tmp_path) as (first_engine, second_engine), node("a") as emulator:
        assert emulator.uri is not None
        async with Registry(second_engine, server="two", beat_s=BEAT_S, lease_s=30.0) as second:
            async with Registry(first_engine, server="one", beat_s=BEAT_S, lease_s=30.0) as first:
                await first.adopt(emulator.uri)
                await eventually(
                    lambda: any(view.server and view.state is State.UP for view in first.nodes()),
                    "one has it",
                )
                others = [registry for registry in (first, second) if first.get("a")]
                assert len(others) == 2
            await eventually(
                lambda: (view := second.get("a")) is not None and view.server == second.holder,
                "the other has it",
            )
            assert Change.UNKNOWN not in await Watcher(second).kinds("a")
