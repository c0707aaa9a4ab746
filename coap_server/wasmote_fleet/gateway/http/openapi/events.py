"""What happened to nodes."""

from __future__ import annotations

from wasmote_fleet.gateway.http.events import (
    DEFAULT_LIST,
    EVENT_STREAM,
    KEEP_ALIVE_S,
    MAX_LIST,
    MAX_OFFSET,
    WATCHERS,
)
from wasmote_fleet.gateway.http.openapi.words import (
    FLAG,
    INTEGER,
    INTEGER_OR_NULL,
    NUMBER,
    TEXT,
    Json,
    content,
    list_of,
    object_of,
    operation,
    query,
)
from wasmote_fleet.registry import Change

PATHS: Json = {
    "/api/v1/events": {
        "get": operation(
            "what happened to nodes, as it happens",
            {200: content(TEXT, EVENT_STREAM) | content(list_of("events", "Event"))},
            parameters=(
                query(
                    "after",
                    {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET},
                    "Events behind this offset; otherwise from now on, or in a list the last ones.",
                ),
                query("wait", FLAG, "false: a list of what there is, as JSON."),
                query(
                    "limit",
                    {"type": "integer", "minimum": 1, "maximum": MAX_LIST},
                    f"How many, in a list; otherwise {DEFAULT_LIST}.",
                ),
            ),
            description="Server-sent events; `data` is an event as in the list, `id` its offset. A client that was "
            f"cut off goes on behind its Last-Event-ID. A comment comes every {KEEP_ALIVE_S:g} s. {WATCHERS} clients "
            "may watch at a time.",
        )
    },
}

SCHEMAS: Json = {
    "Event": object_of(
        {
            "offset": INTEGER,
            "kind": {"type": "string", "enum": [change.value for change in Change]},
            "node": TEXT,
            "at": NUMBER,
            "server": {**TEXT, "description": "The one that saw it."},
            "boot": INTEGER_OR_NULL,
            "cause": {"type": "string", "description": "For a person; may be empty."},
        }
    ),
}
