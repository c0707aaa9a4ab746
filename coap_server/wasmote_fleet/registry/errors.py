"""What the registry raises beside what `wasmote.node` and the engine raise."""

from __future__ import annotations

from wasmote.errors import InputError, RefusedError


class UnknownNode(InputError):
    """There is no node of this name in the fleet."""

    def __init__(self, node_id: str) -> None:
        super().__init__(
            f"there is no node '{node_id}'",
            next_step="`wasmote fleet nodes` lists the fleet, `wasmote fleet adopt URI` adds a node",
        )


class NodeExists(InputError):
    """Another node has this name."""


class WrongNode(RefusedError):
    """What answers at an address is no node, one without a name, or another one."""


class NotHere(RefusedError):
    """Another server, or none, speaks with the node. Nothing was sent."""
