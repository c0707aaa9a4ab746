"""The repository: what is published."""

from __future__ import annotations

from wasmote.protocol.section import NAME_PATTERN
from wasmote_fleet.gateway.http.body import WASM
from wasmote_fleet.gateway.http.openapi.words import (
    BINARY,
    FLAG,
    INTEGER,
    INTEGER_OR_NULL,
    NUMBER,
    TEXT,
    TEXT_OR_NULL,
    TEXTS,
    Json,
    content,
    list_of,
    matching,
    object_of,
    operation,
    path,
    query,
    ref,
)
from wasmote_fleet.repository import VERSION_PATTERN

VERSION = matching(VERSION_PATTERN)

_NAME = path("name", NAME_PATTERN)
_WANTED = query("version", VERSION, "Otherwise the latest.")

PATHS: Json = {
    "/api/v1/functions": {
        "get": operation("the functions in the repository", {200: content(list_of("functions", "Version"))})
    },
    "/api/v1/functions/{name}": {
        "get": operation(
            "a function: its module's imports and exports, its versions",
            {200: content(ref("Function"))},
            (404, 422),
            parameters=(_NAME, _WANTED),
        ),
        "put": operation(
            "publish a module as the latest version",
            {200: content(ref("Published")), 201: content(ref("Published"))},
            (408, 409, 413, 415, 422),
            parameters=(
                _NAME,
                query(
                    "version",
                    VERSION,
                    "Otherwise the module's own, or the first digits of its SHA-256.",
                ),
                query("replace", FLAG, "Also if this version is another module now."),
            ),
            body=content(BINARY, WASM),
        ),
        "delete": operation(
            "forget a version, or all of them",
            {204: None},
            (404, 422),
            parameters=(_NAME, query("version", VERSION, "Otherwise all of them.")),
        ),
    },
    "/api/v1/functions/{name}/module": {
        "get": operation(
            "the module's bytes; the ETag is their SHA-256",
            {200: content(BINARY, WASM), 304: None},
            (404, 422),
            parameters=(_NAME, _WANTED),
        )
    },
}

# Of a module in the repository, and of a function on a node.
EXPORTS: Json = {
    "type": "array",
    "items": object_of(
        {
            "name": TEXT,
            "index": INTEGER_OR_NULL,
            "params": TEXTS,
            "results": TEXTS,
            "kind": {"type": "string", "enum": ["numbers", "bytes"]},
            "pure": FLAG,
            "idempotent": FLAG,
        }
    ),
}
_VERSION_OF = {"name": TEXT, "version": TEXT, "sha256": TEXT, "published_at": NUMBER}

SCHEMAS: Json = {
    "Version": object_of(_VERSION_OF),
    "Module": object_of(
        {
            "sha256": TEXT,
            "size": INTEGER,
            "name": TEXT_OR_NULL,
            "version": TEXT_OR_NULL,
            "default": TEXT_OR_NULL,
            "exports": EXPORTS,
            "imports": {
                "type": "array",
                "items": object_of(
                    {
                        "module": TEXT,
                        "name": TEXT,
                        "kind": TEXT,
                        "params": {"type": ["array", "null"], "items": TEXT},
                        "results": {"type": ["array", "null"], "items": TEXT},
                    }
                ),
            },
        }
    ),
    "Function": object_of(
        {**_VERSION_OF, "module": ref("Module"), "versions": {"type": "array", "items": ref("Version")}}
    ),
    "Published": object_of({**_VERSION_OF, "created": FLAG, "module": ref("Module")}),
}
