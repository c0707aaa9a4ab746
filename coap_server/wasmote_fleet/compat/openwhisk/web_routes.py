"""Web actions and API routes by HTTP, and what `wsk api` asks."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from wasmote_fleet.compat.openwhisk import apis, web
from wasmote_fleet.compat.openwhisk.errors import OVERLOADED, Rejected, bad_request, not_found
from wasmote_fleet.compat.openwhisk.limits import MAX_PARAMETERS_BYTES, MAX_WAIT_MS
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, SYSTEM, Name, check_entity
from wasmote_fleet.compat.openwhisk.service import OpenWhisk
from wasmote_fleet.compat.openwhisk.wire import (
    MAX_PUT_BYTES,
    activation_header,
    json_object,
    json_response,
    need_role,
    plain_header,
)
from wasmote_fleet.gateway.http.body import read_body
from wasmote_fleet.gateway.keys import Role

_APIMGMT = ("createApi", "getApi", "deleteApi")


class WebRoutes:
    """One for an application."""

    def __init__(self, whisk: OpenWhisk) -> None:
        self._whisk = whisk

    async def web(self, request: Request) -> Response:
        """/api/v1/web/NAMESPACE/PACKAGE/ACTION[.EXTENSION][/PATH]"""
        parts = request.path_params["rest"].split("/")
        if len(parts) < 3:
            raise not_found()
        if parts[:2] == [SYSTEM, "apimgmt"]:
            return await self._apimgmt(request, parts[2])
        if parts[0] != NAMESPACE:
            raise not_found()
        action, extension = web.split_extension(parts[2])
        package = check_entity(parts[1])
        name = Name(NAMESPACE, "" if package == "default" else package, check_entity(action))
        path = "".join(f"/{part}" for part in parts[3:])
        return await self._web(request, name, extension, path, None)

    async def api(self, request: Request) -> Response:
        """/api/NAMESPACE/BASE/PATH: what `wsk api create` made."""
        need_role(request, Role.CALL)
        path = "/" + request.path_params.get("rest", "")
        route, below = apis.match(await self._whisk.api_docs(None), path, request.method)
        return await self._web(request, route.action, route.extension, below, route.secret)

    async def _web(
        self, request: Request, name: Name, extension: str, path: str, secret: str | None
    ) -> Response:
        """Run a web action. secret: what the route itself knows of `require-whisk-auth`."""
        need_role(request, Role.CALL)
        try:
            action = await self._whisk.actions.get(name)
        except Rejected:
            raise not_found() from None
        if not action.says("web-export"):
            raise not_found()
        own_options = action.says("web-custom-options")
        headers = dict(web.SANDBOX)
        if not own_options:
            asked = request.headers.get("access-control-request-headers")
            headers |= {**web.CORS, "Access-Control-Allow-Headers": plain_header(asked) or web.CORS_HEADERS}
            if request.method == "OPTIONS":
                return Response(status_code=200, headers=headers)
        body = await read_body(request, MAX_PARAMETERS_BYTES)
        given = {key.lower(): value for key, value in request.headers.items()}
        if secret is not None:
            given.setdefault("x-require-whisk-auth", secret)
        asked_for = web.WebRequest(
            request.method,
            given,
            path,
            request.url.query,
            body,
            "authorization" in request.headers,
        )
        if request.method != "OPTIONS":
            web.check_allowed(action.annotation("require-whisk-auth"), asked_for)
        final = await self._whisk.invoker.final(action)
        args = web.parameters(asked_for, raw=action.says("raw-http"), final=final)
        await self._whisk.invoker.admit(name, args, system=True)
        ended = await self._whisk.invoker.blocking(name, args, MAX_WAIT_MS / 1000)
        if isinstance(ended, str):
            raise Rejected(202, "Response not yet ready.", headers=activation_header(ended))
        assert ended.outcome is not None
        if ended.outcome.busy:
            raise Rejected(503, OVERLOADED, headers={"Retry-After": "1", **activation_header(ended.id)})
        made = web.response(ended.outcome, extension)
        response = Response(made.body, made.status, {**headers, **activation_header(ended.id)})
        if made.media_type is not None:
            response.headers["content-type"] = made.media_type
        for key, value in made.headers:
            response.raw_headers.append((key.lower().encode("latin-1"), value.encode("latin-1")))
        return response

    async def _apimgmt(self, request: Request, name: str) -> Response:
        """What `wsk api` asks."""
        wanted = name.removesuffix(".http").removesuffix(".json")
        query = request.query_params
        host = str(request.base_url).rstrip("/")
        base = query.get("basepath") or None
        if wanted == "getApi":
            need_role(request, Role.READ)
            found = await self._whisk.api_docs(base)
            return json_response(apis.listed(found, host))
        if wanted not in _APIMGMT:
            raise not_found()
        need_role(request, Role.DEPLOY)
        if wanted == "createApi":
            body = await json_object(request, MAX_PUT_BYTES)
            return json_response(
                await self._whisk.add_routes(body, query.get("responsetype") or "json", host)
            )
        if base is None:
            raise bad_request("basepath is required")
        await self._whisk.remove_routes(base, query.get("relpath") or None, query.get("operation") or None)
        return json_response({})
