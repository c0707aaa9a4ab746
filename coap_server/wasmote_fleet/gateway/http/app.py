"""The routes, put together. A route is written down once, with the role that it takes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wasmote_fleet.deploy import Deployments
from wasmote_fleet.engine import Engine
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.gateway.http import deployments as deploying
from wasmote_fleet.gateway.http import events, functions, nodes, requests, server
from wasmote_fleet.gateway.http.guard import Guard, allow
from wasmote_fleet.gateway.http.mounts import Mount, render_for
from wasmote_fleet.gateway.http.openapi import document
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import Endpoint, Services
from wasmote_fleet.gateway.keys import Keys, Role
from wasmote_fleet.registry import Feed, Registry
from wasmote_fleet.registry.discovery import Discovery
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests


@dataclass(frozen=True)
class Operation:
    """What one method of one path does. role: None for everybody."""

    method: str
    path: str
    role: Role | None
    endpoint: Endpoint


API = "/api/v1"
_NODE = f"{API}/nodes/{{node}}"
_ON_NODE = f"{_NODE}/functions/{{function}}"
_FUNCTION = f"{API}/functions/{{name}}"
_DEPLOYMENT = f"{API}/deployments/{{deployment}}"
_OF_DEPLOYMENT = f"{_DEPLOYMENT}/functions/{{function}}"
_REQUEST = f"{API}/requests/{{request}}"
OPERATIONS = [
    Operation("GET", "/health", None, server.health),
    Operation("GET", "/openapi.json", Role.READ, document.get),
    Operation("GET", f"{API}/status", Role.READ, server.status),
    Operation("GET", f"{API}/events", Role.READ, events.watch),
    Operation("POST", f"{API}/discovery", Role.DEPLOY, nodes.discover),
    Operation("GET", f"{API}/functions", Role.READ, functions.list_all),
    Operation("GET", _FUNCTION, Role.READ, functions.get),
    Operation("PUT", _FUNCTION, Role.DEPLOY, functions.put),
    Operation("DELETE", _FUNCTION, Role.DEPLOY, functions.delete),
    Operation("GET", f"{_FUNCTION}/module", Role.READ, functions.module),
    Operation("GET", f"{API}/nodes", Role.READ, nodes.list_all),
    Operation("POST", f"{API}/nodes", Role.DEPLOY, nodes.adopt),
    Operation("GET", _NODE, Role.READ, nodes.get),
    Operation("PATCH", _NODE, Role.DEPLOY, nodes.change),
    Operation("DELETE", _NODE, Role.DEPLOY, nodes.remove),
    Operation("GET", f"{_NODE}/functions", Role.READ, nodes.functions),
    Operation("GET", _ON_NODE, Role.READ, nodes.function),
    Operation("PUT", _ON_NODE, Role.DEPLOY, nodes.push),
    Operation("DELETE", _ON_NODE, Role.DEPLOY, nodes.remove_function),
    Operation("POST", _ON_NODE, Role.CALL, nodes.call),
    Operation("POST", f"{_ON_NODE}/{{export}}", Role.CALL, nodes.call),
    Operation("POST", _OF_DEPLOYMENT, Role.CALL, requests.call_function),
    Operation("POST", f"{_OF_DEPLOYMENT}/{{export}}", Role.CALL, requests.call_function),
    Operation("POST", f"{_DEPLOYMENT}/chains/{{chain}}", Role.CALL, requests.call_chain),
    Operation("GET", f"{API}/requests", Role.READ, requests.list_all),
    Operation("GET", _REQUEST, Role.READ, requests.get),
    Operation("DELETE", _REQUEST, Role.CALL, requests.delete),
    Operation("GET", f"{_REQUEST}/result", Role.READ, requests.result),
    Operation("GET", f"{API}/deployments", Role.READ, deploying.list_all),
    Operation("GET", _DEPLOYMENT, Role.READ, deploying.get),
    Operation("PUT", _DEPLOYMENT, Role.DEPLOY, deploying.put),
    Operation("DELETE", _DEPLOYMENT, Role.DEPLOY, deploying.delete),
    Operation("POST", f"{_DEPLOYMENT}/rollback", Role.DEPLOY, deploying.rollback),
    Operation("GET", f"{_DEPLOYMENT}/progress", Role.READ, deploying.progress),
]


def make_app(
    *,
    engine: Engine,
    repository: Repository,
    registry: Registry,
    gateway: Gateway,
    deployments: Deployments,
    calls: Requests,
    feed: Feed,
    discovery: Discovery,
    keys: Keys | None,
    mounts: Sequence[Mount] = (),
) -> Starlette:
    """The ASGI application. keys: None where everybody who reaches it may do everything. mounts: other systems'
    paths, behind the same guard."""
    by_path: dict[str, list[Operation]] = {}
    for operation in OPERATIONS:
        by_path.setdefault(operation.path, []).append(operation)
    app = Starlette(
        routes=[
            *(Route(path, _by_method(found), methods=_methods(found)) for path, found in by_path.items()),
            *(route for mount in mounts for route in mount.routes),
        ],
        middleware=[Middleware(Guard, keys=keys, mounts=mounts)],
        exception_handlers={
            HTTPException: _refusing(mounts),
            ClientDisconnect: _gone,
            Exception: _bug,
        },
    )
    app.router.redirect_slashes = False
    app.state.services = Services(
        engine, repository, registry, gateway, deployments, calls, feed, discovery, keys is not None
    )
    return app


def _methods(operations: list[Operation]) -> list[str]:
    return [operation.method for operation in operations]


def _by_method(operations: list[Operation]) -> Endpoint:
    endpoints = {
        operation.method: operation.endpoint
        if operation.role is None
        else allow(operation.role, operation.endpoint)
        for operation in operations
    }

    async def dispatch(request: Request) -> Response:
        return await endpoints["GET" if request.method == "HEAD" else request.method](request)

    return dispatch


def _refusing(mounts: Sequence[Mount]) -> Callable[[Request, Exception], Awaitable[Response]]:
    """Starlette's own refusals: 404 and 405."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        where = request.url.path
        if error.status_code == 404:
            what, kind = f"there is nothing at {where}", "path"
        elif error.status_code == 405:
            what, kind = f"{request.method} is not done at {where}", "method"
        else:
            what, kind = str(error.detail), "request"
        return render_for(mounts, where)(
            HttpProblem(
                error.status_code, kind, what, next_step="/openapi.json has all paths", headers=error.headers
            )
        )

    return refused


async def _gone(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _bug(_request: Request, error: Exception) -> Response:
    """Starlette then raises it again, so that the server's log has the traceback."""
    return JSONResponse(
        {
            "type": "tag:wasmote,2026:problem/internal",
            "title": "a bug in wasmote",
            "status": 500,
            "detail": type(error).__name__,
            "next_step": "report it with what the server printed",
        },
        500,
        media_type="application/problem+json",
    )
