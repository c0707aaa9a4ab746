"""Requests with real nodes and a real engine. Deployments are fixed: what they do otherwise is tested elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "registry"))
from fleet_world import BEAT_S, LEASE_S, eventually, kill, node, sqlite

from wasmote.adapters.emulator import Emulator
from wasmote.adapters.tools import need_tool
from wasmote.adapters.validator import Validator
from wasmote.protocol.section import Section, with_section
from wasmote_fleet.engine import Engine
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.registry import Registry, State
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests, UnknownTarget
from wasmote_fleet.requests.places import RegistryPresence

__all__ = ["eventually", "kill", "node", "sqlite"]

DEADLINE_S = 40.0

# count: adds to a sum that stays, so a call that runs twice is seen. get: the sum. slow: as long as it is told to take.
COUNTER = """(module
  (global $sum (mut i32) (i32.const 0))
  (func (export "count") (param $n i32) (result i32)
    (global.set $sum (i32.add (global.get $sum) (local.get $n)))
    (global.get $sum))
  (func (export "get") (result i64) (i64.extend_i32_s (global.get $sum)))
  (func $spin (export "spin") (param $n i32) (result i32)
    (global.set $sum (i32.add (global.get $sum) (i32.const 1)))
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (i32.const 7))
  (func (export "once") (param $n i32) (result i32) (call $spin (local.get $n))))"""
# Numbers of each kind, and a stream that becomes numbers.
MATHS = """(module
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "[3, 4]")
  (func (export "twice") (param i32) (result i32) (i32.shl (local.get 0) (i32.const 1)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "pair") (param i32) (result i32 i32)
    (local.get 0) (i32.add (local.get 0) (i32.const 1)))
  (func (export "big") (param i32) (result i64) (i64.const 9007199254740995))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (func (export "tenth") (param i32) (result f32) (f32.const 0.1))
  (func (export "trap") (param i32) (result i32) (unreachable))
  (func (export "list") (drop (call $output (i32.const 0) (i32.const 6)))))"""
ECHO = (Path(__file__).resolve().parents[2] / "integration" / "modules" / "echo.wat").read_text()
SLOW_FUEL = 2_000_000_000


@functools.cache
def module(text: str, name: str, idempotent: tuple[str, ...] = (), output: int | None = None) -> bytes:
    made = subprocess.run(
        [need_tool("wat2wasm"), "--output=-", "-"], input=text.encode(), capture_output=True, check=True
    ).stdout
    return with_section(
        made, Section(name=name, heap=0, fuel=SLOW_FUEL, output=output, idempotent=idempotent)
    )


def counter() -> bytes:
    return module(COUNTER, "counter", ("get", "spin"))


@dataclass(frozen=True)
class At:
    node_id: str
    name_on_node: str
    digest: str


@dataclass
class FixedPlaces:
    """deployments: their functions, with the digest and the nodes; chains: their steps."""

    functions: dict[tuple[str, str], tuple[str, list[str]]] = field(default_factory=dict)
    chains: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    async def places(self, deployment_id: str, function_name: str) -> Sequence[At]:
        digest, nodes = self.functions[deployment_id, function_name]
        return [At(each, function_name, digest) for each in nodes]

    async def chain(self, deployment_id: str, name: str) -> Sequence[str] | None:
        self._known(deployment_id)
        return self.chains.get((deployment_id, name))

    async def module(self, deployment_id: str, function_name: str) -> str | None:
        self._known(deployment_id)
        found = self.functions.get((deployment_id, function_name))
        return None if found is None else found[0]

    async def around(self, node_id: str, name_on_node: str | None) -> Sequence[str]:
        return sorted(
            {
                deployment
                for (deployment, name), (_, nodes) in self.functions.items()
                if node_id in nodes and name_on_node in (None, name)
            }
        )

    def _known(self, deployment_id: str) -> None:
        if not any(id == deployment_id for id, _ in self.functions):
            raise UnknownTarget(f"there is no deployment '{deployment_id}'", next_step="look")


@dataclass
class World:
    engine: Engine
    registry: Registry
    repository: Repository
    gateway: Gateway
    places: FixedPlaces
    requests: Requests
    nodes: dict[str, Emulator]

    async def deploy(self, deployment: str, name: str, data: bytes, *nodes: str) -> None:
        """Publish a module, push it to the nodes, and let the deployment have it there."""
        published = await self.repository.publish(name, data, replace=True)
        for each in nodes:
            await self.gateway.push(each, name, published.version.digest, deadline_s=DEADLINE_S)
        self.places.functions[deployment, name] = (published.version.digest, list(nodes))

    async def sum_of(self, node_id: str, name: str = "counter") -> object:
        """What the counter on a node stands at."""
        return (await self.gateway.call(node_id, name, "get", None, deadline_s=DEADLINE_S)).value

    def other(self, **options: int) -> Requests:
        """Requests as they are after a restart."""
        presence = RegistryPresence(self.registry)
        return Requests(self.engine, self.repository, self.gateway, self.places, presence, **options)


@contextlib.asynccontextmanager
async def world(engine: Engine, *names: str, **options: int) -> AsyncIterator[World]:
    """Nodes with these names, and requests on an engine."""
    async with contextlib.AsyncExitStack() as stack:
        nodes = {name: await stack.enter_async_context(node(name)) for name in names}
        registry = await stack.enter_async_context(Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S))
        for each in nodes.values():
            assert each.uri is not None
            await registry.adopt(each.uri)
        validator = await asyncio.to_thread(Validator.load)
        repository = Repository(engine, validator)
        gateway = await stack.enter_async_context(Gateway(registry, repository, validator, engine))
        for name in names:
            await eventually(lambda name=name: is_up(registry, name), f"{name} is up")  # type: ignore[misc]
        places = FixedPlaces()
        made = Requests(engine, repository, gateway, places, RegistryPresence(registry), **options)
        await stack.enter_async_context(made)
        yield World(engine, registry, repository, gateway, places, made, nodes)


async def killed(emulator: Emulator) -> None:
    """kill -9, and wait until it is gone: what arrives before that may be lost in its socket."""
    kill(emulator)
    await emulator.wait()


def is_up(registry: Registry, name: str) -> bool:
    view = registry.get(name)
    return view is not None and view.state is State.UP and view.server != ""
