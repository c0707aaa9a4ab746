"""The ASGI application of wasmiot's addresses: the guard, the supervisor's paths, and the orchestrator's."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from wasmote_fleet.compat.fetch import parse_network, plain
from wasmote_fleet.compat.wasmiot.supervisor_http import failed
from wasmote_fleet.gateway.http.guard import Guard
from wasmote_fleet.gateway.http.mounts import Mount
from wasmote_fleet.gateway.keys import Keys


def make_app(routes: Sequence[BaseRoute], keys: Keys | None, trusted: Sequence[str]) -> Starlette:
    """keys: None where everybody who reaches it may do everything. trusted: addresses and networks whose requests need
    no key, which wasmiot's programs cannot send. Raises InputError."""
    app = Starlette(
        routes=list(routes),
        middleware=[
            Middleware(Guard, keys=keys, mounts=[Mount(("",), (), failed)], trusted=_trusts(trusted))
        ],
        exception_handlers={HTTPException: _refused, ClientDisconnect: _gone, Exception: _bug},
    )
    app.router.redirect_slashes = False
    return app


def _trusts(trusted: Sequence[str]) -> Callable[[str], bool]:
    networks = [parse_network(text) for text in trusted]

    def trusts(client: str) -> bool:
        try:
            address = plain(ipaddress.ip_address(client.partition("%")[0]))
        except ValueError:
            return False
        return any(address in network for network in networks)

    return trusts


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "there is nothing at", 405: f"{request.method} is not done at"}.get(
        error.status_code, str(error.detail)
    )
    text, path = f"{what} {request.url.path}", request.url.path.strip("/").partition("/")[0]
    said = {"next_step": "see docs/compatibility.md for what is done here"}
    if path in ("file", "execute", "device"):
        return JSONResponse({"errorText": text, "error": "error"} | said, error.status_code, error.headers)
    return JSONResponse({"status": "error", "result": text} | said, error.status_code, error.headers)


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _bug(_request: Request, error: Exception) -> Response:
    """Starlette then raises it again, so that the server's log has the traceback."""
    return JSONResponse({"status": "error", "result": f"a bug in wasmote: {type(error).__name__}"}, 500)
