"""Deployments with real nodes, in this process: an engine, a registry, a repository, a gateway."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping
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
from wasmote_fleet.deploy import Deployments, Phase, Progress, parse_mapping
from wasmote_fleet.engine import Engine, open_engine
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.registry import Registry, State
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

    async def publish(self, app: str, version: str = "1", *, heap: int | None = None) -> str:
        """An app of wasm_apps as this version, which is another module; its digest. heap: bytes of it."""
        loaded = apps.load(app)
        assert loaded.section is not None
        changes: dict[str, Any] = {"version": version} | ({} if heap is None else {"heap": heap})
        module = with_section(loaded.data, dataclasses.replace(loaded.section, **changes))
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
async def nodes(*eps: str, options: tuple[str, ...] = ()) -> AsyncIterator[dict[str, Emulator]]:
    """Host nodes, by their names."""
    board, image = find_board(Project.find(), HOST), built(HOST)
    async with AsyncExitStack() as stack:
        found = {}
        for ep in eps:
            emulator = Emulator(board, image, arguments=["--ep", ep, *options])
            found[ep] = await stack.enter_async_context(emulator)
        yield found


async def on_node(emulator: Emulator) -> list[str]:
    """The functions that a node has, as it says itself."""
    assert emulator.uri is not None
    async with Node(emulator.uri) as node:
        return sorted(link.name for link in await node.ls())
