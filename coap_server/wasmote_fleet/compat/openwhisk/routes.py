"""OpenWhisk's paths: what a request asks for, who may, and how it is answered."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.openwhisk import apis, jsons, system, web
from wasmote_fleet.compat.openwhisk.actions import Action
from wasmote_fleet.compat.openwhisk.activations import WHISK_ERROR, Activation, response_json
from wasmote_fleet.compat.openwhisk.alarms import FEEDS
from wasmote_fleet.compat.openwhisk.bodies import SEQUENCE, parse_action
from wasmote_fleet.compat.openwhisk.errors import FORBIDDEN, OVERLOADED, Rejected, bad_request, not_found
from wasmote_fleet.compat.openwhisk.limits import (
    LIST_DEFAULT,
    LIST_MOST,
    LOGS_MB,
    MAX_PARAMETERS_BYTES,
    MAX_WAIT_MS,
    MEMORY_MB,
    TIMEOUT_MS,
)
from wasmote_fleet.compat.openwhisk.names import (
    NAMESPACE,
    SYSTEM,
    Name,
    check_activation_id,
    check_entity,
    check_namespace,
    key_part,
)
from wasmote_fleet.compat.openwhisk.service import OpenWhisk
from wasmote_fleet.gateway.http.body import media_type, read_body
from wasmote_fleet.gateway.http.mounts import Mount
from wasmote_fleet.gateway.http.problems import HttpProblem, problem
from wasmote_fleet.gateway.keys import Role

API = "/api/v1"
NAMESPACES = f"{API}/namespaces"
WEB = f"{API}/web"
GATEWAY = f"/api/{NAMESPACE}"
_METHODS = list(web.METHODS)
_MAX_PUT_BYTES = 4 << 20  # the module in base64, parameters and annotations
_APIMGMT = ("createApi", "getApi", "deleteApi")

Handler = Callable[[Request, list[str]], Awaitable[Response]]


def mount(whisk: OpenWhisk) -> Mount:
    """The routes, with errors as OpenWhisk has them."""
    routes = Routes(whisk)
    paths = (
        (API, routes.info),
        (f"{API}/", routes.info),
        (NAMESPACES, routes.namespaces),
        (f"{NAMESPACES}/{{rest:path}}", routes.entities),
        (f"{WEB}/{{rest:path}}", routes.web),
        (GATEWAY, routes.api),
        (f"{GATEWAY}/{{rest:path}}", routes.api),
    )
    return Mount(
        (NAMESPACES, WEB, GATEWAY),
        [Route(path, _answering(endpoint), methods=_METHODS) for path, endpoint in paths],
        render,
    )


def render(error: WasmoteError) -> Response:
    """`{error, code}`; the code is this answer's own, for who asks about it."""
    if isinstance(error, Rejected):
        status, text, headers = error.status, error.message, dict(error.headers)
    elif isinstance(error, HttpProblem) and error.status == 401:
        status, text, headers = 401, "The supplied authentication is invalid", dict(error.headers)
    else:
        shown = problem(error)
        status, text = shown.status_code, str(error)
        headers = {name: value for name, value in shown.headers.items() if name == "retry-after"}
        if error.next_step:
            text = f"{text}. {error.next_step}"
    code = secrets.token_hex(16)
    return _json({"error": text, "code": code}, status, {**headers, "X-Request-ID": code})


