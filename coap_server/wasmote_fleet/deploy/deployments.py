"""Deployments: what should run where, and where it runs.

    async with Deployments(engine, repository, registry, gateway) as deployments:
        await deployments.apply(parse_toml(text))
        progress = await deployments.wait("flood", timeout_s=60)
        for place in await deployments.places("flood", "pre"): ...

Several servers on one engine share them: each deployment is reconciled by the one that holds its lease
`deployments/<id>`; all know all of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType

from wasmote.errors import InputError
from wasmote_fleet.deploy.hands import Hands
from wasmote_fleet.deploy.records import Deployment, PlacedState
from wasmote_fleet.deploy.spec import Spec
from wasmote_fleet.engine import Engine
from wasmote_fleet.registry import Registry
from wasmote_fleet.repository import Repository

log = logging.getLogger("wasmote.fleet.deploy")


class UnknownDeployment(InputError):
    """There is no deployment of this id, or it has no function of this name."""

    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}", next_step="`wasmote fleet deployments` lists what is deployed")


@dataclass(frozen=True, slots=True)
class Place:
    """A node that has a function. name_on_node: what it is called there. digest: which module that is, as last seen.
    state: ready, or pending while it is replaced, or looked for after a reboot."""

    node_id: str
    name_on_node: str
    digest: str
    state: PlacedState = PlacedState.READY


class Deployments:
    """`async with`, or start() and close()."""

    def __init__(self, engine: Engine, repository: Repository, registry: Registry, hands: Hands) -> None: ...

    async def apply(self, spec: Spec) -> Deployment:
        """Make spec what should be, as a new generation, with the modules that its versions are now. The same again
        goes on with a rollout that stopped; an older one rolls back. Raises Refused with the reason of each node,
        UnknownFunction, InputError, EngineError."""
        ...

    async def rollback(self, id: str) -> Deployment:
        """Apply the spec before the present one. Raises as apply(), UnknownDeployment."""
        ...

    async def get(self, id: str) -> Deployment:
        """Raises UnknownDeployment."""
        ...

    async def list(self) -> list[Deployment]:
        """All of them, by id."""
        ...

    async def remove(self, id: str) -> Deployment:
        """It should run nowhere any more; it is gone when that is so on all nodes that are there. Raises
        UnknownDeployment."""
        ...

    async def places(self, deployment_id: str, function_name: str) -> list[Place]:
        """Where to call a function, in the order in which to try: nodes that are up and have it ready first, those that
        are down last; in between by preference (its `nodes`), then the least busy. Empty: nowhere yet. Asks nobody.
        Raises UnknownDeployment."""
        ...
