"""What an orchestrator knows about a module: its imports and exports, and its functions as an OpenAPI description.
Sans-IO."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from wasmote.protocol.module import parse_module
from wasmote_fleet.compat.wasmiot.bodies import FILE_TYPES
from wasmote_fleet.compat.wasmiot.errors import BadBody

STAGES = ("deployment", "execution", "output")
METHODS = ("get", "post", "put", "delete", "patch")
_PRIMITIVES = ("integer", "float")
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Described:
    """mounts: for each function, its files with mediaType and stage. description: OpenAPI."""

    mounts: dict[str, dict[str, dict[str, str]]]
    description: dict[str, Any]


def facts(data: bytes) -> dict[str, Any]:
    """`requirements` and `exports` of a module. Raises ModuleError."""
    module = parse_module(data)
    return {
        "requirements": [
            {"module": found.module, "name": found.name, "kind": "function"}
            for found in module.imports
            if found.kind == "func"
        ],
        "exports": [
            {"name": name, "parameterCount": len(kind.params)}
            for name, kind in module.function_exports().items()
        ],
    }


def describe(module: str, functions: Any, files: Mapping[str, str]) -> Described:
    """functions: what was told about each. files: the media type of each file that came along, or is there. Raises
    BadBody."""
    if not isinstance(functions, dict):
        raise BadBody(
            "the functions are no JSON object", next_step="send {NAME: {method, parameters, mounts, output}}"
        )
    found = {name: told for name, told in functions.items() if isinstance(told, dict)}
    missing = [
        [name, mount]
        for name, told in found.items()
        for mount, has in _mounts(name, told, files).items()
        if has["stage"] == "deployment" and mount not in files
    ]
    if missing:
        raise BadBody(f"Functions missing mounts: {missing}", next_step="send the files along")
    mounts = {name: _mounts(name, told, files) for name, told in found.items()}
    paths = {
        f"/{{deployment}}/modules/{module}/{name}": _path(name, told, mounts[name])
        for name, told in found.items()
    }
    return Described(
        mounts,
        {
            "openapi": "3.0.3",
            "info": {"title": module, "description": "Functions as HTTP calls", "version": "0.0.1"},
            "tags": [{"name": "WebAssembly", "description": "WebAssembly functions"}],
            "servers": [
                {
                    "url": "http://{serverIp}:{port}",
                    "variables": {
                        "serverIp": {"default": "localhost", "description": "the supervisor's address"},
                        "port": {"enum": ["5000", "80"], "default": "5000"},
                    },
                }
            ],
            "paths": paths,
        },
    )


def _mounts(function: str, told: Mapping[str, Any], files: Mapping[str, str]) -> dict[str, dict[str, str]]:
    listed = told.get("mounts") or []
    found: dict[str, dict[str, str]] = {}
    for item in listed.values() if isinstance(listed, dict) else listed:
        name, stage = (item.get("name"), item.get("stage")) if isinstance(item, dict) else (None, None)
        if not isinstance(name, str) or stage not in STAGES:
            raise BadBody(
                f"a mount of '{function}' has no name, or no stage",
                cause=f"stages are {', '.join(STAGES)}",
                next_step="correct the description",
            )
        given = item.get("mediaType")
        found[name] = {
            "mediaType": files.get(name) or (given if isinstance(given, str) else _OCTETS),
            "stage": stage,
        }
    return found


def _path(name: str, told: Mapping[str, Any], mounts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    method = str(told.get("method", "")).lower()
    if method not in METHODS:
        raise BadBody(f"the method of '{name}' is '{method[:20]}'", next_step="write GET or POST")
    output = next(
        (each["mediaType"] for each in mounts.values() if each["stage"] == "output"), told.get("output")
    )
    if output in _PRIMITIVES:
        content: dict[str, Any] = {"application/json": {"schema": {"type": output}}}
    elif output in FILE_TYPES:
        content = {output: {"schema": {"type": "string", "format": "binary"}}}
    else:
        raise BadBody(
            f"the output of '{name}' is '{str(output)[:40]}'",
            cause=f"known are {', '.join((*_PRIMITIVES, *FILE_TYPES))}",
            next_step="correct the description",
        )
    operation: dict[str, Any] = {
        "tags": [],
        "summary": f"call {name}",
        "parameters": [
            {"name": key, "in": "query", "description": "", "required": True, "schema": {"type": kind}}
            for key, kind in _parameters(name, told)
        ],
        "responses": {"200": {"description": "the result", "content": content}},
    }
    inputs = {mount: has for mount, has in mounts.items() if has["stage"] != "output"}
    if inputs:
        operation["requestBody"] = {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {mount: {"type": "string", "format": "binary"} for mount in inputs},
                    },
                    "encoding": {mount: {"contentType": has["mediaType"]} for mount, has in inputs.items()},
                }
            },
        }
    deployment = {
        "name": "deployment", "in": "path", "description": "Deployment ID", "required": True,
        "schema": {"type": "string"},
    }  # fmt: skip
    return {"summary": f"function {name}", "parameters": [deployment], method: operation}


def _parameters(name: str, told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """As a list of name and type, or as members param0, param1 and so on."""
    listed = told.get("parameters")
    if listed is None:
        return [(key, str(kind)) for key, kind in told.items() if key.startswith("param")]
    if isinstance(listed, list) and all(
        isinstance(i, dict) and isinstance(i.get("name"), str) for i in listed
    ):
        return [(item["name"], str(item.get("type", "integer"))) for item in listed]
    raise BadBody(
        f"the parameters of '{name}' are no list of name and type", next_step="correct the description"
    )


def lacking(interfaces: Collection[str], module: Mapping[str, Any]) -> list[str]:
    """The imports of a module that a device with these interfaces lacks."""
    return [need["name"] for need in module["requirements"] if need["name"] not in interfaces]