def _answering(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WasmoteError as error:
            return render(error)

    return answer


class Routes:
    """One for an application."""

    def __init__(self, whisk: OpenWhisk) -> None:
        self._whisk = whisk

    async def info(self, request: Request) -> Response:
        _need(request, Role.READ)
        if request.method not in ("GET", "HEAD"):
            raise _method(request, "GET")
        return _json(
            {
                "description": "OpenWhisk API",
                "api_version": "1.0.0",
                "api_version_path": "v1",
                "build": "wasmote",
                "buildno": "wasmote",
                "swagger_paths": {"ui": "/openapi.json", "api-docs": "/openapi.json"},
                "limits": {
                    "actions_per_minute": self._whisk.throttle.invocations,
                    "concurrent_actions": self._whisk.throttle.at_once,
                    "triggers_per_minute": self._whisk.throttle.fires,
                },
                "runtimes": {"wasm": [{"kind": "wasm", "default": True, "deprecated": False}]},
            }
        )

    async def namespaces(self, request: Request) -> Response:
        _need(request, Role.READ)
        if request.method not in ("GET", "HEAD"):
            raise _method(request, "GET")
        return _json([NAMESPACE])

    async def entities(self, request: Request) -> Response:
        """/api/v1/namespaces/NAMESPACE/COLLECTION[/NAME...]"""
        parts = request.path_params["rest"].split("/")
        trailing = parts[-1] == ""
        parts = parts[:-1] if trailing else parts
        if not parts:
            return await self.namespaces(request)
        namespace = check_namespace(parts[0])
        if namespace == SYSTEM:
            return await self._system(request, parts[1:])
        if namespace != NAMESPACE:
            raise Rejected(403, FORBIDDEN)
        if len(parts) < 2:
            raise not_found()
        collection, names = parts[1], parts[2:]
        handler = {
            "actions": self._actions,
            "triggers": self._triggers,
            "rules": self._rules,
            "packages": self._packages,
            "activations": self._activations,
            "limits": self._limits,
        }.get(collection)
        if handler is None:
            raise not_found()
        if collection == "actions" and trailing and len(names) == 1:
            return await self._packaged(request, check_entity(names[0]))
        return await handler(request, names)

    # ---- actions ----

    async def _actions(self, request: Request, names: list[str]) -> Response:
        if not names:
            _only(request, "GET")
            _need(request, Role.READ)
            return _listed(request, "actions", [a.summary() for a in await self._whisk.actions.all(None)])
        if len(names) > 2:
            raise not_found()
        package = check_entity(names[0]) if len(names) == 2 else ""
        name = Name(NAMESPACE, "" if package == "default" else package, check_entity(names[-1]))
        match request.method:
            case "GET" | "HEAD":
                _need(request, Role.READ)
                action = await self._whisk.actions.get(name)
                return _json(await self._shown(action, _flag(request, "code", True)))
            case "PUT":
                _need(request, Role.DEPLOY)
                overwrite = _flag(request, "overwrite", False)
                body = parse_action(await _object(request, _MAX_PUT_BYTES))
                action = await self._whisk.actions.put(name, body, overwrite=overwrite)
                return _json(await self._shown(action, code=False))
            case "DELETE":
                _need(request, Role.DEPLOY)
                return _json((await self._whisk.actions.remove(name)).as_json())
            case "POST":
                _need(request, Role.CALL)
                return await self._invoke(request, name)
        raise _method(request, "GET, PUT, POST, DELETE")

    async def _packaged(self, request: Request, package: str) -> Response:
        """The actions of a package."""
        _only(request, "GET")
        _need(request, Role.READ)
        await self._whisk.packages.get(package)
        found = await self._whisk.actions.all(key_part(package))
        return _listed(request, "actions", [action.summary() for action in found])

    async def _shown(self, action: Action, code: bool) -> dict[str, Any]:
        if not code or action.kind == SEQUENCE:
            return action.as_json()
        return action.as_json(code=_base64(await self._whisk.actions.code(action)))

    async def _invoke(self, request: Request, name: Name) -> Response:
        blocking, only_result = _flag(request, "blocking", False), _flag(request, "result", False)
        wait_s = _wait_s(request)
        args = await _object(request, MAX_PARAMETERS_BYTES)
        await self._whisk.invoker.admit(name, args)
        if not blocking:
            return _accepted(await self._whisk.invoker.enqueue(name, args))
        ended = await self._whisk.invoker.blocking(name, args, wait_s)
        return _accepted(ended) if isinstance(ended, str) else _ended(ended, only_result)

    # ---- triggers and rules ----

    async def _triggers(self, request: Request, names: list[str]) -> Response:
        triggers = self._whisk.triggers
        if not names:
            _only(request, "GET")
            _need(request, Role.READ)
            return _listed(request, "triggers", await triggers.all())
        name = _single(names)
        match request.method:
            case "GET" | "HEAD":
                _need(request, Role.READ)
                return _json(await triggers.get(name))
            case "PUT":
                _need(request, Role.DEPLOY)
                overwrite = _flag(request, "overwrite", False)
                body = await _object(request, _MAX_PUT_BYTES)
                return _json(await triggers.put(name, body, overwrite=overwrite))
            case "DELETE":
                _need(request, Role.DEPLOY)
                return _json(await triggers.remove(name))
            case "POST":
                _need(request, Role.CALL)
                args = await _object(request, MAX_PARAMETERS_BYTES)
                await triggers.get(name)
                self._whisk.throttle.fired()
                fired = await triggers.fire(name, args)
                return Response(status_code=204) if fired is None else _accepted(fired)
        raise _method(request, "GET, PUT, POST, DELETE")

    async def _rules(self, request: Request, names: list[str]) -> Response:
        triggers = self._whisk.triggers
        if not names:
            _only(request, "GET")
            _need(request, Role.READ)
            return _listed(request, "rules", await triggers.rules())
        name = _single(names)
        match request.method:
            case "GET" | "HEAD":
                _need(request, Role.READ)
                return _json(await triggers.rule(name))
            case "PUT":
                _need(request, Role.DEPLOY)
                overwrite = _flag(request, "overwrite", False)
                body = await _object(request, _MAX_PUT_BYTES)
                return _json(await triggers.put_rule(name, body, overwrite=overwrite))
            case "DELETE":
                _need(request, Role.DEPLOY)
                return _json(await triggers.remove_rule(name))
            case "POST":
                _need(request, Role.DEPLOY)
                await triggers.set_status(name, await _object(request, _MAX_PUT_BYTES))
                return Response(status_code=200)
        raise _method(request, "GET, PUT, POST, DELETE")

    # ---- packages, limits ----

    async def _packages(self, request: Request, names: list[str]) -> Response:
        packages = self._whisk.packages
        if not names:
            _only(request, "GET")
            _need(request, Role.READ)
            return _listed(request, "packages", await packages.all())
        name = _single(names)
        match request.method:
            case "GET" | "HEAD":
                _need(request, Role.READ)
                return _json(await packages.get(name))
            case "PUT":
                _need(request, Role.DEPLOY)
                overwrite = _flag(request, "overwrite", False)
                body = await _object(request, _MAX_PUT_BYTES)
                return _json(await packages.put(name, body, overwrite=overwrite))
            case "DELETE":
                _need(request, Role.DEPLOY)
                return _json(await packages.remove(name, force=_flag(request, "force", False)))
        raise _method(request, "GET, PUT, DELETE")

    async def _limits(self, request: Request, names: list[str]) -> Response:
        _only(request, "GET")
        _need(request, Role.READ)
        if names:
            raise not_found()
        throttle = self._whisk.throttle
        return _json(
            {
                "invocationsPerMinute": throttle.invocations,
                "concurrentInvocations": throttle.at_once,
                "firesPerMinute": throttle.fires,
                "minActionMemory": MEMORY_MB[0],
                "maxActionMemory": MEMORY_MB[2],
                "minActionLogs": LOGS_MB[0],
                "maxActionLogs": LOGS_MB[2],
                "minActionTimeout": TIMEOUT_MS[0],
                "maxActionTimeout": TIMEOUT_MS[2],
                "minActionConcurrency": 1,
                "maxActionConcurrency": 1,
                "maxParameterSize": f"{MAX_PARAMETERS_BYTES} B",
            }
        )

    # ---- activations ----

    async def _activations(self, request: Request, names: list[str]) -> Response:
        _only(request, "GET")
        _need(request, Role.READ)
        activations = self._whisk.activations
        if not names:
            return await self._list_activations(request)
        found = await activations.get(check_activation_id(names[0]))
        match names[1:]:
            case []:
                return _json(found.as_json())
            case ["result"] if found.outcome is not None:
                return _json(response_json(found.outcome))
            case ["logs"]:
                return _json({"logs": list(found.logs)})
        raise not_found()

    async def _list_activations(self, request: Request) -> Response:
        skip, limit = _page(request, "activations")
        name = request.query_params.get("name") or None
        if name is not None and len(name.split("/")) > 2:
            raise _bad_query(
                "name", f"Parameter may be a 'simple' name or 'package-name/simple' name: {name}"
            )
        since, upto = _epoch(request, "since"), _epoch(request, "upto")
        count, docs = _flag(request, "count", False), _flag(request, "docs", False)
        activations = self._whisk.activations
        if count:
            if docs:
                raise bad_request("The parameter 'docs' is not permitted with 'count'.")
            total = await activations.count(skip=skip, name=name, since_ms=since, upto_ms=upto)
            return _json({"activations": total})
        found = await activations.newest(skip=skip, limit=limit, name=name, since_ms=since, upto_ms=upto)
        if not docs:
            return _json([activation.summary() for activation in found])
        whole = [await activations.peek(activation.id) for activation in found]
        return _json([activation.as_json() for activation in whole if activation is not None])

    # ---- whisk.system ----

    async def _system(self, request: Request, names: list[str]) -> Response:
        if request.method == "POST" and len(names) == 3 and names[:2] == ["actions", system.PACKAGE]:
            return await self._feed(request, names[2])
        if request.method not in ("GET", "HEAD"):
            raise Rejected(403, FORBIDDEN)
        _need(request, Role.READ)
        match names:
            case ["packages"]:
                return _listed(request, "packages", [system.package_summary()])
            case ["packages", name]:
                return _json(system.package(name))
            case ["actions"] | ["actions", system.PACKAGE]:
                return _listed(request, "actions", system.feed_actions())
            case ["actions", package, name]:
                return _json(system.feed_action(package, name))
            case ["triggers" | "rules" | "activations" as collection]:
                return _listed(request, collection, [])
        raise not_found()

    async def _feed(self, request: Request, name: str) -> Response:
        if name not in FEEDS:
            raise not_found()
        args = await _object(request, MAX_PARAMETERS_BYTES)
        _need(request, Role.READ if args.get("lifecycleEvent") == "READ" else Role.DEPLOY)
        self._whisk.throttle.invoked()
        ended = await self._whisk.feed(name, args)
        if not _flag(request, "blocking", False):
            return _accepted(ended.id)
        return _ended(ended, _flag(request, "result", False))

    # ---- web actions and API routes ----

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
        _need(request, Role.CALL)
        path = "/" + request.path_params.get("rest", "")
        route, below = apis.match(await self._whisk.api_docs(None), path, request.method)
        return await self._web(request, route.action, route.extension, below, route.secret)

    async def _web(
        self, request: Request, name: Name, extension: str, path: str, secret: str | None
    ) -> Response:
        """Run a web action. secret: what the route itself knows of `require-whisk-auth`."""
        _need(request, Role.CALL)
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
            headers |= {**web.CORS, "Access-Control-Allow-Headers": _plain(asked) or web.CORS_HEADERS}
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
            raise Rejected(202, "Response not yet ready.", headers=_activation_header(ended))
        assert ended.outcome is not None
        if ended.outcome.busy:
            raise Rejected(503, OVERLOADED, headers={"Retry-After": "1", **_activation_header(ended.id)})
        made = web.response(ended.outcome, extension)
        response = Response(made.body, made.status, {**headers, **_activation_header(ended.id)})
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
            _need(request, Role.READ)
            found = await self._whisk.api_docs(base)
            return _json(apis.listed(found, host))
        if wanted not in _APIMGMT:
            raise not_found()
        _need(request, Role.DEPLOY)
        if wanted == "createApi":
            body = await _object(request, _MAX_PUT_BYTES)
            return _json(await self._whisk.add_routes(body, query.get("responsetype") or "json", host))
        if base is None:
            raise bad_request("basepath is required")
        await self._whisk.remove_routes(base, query.get("relpath") or None, query.get("operation") or None)
        return _json({})


# ---- of a request ----


def _need(request: Request, role: Role) -> None:
    """Raises Rejected (403)."""
    has: Role | None = request.state.role
    if has is None or has < role:
        raise Rejected(403, FORBIDDEN)


def _only(request: Request, method: str) -> None:
    if request.method not in (method, "HEAD"):
        raise _method(request, method)


def _method(request: Request, allowed: str) -> Rejected:
    text = f"HTTP method not allowed, supported methods: {allowed}"
    return Rejected(405, text, headers={"Allow": allowed})


def _single(names: list[str]) -> str:
    if len(names) != 1:
        raise not_found()
    return check_entity(names[0])


async def _object(request: Request, most_bytes: int) -> dict[str, Any]:
    """The body, an object of JSON; {} for none. Raises Rejected, HttpProblem."""
    body = await read_body(request, most_bytes)
    if body and media_type(request) != "application/json":
        raise Rejected(415, "The request's Content-Type is not supported. Expected:\napplication/json")
    return jsons.parse_object(body)


def _bad_query(name: str, text: str) -> Rejected:
    return bad_request(f"The query parameter '{name}' was malformed:\n{text}")


def _flag(request: Request, name: str, default: bool) -> bool:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise _bad_query(name, f"'{text}' is not a valid Boolean value")


def _wait_s(request: Request) -> float:
    text = request.query_params.get("timeout")
    if text is None:
        return MAX_WAIT_MS / 1000
    if not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= MAX_WAIT_MS:
        raise _bad_query("timeout", f"Timeout must be number of milliseconds up to {MAX_WAIT_MS}.")
    return int(text) / 1000


def _page(request: Request, collection: str) -> tuple[int, int]:
    """skip and limit; a limit of 0 means the most."""
    skip, limit = (
        _integer(request, "skip", collection, 0),
        _integer(request, "limit", collection, LIST_DEFAULT),
    )
    if skip < 0:
        raise _bad_query("skip", f"The value '{skip}' is not greater than or equal to 0 for {collection}.")
    if not 0 <= limit <= LIST_MOST:
        raise _bad_query(
            "limit", f"The value '{limit}' is not in the range of 0 to {LIST_MOST} for {collection}."
        )
    return skip, limit or LIST_MOST


def _integer(request: Request, name: str, collection: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 9:
        raise _bad_query(name, f"The value '{text}' is not an integer for {collection}.")
    return int(text)


def _epoch(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise _bad_query(name, f"Parameter is not a valid value for epoch seconds: {text}")
    return int(text)


def _plain(text: str | None) -> str:
    """A header's value that may be said again."""
    return text if text is not None and text.isascii() and text.isprintable() else ""


# ---- of a response ----


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(jsons.encode(value), status, dict(headers or {}), media_type="application/json")


def _listed(request: Request, collection: str, docs: list[dict[str, Any]]) -> Response:
    """A page of a collection, or only how many there are."""
    skip, limit = _page(request, collection)
    if _flag(request, "count", False):
        return _json({collection: max(0, len(docs) - skip)})
    return _json(docs[skip : skip + limit])


def _activation_header(id: str) -> dict[str, str]:
    return {"X-Openwhisk-Activation-Id": id}


def _accepted(id: str) -> Response:
    return _json({"activationId": id}, 202, _activation_header(id))


def _ended(activation: Activation, only_result: bool) -> Response:
    outcome = activation.outcome
    assert outcome is not None
    if outcome.busy:
        headers = {"Retry-After": "1", **_activation_header(activation.id)}
        raise Rejected(503, str(outcome.result["error"]), headers=headers)
    status = 200 if outcome.ok else 500 if outcome.status == WHISK_ERROR else 502
    body = outcome.result if only_result else activation.as_json()
    return _json(body, status, _activation_header(activation.id))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
