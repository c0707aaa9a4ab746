"""What should run where, and how far it is."""

from __future__ import annotations

from wasmote.protocol.section import NAME_PATTERN
from wasmote_fleet.deploy import Phase
from wasmote_fleet.deploy.spec import (
    ALL,
    ID_PATTERN,
    MAX_COUNT,
    MAX_FREE_BYTES,
    MAX_FUNCTIONS,
    MAX_PARALLEL,
    MAX_PAUSE_S,
    MAX_STEPS,
    MAX_WAVES,
    PERCENT_PATTERN,
)
from wasmote_fleet.engine.blobs import DIGEST_PATTERN
from wasmote_fleet.gateway.http.deployments import PROGRESS_S, TOML
from wasmote_fleet.gateway.http.events import EVENT_STREAM
from wasmote_fleet.gateway.http.openapi.functions import VERSION
from wasmote_fleet.gateway.http.openapi.words import (
    FLAG,
    INTEGER,
    NUMBER,
    TEXT,
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

DEPLOYMENT = path("deployment", ID_PATTERN)

PATHS: Json = {
    "/api/v1/deployments": {
        "get": operation(
            "what should run where; how far it is, without the nodes",
            {200: content(list_of("deployments", "Deployment"))},
        )
    },
    "/api/v1/deployments/{deployment}": {
        "get": operation("a deployment", {200: content(ref("Deployment"))}, (404,), parameters=(DEPLOYMENT,)),
        "put": operation(
            "say what should run where, or change it",
            {200: content(ref("Deployment")), 201: content(ref("Deployment"))},
            (404, 408, 409, 413, 415, 422, 500),
            parameters=(DEPLOYMENT,),
            body=content(ref("Spec"))
            | content({"type": "string", "description": "The same members, as TOML."}, TOML),
            description="Answers once it is admitted; `progress` tells how far the nodes are. 409 of type "
            "`not-admitted`: no place for one of its functions; `nodes` has the reason of each node. The same body "
            "again goes on with a rollout that stopped. Versions are pinned to their modules until the next PUT.",
        ),
        "delete": operation(
            "remove it from all nodes",
            {202: content(ref("Deployment"))},
            (404,),
            parameters=(DEPLOYMENT,),
            description="It is gone (404) when the nodes that are there have removed its functions; others do when "
            "they come back.",
        ),
    },
    "/api/v1/deployments/{deployment}/rollback": {
        "post": operation(
            "what it was before the last change",
            {200: content(ref("Deployment"))},
            (404, 409, 422, 500),
            parameters=(DEPLOYMENT,),
        )
    },
    "/api/v1/deployments/{deployment}/progress": {
        "get": operation(
            "how far it is",
            {200: content(ref("Progress")) | content(TEXT, EVENT_STREAM)},
            (404,),
            parameters=(
                DEPLOYMENT,
                query(
                    "wait_s",
                    seconds(0, PROGRESS_S, 0),
                    "Answer when it has settled, or after so long.",
                ),
            ),
            description="With Accept: text/event-stream each change is an event `progress`, the last one `settled`; "
            "the data are the JSON that is else the answer.",
        )
    },
}

_ID = matching(ID_PATTERN)
_NAME = matching(NAME_PATTERN)
_SOMETHING: Json = {"type": "string", "minLength": 1}
_COUNT: Json = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT}
_FREE: Json = {"type": "integer", "minimum": 0, "maximum": MAX_FREE_BYTES}

_FUNCTION = strict(
    {
        "name": {**_ID, "description": "What calls name it by."},
        "function": {**_NAME, "description": "In the repository; otherwise name."},
        "version": {**VERSION, "description": "Otherwise the latest one now."},
        "digest": {**matching(DIGEST_PATTERN), "description": "Instead of a version."},
        "as": {**_NAME, "description": "Its name on the nodes; otherwise name."},
        "nodes": {
            "type": "array",
            "items": _SOMETHING,
            "minItems": 1,
            "uniqueItems": True,
            "description": "Candidates in order of preference; otherwise any node.",
        },
        "count": {
            "oneOf": [_COUNT, {"const": ALL}],
            "description": "How many nodes run it at a time; otherwise 1.",
        },
        "where": strict(
            {
                "labels": TEXTS_BY_NAME,
                "imports": {"type": "array", "items": _SOMETHING},
                "ram": _FREE,
                "flash": _FREE,
            }
        ),
    },
    required=("name",),
)
_CHAIN = strict(
    {
        "name": _ID,
        "steps": {
            "type": "array",
            "items": matching("[^/]+(/.+)?"),
            "minItems": 1,
            "maxItems": MAX_STEPS,
            "description": "FUNCTION or FUNCTION/EXPORT; the output of one is the input of the next.",
        },
    },
    required=("name", "steps"),
)
_ROLLOUT = strict(
    {
        "waves": {
            "type": "array",
            "maxItems": MAX_WAVES,
            "items": {"oneOf": [_COUNT, matching(PERCENT_PATTERN)]},
            "description": 'Nodes of each wave; what is left comes last. Otherwise [1, "10%"].',
        },
        "max_failures": _COUNT,
        "parallel": {"type": "integer", "minimum": 1, "maximum": MAX_PARALLEL},
        "pause_s": seconds(0, MAX_PAUSE_S),
    }
)

SCHEMAS: Json = {
    "Spec": strict(
        {
            "id": _ID,
            "functions": {"type": "array", "items": _FUNCTION, "minItems": 1, "maxItems": MAX_FUNCTIONS},
            "chains": {"type": "array", "items": _CHAIN, "maxItems": MAX_FUNCTIONS},
            "rollout": _ROLLOUT,
        },
        required=("id", "functions"),
    ),
    "Progress": object_of(
        {
            "id": TEXT,
            "generation": INTEGER,
            "phase": {"type": "string", "enum": [phase.value for phase in Phase]},
            "settled": {"type": "boolean", "description": "Nothing more happens by itself, or needs to."},
            "wanted": {"type": "integer", "description": "Functions times nodes."},
            "ready": INTEGER,
            "failed": INTEGER,
            "wave": INTEGER,
            "waves": INTEGER,
            "cause": {"type": "string", "description": "Why it waits or stopped."},
            "nodes": {
                "type": "array",
                "items": object_of(dict.fromkeys(("node", "function", "state", "sha256", "cause"), TEXT)),
            },
        },
        optional=("nodes",),
    ),
    "Deployment": object_of(
        {
            "id": TEXT,
            "generation": {"type": "integer", "description": "Goes up with each change."},
            "applied_at": NUMBER,
            "removing": FLAG,
            "spec": ref("Spec"),
            "progress": ref("Progress"),
        }
    ),
}
