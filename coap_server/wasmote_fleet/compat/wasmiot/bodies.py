"""What POST /deploy is told, in both forms. Sans-IO.

Today's orchestrator sends deploymentId, modules, endpoints, instructions and mounts. The supervisor's README has an
older form: no endpoints and no mounts, `other` as a list, and an OpenAPI `paths` object for each function of the
instructions. parse() makes the same Plan of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from wasmote_fleet.compat.wasmiot.errors import BadBody

MAX_MODULES = 32
MAX_FUNCTIONS = 256
MAX_NAME = 128
_NAME = re.compile(r"[^/\x00-\x1f\x7f?#]+")
_METHODS = ("get", "post", "put", "delete", "patch", "head", "options", "trace")
JSON = "application/json"
FILE_TYPES = (
    "image/png", "image/jpeg", "image/jpg", "application/octet-stream", "application/wasm", "text/html",
    "text/javascript",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a function is called by HTTP. url: without the path. parameters: the names in the query, in the function's
    order. files: the names of a form's files. media_type: of what it gives."""

    url: str
    path: str
    method: str
    parameters: tuple[str, ...]
    files: tuple[str, ...]
    media_type: str


@dataclass(frozen=True, slots=True)
class Function:
    """A function that is deployed. deployment, execution, output: the names of files that come with the deployment,
    with each call, and that a call gives. to: what is called with its output."""

    module: str
    name: str
    endpoint: Endpoint
    deployment: tuple[str, ...]
    execution: tuple[str, ...]
    output: tuple[str, ...]
    to: Endpoint | None


@dataclass(frozen=True, slots=True)
class Module:
    """binary, other: URLs; other by the name of the file."""

    id: str
    name: str
    binary: str
    other: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """A deployment. readme: the body had the README's form."""

    deployment_id: str
    modules: tuple[Module, ...]
    functions: Mapping[tuple[str, str], Function]
    readme: bool
    raw: Mapping[str, Any] = field(repr=False)


def parse(body: Any) -> Plan:
    """Raises BadBody."""
    if not isinstance(body, dict) or not body:
        raise BadBody(
            "Non-existent or malformed deployment data",
            cause="the body is no JSON object" if not isinstance(body, dict) else "the object has no members",
            next_step="send an object with deploymentId, modules and instructions",
        )
    listed = _member(body, "modules", list, "")
    if not listed:
        raise BadBody("No modules listed", cause="'modules' is empty", next_step="name a module")
    if len(listed) > MAX_MODULES:
        raise _bad("modules", f"has more than {MAX_MODULES} modules")
    modules: dict[str, Module] = {}
    for index, item in enumerate(listed):
        module = _module(item, f"modules[{index}]")
        if modules.setdefault(module.name, module) != module:
            # A chain may use one module twice; two modules of one name it cannot tell apart.
            raise _bad(f"modules[{index}]", f"is another module of the name '{module.name}'")
    readme = "endpoints" not in body
    instructions = _member(_member(body, "instructions", dict, ""), "modules", dict, "instructions.")
    endpoints = {} if readme else _member(body, "endpoints", dict, "")
    mounts = {} if readme else _member(body, "mounts", dict, "")
    functions: dict[tuple[str, str], Function] = {}
    for module_name, name, where, told in _each(instructions, "instructions.modules"):
        if module_name not in modules:
            raise _bad(where, f"is of the module '{module_name}', which is not listed")
        if readme:
            found = _readme_function(module_name, name, told, where, body, modules[module_name])
        else:
            at = f"endpoints.{module_name}.{name}"
            described = _lookup(endpoints, module_name, name)
            if described is None:
                raise _bad(at, "is missing, and the instructions name it")
            found = _function(
                module_name, name, _endpoint(described, at), _lookup(mounts, module_name, name), told, where
            )
        functions[module_name, name] = found
        if len(functions) > MAX_FUNCTIONS:
            raise _bad("instructions.modules", f"has more than {MAX_FUNCTIONS} functions")
    return Plan(_name(body, "deploymentId", ""), tuple(modules.values()), functions, readme, body)


def _module(item: Any, where: str) -> Module:
    if not isinstance(item, dict):
        raise _bad(where, "is no object")
    urls = _member(item, "urls", dict, f"{where}.")
    other = urls.get("other") or {}
    if isinstance(other, list):
        found = {_file_name(url, f"{where}.urls.other"): url for url in other}
    elif isinstance(other, dict):
        found = other
    else:
        raise _bad(f"{where}.urls.other", "is neither an object nor a list")
    for name, url in found.items():
        if not _NAME.fullmatch(name) or len(name) > MAX_NAME or not isinstance(url, str):
            raise _bad(f"{where}.urls.other", f"has no file's name and URL: '{name[:80]}'")
    if len(found) > MAX_MODULES:
        raise _bad(f"{where}.urls.other", f"has more than {MAX_MODULES} files")
    binary = _member(urls, "binary", str, f"{where}.urls.")
    return Module(str(item.get("id", "")), _name(item, "name", f"{where}."), binary, found)


def _file_name(url: Any, where: str) -> str:
    name = unquote(urlsplit(url).path.rpartition("/")[2]) if isinstance(url, str) else ""
    if not name:
        raise _bad(where, "has something that is no file's URL")
    return name


