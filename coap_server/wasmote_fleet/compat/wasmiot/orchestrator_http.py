"""The orchestrator's paths, at the root of the whole fleet's address."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.wasmiot import manifests, multipart, uploads
from wasmote_fleet.compat.wasmiot.errors import BadBody, DeployFailed, NotThere
from wasmote_fleet.compat.wasmiot.executor import Inputs
from wasmote_fleet.compat.wasmiot.multipart import Part
from wasmote_fleet.compat.wasmiot.orchestrator import Orchestrator
from wasmote_fleet.compat.wasmiot.supervisor_http import status_of
from wasmote_fleet.compat.wasmiot.uploads import Uploads
from wasmote_fleet.engine import Engine
from wasmote_fleet.gateway.errors import Overloaded
from wasmote_fleet.gateway.http.body import JSON, MAX_INPUT_BYTES, media_type, parse_json, read_body
from wasmote_fleet.gateway.http.guard import allow
from wasmote_fleet.gateway.keys import Role

MAX_UPLOAD_BYTES = 16 << 20
UPLOADS_AT_ONCE = 4
MAX_TOLD_BYTES = 256 * 1024
LOGS_KEPT = 1000
_FORM = "application/x-www-form-urlencoded"
_LOG = "wasmiot-logs"

Endpoint = Callable[[Request], Awaitable[Response]]


def failed(error: WasmoteError) -> Response:
    """An error as an orchestrator says it; next_step is ours."""
    body: dict[str, Any] = {
        "errorText": error.message,
        "error": error.cause or "error",
        "next_step": error.next_step,
    }
    if isinstance(error, DeployFailed):
        body["deviceResponses"] = error.responses
    status = 502 if isinstance(error, DeployFailed) else status_of(error)
    return JSONResponse(body, status, {"Retry-After": "1"} if status in (429, 503) else None)


class OrchestratorHttp:
    """here: raises NotThere for requests that came to a node's address."""

    def __init__(
        self, engine: Engine, modules: Uploads, orchestrator: Orchestrator, here: Callable[[Request], None]
    ) -> None:
        self._engine = engine
        self._modules = modules
        self._orchestrator = orchestrator
        self._here = here
        self._uploading = asyncio.Semaphore(UPLOADS_AT_ONCE)

    def routes(self) -> list[Route]:
        read, call, deploy = Role.READ, Role.CALL, Role.DEPLOY
        table: dict[str, dict[str, tuple[Role, Endpoint]]] = {
            "/file/device": {"GET": (read, self._devices), "DELETE": (deploy, self._forget_devices)},
            "/file/device/discovery/register": {"POST": (deploy, self._register)},
            "/file/device/discovery/reset": {"POST": (deploy, self._rescan)},
            "/file/device/{id}/blacklist": {"POST": (deploy, self._bar)},
            "/file/device/{id}/unblacklist": {"POST": (deploy, self._unbar)},
            "/file/module": {
                "GET": (read, self._list_modules),
                "POST": (deploy, self._create_module),
                "DELETE": (deploy, self._delete_modules),
            },
            "/file/module/{id}": {"GET": (read, self._module), "DELETE": (deploy, self._delete_module)},
            "/file/module/{id}/upload": {"POST": (deploy, self._upload)},
            "/file/module/{id}/description": {"GET": (read, self._description)},
            "/file/module/{id}/{name}": {"GET": (read, self._file)},
            "/file/manifest": {
                "GET": (read, self._list_manifests),
                "POST": (deploy, self._create_manifest),
                "DELETE": (deploy, self._delete_manifests),
            },
            "/file/manifest/{id}": {
                "GET": (read, self._manifest),
                "POST": (deploy, self._deploy),
                "PUT": (deploy, self._update),
                "DELETE": (deploy, self._delete_manifest),
            },
            "/execute/{id}": {"POST": (call, self._execute)},
            "/device/logs": {"GET": (read, self._logs), "POST": (call, self._log)},
        }
        return [self._route(path, methods) for path, methods in table.items()]

    def _route(self, path: str, methods: dict[str, tuple[Role, Endpoint]]) -> Route:
        made = {method: allow(role, self._shaped(endpoint)) for method, (role, endpoint) in methods.items()}

        async def dispatch(request: Request) -> Response:
            return await made["GET" if request.method == "HEAD" else request.method](request)

        return Route(path, dispatch, methods=list(made))

    def _shaped(self, endpoint: Endpoint) -> Endpoint:
        async def shaped(request: Request) -> Response:
            try:
                self._here(request)
                return await endpoint(request)
            except WasmoteError as error:
                return failed(error)

        return shaped

    # ---- devices ----

    async def _devices(self, _request: Request) -> Response:
        return JSONResponse([device.as_json() for device in await self._orchestrator.book.all()])

    async def _forget_devices(self, _request: Request) -> Response:
        return JSONResponse({"deletedCount": await self._orchestrator.book.forget_all()})

    async def _register(self, request: Request) -> Response:
        told = parse_json(await read_body(request, MAX_TOLD_BYTES))
        await self._orchestrator.book.register(told, request.client.host if request.client else "")
        return Response(status_code=204)

    async def _rescan(self, _request: Request) -> Response:
        return Response(status_code=204)

    async def _bar(self, request: Request) -> Response:
        return await self._barred(request.path_params["id"], True)

    async def _unbar(self, request: Request) -> Response:
        return await self._barred(request.path_params["id"], False)

    async def _barred(self, id: str, barred: bool) -> Response:
        try:
            await self._orchestrator.book.bar(id, barred)
        except NotThere:
            return JSONResponse({"error": f"Device with ID '{id}' not found"}, 404)
        word = "blacklisted" if barred else "unblacklisted"
        return JSONResponse({"message": f"Device {id} has been {word}", "deviceId": id})

    # ---- modules ----

    async def _list_modules(self, _request: Request) -> Response:
        return JSONResponse([uploads.public(module) for module in await self._modules.all()])

    async def _create_module(self, request: Request) -> Response:
        parts = await self._parts(request)
        return JSONResponse({"id": await self._modules.create(parts)}, 201)

    async def _upload(self, request: Request) -> Response:
        """The functions as a form's field `functions`, or as the body itself; files are parts of a form."""
        kind = media_type(request)
        files: list[Part] = []
        if kind == multipart.MEDIA_TYPE:
            parts = await self._parts(request)
            files = [part for part in parts if part.filename is not None]
            told = next(
                (part.data for part in parts if part.filename is None and part.name == "functions"), b"{}"
            )
            functions = parse_json(told)
        elif kind == JSON:
            functions = parse_json(await read_body(request, MAX_TOLD_BYTES))
            inner = functions.get("functions") if isinstance(functions, dict) else None
            functions = parse_json(inner.encode()) if isinstance(inner, str) else functions
        else:
            fields = dict(_form(await read_body(request, MAX_TOLD_BYTES)))
            functions = parse_json(fields.get("functions", "{}").encode())
        return JSONResponse(
            {"description": await self._modules.upload(request.path_params["id"], functions, files)}
        )

    async def _parts(self, request: Request) -> list[Part]:
        if media_type(request) != multipart.MEDIA_TYPE:
            raise BadBody("file-submission missing", next_step="send multipart/form-data with the file")
        if self._uploading.locked():
            raise Overloaded("the upload was not begun", cause=f"{UPLOADS_AT_ONCE} others run")
        async with self._uploading:
            return multipart.parse(
                request.headers["content-type"], await read_body(request, MAX_UPLOAD_BYTES)
            )

    async def _module(self, request: Request) -> Response:
        return JSONResponse([uploads.public(await self._modules.get(request.path_params["id"]))])

    async def _description(self, request: Request) -> Response:
        module = await self._modules.get(request.path_params["id"])
        return JSONResponse(module.get("description"))

    async def _file(self, request: Request) -> Response:
        params = request.path_params
        try:
            data = await self._modules.read(await self._modules.get(params["id"]), params["name"])
        except NotThere as error:
            return JSONResponse({"err": str(error)}, 400)  # as there
        kind = "application/wasm" if params["name"] == "wasm" else "application/octet-stream"
        return Response(data, media_type=kind, headers={"X-Content-Type-Options": "nosniff"})

    async def _delete_module(self, request: Request) -> Response:
        await self._modules.delete(request.path_params["id"])
        return Response(status_code=204)

    async def _delete_modules(self, _request: Request) -> Response:
        return JSONResponse({"deletedCount": await self._modules.delete(None)})

    # ---- manifests ----

    async def _list_manifests(self, _request: Request) -> Response:
        return JSONResponse([manifests.public(found) for found in await self._orchestrator.manifests.all()])

    async def _create_manifest(self, request: Request) -> Response:
        told = parse_json(await read_body(request, MAX_TOLD_BYTES))
        try:
            id = await self._orchestrator.create(told)
        except BadBody as error:
            said = {"errorText": "Failed validating manifest", "error": str(error)}
            said |= {"next_step": error.next_step} if error.next_step else {}
            return JSONResponse(said, 400)
        except WasmoteError as error:
            said = {"errorText": "Failed constructing solution for manifest", "error": str(error)}
            return JSONResponse(said, 404 if isinstance(error, NotThere) else 409)
        # A text that is JSON: so today's orchestrator has it.
        return Response(json.dumps(id), 201, media_type="text/plain")

    async def _manifest(self, request: Request) -> Response:
        return JSONResponse(
            manifests.public(await self._orchestrator.manifests.get(request.path_params["id"]))
        )

    async def _deploy(self, request: Request) -> Response:
        return JSONResponse(await self._orchestrator.deployer.deploy(request.path_params["id"]))

    async def _update(self, request: Request) -> Response:
        told = parse_json(await read_body(request, MAX_TOLD_BYTES))
        answers = await self._orchestrator.update(request.path_params["id"], told)
        return Response(status_code=204) if answers is None else JSONResponse(answers)

    async def _delete_manifest(self, request: Request) -> Response:
        gone = await self._orchestrator.delete(request.path_params["id"])
        if not gone:
            return JSONResponse({"message": "Deployment not found"}, 404)
        return JSONResponse({"deletedCount": gone})

    async def _delete_manifests(self, _request: Request) -> Response:
        return JSONResponse({"deletedCount": await self._orchestrator.delete(None)})

    # ---- runs ----

    async def _execute(self, request: Request) -> Response:
        kind = media_type(request)
        body = await read_body(request, MAX_INPUT_BYTES)
        if kind == multipart.MEDIA_TYPE:
            parts = multipart.parse(request.headers["content-type"], body)
            inputs = Inputs(
                {part.name: part.data.decode("utf-8", "replace") for part in parts if part.filename is None},
                {part.name: part.data for part in parts if part.filename is not None},
            )
        elif kind == JSON:
            told = parse_json(body)
            inputs = Inputs(
                {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}
            )
        else:
            inputs = Inputs(dict(_form(body)))
        return JSONResponse(await self._orchestrator.executor.execute(request.path_params["id"], inputs))

    # ---- what supervisors tell ----

    async def _log(self, request: Request) -> Response:
        fields = dict(_form(await read_body(request, MAX_TOLD_BYTES)))
        try:
            said = parse_json(fields.get("logData", "").encode())
        except WasmoteError:
            said = None
        if not isinstance(said, dict):
            raise BadBody("Log not received nor saved", next_step="send a form with logData, a JSON object")
        log = await self._engine.log(_LOG)
        offset = await log.append(json.dumps(said).encode())
        if offset % 100 == 0:
            await log.trim(keep=LOGS_KEPT)
        return JSONResponse({"message": "Log received and saved"})

    async def _logs(self, _request: Request) -> Response:
        log = await self._engine.log(_LOG)
        records = await log.read(await log.trimmed(), limit=2 * LOGS_KEPT)
        found = []
        for record in records[-LOGS_KEPT:]:
            at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.at))
            found.append({**json.loads(record.data), "dateReceived": at})
        return JSONResponse(found)


def _form(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=256)
    except ValueError as error:
        raise BadBody("the body is no form", cause=str(error), next_step=f"send it as {_FORM}") from None
