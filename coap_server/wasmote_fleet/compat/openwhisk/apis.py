"""API routes, as `wsk api create BASE PATH VERB ACTION` makes them: a Swagger document for each base path. Sans-IO."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.errors import bad_request, malformed, not_found
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name, check_entity, check_namespace
from wasmote_fleet.compat.openwhisk.store import Doc
from wasmote_fleet.compat.openwhisk.web import EXTENSIONS, METHODS

VERBS = tuple(method.lower() for method in METHODS)
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/{}-]{0,500}")
_PARAMETER = re.compile(r"\{([^/{}]+)\}")
MAX_ROUTES = 200


@dataclass(frozen=True, slots=True)
class Route:
    """extension: how the action's result is answered."""

    base: str
    path: str
    verb: str
    action: Name
    extension: str
    secret: str | None = None


def parse_create(body: Doc, response_type: str) -> tuple[str, str | None, list[Route]]:
    """What createApi asks for: base path, title, routes. Raises Rejected."""
    doc = body.get("apidoc")
    if not isinstance(doc, dict):
        raise bad_request("apidoc is required")
    if isinstance(doc.get("swagger"), str):
        return _from_swagger(doc["swagger"])
    base = _path(doc.get("gatewayBasePath"), "gatewayBasePath")
    path = _path(doc.get("gatewayPath"), "gatewayPath")
    verb = str(doc.get("gatewayMethod", "")).lower()
    if verb not in VERBS:
        raise bad_request(f"gatewayMethod '{verb}' is not one of {', '.join(VERBS)}")
    action = doc.get("action")
    if not isinstance(action, dict) or not isinstance(action.get("name"), str):
        raise bad_request("action is required: an object with its name and namespace")
    extension = f".{response_type}"
    if extension not in EXTENSIONS:
        raise bad_request(f"responsetype '{response_type}' is not one of {', '.join(EXTENSIONS)}")
    title = doc.get("apiName")
    secret = action.get("secureKey")
    route = Route(base, path, verb, _action(action), extension, None if secret is None else str(secret))
    return base, title if isinstance(title, str) and title else None, [route]


def _action(said: Doc) -> Name:
    namespace = check_namespace(str(said.get("namespace") or "_"))
    parts = str(said["name"]).removeprefix("/").split("/")
    if len(parts) == 3:
        parts = parts[1:]
    if len(parts) > 2:
        raise bad_request("action is required: an object with its name and namespace")
    package = check_entity(parts[0]) if len(parts) == 2 else str(said.get("package") or "")
    return Name(namespace, "" if package == "default" else package, check_entity(parts[-1]))


def _path(value: Any, member: str) -> str:
    if not isinstance(value, str) or not _PATH.fullmatch(value):
        raise bad_request(f"{member} must begin with '/'")
    return value


def _from_swagger(text: str) -> tuple[str, str | None, list[Route]]:
    """A document of `wsk api create --config-file`: operations that say `x-openwhisk`. Raises Rejected."""
    doc = jsons.parse(text.encode())
    if not isinstance(doc, dict) or not isinstance(doc.get("paths"), dict):
        raise malformed("the swagger document has no paths")
    base = _path(doc.get("basePath"), "basePath")
    info = doc.get("info")
    routes = []
    for path, operations in doc["paths"].items():
        if not isinstance(operations, dict):
            continue
        for verb, operation in operations.items():
            said = operation.get("x-openwhisk") if isinstance(operation, dict) else None
            if verb.lower() not in VERBS or not isinstance(said, dict):
                continue
            action = _action({**said, "name": said.get("action", "")})
            url = str(said.get("url", ""))
            extension = next((one for one in EXTENSIONS if url.endswith(one)), ".http")
            routes.append(Route(base, _path(path, "a path"), verb.lower(), action, extension))
    if not routes:
        raise bad_request("the swagger document has no operation with x-openwhisk: no route was made")
    title = info.get("title") if isinstance(info, dict) else None
    return base, title if isinstance(title, str) else None, routes


