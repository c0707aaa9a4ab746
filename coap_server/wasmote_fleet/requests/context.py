"""The context of a call (docs/PROTOCOL.md, 4): how many calls led to it, until when, and the request that it belongs
to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wasmote.errors import InputError, RefusedError
from wasmote_fleet.requests.errors import TooLate, UnknownRequest, UnknownTarget
from wasmote_fleet.requests.places import Places
from wasmote_fleet.requests.records import ID_PATTERN, Body, Request, Target

if TYPE_CHECKING:
    from wasmote_fleet.requests.requests import Requests

_TEXT = re.compile(rf"(\d{{1,3}})\.([0-9a-f]{{1,12}})\.({ID_PATTERN})")
DEADLINE_S = 60.0  # of a call that no call led to


class Ambiguous(RefusedError):
    """Several deployments could be meant."""


@dataclass(frozen=True, slots=True)
class Context:
    """hops: calls that led to this one, and this one. until: by the engine's clock. request: its id; a call that is
    answered at once has one, too, which no history knows."""

    hops: int
    until: float
    request: str

    @property
    def text(self) -> str:
        return f"{self.hops}.{round(self.until * 1000):x}.{self.request}"


def parse(text: str) -> Context:
    """Raises InputError."""
    found = _TEXT.fullmatch(text)
    if found is None:
        raise InputError(
            f"'{text[:80]}' is no context", next_step="send the one that came with the call, or none"
        )
    return Context(int(found[1]), int(found[2], 16) / 1000, found[3])


async def submit(
    requests: Requests,
    places: Places,
    node_id: str,
    caller: str | None,
    told: str | None,
    name: str,
    export: str | None,
    body: Body,
) -> Request:
    """As Requests.submit_from_node."""
    now = requests.now
    known = Context(0, now + DEADLINE_S, "") if told is None else parse(told)
    if known.until <= now:
        raise TooLate(
            f"{name} was not called: the deadline passed",
            cause=f"{now - known.until:.1f} s ago",
            next_step="give the first call more time",
        )
    among, parent = await places.around(node_id, caller), None
    if known.request:
        try:
            made = await requests.get(known.request)
        except UnknownRequest:
            pass  # it was answered at once, or is over
        else:
            parent = made.id
            # Also a context gives a node no way into deployments that it is no part of.
            among = [id for id in await places.around(node_id, None) if id == made.target.deployment] or among
    target = await _target(places, node_id, among, name, export)
    return await requests.submit(
        target,
        body,
        deadline_s=known.until - now,
        convert=True,
        hops=known.hops,
        parent=parent,
        until=known.until,
    )


async def _target(
    places: Places, node_id: str, among: Sequence[str], name: str, export: str | None
) -> Target:
    found = []
    for deployment in among:
        try:
            if await places.module(deployment, name) is not None:
                found.append(Target(deployment=deployment, function=name, export=export))
            elif export is None and await places.chain(deployment, name) is not None:
                found.append(Target(deployment=deployment, chain=name))
        except InputError:
            continue  # removed a moment ago
    if not found:
        raise UnknownTarget(
            f"no deployment of node '{node_id}' has a function or chain '{name}'",
            cause=f"its deployments: {', '.join(among) or 'none'}",
            next_step="deploy it together with the function that calls it",
        )
    if len(found) > 1:
        raise Ambiguous(
            f"it is not clear which '{name}' is meant",
            cause=f"deployments that have one: {', '.join(str(target.deployment) for target in found)}",
            next_step="give the functions names that differ, or call through the fleet server",
        )
    return found[0]
