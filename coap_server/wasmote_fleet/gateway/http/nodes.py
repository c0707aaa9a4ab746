"""/api/v1/nodes: the fleet, what is on its nodes, and calls."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote.node import check_name
from wasmote.protocol.answers import FunctionInfo
from wasmote_fleet.gateway.http.body import read_object
from wasmote_fleet.gateway.http.calls import call_body, queue, result_response, wish
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import deadline, query, services
from wasmote_fleet.registry import NodeView, UnknownNode
from wasmote_fleet.registry.records import check_id
from wasmote_fleet.requests import Target

# A node answers a multicast within 5 s (RFC 7252, 8.2).
DISCOVERY_S = 6.0
MAX_DISCOVERY_S = 30.0
_CHANGES = {"labels": dict, "beat_s": float}


async def list_all(request: Request) -> Response:
    query(request)
    return JSONResponse({"nodes": [node_json(view) for view in services(request).registry.nodes()]})


async def adopt(request: Request) -> Response:
    query(request)
    wanted = await read_object(request, {"uri": str, **_CHANGES}, required=("uri",))
    registry = services(request).registry
    record, created = await registry.take_in(
        wanted["uri"], labels=_labels(wanted), beat_s=wanted.get("beat_s")
    )
    return JSONResponse(node_json(await registry.find(record.id)), 201 if created else 200)


async def discover(request: Request) -> Response:
    wait_s = deadline(query(request, "timeout_s").get("timeout_s", str(DISCOVERY_S)), MAX_DISCOVERY_S)
    discovery = services(request).discovery
    if discovery.busy:
        raise HttpProblem(
            429,
            "overloaded",
            "the server is looking for nodes already",
            cause="it does that for one client at a time",
            next_step="try again in some seconds",
        )
    found, problems = await discovery.look(wait_s)
    return JSONResponse({"found": [asdict(one) for one in found], "problems": problems})


async def get(request: Request) -> Response:
    query(request)
    return JSONResponse(node_json(await services(request).registry.find(request.path_params["node"])))


async def change(request: Request) -> Response:
    query(request)
    wanted = await read_object(request, _CHANGES, required=())
    registry, node = services(request).registry, request.path_params["node"]
    labels, beat_s = _labels(wanted), wanted.get("beat_s")
    await registry.find(node)
    await registry.change(node, labels=labels, beat_s=beat_s)
    return JSONResponse(node_json(await registry.find(node)))


async def remove(request: Request) -> Response:
    query(request)
    node = request.path_params["node"]
    if not await services(request).registry.remove(check_id(node)):
        raise UnknownNode(node)
    return Response(status_code=204)


async def functions(request: Request) -> Response:
    wait_s = deadline(query(request, "timeout_s").get("timeout_s"))
    found = await services(request).gateway.functions(request.path_params["node"], deadline_s=wait_s)
    return JSONResponse(
        {
            "functions": [
                {"name": link.name, "size": link.size_bytes, "exports": list(link.exports)} for link in found
            ]
        }
    )


async def function(request: Request) -> Response:
    wait_s = deadline(query(request, "timeout_s").get("timeout_s"))
    info = await services(request).gateway.function(
        request.path_params["node"], request.path_params["function"], deadline_s=wait_s
    )
    return JSONResponse(_info_json(info))


async def push(request: Request) -> Response:
    wait_s = deadline(query(request, "timeout_s").get("timeout_s"))
    wanted = await read_object(request, {"function": str, "version": str}, required=())
    name = request.path_params["function"]
    check_name(name)
    found = services(request)
    version = await found.repository.find(wanted.get("function", name), wanted.get("version"))
    pushed = await found.gateway.push(request.path_params["node"], name, version.digest, deadline_s=wait_s)
    return JSONResponse(
        {
            "node": request.path_params["node"],
            "name": name,
            "function": version.name,
            "version": version.version,
            "sha256": version.digest,
            "size": pushed.size_bytes,
            "created": pushed.created,
            "ms": round(pushed.elapsed_s * 1000, 1),
        },
        201 if pushed.created else 200,
    )


async def remove_function(request: Request) -> Response:
    wait_s = deadline(query(request, "timeout_s").get("timeout_s"))
    await services(request).gateway.remove(
        request.path_params["node"], request.path_params["function"], deadline_s=wait_s
    )
    return Response(status_code=204)


async def call(request: Request) -> Response:
    wanted = wish(request)
    params = request.path_params
    check_name(params["function"])
    if wanted.queued:
        await services(request).registry.find(params["node"])
        target = Target(node=params["node"], function=params["function"], export=params.get("export"))
        return await queue(request, target, wanted)
    result = await services(request).gateway.call(
        params["node"],
        params["function"],
        params.get("export"),
        await call_body(request),
        deadline_s=wanted.timeout_s,
    )
    return result_response(result)


def _labels(wanted: dict[str, Any]) -> dict[str, str] | None:
    """Raises HttpProblem (422)."""
    labels = wanted.get("labels")
    if labels is not None and not all(isinstance(value, str) for value in labels.values()):
        raise HttpProblem(422, "body", "a label is no text", next_step='write labels as texts: {"room": "1"}')
    return labels


def node_json(view: NodeView) -> dict[str, Any]:
    """A node, for a client."""
    record = view.record
    return {
        "id": record.id,
        "ep": record.ep,
        "uri": record.uri,
        "state": view.state.value,
        "since": record.since,
        "server": view.server or None,
        "adopted": record.adopted,
        "registered": record.registered,
        "labels": dict(record.labels),
        "beat_s": record.beat_s,
        "boot": record.boot,
        "imports": list(record.imports),
        "device": dict(record.device),
    }


def _info_json(info: FunctionInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "version": info.version,
        "size": info.size_bytes,
        "sha256": info.sha256.hex(),
        "default": info.default,
        "exports": [
            {
                "name": export.name,
                "index": export.index,
                "params": list(export.params),
                "results": list(export.results),
                "kind": export.kind,
                "pure": export.pure,
                "idempotent": export.idempotent,
            }
            for export in info.exports
        ],
    }
