"""Requests as they are kept: one JSON each, `requests/<id>` in the engine's kv. What is larger than INLINE_BYTES is a
blob, and the record has its digest.

Ids that are made here begin with the time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from wasmote.errors import InputError, WasmoteError
from wasmote.protocol.answers import CallResult
from wasmote.protocol.values import Argument
from wasmote_fleet.engine import Engine
from wasmote_fleet.requests import errors

PREFIX = "requests/"
INLINE_BYTES = 4096
KEEP_S = 12 * 3600.0  # after the last change; blobs live longer
MAX_HOPS_KEPT = 64
_MADE = re.compile(r"[0-9a-f]{21}")
ID_PATTERN = r"[A-Za-z0-9_-]{1,40}"

# What a call takes: numbers, an input stream, or nothing.
Body = Sequence[Argument] | bytes | None


class State(StrEnum):
    """queued: it waits, or its next step does. The last four are for good."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    MAY_HAVE_RUN = "may-have-run"
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: a deployment's function or chain, or a function on a node. export None: the default one."""

    deployment: str | None = None
    function: str | None = None
    export: str | None = None
    chain: str | None = None
    node: str | None = None

    def __str__(self) -> str:
        of = f"{self.deployment}:" if self.deployment is not None else f"{self.node} " if self.node else ""
        return of + (self.chain or "" if self.chain is not None else step_text(self.function, self.export))

    def as_json(self) -> dict[str, str]:
        """The members that are there."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value is not None}


def step_text(function: str | None, export: str | None) -> str:
    """NAME or NAME/EXPORT."""
    return f"{function}/{export}" if export else f"{function}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One attempt to run one step at one node. step counts from 0. repeatable: its export is declared so. outcome:
    None while it runs, else one of `done`, `failed`, `busy`, `unreachable`, `no answer`, `cancelled`, `server ended`;
    cause: in words."""

    step: int
    deployment: str | None
    function: str
    export: str | None
    node: str
    repeatable: bool
    began_at: float
    ended_at: float | None = None
    outcome: str | None = None
    cause: str = ""

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True)
class Stored:
    """A body or a result as the record has it: `value` is JSON."""

    value: dict[str, Any] | None

    @property
    def size_bytes(self) -> int | None:
        """Of a stream; None for numbers."""
        return None if self.value is None else self.value.get("size")


@dataclass(frozen=True, slots=True)
class Request:
    """A queued call, or a chain of them. Times are those of Clock.time(). steps: (function, export) each, as the chain
    was when the request came. step: the one that waits or runs. hops_before: how many calls led to it. parent: the
    request that one of its functions belongs to, when a node asked for it. retries: how often its present step was put
    off, because no node could be reached. result: of the last step, once it is done. asked: the digest of the body that
    it came with; input is that of its present step."""

    id: str
    target: Target
    steps: tuple[tuple[str, str | None], ...]
    input: Stored
    queued_at: float
    deadline_at: float
    hops_before: int = 0
    parent: str | None = None
    state: State = State.QUEUED
    step: int = 0
    retries: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    hops: tuple[Hop, ...] = ()
    hops_left_out: int = 0
    result: Stored = field(default_factory=lambda: Stored(None))
    error: WasmoteError | None = None
    asked: str = ""

    @property
    def key(self) -> str:
        return PREFIX + self.id

    @property
    def open_hop(self) -> Hop | None:
        """The one that began and did not end."""
        return self.hops[-1] if self.hops and self.hops[-1].ended_at is None else None

    def changed(self, **changes: Any) -> Request:
        return replace(self, **changes)

    def encode(self) -> bytes:
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        kept |= {
            "target": self.target.as_json(),
            "hops": [hop.as_json() for hop in self.hops],
            "input": self.input.value,
            "result": self.result.value,
            "error": None if self.error is None else errors.to_json(self.error),
        }
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode()


def decode(value: bytes) -> Request:
    """The request of a value."""
    kept = json.loads(value)
    kept["target"] = Target(**kept["target"])
    kept["steps"] = tuple((function, export) for function, export in kept["steps"])
    kept["hops"] = tuple(Hop(**hop) for hop in kept["hops"])
    kept["state"] = State(kept["state"])
    kept["input"], kept["result"] = Stored(kept["input"]), Stored(kept["result"])
    kept["error"] = None if kept["error"] is None else errors.from_json(kept["error"])
    return Request(**kept)


