"""OpenWhisk's paths: what a request asks for, who may, and how it is answered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wasmote_fleet.compat.openwhisk import system, web
from wasmote_fleet.compat.openwhisk.actions import Action
from wasmote_fleet.compat.openwhisk.activations import response_json
from wasmote_fleet.compat.openwhisk.alarms import FEEDS
from wasmote_fleet.compat.openwhisk.bodies import SEQUENCE, parse_action
from wasmote_fleet.compat.openwhisk.errors import FORBIDDEN, Rejected, bad_request, not_found
from wasmote_fleet.compat.openwhisk.limits import (
    LOGS_MB,
    MAX_PARAMETERS_BYTES,
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
from wasmote_fleet.compat.openwhisk.store import Doc
from wasmote_fleet.compat.openwhisk.web_routes import WebRoutes
from wasmote_fleet.compat.openwhisk.wire import (
    MAX_PUT_BYTES,
    accepted_response,
    answering,
    as_base64,
    bad_query,
    ended_response,
    epoch,
    flag,
    json_object,
    json_response,
    listed_response,
    need_role,
    only_method,
    page,
    render,
    single_name,
    wait_s,
    wrong_method,
)
from wasmote_fleet.gateway.http.mounts import Mount
from wasmote_fleet.gateway.keys import Role

API = "/api/v1"
NAMESPACES = f"{API}/namespaces"
WEB = f"{API}/web"
GATEWAY = f"/api/{NAMESPACE}"
_METHODS = list(web.METHODS)
Post = Callable[[Request, str], Awaitable[Response]]


class Kept(Protocol):
    """Entities that have one name in the namespace: triggers, rules, packages."""

    async def all(self) -> list[Doc]: ...

    async def get(self, name: str) -> Doc: ...

    async def put(self, name: str, body: dict[str, Any], *, overwrite: bool) -> Doc: ...

    async def remove(self, name: str) -> Doc: ...


def mount(whisk: OpenWhisk) -> Mount:
    """The routes, with errors as OpenWhisk has them."""
    routes, web_routes = Routes(whisk), WebRoutes(whisk)
    paths = (
        (API, routes.info),
        (f"{API}/", routes.info),
        (NAMESPACES, routes.namespaces),
        (f"{NAMESPACES}/{{rest:path}}", routes.entities),
        (f"{WEB}/{{rest:path}}", web_routes.web),
        (GATEWAY, web_routes.api),
        (f"{GATEWAY}/{{rest:path}}", web_routes.api),
    )
    return Mount(
        (NAMESPACES, WEB, GATEWAY),
        [Route(path, answering(endpoint), methods=_METHODS) for path, endpoint in paths],
        render,
    )


class Routes:
    """One for an application."""

    def __init__(self, whisk: OpenWhisk) -> None:
        self._whisk = whisk

    async def info(self, request: Request) -> Response:
        need_role(request, Role.READ)
        if request.method not in ("GET", "HEAD"):
            raise wrong_method(request, "GET")
        return json_response(
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
        need_role(request, Role.READ)
        if request.method not in ("GET", "HEAD"):
            raise wrong_method(request, "GET")
        return json_response([NAMESPACE])

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
            only_method(request, "GET")
            need_role(request, Role.READ)
            return listed_response(
                request, "actions", [a.summary() for a in await self._whisk.actions.all(None)]
            )
        if len(names) > 2:
            raise not_found()
        package = check_entity(names[0]) if len(names) == 2 else ""
        name = Name(NAMESPACE, "" if package == "default" else package, check_entity(names[-1]))
        match request.method:
            case "GET" | "HEAD":
                need_role(request, Role.READ)
                action = await self._whisk.actions.get(name)
                return json_response(await self._shown(action, flag(request, "code", True)))
            case "PUT":
                need_role(request, Role.DEPLOY)
                overwrite = flag(request, "overwrite", False)
                body = parse_action(await json_object(request, MAX_PUT_BYTES))
                action = await self._whisk.actions.put(name, body, overwrite=overwrite)
                return json_response(await self._shown(action, code=False))
            case "DELETE":
                need_role(request, Role.DEPLOY)
                return json_response((await self._whisk.actions.remove(name)).as_json())
            case "POST":
                need_role(request, Role.CALL)
                return await self._invoke(request, name)
        raise wrong_method(request, "GET, PUT, POST, DELETE")

    async def _packaged(self, request: Request, package: str) -> Response:
        """The actions of a package."""
        only_method(request, "GET")
        need_role(request, Role.READ)
        await self._whisk.packages.get(package)
        found = await self._whisk.actions.all(key_part(package))
        return listed_response(request, "actions", [action.summary() for action in found])

    async def _shown(self, action: Action, code: bool) -> dict[str, Any]:
        if not code or action.kind == SEQUENCE:
            return action.as_json()
        return action.as_json(code=as_base64(await self._whisk.actions.code(action)))

    async def _invoke(self, request: Request, name: Name) -> Response:
        blocking, only_result = flag(request, "blocking", False), flag(request, "result", False)
        patience_s = wait_s(request)
        args = await json_object(request, MAX_PARAMETERS_BYTES)
        await self._whisk.invoker.admit(name, args)
        if not blocking:
            return accepted_response(await self._whisk.invoker.enqueue(name, args))
        ended = await self._whisk.invoker.blocking(name, args, patience_s)
        return accepted_response(ended) if isinstance(ended, str) else ended_response(ended, only_result)

    # ---- triggers, rules, packages ----

    async def _triggers(self, request: Request, names: list[str]) -> Response:
        return await self._kept(request, "triggers", self._whisk.triggers, names, self._fire)

    async def _fire(self, request: Request, name: str) -> Response:
        need_role(request, Role.CALL)
        args = await json_object(request, MAX_PARAMETERS_BYTES)
        await self._whisk.triggers.get(name)
        self._whisk.throttle.fired()
        fired = await self._whisk.triggers.fire(name, args)
        return Response(status_code=204) if fired is None else accepted_response(fired)

    async def _rules(self, request: Request, names: list[str]) -> Response:
        return await self._kept(request, "rules", self._whisk.rules, names, self._set_status)

    async def _set_status(self, request: Request, name: str) -> Response:
        need_role(request, Role.DEPLOY)
        await self._whisk.rules.set_status(name, await json_object(request, MAX_PUT_BYTES))
        return Response(status_code=200)

    async def _packages(self, request: Request, names: list[str]) -> Response:
        packages = self._whisk.packages
        if names and request.method == "DELETE":
            name = single_name(names)
            need_role(request, Role.DEPLOY)
            return json_response(await packages.remove(name, force=flag(request, "force", False)))
        return await self._kept(request, "packages", packages, names)

    async def _kept(
        self, request: Request, what: str, kept: Kept, names: list[str], post: Post | None = None
    ) -> Response:
        """post: what POST does to one; it looks at the role. None: it is not allowed."""
        if not names:
            only_method(request, "GET")
            need_role(request, Role.READ)
            return listed_response(request, what, await kept.all())
        name = single_name(names)
        match request.method:
            case "GET" | "HEAD":
                need_role(request, Role.READ)
                return json_response(await kept.get(name))
            case "PUT":
                need_role(request, Role.DEPLOY)
                overwrite = flag(request, "overwrite", False)
                body = await json_object(request, MAX_PUT_BYTES)
                return json_response(await kept.put(name, body, overwrite=overwrite))
            case "DELETE":
                need_role(request, Role.DEPLOY)
                return json_response(await kept.remove(name))
            case "POST" if post is not None:
                return await post(request, name)
        raise wrong_method(request, "GET, PUT, DELETE" if post is None else "GET, PUT, POST, DELETE")

    # ---- limits ----

    async def _limits(self, request: Request, names: list[str]) -> Response:
        only_method(request, "GET")
        need_role(request, Role.READ)
        if names:
            raise not_found()
        throttle = self._whisk.throttle
        return json_response(
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
        only_method(request, "GET")
        need_role(request, Role.READ)
        activations = self._whisk.activations
        if not names:
            return await self._list_activations(request)
        found = await activations.get(check_activation_id(names[0]))
        match names[1:]:
            case []:
                return json_response(found.as_json())
            case ["result"] if found.outcome is not None:
                return json_response(response_json(found.outcome))
            case ["logs"]:
                return json_response({"logs": list(found.logs)})
        raise not_found()

    async def _list_activations(self, request: Request) -> Response:
        skip, limit = page(request, "activations")
        name = request.query_params.get("name") or None
        if name is not None and len(name.split("/")) > 2:
            raise bad_query("name", f"Parameter may be a 'simple' name or 'package-name/simple' name: {name}")
        since, upto = epoch(request, "since"), epoch(request, "upto")
        count, docs = flag(request, "count", False), flag(request, "docs", False)
        activations = self._whisk.activations
        if count:
            if docs:
                raise bad_request("The parameter 'docs' is not permitted with 'count'.")
            total = await activations.count(skip=skip, name=name, since_ms=since, upto_ms=upto)
            return json_response({"activations": total})
        found = await activations.newest(skip=skip, limit=limit, name=name, since_ms=since, upto_ms=upto)
        if not docs:
            return json_response([activation.summary() for activation in found])
        whole = [await activations.peek(activation.id) for activation in found]
        return json_response([activation.as_json() for activation in whole if activation is not None])

    # ---- whisk.system ----

    async def _system(self, request: Request, names: list[str]) -> Response:
        if request.method == "POST" and len(names) == 3 and names[:2] == ["actions", system.PACKAGE]:
            return await self._feed(request, names[2])
        if request.method not in ("GET", "HEAD"):
            raise Rejected(403, FORBIDDEN)
        need_role(request, Role.READ)
        match names:
            case ["packages"]:
                return listed_response(request, "packages", [system.package_summary()])
            case ["packages", name]:
                return json_response(system.package(name))
            case ["actions"] | ["actions", system.PACKAGE]:
                return listed_response(request, "actions", system.feed_actions())
            case ["actions", package, name]:
                return json_response(system.feed_action(package, name))
            case ["triggers" | "rules" | "activations" as collection]:
                return listed_response(request, collection, [])
        raise not_found()

    async def _feed(self, request: Request, name: str) -> Response:
        if name not in FEEDS:
            raise not_found()
        args = await json_object(request, MAX_PARAMETERS_BYTES)
        need_role(request, Role.READ if args.get("lifecycleEvent") == "READ" else Role.DEPLOY)
        self._whisk.throttle.invoked()
        ended = await self._whisk.feed(name, args)
        if not flag(request, "blocking", False):
            return accepted_response(ended.id)
        return ended_response(ended, flag(request, "result", False))
