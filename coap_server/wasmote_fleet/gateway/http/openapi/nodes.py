"""The fleet, what is on its nodes, and calls."""

from __future__ import annotations

from wasmote.protocol.section import NAME_PATTERN
from wasmote_fleet.gateway.http.nodes import DISCOVERY_S, MAX_DISCOVERY_S
from wasmote_fleet.gateway.http.openapi.calls import BY_NODE, EXPORT, call
from wasmote_fleet.gateway.http.openapi.functions import EXPORTS, VERSION
from wasmote_fleet.gateway.http.openapi.words import (
    FLAG,
    INTEGER,
    INTEGER_OR_NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    TEXTS_BY_NAME,
    Json,
    content,
    list_of,
    matching,
    object_of,
    operation,
    path,
    query,
    ref,
    seconds,
    strict,
)
from wasmote_fleet.gateway.http.services import DEADLINE_S, MAX_DEADLINE_S, MIN_DEADLINE_S
from wasmote_fleet.registry import State

_NODE = path("node", r"[A-Za-z0-9_.~%@-]{1,200}")
_ON_NODE = (_NODE, path("function", NAME_PATTERN))
_TIMEOUT = query(
    "timeout_s", seconds(MIN_DEADLINE_S, MAX_DEADLINE_S, DEADLINE_S), "When to give up, in seconds."
)
_CHANGES: Json = {"labels": TEXTS_BY_NAME, "beat_s": seconds(0.1, 3600)}

PATHS: Json = {
    "/api/v1/discovery": {
        "post": operation(
            "look for nodes: by a CoAP multicast, and by multicast DNS (_coap._udp)",
            {200: content(ref("Discovered"))},
            (429,),
            parameters=(
                query(
                    "timeout_s",
                    seconds(MIN_DEADLINE_S, MAX_DISCOVERY_S, DISCOVERY_S),
                    "How long to wait for answers, in seconds.",
                ),
            ),
            description="Nobody is taken in: POST /api/v1/nodes does that, with the uri of what was found.",
        )
    },
    "/api/v1/nodes": {
        "get": operation("the fleet", {200: content(list_of("nodes", "Node"))}),
        "post": operation(
            "take a node into the fleet by its address",
            {200: content(ref("Node")), 201: content(ref("Node"))},
            (408, 409, 413, 415, 422, 502, 504),
            body=content(strict({"uri": TEXT, **_CHANGES}, required=("uri",))),
        ),
    },
    "/api/v1/nodes/{node}": {
        "get": operation("a node", {200: content(ref("Node"))}, (404, 422), parameters=(_NODE,)),
        "patch": operation(
            "change a node's labels (all of them), or how often it is asked whether it is there",
            {200: content(ref("Node"))},
            (404, 408, 413, 415, 422),
            parameters=(_NODE,),
            body=content(strict(_CHANGES)),
            body_required=False,
        ),
        "delete": operation("let a node go", {204: None}, (404, 422), parameters=(_NODE,)),
    },
    "/api/v1/nodes/{node}/functions": {
        "get": operation(
            "what is on a node",
            {200: content(list_of("functions", "Installed"))},
            BY_NODE,
            parameters=(_NODE, _TIMEOUT),
        )
    },
    "/api/v1/nodes/{node}/functions/{function}": {
        "get": operation(
            "a function on a node",
            {200: content(ref("OnNode"))},
            BY_NODE,
            parameters=(*_ON_NODE, _TIMEOUT),
        ),
        "put": operation(
            "push a function of the repository to a node",
            {200: content(ref("Pushed")), 201: content(ref("Pushed"))},
            (*BY_NODE, 408, 415),
            parameters=(*_ON_NODE, _TIMEOUT),
            body=content(strict({"function": matching(NAME_PATTERN), "version": VERSION})),
            body_required=False,
            description="Without a body: the latest version of the function of this name.",
        ),
        "delete": operation(
            "remove a function from a node; that there is none is no error",
            {204: None},
            BY_NODE,
            parameters=(*_ON_NODE, _TIMEOUT),
        ),
        "post": call("call the default export", _ON_NODE),
    },
    "/api/v1/nodes/{node}/functions/{function}/{export}": {
        "post": call("call an export", (*_ON_NODE, EXPORT)),
    },
}

SCHEMAS: Json = {
    "Discovered": object_of(
        {
            "found": {
                "type": "array",
                "items": object_of(
                    {
                        "uri": TEXT,
                        "ep": {
                            **TEXT_OR_NULL,
                            "description": "What it calls itself; null: it is no wasmote node.",
                        },
                        "name": {**TEXT_OR_NULL, "description": "As it is announced."},
                        "how": {"type": "array", "items": {"type": "string", "enum": ["multicast", "mdns"]}},
                        "node": {**TEXT_OR_NULL, "description": "Its id, where it is one of the fleet's."},
                    }
                ),
            },
            "problems": {**TEXTS, "description": "What kept it from finding more."},
        }
    ),
    "Node": object_of(
        {
            "id": TEXT,
            "ep": {
                "type": "string",
                "description": "What the node calls itself; the id is that, percent-encoded.",
            },
            "uri": TEXT,
            "state": {"type": "string", "enum": [state.value for state in State]},
            "since": {"type": "number", "description": "When it got this state."},
            "server": {**TEXT_OR_NULL, "description": "The server that speaks with it; null for none."},
            "adopted": {"type": "boolean", "description": "By a person."},
            "registered": {"type": "boolean", "description": "By itself."},
            "labels": TEXTS_BY_NAME,
            "beat_s": {**NUMBER, "description": "How often it is asked whether it is there, in seconds."},
            "boot": {**INTEGER_OR_NULL, "description": "Its boot counter."},
            "imports": {**TEXTS, "description": "The import modules that it offers to functions."},
            "device": {
                "type": "object",
                "description": "What lasts of what the node says of itself (docs/PROTOCOL.md, 3.1).",
            },
        }
    ),
    "Installed": object_of({"name": TEXT, "size": INTEGER, "exports": TEXTS}),
    "OnNode": object_of(
        {
            "name": TEXT,
            "version": TEXT,
            "size": INTEGER,
            "sha256": TEXT,
            "default": TEXT_OR_NULL,
            "exports": EXPORTS,
        }
    ),
    "Pushed": object_of(
        {
            "node": TEXT,
            "name": TEXT,
            "function": TEXT,
            "version": TEXT,
            "sha256": TEXT,
            "size": INTEGER,
            "created": FLAG,
            "ms": NUMBER,
        }
    ),
}
