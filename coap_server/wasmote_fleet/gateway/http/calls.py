"""What all calls by HTTP share: their bodies, their results, and whether they are to be queued."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote.protocol import values
from wasmote.protocol.answers import CallResult
from wasmote.protocol.values import Argument
from wasmote_fleet.gateway.http.body import (
    BYTES,
    JSON,
    MAX_INPUT_BYTES,
    MAX_JSON_BYTES,
    need_type,
    parse_json,
    read_body,
)
from wasmote_fleet.gateway.http.problems import HttpProblem, document
from wasmote_fleet.gateway.http.services import deadline, query, services
from wasmote_fleet.requests import Request as Queued
from wasmote_fleet.requests import Target
from wasmote_fleet.requests.records import Hop, Stored, step_text
from wasmote_fleet.requests.requests import DEADLINE_S, MAX_DEADLINE_S

REQUESTS = "/api/v1/requests"


@dataclass(frozen=True)
class Wish:
    """What the query and Prefer ask for. timeout_s: None for the usual one. id: of a queued request, None: a new
    one."""

    queued: bool
    timeout_s: float
    id: str | None


def wish(request: Request) -> Wish:
    """Raises HttpProblem."""
    found = query(request, "timeout_s", "queued", "id")
    queued = flag(found.get("queued"), "queued") or _prefers_async(request)
    if "id" in found and not queued:
        raise HttpProblem(
            400, "query", "id is for queued calls", next_step="add queued=true, or leave it out"
        )
    most = MAX_DEADLINE_S if queued else None
    if queued and "timeout_s" not in found:
        return Wish(True, DEADLINE_S, found.get("id"))
    return Wish(queued, deadline(found.get("timeout_s"), most), found.get("id"))


def flag(text: str | None, name: str) -> bool:
    """Raises HttpProblem (400)."""
    if text not in (None, "true", "false"):
        raise HttpProblem(
            400, "query", f"{name} is '{text}'", cause="it is true or false", next_step="choose one"
        )
    return text == "true"


def _prefers_async(request: Request) -> bool:
    """RFC 7240."""
    wanted = ",".join(request.headers.getlist("prefer"))
    return any(part.partition(";")[0].strip().lower() == "respond-async" for part in wanted.split(","))


async def call_body(request: Request) -> list[Argument] | bytes | None:
    """Arguments, an input stream, or None for no body."""
    body = await read_body(request, MAX_INPUT_BYTES)
    if not body and not request.headers.get("content-type"):
        return None
    if need_type(request, JSON, BYTES) == BYTES:
        return body
    if len(body) > MAX_JSON_BYTES:
        raise HttpProblem(
            413,
            "too-large",
            f"the arguments have more than {MAX_JSON_BYTES} bytes",
            next_step="send large data as application/octet-stream, to an export of bytes",
        )
    args = parse_json(body)
    if not isinstance(args, list):
        raise HttpProblem(
            422, "body", "the arguments are no JSON array", next_step='send them as one, such as [20, "2.5"]'
        )
    for index, arg in enumerate(args):
        if isinstance(arg, bool) or not isinstance(arg, int | float | str):
            raise HttpProblem(
                422,
                "body",
                f"argument {index + 1} is neither a number nor a text",
                next_step="send numbers; an i64 beyond 2^53, NaN and the infinities as texts",
            )
    return args


def result_response(result: CallResult, headers: dict[str, str] | None = None) -> Response:
    """Numbers as JSON, bytes as they are."""
    if result.kind == "bytes":
        return Response(result.output, media_type=BYTES, headers=headers)
    return JSONResponse(
        {
            "value": _value(result.results, result.numbers),
            "ms": round(result.elapsed_s * 1000, 1),
        },
        headers=headers,
    )


async def queue(request: Request, target: Target, wanted: Wish) -> Response:
    """Accept the request's call: 202, and where it will be found."""
    made = await services(request).requests.submit(
        target, await call_body(request), deadline_s=wanted.timeout_s, id=wanted.id
    )
    headers = {"Location": f"{REQUESTS}/{made.id}", "Preference-Applied": "respond-async"}
    return JSONResponse(queued_json(made), 202, headers=headers)


def queued_json(found: Queued) -> dict[str, Any]:
    """A request of the history."""
    return {
        "id": found.id,
        "target": found.target.as_json(),
        "state": str(found.state),
        "queued_at": found.queued_at,
        "started_at": found.started_at,
        "ended_at": found.ended_at,
        "deadline_at": found.deadline_at,
        "parent": found.parent,
        "led_by": found.hops_before,
        "steps": [step_text(function, export) for function, export in found.steps],
        "step": found.step,
        "hops": [_hop(hop) for hop in found.hops],
        "hops_left_out": found.hops_left_out,
        "result": _result(found, found.result),
        "error": None if found.error is None else document(found.error)[0],
    }


def _hop(hop: Hop) -> dict[str, Any]:
    return {
        "step": hop.step,
        "deployment": hop.deployment,
        "function": step_text(hop.function, hop.export),
        "node": hop.node,
        "began_at": hop.began_at,
        "ended_at": hop.ended_at,
        "outcome": hop.outcome,
        "cause": hop.cause,
    }


def _result(found: Queued, stored: Stored) -> dict[str, Any] | None:
    kept = stored.value
    if kept is None:
        return None
    if kept["kind"] == "bytes":
        return {"bytes": kept["size"], "href": f"{REQUESTS}/{found.id}/result", "ms": kept["ms"]}
    return {"value": _value(kept["types"], kept["numbers"]), "ms": kept["ms"]}


def _value(types: list[str] | tuple[str, ...], numbers: list[Any] | tuple[Any, ...]) -> Any:
    """The number; a list where there are several results or none."""
    converted = [values.to_json(kind, value) for kind, value in zip(types, numbers, strict=True)]
    return converted[0] if len(converted) == 1 else converted