def with_routes(before: Doc | None, base: str, title: str | None, routes: list[Route], host: str) -> Doc:
    """The document with these routes. Raises Rejected."""
    doc: Doc = before or {
        "swagger": "2.0",
        "basePath": base,
        "info": {"title": title or base, "version": "1.0.0"},
        "paths": {},
    }
    paths = {path: dict(operations) for path, operations in doc["paths"].items()}
    for route in routes:
        there = paths.setdefault(route.path, {})
        if before is not None and route.verb in there:
            raise bad_request(f"The operation '{route.verb}' already exists for the path '{route.path}'")
        there[route.verb] = _operation(route, host)
    if sum(len(operations) for operations in paths.values()) > MAX_ROUTES:
        raise bad_request(f"An API has {MAX_ROUTES} routes at most.")
    info = doc["info"] if title is None else {**doc["info"], "title": title}
    return {**doc, "info": info, "paths": paths}


def _operation(route: Route, host: str) -> Doc:
    action = route.action
    package = action.package or "default"
    path = f"/api/v1/web/{action.namespace}/{package}/{action.name}{route.extension}"
    said: Doc = {
        "operationId": f"{route.verb}-{route.path}",
        "responses": {"default": {"description": "Default response"}},
        "x-openwhisk": {
            "action": action.name,
            "namespace": action.namespace,
            "package": package,
            "url": host + path,
        },
    }
    if route.secret is not None:
        said["x-openwhisk"]["secure"] = route.secret
    names = _PARAMETER.findall(route.path)
    if names:
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "type": "string"} for name in names
        ]
    return said


def without(doc: Doc, path: str | None, verb: str | None) -> Doc | None:
    """The document without a path, or one of its operations; None: nothing is left. Raises Rejected (404)."""
    if path is None:
        return None
    if path not in doc["paths"]:
        raise not_found(f"API path '{path}' does not exist")
    paths = {key: dict(operations) for key, operations in doc["paths"].items()}
    if verb is None:
        del paths[path]
    else:
        if verb.lower() not in paths[path]:
            raise not_found(f"API operation '{verb.lower()}' does not exist for the path '{path}'")
        del paths[path][verb.lower()]
        if not paths[path]:
            del paths[path]
    return {**doc, "paths": paths} if paths else None


def described(doc: Doc, host: str) -> Doc:
    """As createApi and getApi answer. host: http://this-server."""
    base = doc["basePath"]
    return {
        "namespace": NAMESPACE,
        "gwApiUrl": f"{host}/api/{NAMESPACE}{'' if base == '/' else base}",
        "gwApiActivated": True,
        "tenantId": NAMESPACE,
        "apidoc": doc,
    }


def listed(docs: list[Doc], host: str) -> Doc:
    return {
        "apis": [
            {"id": f"API:{NAMESPACE}:{doc['basePath']}", "key": NAMESPACE, "value": described(doc, host)}
            for doc in docs
        ]
    }


def match(docs: list[Doc], path: str, verb: str) -> tuple[Route, str]:
    """The route of a request to /api/<namespace><path>, and what it is below its base. The longest base counts, and a
    path without parameters before one with. Raises Rejected (404)."""
    for doc in sorted(docs, key=lambda doc: -len(doc["basePath"])):
        base = doc["basePath"].rstrip("/")
        if not (path == base or path.startswith(base + "/")):
            continue
        below = path[len(base) :] or "/"
        for pattern in sorted(doc["paths"], key=lambda pattern: ("{" in pattern, pattern)):
            if _fits(pattern, below) and verb.lower() in doc["paths"][pattern]:
                return _route(doc, pattern, verb.lower()), below
    raise not_found()


def _fits(pattern: str, path: str) -> bool:
    wanted, given = pattern.rstrip("/").split("/"), path.rstrip("/").split("/")
    return len(wanted) == len(given) and all(
        (_PARAMETER.fullmatch(want) and got) or want == got for want, got in zip(wanted, given, strict=True)
    )


def _route(doc: Doc, pattern: str, verb: str) -> Route:
    said = doc["paths"][pattern][verb]["x-openwhisk"]
    url = said["url"]
    extension = next((one for one in EXTENSIONS if url.endswith(one)), ".http")
    package = "" if said["package"] == "default" else said["package"]
    name = Name(said["namespace"], package, said["action"])
    return Route(doc["basePath"], pattern, verb, name, extension, said.get("secure"))
