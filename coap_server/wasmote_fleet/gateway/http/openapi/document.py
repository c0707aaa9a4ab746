"""The document, put together and served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote import __version__
from wasmote_fleet.gateway.http.openapi import (
    calls,
    deployments,
    events,
    functions,
    nodes,
    problems,
    requests,
    server,
)
from wasmote_fleet.gateway.http.openapi.words import Json
from wasmote_fleet.gateway.http.services import services


async def get(request: Request) -> Response:
    """The document; without keys where the server asks for none."""
    return JSONResponse(DOCUMENT if services(request).keys_needed else {**DOCUMENT, "security": []})


def _together(*parts: Json) -> Json:
    found: Json = {}
    for part in parts:
        twice = found.keys() & part.keys()
        assert not twice, f"described in two places: {', '.join(sorted(twice))}"
        found |= part
    return found


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
    "paths": _together(
        server.PATHS, events.PATHS, functions.PATHS, nodes.PATHS, deployments.PATHS, requests.PATHS
    ),
    "components": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {"type": "http", "scheme": "basic", "description": "The key is the password."},
        },
        "responses": problems.RESPONSES,
        "schemas": _together(
            problems.SCHEMAS,
            server.SCHEMAS,
            events.SCHEMAS,
            functions.SCHEMAS,
            nodes.SCHEMAS,
            deployments.SCHEMAS,
            calls.SCHEMAS,
            requests.SCHEMAS,
        ),
    },
}
