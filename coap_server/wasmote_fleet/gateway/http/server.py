"""/health and /api/v1/status."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote import __version__
from wasmote_fleet.gateway.http.services import query, services
from wasmote_fleet.registry import State


async def health(_request: Request) -> Response:
    """Anybody may ask, so it says nothing else."""
    return JSONResponse({"status": "ok"})


async def status(request: Request) -> Response:
    """What this server is and has."""
    query(request)
    found = services(request)
    views = found.registry.nodes()
    states = [view.state for view in views]
    return JSONResponse(
        {
            "version": __version__,
            "engine": asdict(await found.engine.info()),
            "server": found.registry.holder,
            "nodes": len(views),
            "states": {state.value: states.count(state) for state in State},
            "functions": len(await found.repository.latest()),
            "requests_at_nodes": found.gateway.busy,
            "requests_queued": await found.requests.queued(),
        }
    )
