"""Deployments with real nodes, in this process: an engine, a registry, a repository, a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from support import HOST, built

from wasmote.adapters import apps
from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.adapters.validator import Validator
from wasmote.node import Node
from wasmote.protocol.section import with_section
from wasmote_fleet.deploy import Deployments, Phase, PlacedState, Progress, parse_mapping
from wasmote_fleet.deploy.facts import boot_of
from wasmote_fleet.engine import Engine, open_engine
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.registry import Change, Registry, State
from wasmote_fleet.repository import Repository

BEAT_S = 0.4
LEASE_S = 2.0
PATIENCE_S = 60.0


class DeployWorld:
    """One server's parts; nodes are the test's."""

    engine: Engine
    registry: Registry
    repository: Repository
    gateway: Gateway
    deployments: Deployments

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def adopt(self, nodes: Mapping[str, Emulator], **labels: Mapping[str, str]) -> None:
        """Until all are up. labels: by node."""
        await asyncio.gather(
            *(self.registry.adopt(str(node.uri), labels=labels.get(ep)) for ep, node in nodes.items())
        )
        for ep in nodes:
            await self.until_state(ep, State.UP)

    async def until_state(self, id: str, state: State) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while (view := self.registry.get(id)) is None or view.state is not state:
                await self.registry.news()

    async def publish(self, app: str, version: str = "1", **quotas: int) -> str:
        """An app of wasm_apps as this version, which is another module; its digest. quotas: of its section."""
        loaded = apps.load(app)
        assert loaded.section is not None
        section = dataclasses.replace(loaded.section, version=version, **quotas)  # type: ignore[arg-type]
        module = with_section(loaded.data, section)
        return (await self.repository.publish(loaded.name, module)).module.digest

    async def apply(self, id: str, *functions: dict[str, Any], **rest: Any) -> Progress:
        """Apply, and wait until nothing more happens by itself."""
        await self.deployments.apply(parse_mapping({"id": id, "functions": list(functions), **rest}))
        return await self.deployments.wait(id, timeout_s=PATIENCE_S)

    async def until(self, id: str, phase: Phase, *, ready: int | None = None) -> Progress:
        async with asyncio.timeout(PATIENCE_S):
            async for found in self.deployments.progress(id):
                if found.phase is phase and ready in (None, found.ready):
                    return found
        raise AssertionError(f"{id} did not become {phase}")

    async def until_wave(self, id: str, number: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            async for found in self.deployments.progress(id):
                if found.wave >= number:
                    return

    async def until_rebooted(self, id: str) -> None:
        """Until it was heard of again, in another boot than when its functions were last seen."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                view = self.registry.get(id)
                boots = {placed.boot for placed in self.deployments.records().get(id, {}).values()}
                if view is not None and view.state is State.UP and boot_of(view) not in boots:
                    return
                events = [event.kind async for event in self.registry.events(wait=False) if event.node == id]
                if Change.REBOOTED in events:
                    return
                await asyncio.sleep(0.1)

    async def until_still(self) -> None:
        """Until nothing is on its way in or out."""

        def still() -> bool:
            found = [placed for of_node in self.deployments.records().values() for placed in of_node.values()]
            return all(placed.state is PlacedState.READY for placed in found)

        await eventually(still, "all is ready")

    async def until_gone(self, node: str, name: str) -> None:
        """Until no deployment has, or had, a function there."""
        await eventually(lambda: name not in self.deployments.records().get(node, {}), f"{name} goes")


async def eventually(true: Callable[[], bool], what: str) -> None:
    """Wait until it is so."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not true():
        assert asyncio.get_running_loop().time() < end, f"not in {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def deploy_world(folder: Path) -> AsyncIterator[DeployWorld]:
    world = DeployWorld()
    validator = await asyncio.to_thread(Validator.load)
    async with AsyncExitStack() as stack:
        world.engine = await open_engine(str(folder / "fleet.db"))
        stack.push_async_callback(world.engine.close)
        world.repository = Repository(world.engine, validator)
        world.registry = await stack.enter_async_context(
            Registry(world.engine, beat_s=BEAT_S, lease_s=LEASE_S)
        )
        world.gateway = await stack.enter_async_context(
            Gateway(world.registry, world.repository, validator, world.engine)
        )
        world.deployments = await stack.enter_async_context(
            Deployments(world.engine, world.repository, world.registry, world.gateway, lease_s=LEASE_S)
        )
        yield world


@contextlib.asynccontextmanager
async def nodes(*eps: str, port: int = 0, pool: int = 300_000) -> AsyncIterator[dict[str, Emulator]]:
    """Host nodes, by their names. They may be killed. pool: bytes for functions."""
    board, image = find_board(Project.find(), HOST), built(HOST)
    async with AsyncExitStack() as stack:
        found = {}
        for ep in eps:
            emulator = Emulator(board, image, udp_port=port, arguments=["--ep", ep, "--pool", str(pool)])
            found[ep] = await stack.enter_async_context(emulator)
        yield found


async def on_node(emulator: Emulator) -> list[str]:
    """The functions that a node has, as it says itself."""
    assert emulator.uri is not None
    async with Node(emulator.uri) as node:
        return sorted(link.name for link in await node.ls())
