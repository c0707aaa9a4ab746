"""The server itself."""

from __future__ import annotations

from wasmote_fleet.gateway.http.openapi.words import INTEGER, TEXT, Json, content, object_of, operation, ref

PATHS: Json = {
    "/health": {
        "get": {
            **operation(
                "whether the server answers; takes no key", {200: content(object_of({"status": TEXT}))}
            ),
            "security": [],
        }
    },
    "/openapi.json": {"get": operation("this document", {200: content({"type": "object"})})},
    "/api/v1/status": {"get": operation("what the server is and has", {200: content(ref("Status"))})},
}

SCHEMAS: Json = {
    "Status": object_of(
        {
            "version": TEXT,
            "server": TEXT,
            "engine": {"type": "object"},
            "nodes": INTEGER,
            "states": {"type": "object", "additionalProperties": INTEGER},
            "functions": INTEGER,
            "requests_at_nodes": INTEGER,
            "requests_queued": INTEGER,
        }
    ),
}
