"""What the reconciler needs of nodes. The gateway does it; whichever server is asked, the one that holds the node's
lease sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from wasmote.errors import (
    LocalError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)
from wasmote.protocol.answers import FunctionInfo

# What a node says of a module, and will say again: wrong, unsigned, too large, invalid.
_FOR_GOOD = ("4.00", "4.01", "4.02", "4.03", "4.05", "4.06", "4.09", "4.13", "4.15", "4.22")


class Hands(Protocol):
    """Each method may be repeated. They raise WasmoteError."""

    def busy_at(self, node_id: str) -> int:
        """How much it does at a node now."""
        ...

    async def push(self, node_id: str, name: str, digest: str, *, deadline_s: float) -> object:
        """Install the module of this digest, or replace what is there."""
        ...

    async def function(self, node_id: str, name: str, *, deadline_s: float) -> FunctionInfo:
        """What the node knows about a function."""
        ...

    async def remove(self, node_id: str, name: str, *, deadline_s: float) -> None:
        """Remove a function; that there is none is no error."""
        ...

    async def device(self, node_id: str, *, deadline_s: float) -> Mapping[str, Any]:
        """The node's `/d`, as it is now."""
        ...


def is_absent(error: WasmoteError) -> bool:
    """Whether the node says that it has no such function."""
    return isinstance(error, RefusedError) and error.details.get("code") == "4.04"


def is_for_good(error: WasmoteError) -> bool:
    """Whether the node would refuse it again."""
    if isinstance(error, UnreachableError | UnansweredError | LocalError):
        return False
    if isinstance(error, TrapError):
        return True  # its start function
    return isinstance(error, RefusedError) and error.details.get("code") in _FOR_GOOD


def back_off_s(attempts: int, chance: float) -> float:
    """How long to wait after so many failures in a row: 0.5 s, then twice as long each time, to 30 s; a quarter less
    at most. chance: 0 to 1, random, so that nodes of a fleet do not come all at once."""
    return float(min(30.0, 0.5 * 2.0 ** min(attempts - 1, 10)) * (1.0 - 0.25 * chance))
