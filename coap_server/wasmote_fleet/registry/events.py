"""What happened to nodes: records of the engine's log `events`, in order, which anyone may read from any offset."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from wasmote_fleet.engine import Engine, Record
from wasmote_fleet.registry.presence import Change

LOG = "events"
_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Event:
    """offset: in the log; a reader that has seen it goes on behind it. at: when, by the engine's clock. server: who
    saw it. boot: the node's boot counter, where it is known. cause: for a person, may be empty."""

    offset: int
    kind: Change
    node: str
    at: float
    server: str
    boot: int | None = None
    cause: str = ""


def encode(kind: Change, node: str, *, server: str, boot: int | None, cause: str) -> bytes:
    """A record of the log."""
    return json.dumps({"kind": kind, "node": node, "server": server, "boot": boot, "cause": cause}).encode()


def decode(record: Record) -> Event | None:
    """The event of a record; None if it is of another kind (a newer server's)."""
    members = json.loads(record.data)
    if members.get("kind") not in set(Change) or "node" not in members:
        return None
    return Event(
        record.offset,
        Change(members["kind"]),
        members["node"],
        record.at,
        members.get("server", ""),
        members.get("boot"),
        members.get("cause", ""),
    )


async def follow(engine: Engine, after: int = 0, *, wait: bool = True) -> AsyncGenerator[Event, None]:
    """Events behind an offset; with wait, for ever. What was trimmed from the log is left out."""
    log = await engine.log(LOG)
    while True:
        records = await log.read(after, limit=200, wait_s=_WAIT_S if wait else 0.0)
        if not records and not wait:
            return
        for record in records:
            after = record.offset
            event = decode(record)
            if event is not None:
                yield event
