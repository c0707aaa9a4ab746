"""The OpenAPI document, kept by hand; a test holds it to the routes."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote import __version__
from wasmote_fleet.gateway.http.services import services
from wasmote_fleet.registry import Change, State

Json = dict[str, Any]

_NAME = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,30}$"
_NODE_ID = r"^[A-Za-z0-9_.~%@-]{1,200}$"
_VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$"
_NUMBER = {"type": "number"}
_INTEGER = {"type": "integer"}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_TYPES = {"type": "array", "items": _TEXT}


async def document(request: Request) -> Response:
    """The document; without keys where the server asks for none."""
    return JSONResponse(DOCUMENT if services(request).keys_needed else {**DOCUMENT, "security": []})


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, *, optional: tuple[str, ...] = ()) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _list(name: str, item: str) -> Json:
    return _object({name: {"type": "array", "items": _ref(item)}})


def _path(name: str, pattern: str | None = None) -> Json:
    schema: Json = {"type": "string", "minLength": 1}
    if pattern is not None:
        schema["pattern"] = pattern
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str,
    answers: dict[int, Json | None],
    errors: tuple[int, ...] = (),
    *,
    parameters: tuple[Json, ...] = (),
    body: Json | None = None,
    body_required: bool = True,
    description: str = "",
) -> Json:
    """answers: the content by status, None for none. errors: beside those that any request may get."""
    responses: Json = {}
    for status, content in answers.items():
        responses[str(status)] = {"description": "done"} | ({"content": content} if content else {})
    for status in (400, 401, 403, 414, 503, *errors):
        responses[str(status)] = {"$ref": "#/components/responses/Problem"}
    operation: Json = {"summary": summary, "responses": responses}
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": body_required, "content": body}
    return operation


_FN = _path("name", _NAME)
_NODE = _path("node", _NODE_ID)
_ON_NODE = (_NODE, _path("function", _NAME))
_EXPORT = {
    **_path("export"),
    "description": "The export's name, or :N for the one with index N, where the name does not fit a path.",
}
_TIMEOUT = _query(
    "timeout_s",
    {"type": "number", "minimum": 0.1, "maximum": 300, "default": 30},
    "When to give up, in seconds.",
)
_WANTED = _query("version", {"type": "string", "pattern": _VERSION}, "Otherwise the latest.")
_WASM = {"application/wasm": {"schema": {"type": "string", "format": "binary"}}}
_OCTETS = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_CHANGES: Json = {
    "labels": {"type": "object", "additionalProperties": _TEXT},
    "beat_s": {"type": "number", "minimum": 0.1, "maximum": 3600},
}
# What a node may answer, or not.
_BY_NODE = (404, 413, 422, 429, 500, 502, 504)

_STATES = ["queued", "running", "done", "failed", "may-have-run", "cancelled"]
_REQUEST_ID = r"^[A-Za-z0-9_-]{1,40}$"
_REQUEST = _path("request", _REQUEST_ID)
_WAIT = _query(
    "wait_s", {"type": "number", "minimum": 0, "maximum": 60, "default": 0}, "Wait so long for its end."
)
_DEPLOYMENT = _path("deployment", r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$")
_OF_DEPLOYMENT = (_DEPLOYMENT, _path("function"))
_OR_NULL_TEXT = {"type": ["string", "null"]}
_OR_NULL_NUMBER = {"type": ["number", "null"]}
_HOW = (
    _query(
        "timeout_s",
        {"type": "number", "minimum": 0.1, "maximum": 3600},
        "When to give up, in seconds; otherwise 30. At most 300, and for queued calls 3600, otherwise 60.",
    ),
    _query("queued", _FLAG, "Accept the call, and answer before it has run."),
    _query(
        "id",
        {"type": "string", "pattern": _REQUEST_ID},
        "The request's id, chosen here: asking twice is asking once. For queued calls.",
    ),
)

_CALL: Json = {
    "answers": {200: {**_json(_ref("Result")), **_OCTETS}, 202: _json(_ref("Request"))},
    "errors": (*_BY_NODE, 405, 408, 409, 412, 415, 508),
    "body": {
        **_json({"type": "array", "items": {"type": ["number", "string"]}}),
        **_OCTETS,
    },
    "body_required": False,
    "description": "With `queued=true`, or `Prefer: respond-async`, the answer is 202 and Location. "
    "An export of numbers takes its arguments as a JSON array; an i64 beyond 2^53, NaN and the infinities "
    "are texts, also in the result. An export of bytes takes and gives application/octet-stream. A call is not "
    "repeated unless its export is declared pure or idempotent: after 504 it may have run. Status 422 with a type "
    "that ends in `application` is the function's own answer.",
}

_SPEC = {
    **_json(_ref("Spec")),
    "application/toml": {"schema": {"type": "string", "description": "The same members, as TOML."}},
}

_PATHS: Json = {
    "/health": {
        "get": {
            **_operation(
                "whether the server answers; takes no key", {200: _json(_object({"status": _TEXT}))}
            ),
            "security": [],
        }
    },
    "/openapi.json": {"get": _operation("this document", {200: _json({"type": "object"})})},
    "/api/v1/status": {"get": _operation("what the server is and has", {200: _json(_ref("Status"))})},
    "/api/v1/discovery": {
        "post": _operation(
            "look for nodes: by a CoAP multicast, and by multicast DNS (_coap._udp)",
            {200: _json(_ref("Discovered"))},
            (429,),
            parameters=(
                _query(
                    "timeout_s",
                    {"type": "number", "minimum": 0.1, "maximum": 30, "default": 6},
                    "How long to wait for answers, in seconds.",
                ),
            ),
            description="Nobody is taken in: POST /api/v1/nodes does that, with the uri of what was found.",
        )
    },
    "/api/v1/events": {
        "get": _operation(
            "what happened to nodes, as it happens",
            {200: {"text/event-stream": {"schema": _TEXT}, **_json(_list("events", "Event"))}},
            parameters=(
                _query(
                    "after",
                    {"type": "integer", "minimum": 0, "maximum": 2**63 - 1},
                    "Events behind this offset; otherwise from now on, or in a list the last ones.",
                ),
                _query("wait", _FLAG, "false: a list of what there is, as JSON."),
                _query(
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": 1000},
                    "How many, in a list; otherwise 100.",
                ),
            ),
            description="Server-sent events; `data` is an event as in the list, `id` its offset. A client that was "
            "cut off goes on behind its Last-Event-ID. A comment comes every 15 s. 64 clients may watch at a time.",
        )
    },
    "/api/v1/functions": {
        "get": _operation("the functions in the repository", {200: _json(_list("functions", "Version"))})
    },
    "/api/v1/functions/{name}": {
        "get": _operation(
            "a function: its module's imports and exports, its versions",
            {200: _json(_ref("Function"))},
            (404, 422),
            parameters=(_FN, _WANTED),
        ),
        "put": _operation(
            "publish a module as the latest version",
            {200: _json(_ref("Published")), 201: _json(_ref("Published"))},
            (408, 409, 413, 415, 422),
            parameters=(
                _FN,
                _query(
                    "version",
                    {"type": "string", "pattern": _VERSION},
                    "Otherwise the module's own, or the first digits of its SHA-256.",
                ),
                _query("replace", _FLAG, "Also if this version is another module now."),
            ),
            body=_WASM,
        ),
        "delete": _operation(
            "forget a version, or all of them",
            {204: None},
            (404, 422),
            parameters=(
                _FN,
                _query("version", {"type": "string", "pattern": _VERSION}, "Otherwise all of them."),
            ),
        ),
    },
    "/api/v1/functions/{name}/module": {
        "get": _operation(
            "the module's bytes; the ETag is their SHA-256",
            {200: _WASM, 304: None},
            (404, 422),
            parameters=(_FN, _WANTED),
        )
    },
    "/api/v1/nodes": {
        "get": _operation("the fleet", {200: _json(_list("nodes", "Node"))}),
        "post": _operation(
            "take a node into the fleet by its address",
            {200: _json(_ref("Node")), 201: _json(_ref("Node"))},
            (408, 409, 413, 415, 422, 502, 504),
            body=_json(
                {
                    **_object({"uri": _TEXT, **_CHANGES}, optional=tuple(_CHANGES)),
                    "additionalProperties": False,
                }
            ),
        ),
    },
    "/api/v1/nodes/{node}": {
        "get": _operation("a node", {200: _json(_ref("Node"))}, (404, 422), parameters=(_NODE,)),
        "patch": _operation(
            "change a node's labels (all of them), or how often it is asked whether it is there",
            {200: _json(_ref("Node"))},
            (404, 408, 413, 415, 422),
            parameters=(_NODE,),
            body=_json({**_object(_CHANGES, optional=tuple(_CHANGES)), "additionalProperties": False}),
            body_required=False,
        ),
        "delete": _operation("let a node go", {204: None}, (404, 422), parameters=(_NODE,)),
    },
    "/api/v1/nodes/{node}/functions": {
        "get": _operation(
            "what is on a node",
            {200: _json(_list("functions", "Installed"))},
            _BY_NODE,
            parameters=(_NODE, _TIMEOUT),
        )
    },
    "/api/v1/nodes/{node}/functions/{function}": {
        "get": _operation(
            "a function on a node",
            {200: _json(_ref("OnNode"))},
            _BY_NODE,
            parameters=(*_ON_NODE, _TIMEOUT),
        ),
        "put": _operation(
            "push a function of the repository to a node",
            {200: _json(_ref("Pushed")), 201: _json(_ref("Pushed"))},
            (*_BY_NODE, 408, 415),
            parameters=(*_ON_NODE, _TIMEOUT),
            body=_json(
                {
                    **_object(
                        {
                            "function": {"type": "string", "pattern": _NAME},
                            "version": {"type": "string", "pattern": _VERSION},
                        },
                        optional=("function", "version"),
                    ),
                    "additionalProperties": False,
                }
            ),
            body_required=False,
            description="Without a body: the latest version of the function of this name.",
        ),
        "delete": _operation(
            "remove a function from a node; that there is none is no error",
            {204: None},
            _BY_NODE,
            parameters=(*_ON_NODE, _TIMEOUT),
        ),
        "post": _operation("call the default export", parameters=(*_ON_NODE, *_HOW), **_CALL),
    },
    "/api/v1/nodes/{node}/functions/{function}/{export}": {
        "post": _operation("call an export", parameters=(*_ON_NODE, _EXPORT, *_HOW), **_CALL)
    },
    "/api/v1/deployments/{deployment}/functions/{function}": {
        "post": _operation(
            "call the default export at the first place that takes it",
            parameters=(*_OF_DEPLOYMENT, *_HOW),
            **_CALL,
        )
    },
    "/api/v1/deployments/{deployment}/functions/{function}/{export}": {
        "post": _operation(
            "call an export at the first place that takes it",
            parameters=(*_OF_DEPLOYMENT, _EXPORT, *_HOW),
            **_CALL,
        )
    },
    "/api/v1/deployments/{deployment}/chains/{chain}": {
        "post": _operation(
            "run a chain: each function's output is the next one's input",
            parameters=(_DEPLOYMENT, _path("chain"), *_HOW),
            **{
                **_CALL,
                "errors": (*_CALL["errors"], 410),
                "description": "Location names the request, whose hops show each call. Numbers become arguments; "
                "numbers that go into an export of bytes become a JSON array, and bytes for one of numbers are "
                "read as JSON. " + _CALL["description"],
            },
        )
    },
    "/api/v1/requests": {
        "get": _operation(
            "the history of queued calls and chains, the newest first",
            {
                200: _json(
                    _object(
                        {"requests": {"type": "array", "items": _ref("Request")}, "before": _OR_NULL_TEXT}
                    )
                )
            },
            (422,),
            parameters=(
                _query("limit", {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}, "A page."),
                _query(
                    "before",
                    {"type": "string", "pattern": _REQUEST_ID},
                    "The answer's `before`: the next page.",
                ),
                _query("deployment", _TEXT, "Only its calls."),
                _query("state", {"type": "string", "enum": _STATES}, "Only those."),
            ),
        )
    },
    "/api/v1/requests/{request}": {
        "get": _operation(
            "a request",
            {200: _json(_ref("Request"))},
            (404, 422),
            parameters=(_REQUEST, _WAIT),
        ),
        "delete": _operation(
            "cancel a request (200), or forget one that has ended (204)",
            {200: _json(_ref("Request")), 204: None},
            (404, 422),
            parameters=(_REQUEST,),
            description="A function that runs already is not stopped on its node; what it gives is thrown away.",
        ),
    },
    "/api/v1/requests/{request}/result": {
        "get": _operation(
            "what a request gave, or its error, as a call at once would have answered",
            {200: {**_json(_ref("Result")), **_OCTETS}},
            (*_BY_NODE, 405, 409, 410, 412, 415, 508),
            parameters=(_REQUEST, _WAIT),
        )
    },
    "/api/v1/deployments": {
        "get": _operation(
            "what should run where; how far it is, without the nodes",
            {
                200: _json(
                    _object(
                        {
                            "deployments": {
                                "type": "array",
                                "items": {**_ref("Deployment")},
                            }
                        }
                    )
                )
            },
        )
    },
    "/api/v1/deployments/{deployment}": {
        "get": _operation(
            "a deployment", {200: _json(_ref("Deployment"))}, (404,), parameters=(_DEPLOYMENT,)
        ),
        "put": _operation(
            "say what should run where, or change it",
            {200: _json(_ref("Deployment")), 201: _json(_ref("Deployment"))},
            (404, 408, 409, 413, 415, 422, 500),
            parameters=(_DEPLOYMENT,),
            body=_SPEC,
            description="Answers once it is admitted; `progress` tells how far the nodes are. 409 of type "
            "`not-admitted`: no place for one of its functions; `nodes` has the reason of each node. The same body "
            "again goes on with a rollout that stopped. Versions are pinned to their modules until the next PUT.",
        ),
        "delete": _operation(
            "remove it from all nodes",
            {202: _json(_ref("Deployment"))},
            (404,),
            parameters=(_DEPLOYMENT,),
            description="It is gone (404) when the nodes that are there have removed its functions; others do when "
            "they come back.",
        ),
    },
    "/api/v1/deployments/{deployment}/rollback": {
        "post": _operation(
            "what it was before the last change",
            {200: _json(_ref("Deployment"))},
            (404, 409, 422, 500),
            parameters=(_DEPLOYMENT,),
        )
    },
    "/api/v1/deployments/{deployment}/progress": {
        "get": _operation(
            "how far it is",
            {200: {**_json(_ref("Progress")), "text/event-stream": {"schema": _TEXT}}},
            (404,),
            parameters=(
                _DEPLOYMENT,
                _query(
                    "wait_s",
                    {"type": "number", "minimum": 0, "maximum": 300, "default": 0},
                    "Answer when it has settled, or after so long.",
                ),
            ),
            description="With Accept: text/event-stream each change is an event `progress`, the last one `settled`; "
            "the data are the JSON that is else the answer.",
        )
    },
}

_VERSION_OF = {"name": _TEXT, "version": _TEXT, "sha256": _TEXT, "published_at": _NUMBER}
_EXPORT_OF = _object(
    {
        "name": _TEXT,
        "index": {"type": ["integer", "null"]},
        "params": _TYPES,
        "results": _TYPES,
        "kind": {"type": "string", "enum": ["numbers", "bytes"]},
        "pure": _FLAG,
        "idempotent": _FLAG,
    }
)
_OR_NULL = {"type": ["string", "null"]}
_LABEL = {"type": "string", "minLength": 1}
_ID = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$"


def _strict(properties: Json, required: tuple[str, ...]) -> Json:
    optional = tuple(name for name in properties if name not in required)
    return {**_object(properties, optional=optional), "additionalProperties": False}


_FUNCTION_OF = _strict(
    {
        "name": {"type": "string", "pattern": _ID, "description": "What calls name it by."},
        "function": {
            "type": "string",
            "pattern": _NAME,
            "description": "In the repository; otherwise name.",
        },
        "version": {"type": "string", "pattern": _VERSION, "description": "Otherwise the latest one now."},
        "digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Instead of a version."},
        "as": {"type": "string", "pattern": _NAME, "description": "Its name on the nodes; otherwise name."},
        "nodes": {
            "type": "array",
            "items": _LABEL,
            "minItems": 1,
            "uniqueItems": True,
            "description": "Candidates in order of preference; otherwise any node.",
        },
        "count": {
            "oneOf": [{"type": "integer", "minimum": 1, "maximum": 10000}, {"const": "all"}],
            "description": "How many nodes run it at a time; otherwise 1.",
        },
        "where": _strict(
            {
                "labels": {"type": "object", "additionalProperties": _TEXT},
                "imports": {"type": "array", "items": _LABEL},
                "ram": {"type": "integer", "minimum": 0, "maximum": 1 << 32},
                "flash": {"type": "integer", "minimum": 0, "maximum": 1 << 32},
            },
            (),
        ),
    },
    ("name",),
)
_SPEC_OF = _strict(
    {
        "id": {"type": "string", "pattern": _ID},
        "functions": {"type": "array", "items": _FUNCTION_OF, "minItems": 1, "maxItems": 256},
        "chains": {
            "type": "array",
            "maxItems": 256,
            "items": _strict(
                {
                    "name": {"type": "string", "pattern": _ID},
                    "steps": {
                        "type": "array",
                        "items": {"type": "string", "pattern": "^[^/]+(/.+)?$"},
                        "minItems": 1,
                        "maxItems": 64,
                        "description": "FUNCTION or FUNCTION/EXPORT; the output of one is the input of the next.",
                    },
                },
                ("name", "steps"),
            ),
        },
        "rollout": _strict(
            {
                "waves": {
                    "type": "array",
                    "maxItems": 100,
                    "items": {
                        "oneOf": [
                            {"type": "integer", "minimum": 1, "maximum": 10000},
                            {"type": "string", "pattern": r"^\d{1,3}(\.\d{1,3})? ?%$"},
                        ]
                    },
                    "description": 'Nodes of each wave; what is left comes last. Otherwise [1, "10%"].',
                },
                "max_failures": {"type": "integer", "minimum": 1, "maximum": 10000},
                "parallel": {"type": "integer", "minimum": 1, "maximum": 256},
                "pause_s": {"type": "number", "minimum": 0, "maximum": 86400},
            },
            (),
        ),
    },
    ("id", "functions"),
)
_PROGRESS_OF = _object(
    {
        "id": _TEXT,
        "generation": _INTEGER,
        "phase": {
            "type": "string",
            "enum": ["rolling", "ready", "waiting", "degraded", "stopped", "removing", "removed"],
        },
        "settled": {"type": "boolean", "description": "Nothing more happens by itself, or needs to."},
        "wanted": {"type": "integer", "description": "Functions times nodes."},
        "ready": _INTEGER,
        "failed": _INTEGER,
        "wave": _INTEGER,
        "waves": _INTEGER,
        "cause": {"type": "string", "description": "Why it waits or stopped."},
        "nodes": {
            "type": "array",
            "items": _object(
                {"node": _TEXT, "function": _TEXT, "state": _TEXT, "sha256": _TEXT, "cause": _TEXT}
            ),
        },
    },
    optional=("nodes",),
)

_SCHEMAS: Json = {
    "Problem": _object(
        {
            "type": {
                "type": "string",
                "description": "tag:wasmote,2026:problem/... names the kind of error.",
            },
            "title": {"type": "string", "description": "What failed."},
            "status": _INTEGER,
            "detail": {"type": "string", "description": "Why."},
            "next_step": {"type": "string", "description": "What to do now."},
            "function_status": {"type": "integer", "description": "The status that the function reported."},
            "node": {"type": "object", "description": "What the node said (docs/PROTOCOL.md, 6)."},
            "nodes": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": "Why each node cannot take it.",
            },
            "function": {"type": "string", "description": "Which function of the deployment has no place."},
            "field": {
                "type": "string",
                "description": "Where in the deployment, such as functions[1].count.",
            },
            "line": {"type": "integer", "description": "Where in its text."},
        },
        optional=("detail", "function_status", "node", "nodes", "function", "field", "line"),
    ),
    "Status": _object(
        {
            "version": _TEXT,
            "server": _TEXT,
            "engine": {"type": "object"},
            "nodes": _INTEGER,
            "states": {"type": "object", "additionalProperties": _INTEGER},
            "functions": _INTEGER,
            "requests_at_nodes": _INTEGER,
            "requests_queued": _INTEGER,
        }
    ),
    "Discovered": _object(
        {
            "found": {
                "type": "array",
                "items": _object(
                    {
                        "uri": _TEXT,
                        "ep": {
                            **_OR_NULL,
                            "description": "What it calls itself; null: it is no wasmote node.",
                        },
                        "name": {**_OR_NULL, "description": "As it is announced."},
                        "how": {"type": "array", "items": {"type": "string", "enum": ["multicast", "mdns"]}},
                        "node": {**_OR_NULL, "description": "Its id, where it is one of the fleet's."},
                    }
                ),
            },
            "problems": {"type": "array", "items": _TEXT, "description": "What kept it from finding more."},
        }
    ),
    "Event": _object(
        {
            "offset": _INTEGER,
            "kind": {"type": "string", "enum": [change.value for change in Change]},
            "node": _TEXT,
            "at": _NUMBER,
            "server": {**_TEXT, "description": "The one that saw it."},
            "boot": {"type": ["integer", "null"]},
            "cause": {"type": "string", "description": "For a person; may be empty."},
        }
    ),
    "Version": _object(_VERSION_OF),
    "Module": _object(
        {
            "sha256": _TEXT,
            "size": _INTEGER,
            "name": _OR_NULL,
            "version": _OR_NULL,
            "default": _OR_NULL,
            "exports": {"type": "array", "items": _EXPORT_OF},
            "imports": {
                "type": "array",
                "items": _object(
                    {
                        "module": _TEXT,
                        "name": _TEXT,
                        "kind": _TEXT,
                        "params": {"type": ["array", "null"], "items": _TEXT},
                        "results": {"type": ["array", "null"], "items": _TEXT},
                    }
                ),
            },
        }
    ),
    "Function": _object(
        {**_VERSION_OF, "module": _ref("Module"), "versions": {"type": "array", "items": _ref("Version")}}
    ),
    "Published": _object({**_VERSION_OF, "created": _FLAG, "module": _ref("Module")}),
    "Node": _object(
        {
            "id": _TEXT,
            "ep": {
                "type": "string",
                "description": "What the node calls itself; the id is that, percent-encoded.",
            },
            "uri": _TEXT,
            "state": {"type": "string", "enum": [state.value for state in State]},
            "since": {"type": "number", "description": "When it got this state."},
            "server": {**_OR_NULL, "description": "The server that speaks with it; null for none."},
            "adopted": {"type": "boolean", "description": "By a person."},
            "registered": {"type": "boolean", "description": "By itself."},
            "labels": {"type": "object", "additionalProperties": _TEXT},
            "beat_s": {**_NUMBER, "description": "How often it is asked whether it is there, in seconds."},
            "boot": {"type": ["integer", "null"], "description": "Its boot counter."},
            "imports": {**_TYPES, "description": "The import modules that it offers to functions."},
            "device": {
                "type": "object",
                "description": "What lasts of what the node says of itself (docs/PROTOCOL.md, 3.1).",
            },
        }
    ),
    "Installed": _object({"name": _TEXT, "size": _INTEGER, "exports": _TYPES}),
    "OnNode": _object(
        {
            "name": _TEXT,
            "version": _TEXT,
            "size": _INTEGER,
            "sha256": _TEXT,
            "default": _OR_NULL,
            "exports": {"type": "array", "items": _EXPORT_OF},
        }
    ),
    "Pushed": _object(
        {
            "node": _TEXT,
            "name": _TEXT,
            "function": _TEXT,
            "version": _TEXT,
            "sha256": _TEXT,
            "size": _INTEGER,
            "created": _FLAG,
            "ms": _NUMBER,
        }
    ),
    "Request": _object(
        {
            "id": _TEXT,
            "target": _object(
                dict.fromkeys(("deployment", "function", "export", "chain", "node"), _TEXT),
                optional=("deployment", "function", "export", "chain", "node"),
            ),
            "state": {"type": "string", "enum": _STATES},
            "queued_at": _NUMBER,
            "started_at": _OR_NULL_NUMBER,
            "ended_at": _OR_NULL_NUMBER,
            "deadline_at": _NUMBER,
            "parent": {
                "type": ["string", "null"],
                "description": "The request that one of its functions made it for.",
            },
            "led_by": {"type": "integer", "description": "How many calls led to it."},
            "steps": {"type": "array", "items": _TEXT},
            "step": {"type": "integer", "description": "The one that waits or runs; from 0."},
            "hops": {"type": "array", "items": _ref("Hop")},
            "hops_left_out": _INTEGER,
            "result": {
                "type": ["object", "null"],
                "description": "`value` as in Result, or `bytes`: how many, at `href`.",
            },
            "error": {"oneOf": [_ref("Problem"), {"type": "null"}]},
        }
    ),
    "Hop": _object(
        {
            "step": _INTEGER,
            "deployment": _OR_NULL_TEXT,
            "function": _TEXT,
            "node": _TEXT,
            "began_at": _NUMBER,
            "ended_at": _OR_NULL_NUMBER,
            "outcome": {
                "type": ["string", "null"],
                "enum": [
                    "done",
                    "failed",
                    "busy",
                    "unreachable",
                    "no answer",
                    "cancelled",
                    "server ended",
                    None,
                ],
            },
            "cause": _TEXT,
        }
    ),
    "Spec": _SPEC_OF,
    "Progress": _PROGRESS_OF,
    "Deployment": _object(
        {
            "id": _TEXT,
            "generation": {"type": "integer", "description": "Goes up with each change."},
            "applied_at": _NUMBER,
            "removing": _FLAG,
            "spec": _ref("Spec"),
            "progress": _ref("Progress"),
        }
    ),
    "Result": _object(
        {
            "value": {"description": "A number or a text; an array where there are several results or none."},
            "ms": {"type": "number", "description": "From the gateway to the node and back."},
        }
    ),
}

DOCUMENT: Json = {
    "openapi": "3.1.0",
    "info": {
        "title": "wasmote fleet",
        "version": __version__,
        "description": "WebAssembly functions on a fleet of microcontrollers. On a loopback address no key is needed; "
        "elsewhere each request but GET /health takes one. Errors are problem documents (RFC 9457). 429 (a node) and "
        "503 (the server) mean that nothing ran, and carry Retry-After.",
    },
    "security": [{"bearer": []}, {"basic": []}],
    "paths": _PATHS,
    "components": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
        },
        "responses": {
            "Problem": {
                "description": "What failed, why, and what to do.",
                "content": {"application/problem+json": {"schema": _ref("Problem")}},
            }
        },
        "schemas": _SCHEMAS,
    },
}
