"""Calls of deployments' functions and chains, and the history of those that were queued."""

from __future__ import annotations

from wasmote_fleet.gateway.http.openapi.calls import BY_NODE, EXPORT, RESULT, call
from wasmote_fleet.gateway.http.openapi.deployments import DEPLOYMENT
from wasmote_fleet.gateway.http.openapi.words import (
    INTEGER,
    NUMBER,
    NUMBER_OR_NULL,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
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
from wasmote_fleet.gateway.http.requests import MAX_PAGE, MAX_WAIT_S, USUAL_PAGE
from wasmote_fleet.requests import State
from wasmote_fleet.requests.records import ID_PATTERN

_FUNCTION = (DEPLOYMENT, path("function"))
_REQUEST = path("request", ID_PATTERN)
_WAIT = query("wait_s", seconds(0, MAX_WAIT_S, 0), "Wait so long for its end.")
_STATE: Json = {"type": "string", "enum": [state.value for state in State]}

PATHS: Json = {
    "/api/v1/deployments/{deployment}/functions/{function}": {
        "post": call("call the default export at the first place that takes it", _FUNCTION),
    },
    "/api/v1/deployments/{deployment}/functions/{function}/{export}": {
        "post": call("call an export at the first place that takes it", (*_FUNCTION, EXPORT)),
    },
    "/api/v1/deployments/{deployment}/chains/{chain}": {
        "post": call(
            "run a chain: each function's output is the next one's input",
            (DEPLOYMENT, path("chain")),
            (410,),
            description="Location names the request, whose hops show each call. Numbers become arguments; "
            "numbers that go into an export of bytes become a JSON array, and bytes for one of numbers are "
            "read as JSON.",
        )
    },
    "/api/v1/requests": {
        "get": operation(
            "the history of queued calls and chains, the newest first",
            {
                200: content(
                    object_of(
                        {"requests": {"type": "array", "items": ref("Request")}, "before": TEXT_OR_NULL}
                    )
                )
            },
            (422,),
            parameters=(
                query(
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": USUAL_PAGE},
                    "A page.",
                ),
                query("before", matching(ID_PATTERN), "The answer's `before`: the next page."),
                query("deployment", TEXT, "Only its calls."),
                query("state", _STATE, "Only those."),
            ),
        )
    },
    "/api/v1/requests/{request}": {
        "get": operation(
            "a request",
            {200: content(ref("Request"))},
            (404, 422),
            parameters=(_REQUEST, _WAIT),
        ),
        "delete": operation(
            "cancel a request (200), or forget one that has ended (204)",
            {200: content(ref("Request")), 204: None},
            (404, 422),
            parameters=(_REQUEST,),
            description="A function that runs already is not stopped on its node; what it gives is thrown away.",
        ),
    },
    "/api/v1/requests/{request}/result": {
        "get": operation(
            "what a request gave, or its error, as a call at once would have answered",
            {200: RESULT},
            (*BY_NODE, 405, 409, 410, 412, 415, 508),
            parameters=(_REQUEST, _WAIT),
        )
    },
}

_TARGET = ("deployment", "function", "export", "chain", "node")
_OUTCOMES = ["done", "failed", "busy", "unreachable", "no answer", "cancelled", "server ended", None]

SCHEMAS: Json = {
    "Request": object_of(
        {
            "id": TEXT,
            "target": object_of(dict.fromkeys(_TARGET, TEXT), optional=_TARGET),
            "state": _STATE,
            "queued_at": NUMBER,
            "started_at": NUMBER_OR_NULL,
            "ended_at": NUMBER_OR_NULL,
            "deadline_at": NUMBER,
            "parent": {
                **TEXT_OR_NULL,
                "description": "The request that one of its functions made it for.",
            },
            "led_by": {"type": "integer", "description": "How many calls led to it."},
            "steps": TEXTS,
            "step": {"type": "integer", "description": "The one that waits or runs; from 0."},
            "hops": {"type": "array", "items": ref("Hop")},
            "hops_left_out": INTEGER,
            "result": {
                "type": ["object", "null"],
                "description": "`value` as in Result, or `bytes`: how many, at `href`.",
            },
            "error": {"oneOf": [ref("Problem"), {"type": "null"}]},
        }
    ),
    "Hop": object_of(
        {
            "step": INTEGER,
            "deployment": TEXT_OR_NULL,
            "function": TEXT,
            "node": TEXT,
            "began_at": NUMBER,
            "ended_at": NUMBER_OR_NULL,
            "outcome": {**TEXT_OR_NULL, "enum": _OUTCOMES},
            "cause": TEXT,
        }
    ),
}