def _endpoint(raw: Any, where: str) -> Endpoint:
    if not isinstance(raw, dict):
        raise _bad(where, "is no object")
    request = _member(raw, "request", dict, f"{where}.")
    response = _member(raw, "response", dict, f"{where}.")
    method = _member(raw, "method", str, f"{where}.").lower()
    if method not in _METHODS:
        raise _bad(f"{where}.method", f"is '{method[:20]}'")
    names, _files = _parameters(request.get("parameters") or [], f"{where}.request.parameters")
    files: tuple[str, ...] = ()
    if (form := request.get("request_body")) is not None:
        form = form if isinstance(form, dict) else {}
        schema = form.get("schema")
        properties = schema.get("properties") if isinstance(schema, dict) else None
        if isinstance(properties, dict):
            files = tuple(str(name) for name in properties)
    return Endpoint(
        _member(raw, "url", str, f"{where}."),
        _member(raw, "path", str, f"{where}."),
        method,
        names,
        files,
        _member(response, "media_type", str, f"{where}.response."),
    )


def _parameters(raw: Any, where: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of those in the query, and of those that are files."""
    names, files = [], []
    if not isinstance(raw, list):
        raise _bad(where, "is no list")
    for item in raw:
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise _bad(where, "has a parameter without a name")
        if item.get("in") == "requestBody":
            files.append(item["name"])
        elif item.get("in", "query") == "query":
            names.append(item["name"])
        elif item["in"] != "path":
            raise _bad(where, f"has a parameter in '{str(item['in'])[:20]}'")
    return tuple(names), tuple(files)


def _function(module: str, name: str, endpoint: Endpoint, mounts: Any, told: Any, where: str) -> Function:
    stages: dict[str, tuple[str, ...]] = {}
    for stage in ("deployment", "execution", "output"):
        listed = mounts.get(stage, []) if isinstance(mounts, dict) else []
        at = f"mounts.{module}.{name}.{stage}"
        if not isinstance(listed, list):
            raise _bad(at, "is no list")
        stages[stage] = tuple(
            _name(item if isinstance(item, dict) else {}, "path", f"{at}.") for item in listed
        )
    to = told.get("to")
    return Function(module, name, endpoint, to=None if to is None else _endpoint(to, f"{where}.to"), **stages)


def _readme_function(
    module: str, name: str, told: Any, where: str, body: Mapping[str, Any], of: Module
) -> Function:
    paths = _member(told, "paths", dict, f"{where}.")
    described = next((item for item in paths.values() if isinstance(item, dict)), {})
    method = next((word for word in described if word.lower() in _METHODS), None)
    if method is None:
        raise _bad(f"{where}.paths", "has no method")
    at = f"{where}.paths.{method}"
    operation = _member(described, method, dict, f"{where}.paths.")
    names, files = _parameters(operation.get("parameters") or [], f"{at}.parameters")
    content = _member(
        _member(_member(operation, "responses", dict, f"{at}."), "200", dict, f"{at}.responses."),
        "content",
        dict,
        f"{at}.responses.200.",
    )
    media_type = next(iter(content), JSON)
    path = f"/{body.get('deploymentId', '')}/modules/{module}/{name}"
    endpoint = Endpoint("", path, method.lower(), names, files, media_type)
    output = {"execution": [{"path": file} for file in files], "deployment": [{"path": f} for f in of.other]}
    if media_type in FILE_TYPES:
        output["output"] = [{"path": name}]
    return _function(module, name, endpoint, output, told, where)


def _each(modules: Mapping[str, Any], where: str) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for module, functions in modules.items():
        if not isinstance(functions, dict):
            raise _bad(f"{where}.{module[:80]}", "is no object")
        for name, told in functions.items():
            at = f"{where}.{module[:80]}.{name[:80]}"
            if not _NAME.fullmatch(name) or len(name) > MAX_NAME:
                raise _bad(at, "is no function's name")
            if not isinstance(told, dict):
                raise _bad(at, "is no object")
            yield module, name, at, told


def _lookup(table: Mapping[str, Any], module: str, name: str) -> Any:
    functions = table.get(module)
    return functions.get(name) if isinstance(functions, dict) else None


def _member(item: Mapping[str, Any], name: str, kind: type[Any], where: str) -> Any:
    value = item.get(name)
    if not isinstance(value, kind):
        word = "an object" if kind is dict else "a list" if kind is list else "a text"
        raise _bad(where + name, "is missing" if value is None else f"is not {word}")
    return value


def _name(item: Mapping[str, Any], member: str, where: str) -> str:
    value = _member(item, member, str, where)
    if not _NAME.fullmatch(value) or len(value) > MAX_NAME or value in (".", ".."):
        raise _bad(where + member, f"is '{value[:40]}': 1 to {MAX_NAME} characters, and no / ? #")
    return str(value)


def _bad(where: str, why: str) -> BadBody:
    return BadBody(
        "Non-existent or malformed deployment data",
        cause=f"'{where}' {why}",
        next_step="send a body as an orchestrator does, or as the supervisor's README has it",
    )
