"""The supervisor's paths: for the whole fleet at the root of its address, for a node below /nodes/NODE and at the root
of an address of its own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wasmote.errors import InputError, WasmoteError
from wasmote_fleet.compat.fetch import FetchFailed
from wasmote_fleet.compat.wasmiot import multipart
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices
from wasmote_fleet.compat.wasmiot.errors import (
    BadBody,
    BadCall,
    CannotRun,
    Failed,
    HopLimit,
    NotReady,
    NotThere,
)
from wasmote_fleet.compat.wasmiot.runs import CONTEXT
from wasmote_fleet.compat.wasmiot.supervisor import Asked, Supervisor
from wasmote_fleet.gateway.http.body import MAX_INPUT_BYTES, media_type, parse_json, read_body
from wasmote_fleet.gateway.http.guard import allow
from wasmote_fleet.gateway.http.problems import problem
from wasmote_fleet.gateway.keys import Role
from wasmote_fleet.requests.context import parse as parse_context

MAX_DEPLOYMENT_BYTES = 256 * 1024
WAIT_S = 5.0  # for a call that is asked for before it has ended
Endpoint = Callable[[Request], Awaitable[Response]]
Methods = dict[str, tuple[Role | None, Endpoint]]
_HOST = re.compile(r"[A-Za-z0-9.-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
_STATUS: list[tuple[type[WasmoteError], int]] = [
    (NotThere, 404),
    (BadBody, 400),
    (BadCall, 400),
    (CannotRun, 422),
    (HopLimit, 508),
    (NotReady, 503),
    (FetchFailed, 502),
]


def status_of(error: WasmoteError) -> int:
    """The HTTP status of an error."""
    inner = error.error if isinstance(error, Failed) else error
    return next((code for kind, code in _STATUS if isinstance(inner, kind)), problem(inner).status_code)


_NO_NODE = {"status": "error", "result": "no node is there", "next_step": "start one, or wait for it"}


def failed(error: WasmoteError, **more: str) -> Response:
    """An error as a supervisor says it; next_step is ours."""
    inner = error.error if isinstance(error, Failed) else error
    found = problem(inner)
    body = {"status": "error", "result": str(error), "next_step": error.next_step, **more}
    headers = {
        name: found.headers[name] for name in ("retry-after", "www-authenticate") if name in found.headers
    }
    return JSONResponse(body, status_of(error), headers)


class SupervisorHttp:
    """device_of: the device that a request means, by the address that it came to. asked: when, by the event loop's
    clock, a device's health was last asked for."""

    def __init__(self, supervisor: Supervisor, devices: Devices, device_of: Callable[[Request], str]) -> None:
        self._supervisor = supervisor
        self._devices = devices
        self._device_of = device_of
        self.asked: dict[str, float] = {}

    def routes(self) -> list[Route]:
        made: list[Route] = []
        for prefix in ("", "/nodes/{node}"):
            table: list[tuple[str, Methods]] = [
                ("/.well-known/wasmiot-device-description", {"GET": (Role.READ, self._description)}),
                ("/.well-known/wot-thing-description", {"GET": (Role.READ, self._thing)}),
                ("/health", {"GET": (None, self._health)}),
                ("/register", {"POST": (Role.DEPLOY, self._register)}),
                ("/deploy", {"POST": (Role.DEPLOY, self._deploy)}),
                # Today's orchestrator writes it so.
                ("//deploy", {"POST": (Role.DEPLOY, self._deploy)}),
                ("/deploy/{deployment}", {"DELETE": (Role.DEPLOY, self._undeploy)}),
                ("/request-history", {"GET": (Role.READ, self._list)}),
                ("/request-history/{request}", {"GET": (Role.READ, self._entry)}),
                ("/module_results/{module}/{file}", {"GET": (Role.READ, self._file)}),
                (
                    "/{deployment}/modules/{module}/{function}",
                    {"GET": (Role.CALL, self._call), "POST": (Role.CALL, self._call)},
                ),
                (
                    "/{deployment}/modules/{module}/{function}/{file}",
                    {"GET": (Role.READ, self._file)},
                ),
            ]
            made += [self._route(prefix + path, methods) for path, methods in table]
        return made

    def _route(self, path: str, methods: Methods) -> Route:
        made = {
            method: _shaped(endpoint) if role is None else allow(role, _shaped(endpoint))
            for method, (role, endpoint) in methods.items()
        }

        async def dispatch(request: Request) -> Response:
            return await made["GET" if request.method == "HEAD" else request.method](request)

        return Route(path, dispatch, methods=list(made))

    # ---- what it is ----

    async def _description(self, request: Request) -> Response:
        return JSONResponse(self._devices.description(self._device(request)))

    async def _thing(self, request: Request) -> Response:
        return JSONResponse(self._devices.thing(self._device(request), self._root(request)))

    async def _health(self, request: Request) -> Response:
        device = self._device(request)
        found = await self._devices.health(device)
        self.asked[device] = asyncio.get_running_loop().time()
        known = await self._supervisor.orchestrator(device) is not None
        if found is None and "x-forwarded-for" in request.headers:
            # An orchestrator takes every answer for health, also a 503, and switches over only when there is none.
            request.state.drop()
        return JSONResponse(
            found if found is not None else _NO_NODE,
            200 if found is not None else 503,
            {"Custom-Orchestrator-Set": str(known).lower()},
        )

    async def _register(self, request: Request) -> Response:
        try:
            body = parse_json(await read_body(request, MAX_DEPLOYMENT_BYTES))
        except WasmoteError:
            body = None
        device = self._device(request)
        if device != FLEET:
            self._devices.node(device)
        try:
            caller = request.client.host if request.client else ""
            url = body.get("url") if isinstance(body, dict) else None
            await self._supervisor.register(device, url, caller=caller)
        except BadBody as error:
            said = {"status": "error", "result": error.message, "next_step": error.next_step}
            return JSONResponse(said, 404)  # as there
        return JSONResponse({"status": "success"})

    # ---- deployments ----

    async def _deploy(self, request: Request) -> Response:
        device = self._device(request)
        if device != FLEET:
            self._devices.node(device)
        raw = await read_body(request, MAX_DEPLOYMENT_BYTES)
        try:
            body = parse_json(raw)
        except WasmoteError as error:
            raise BadBody(
                "Non-existent or malformed deployment data", cause=error.cause, next_step=error.next_step
            ) from None
        caller = request.client.host if request.client else ""
        await self._supervisor.deploy(device, body, caller=caller)
        return JSONResponse({"status": "success"})

    async def _undeploy(self, request: Request) -> Response:
        await self._supervisor.undeploy(self._device(request), request.path_params["deployment"])
        return JSONResponse({"status": "success"})

    # ---- calls ----

    async def _call(self, request: Request) -> Response:
        device, params = self._device(request), request.path_params
        asked = await self._asked(request)
        root = f"{self._root(request)}/request-history/"
        try:
            made = await self._supervisor.call(
                device, params["deployment"], params["module"], params["function"], asked
            )
        except Failed as error:
            return failed(error, resultUrl=root + quote(error.made.request_id, safe=":"))
        return JSONResponse({"resultUrl": root + quote(made.request_id, safe=":")})

    async def _asked(self, request: Request) -> Asked:
        body = await read_body(request, MAX_INPUT_BYTES)
        files = None
        if media_type(request) == multipart.MEDIA_TYPE:
            parts = multipart.parse(request.headers["content-type"], body)
            files = {part.name: part.data for part in parts}
        until, hops = 0.0, 0
        if (told := request.headers.get(CONTEXT)) is not None:
            try:
                context = parse_context(told)
            except InputError as error:
                raise BadCall(error.message, next_step=error.next_step) from None
            until, hops = context.until, context.hops
        return Asked(
            "POST" if request.method == "POST" else "GET",
            request.query_params.multi_items(),
            files,
            until,
            hops,
        )

    async def _list(self, request: Request) -> Response:
        found = await self._supervisor.entries(self._device(request))
        return JSONResponse([made.as_json() for made in found])

    async def _entry(self, request: Request) -> Response:
        made = await self._supervisor.entry(
            self._device(request), request.path_params["request"], wait_s=WAIT_S
        )
        return JSONResponse(made.as_json(), 200 if made.success else 500)

    async def _file(self, request: Request) -> Response:
        params = request.path_params
        data = await self._supervisor.file(self._device(request), params["module"], params["file"])
        return Response(
            data, media_type="application/octet-stream", headers={"X-Content-Type-Options": "nosniff"}
        )

    # ---- which device, and where ----

    def _device(self, request: Request) -> str:
        node = request.path_params.get("node")
        return str(node) if node is not None else self._device_of(request)

    def _root(self, request: Request) -> str:
        """The URL that the client knows the device by, without a slash at its end."""
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            address, port = request.scope.get("server") or ("127.0.0.1", 80)
            host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        node = request.path_params.get("node")
        return f"http://{host}" + ("" if node is None else f"/nodes/{quote(node, safe='@%')}")


def _shaped(endpoint: Endpoint) -> Endpoint:
    async def shaped(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WasmoteError as error:
            return failed(error)

    return shaped
