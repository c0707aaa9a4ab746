"""What the requests must know of deployments and nodes, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from wasmote.protocol.answers import CallResult, FunctionInfo
from wasmote_fleet.registry import Registry
from wasmote_fleet.registry import State as NodeState
from wasmote_fleet.requests.records import Body

_SLACK_S = 2.0  # of when a node booted, as its beats tell


class Place(Protocol):
    """Where a function of a deployment runs, or should."""

    @property
    def node_id(self) -> str: ...

    @property
    def name_on_node(self) -> str: ...

    @property
    def digest(self) -> str:
        """Of the module that is there."""
        ...


class Places(Protocol):
    """The deployments."""

    async def places(self, deployment_id: str, function_name: str) -> Sequence[Place]:
        """Where to call it, in this order; those that are ready. Raises InputError for a deployment or a function that
        is not there."""
        ...

    async def chain(self, deployment_id: str, name: str) -> Sequence[str] | None:
        """A chain's steps, function[/export]; None if there is no such chain. Raises InputError for a deployment that
        is not there."""
        ...

    async def module(self, deployment_id: str, function_name: str) -> str | None:
        """The digest of a function's module; None if the deployment has no such function. Raises InputError for a
        deployment that is not there."""
        ...

    async def around(self, node_id: str, name_on_node: str | None) -> Sequence[str]:
        """The deployments that have this function on this node; None: any function."""
        ...


class Caller(Protocol):
    """The gateway."""

    async def call(
        self,
        node_id: str,
        function: str,
        export: str | None,
        body: Body,
        *,
        deadline_s: float,
        context: str | None = None,
    ) -> CallResult: ...

    async def function(self, node_id: str, name: str, *, deadline_s: float) -> FunctionInfo: ...


@dataclass(frozen=True, slots=True)
class Sight:
    """A node as it was last seen. boot: its boot counter; began_at: when it booted; None where that is not known."""

    there: bool
    boot: int | None = None
    began_at: float | None = None

    def still(self, later: Sight) -> bool:
        """Whether it has been there all the time since."""
        if not later.there or (self.boot is not None and later.boot not in (None, self.boot)):
            return False
        return self.began_at is None or later.began_at is None or later.began_at - self.began_at < _SLACK_S


class Presence(Protocol):
    """Whether nodes are there."""

    def look(self, node_id: str) -> Sight: ...


class RegistryPresence:
    """Presence as the registry knows it. A node that it does not know yet may be there."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def look(self, node_id: str) -> Sight:
        view = self._registry.get(node_id)
        if view is None:
            return Sight(True)
        gone = view.state in (NodeState.DOWN, NodeState.LEFT)
        return Sight(not gone, view.record.boot, view.record.began_at)
