"""The nodes of the fleet as the gateway needs them, and those that a person adopted by their addresses.

A node is a key nodes/<id>, a JSON object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from wasmote.errors import InputError, RefusedError
from wasmote.node import Node, Tuning
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import Engine, Entry, RevisionConflict
from wasmote_fleet.gateway.errors import NodeExists, UnknownNode

# A node that is there answers at once; one that is not should not keep the person who adopts it waiting.
_LOOK = Tuning(ack_timeout_s=1.0, max_retransmit=2, reply_timeout_s=8.0, attempts=1, busy_wait_s=5.0)
_ID = re.compile(r"[A-Za-z0-9_.~%@-]{1,200}")


@dataclass(frozen=True, slots=True)
class FleetNode:
    """A node. id: its endpoint name, with what a path does not take as %XX. uri: coap://host:port or serial:DEVICE.
    since: when it was adopted. device: what its `/d` said then."""

    id: str
    ep: str
    uri: str
    since: float
    device: Mapping[str, Any]


class Nodes(Protocol):
    """The fleet's nodes."""

    async def adopt(self, uri: str) -> tuple[FleetNode, bool]:
        """Take the node at uri into the fleet; whether it is new. The same node again is no error. Raises InputError,
        NodeExists, RefusedError, UnreachableError, UnansweredError."""
        ...

    async def list(self) -> list[FleetNode]:
        """All of them, by id."""
        ...

    async def get(self, node_id: str) -> FleetNode:
        """One of them. Raises UnknownNode."""
        ...

    async def remove(self, node_id: str) -> None:
        """Let it go; nothing changes on the node. Raises UnknownNode."""
        ...


class AdoptedNodes:
    """Nodes that a person named by their addresses."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def adopt(self, uri: str) -> tuple[FleetNode, bool]:
        target = parse_target(uri)
        async with Node(target, tuning=_LOOK) as node:
            device = json.loads(json.dumps(await node.device(), default=str))
        ep = str(device.get("ep", ""))
        node_id = quote(ep, safe="")
        if not _ID.fullmatch(node_id):
            raise RefusedError(
                f"the node at {target} was not adopted",
                cause=f"its endpoint name is {ep!r}",
                next_step="give it one of 1 to 63 letters and digits (`wasmote emulate --ep`, or when it is built)",
            )
        found = FleetNode(node_id, ep, str(target), self._engine.clock.time(), device)
        while True:
            before = await self._engine.kv.get(f"nodes/{node_id}")
            if before is not None and (there := _decode(before)).uri != found.uri:
                raise NodeExists(
                    f"there is a node '{node_id}' already",
                    cause=f"its address is {there.uri}, not {found.uri}",
                    next_step=f"if it has moved: `wasmote fleet nodes {node_id} --rm`, then adopt it again",
                )
            try:
                await self._engine.kv.put(
                    f"nodes/{node_id}", _encode(found), expected=0 if before is None else before.revision
                )
            except RevisionConflict:
                continue
            return found, before is None

    async def list(self) -> list[FleetNode]:
        return [_decode(entry) for entry in await self._engine.kv.entries("nodes/")]

    async def get(self, node_id: str) -> FleetNode:
        entry = await self._engine.kv.get(f"nodes/{check_id(node_id)}")
        if entry is None:
            raise UnknownNode(node_id)
        return _decode(entry)

    async def remove(self, node_id: str) -> None:
        if not await self._engine.kv.delete(f"nodes/{check_id(node_id)}"):
            raise UnknownNode(node_id)


def check_id(node_id: str) -> str:
    """Raises InputError unless it could be a node's."""
    if not _ID.fullmatch(node_id):
        raise InputError(
            f"'{node_id}' is no name of a node",
            cause="it has 1 to 200 of the characters a-z A-Z 0-9 _ - . ~ % @",
            next_step="check its spelling; `wasmote fleet nodes` lists the fleet",
        )
    return node_id


def _encode(node: FleetNode) -> bytes:
    value = {
        "id": node.id,
        "ep": node.ep,
        "uri": node.uri,
        "adopted": True,
        "state": "joined",
        "since": node.since,
    }
    return json.dumps({**value, "device": node.device}).encode()


def _decode(entry: Entry) -> FleetNode:
    raw = json.loads(entry.value)
    return FleetNode(raw["id"], raw["ep"], raw["uri"], raw["since"], raw["device"])
