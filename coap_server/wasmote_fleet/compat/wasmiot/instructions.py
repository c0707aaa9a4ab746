"""What each device of a manifest is told: the body of its POST /deploy. Sans-IO.

The opposite of bodies.py, which reads such a body."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from wasmote_fleet.compat.wasmiot.describe import METHODS
from wasmote_fleet.compat.wasmiot.device import Device, UrlOf
from wasmote_fleet.compat.wasmiot.devices import FLEET
from wasmote_fleet.compat.wasmiot.errors import BadBody, CannotRun
from wasmote_fleet.compat.wasmiot.uploads import Document


@dataclass(frozen=True)
class Solved:
    """A step and its device."""

    device: Device
    module: Document
    function: str


def instructions(deployment: str, steps: Sequence[Solved], url_of: UrlOf) -> dict[str, Document]:
    """The body for each device, by its id. Raises BadBody, CannotRun."""
    endpoints = []
    for index, step in enumerate(steps):
        # Our devices are named as the one that comes before in the chain reaches them.
        before = steps[index - 1].device if index else None
        url = step.device.url if step.device.own is None else url_of(step.device.own, _seen_from(before))
        endpoints.append(_endpoint(step.module, step.function, deployment, url))
    bodies: dict[str, Document] = {}
    for step, at, to in zip(steps, endpoints, [*endpoints[1:], None], strict=True):
        told = bodies.setdefault(step.device.id, _empty(deployment))
        listed = _module(step.module, url_of(FLEET, _seen_from(step.device)))
        if listed not in told["modules"]:
            told["modules"].append(listed)
        name, function = step.module["name"], step.function
        if function in told["endpoints"].get(name, {}):
            raise CannotRun(
                f"'{function}' of '{name}' is twice on the device '{step.device.name}'",
                cause="a device knows one successor of a function",
                next_step="put one of the two on another device",
            )
        told["endpoints"].setdefault(name, {})[function] = at
        told["instructions"]["modules"].setdefault(name, {})[function] = {"from": at, "to": to}
        told["mounts"].setdefault(name, {})[function] = _mounts(step.module, function)
    return bodies


def entry_of(body: Document, step: Document) -> tuple[str, Document]:
    """The module's name and the endpoint of a step of the manifest's sequence, in the body for its device."""
    name = next(each["name"] for each in body["modules"] if each["id"] == step["module"])
    return name, body["endpoints"][name][step["func"]]


def _seen_from(device: Device | None) -> str:
    """The address of a device elsewhere; "" for one of ours, which are on this machine."""
    return "" if device is None or device.own is not None else device.addresses[0]


def _empty(deployment: str) -> Document:
    return {
        "deploymentId": deployment,
        "modules": [],
        "endpoints": {},
        "instructions": {"modules": {}},
        "mounts": {},
    }


def _module(module: Document, base: str) -> Document:
    """Where a device fetches it. base: our URL."""
    files = f"{base}/file/module/{module['_id']}"
    return {
        "id": module["_id"],
        "name": module["name"],
        "urls": {
            "binary": f"{files}/wasm",
            "description": f"{files}/description",
            "other": {name: f"{files}/{quote(name, safe='')}" for name in module.get("dataFiles", {})},
        },
    }


def _endpoint(module: Mapping[str, Any], function: str, deployment: str, url: str) -> dict[str, Any]:
    """How the function is called there. Raises BadBody if nothing describes it."""
    key = f"/{{deployment}}/modules/{module['name']}/{function}"
    path = (module.get("description") or {}).get("paths", {}).get(key)
    if path is None:
        raise BadBody(
            f"nothing describes '{function}' of the module '{module['name']}'",
            next_step="POST its description to /file/module/ID/upload",
        )
    method = next(word for word in path if word in METHODS)
    operation = path[method]
    media_type, answer = next(iter(operation["responses"]["200"]["content"].items()))
    made: dict[str, Any] = {
        "url": url,
        "path": key.replace("{deployment}", deployment),
        "method": method,
        "request": {"parameters": operation["parameters"]},
        "response": {"media_type": media_type, "schema": answer["schema"]},
    }
    if "requestBody" in operation:
        form_type, form = next(iter(operation["requestBody"]["content"].items()))
        made["request"]["request_body"] = {"media_type": form_type, **form}
    return made


def _mounts(module: Mapping[str, Any], function: str) -> dict[str, list[dict[str, str]]]:
    """The files of each stage."""
    has = (module.get("mounts") or {}).get(function, {})
    return {
        stage: [
            {"path": name, "media_type": each["mediaType"], "stage": stage}
            for name, each in has.items()
            if each["stage"] == stage
        ]
        for stage in ("execution", "deployment", "output")
    }
