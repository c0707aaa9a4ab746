"""What all calls share, of nodes' functions, deployments' functions, and chains: parameters, bodies, results."""

from __future__ import annotations

from wasmote_fleet.gateway.http.body import BYTES
from wasmote_fleet.gateway.http.openapi.words import (
    BINARY,
    FLAG,
    Json,
    content,
    matching,
    object_of,
    operation,
    path,
    query,
    ref,
    seconds,
)
from wasmote_fleet.gateway.http.services import DEADLINE_S, MAX_DEADLINE_S, MIN_DEADLINE_S
from wasmote_fleet.requests.records import ID_PATTERN
from wasmote_fleet.requests.requests import DEADLINE_S as QUEUED_DEADLINE_S
from wasmote_fleet.requests.requests import MAX_DEADLINE_S as MAX_QUEUED_DEADLINE_S

# What a node may answer, or not.
BY_NODE = (404, 413, 422, 429, 500, 502, 504)

RESULT: Json = content(ref("Result")) | content(BINARY, BYTES)
EXPORT: Json = {
    **path("export"),
    "description": "The export's name, or :N for the one with index N, where the name does not fit a path.",
}

_HOW = (
    query(
        "timeout_s",
        seconds(MIN_DEADLINE_S, MAX_QUEUED_DEADLINE_S),
        f"When to give up, in seconds; otherwise {DEADLINE_S:g}. At most {MAX_DEADLINE_S:g}, and for queued calls "
        f"{MAX_QUEUED_DEADLINE_S:g}, otherwise {QUEUED_DEADLINE_S:g}.",
    ),
    query("queued", FLAG, "Accept the call, and answer before it has run."),
    query(
        "id",
        matching(ID_PATTERN),
        "The request's id, chosen here: asking twice is asking once. For queued calls.",
    ),
)
_RULES = (
    "With `queued=true`, or `Prefer: respond-async`, the answer is 202 and Location. "
    "An export of numbers takes its arguments as a JSON array; an i64 beyond 2^53, NaN and the infinities "
    "are texts, also in the result. An export of bytes takes and gives application/octet-stream. A call is not "
    "repeated unless its export is declared pure or idempotent: after 504 it may have run. Status 422 with a type "
    "that ends in `application` is the function's own answer."
)


def call(
    summary: str, target: tuple[Json, ...], errors: tuple[int, ...] = (), *, description: str = ""
) -> Json:
    """The operation that calls. target: the parameters that say what. errors, description: beside those of all
    calls."""
    return operation(
        summary,
        {200: RESULT, 202: content(ref("Request"))},
        (*BY_NODE, 405, 408, 409, 412, 415, 508, *errors),
        parameters=(*target, *_HOW),
        body=content({"type": "array", "items": {"type": ["number", "string"]}}) | content(BINARY, BYTES),
        body_required=False,
        description=f"{description} {_RULES}".lstrip(),
    )


SCHEMAS: Json = {
    "Result": object_of(
        {
            "value": {"description": "A number or a text; an array where there are several results or none."},
            "ms": {"type": "number", "description": "From the gateway to the node and back."},
        }
    ),
}