def new_id(now: float) -> str:
    """An id: 11 digits of milliseconds (until the year 2527), 10 at random."""
    return f"{int(now * 1000):011x}{secrets.token_hex(5)}"


def made_at(rid: str) -> int | None:
    """When new_id() made it, in milliseconds; None if somebody else did."""
    return int(rid[:11], 16) if _MADE.fullmatch(rid) else None


def check_id(rid: str) -> str:
    """Raises InputError unless it could be a request's."""
    if not re.fullmatch(ID_PATTERN, rid):
        raise InputError(
            f"'{rid}' is no request's id",
            cause="it has 1 to 40 of the characters A-Z a-z 0-9 _ -",
            next_step="check its spelling; `wasmote fleet history` lists the requests",
        )
    return rid


# ---- hops ----


def open_hop(request: Request, hop: Hop) -> Request:
    """The request with one more attempt. Of very many the first and the last are kept."""
    hops, left_out = [*request.hops, hop], request.hops_left_out
    if len(hops) > MAX_HOPS_KEPT:
        del hops[MAX_HOPS_KEPT // 2]
        left_out += 1
    return request.changed(hops=tuple(hops), hops_left_out=left_out)


def close_hop(request: Request, at: float, outcome: str, cause: str) -> Request:
    """The request whose attempt, if one is open, has ended."""
    hop = request.open_hop
    if hop is None:
        return request
    return request.changed(
        hops=(*request.hops[:-1], replace(hop, ended_at=at, outcome=outcome, cause=cause[:300]))
    )


# ---- bodies and results ----


async def store(engine: Engine, body: Body) -> Stored:
    """A body, kept."""
    if body is None:
        return Stored(None)
    if isinstance(body, bytes):
        return Stored({"kind": "bytes", **await _stream(engine, body)})
    return Stored({"kind": "numbers", "numbers": list(body)})


def digest(body: Body) -> str:
    """Of what a request came with: the same for a number and its text."""
    kind = "none" if body is None else "bytes" if isinstance(body, bytes) else "numbers"
    data = body if isinstance(body, bytes) else json.dumps([str(number) for number in body or ()]).encode()
    return f"{kind} {hashlib.sha256(data).hexdigest()}"


async def load(engine: Engine, stored: Stored) -> Body:
    """What store() kept. Raises NotFound if its blob was collected."""
    kept = stored.value
    if kept is None:
        return None
    if kept["kind"] == "numbers":
        return list(kept["numbers"])
    return await _read(engine, kept)


async def store_result(engine: Engine, result: CallResult) -> Stored:
    """What a call gave, kept."""
    ms = round(result.elapsed_s * 1000, 1)
    if result.kind == "bytes":
        return Stored({"kind": "bytes", "ms": ms, **await _stream(engine, result.output)})
    return Stored(
        {"kind": "numbers", "ms": ms, "types": list(result.results), "numbers": list(result.numbers)}
    )


async def load_result(engine: Engine, stored: Stored) -> CallResult:
    """What store_result() kept. Raises NotFound if its blob was collected."""
    kept = stored.value
    assert kept is not None
    elapsed_s = kept["ms"] / 1000
    if kept["kind"] == "bytes":
        return CallResult("bytes", (), (), await _read(engine, kept), elapsed_s)
    return CallResult("numbers", tuple(kept["types"]), tuple(kept["numbers"]), b"", elapsed_s)


async def _stream(engine: Engine, data: bytes) -> dict[str, Any]:
    if len(data) <= INLINE_BYTES:
        return {"size": len(data), "data": base64.b64encode(data).decode()}
    return {"size": len(data), "blob": (await engine.blobs.put(data)).digest}


async def _read(engine: Engine, kept: dict[str, Any]) -> bytes:
    if "data" in kept:
        return base64.b64decode(kept["data"])
    return await engine.blobs.read(kept["blob"])
