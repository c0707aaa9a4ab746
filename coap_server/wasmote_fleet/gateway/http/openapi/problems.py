"""Errors: problem documents (RFC 9457)."""

from __future__ import annotations

from wasmote_fleet.gateway.http.openapi.words import INTEGER, TEXTS_BY_NAME, Json, content, object_of, ref
from wasmote_fleet.gateway.http.problems import MEDIA_TYPE, TYPES

RESPONSES: Json = {
    "Problem": {
        "description": "What failed, why, and what to do.",
        "content": content(ref("Problem"), MEDIA_TYPE),
    }
}

SCHEMAS: Json = {
    "Problem": object_of(
        {
            "type": {"type": "string", "description": f"{TYPES}... names the kind of error."},
            "title": {"type": "string", "description": "What failed."},
            "status": INTEGER,
            "detail": {"type": "string", "description": "Why."},
            "next_step": {"type": "string", "description": "What to do now."},
            "function_status": {"type": "integer", "description": "The status that the function reported."},
            "node": {"type": "object", "description": "What the node said (docs/PROTOCOL.md, 6)."},
            "nodes": {**TEXTS_BY_NAME, "description": "Why each node cannot take it."},
            "function": {"type": "string", "description": "Which function of the deployment has no place."},
            "field": {
                "type": "string",
                "description": "Where in the deployment, such as functions[1].count.",
            },
            "line": {"type": "integer", "description": "Where in its text."},
        },
        optional=("detail", "function_status", "node", "nodes", "function", "field", "line"),
    ),
}
