"""Nodes that are killed and started again at random, while deployments come, change and go."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path

import pytest
from deploy_world import DeployWorld, deploy_world
from support import HOST, built

from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.errors import WasmoteError
from wasmote_fleet.deploy import Phase, Spec, parse_mapping
from wasmote_fleet.registry import State

NODES = [f"n{index}" for index in range(8)]
LASTS_S = 12.0
SEED = 7


class Coming:
    """A node that comes and goes, at one port."""

    def __init__(self, ep: str) -> None:
        self.ep = ep
        self.port = 0
        self.emulator: Emulator | None = None

    async def start(self) -> None:
        arguments = ["--ep", self.ep, "--pool", "300000"]
        board = find_board(Project.find(), HOST)
        self.emulator = Emulator(board, built(HOST), udp_port=self.port, arguments=arguments)
        await self.emulator.start()
        self.port = int(str(self.emulator.uri).rpartition(":")[2])

    async def kill(self) -> None:
        assert self.emulator is not None
        assert self.emulator.pid is not None
        os.kill(self.emulator.pid, signal.SIGKILL)
        await self.emulator.stop()


async def disturb(nodes: list[Coming], chance: random.Random, end: float) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < end:
        node = chance.choice(nodes)
        await node.kill()
        await asyncio.sleep(chance.choice([0.0, 0.3, 1.5]))
        await node.start()
        await asyncio.sleep(chance.uniform(0.2, 0.8))


async def change(world: DeployWorld, chance: random.Random, end: float) -> None:
    loop = asyncio.get_running_loop()
    version = 1
    while loop.time() < end:
        version += 1
        await world.publish("fib", str(version))
        for id, count in (("all", "all"), ("some", 3)):
            with contextlib.suppress(WasmoteError):  # not admitted just now
                await world.deployments.apply(spec(id, count))
        if chance.random() < 0.3:
            with contextlib.suppress(WasmoteError):
                await world.deployments.remove("some")
        await asyncio.sleep(chance.uniform(1.0, 4.0))


def spec(id: str, count: object) -> Spec:
    functions = [{"name": id, "function": "fib", "count": count}]
    return parse_mapping({"id": id, "functions": functions, "rollout": {"max_failures": 100}})


@pytest.mark.slow
async def test_all_is_as_it_should_be_once_nodes_are_left_alone(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    nodes = [Coming(ep) for ep in NODES]
    loop = asyncio.get_running_loop()
    try:
        for node in nodes:
            await node.start()
        async with deploy_world(tmp_path) as world:
            await world.adopt({node.ep: node.emulator for node in nodes if node.emulator})
            await world.publish("fib", "1")
            end = loop.time() + LASTS_S
            await asyncio.gather(disturb(nodes, chance, end), change(world, chance, end))
            for ep in NODES:
                await world.until_state(ep, State.UP)
            digest = await world.publish("fib", "last")
            for id, count, ready in (("all", "all", len(NODES)), ("some", 3, 3)):
                await world.deployments.apply(spec(id, count))
                found = await world.until(id, Phase.READY, ready=ready)
                assert {one.digest for one in found.nodes} == {digest}
            await world.until_still()
            having = {"all": 0, "some": 0}
            for ep in NODES:
                for link in await world.gateway.functions(ep, deadline_s=10):
                    having[link.name] += 1
                    info = await world.gateway.function(ep, link.name, deadline_s=10)
                    assert info.sha256.hex() == digest
            assert having == {"all": len(NODES), "some": 3}
    finally:
        for node in nodes:
            if node.emulator is not None:
                await node.emulator.stop()
