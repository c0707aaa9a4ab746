"""What the requests must know of deployments and nodes, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wasmote.protocol.answers import CallResult, FunctionInfo
from wasmote_fleet.requests.records import Body


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


class Presence(Protocol):
    """Whether nodes are there."""

    def boot_of(self, node_id: str) -> object:
        """Something that stays the same while the node is there and has not rebooted; None when it is gone."""
        ...
