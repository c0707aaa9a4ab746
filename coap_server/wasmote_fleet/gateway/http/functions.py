"""/api/v1/functions: what is published."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from wasmote_fleet.gateway.http.body import WASM, need_type, read_body
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import query, services
from wasmote_fleet.repository import MAX_MODULE_BYTES, ModuleInfo, Version


async def list_all(request: Request) -> Response:
    query(request)
    repository = services(request).repository
    return JSONResponse({"functions": [version_json(version) for version in await repository.latest()]})


async def get(request: Request) -> Response:
    wanted = query(request, "version").get("version")
    repository = services(request).repository
    found = await repository.find(request.path_params["name"], wanted)
    versions = await repository.versions(found.name)
    return JSONResponse(
        {
            **version_json(found),
            "module": module_json(await repository.module(found.digest)),
            "versions": [version_json(version) for version in versions],
        }
    )


async def put(request: Request) -> Response:
    wanted = query(request, "version", "replace")
    if wanted.get("replace", "false") not in ("true", "false"):
        raise HttpProblem(
            400, "query", "replace is neither true nor false", next_step="choose one, or leave it out"
        )
    need_type(request, WASM)
    published = await services(request).repository.publish(
        request.path_params["name"],
        await read_body(request, MAX_MODULE_BYTES),
        version=wanted.get("version"),
        replace=wanted.get("replace") == "true",
    )
    return JSONResponse(
        {
            **version_json(published.version),
            "created": published.created,
            "module": module_json(published.module),
        },
        201 if published.created else 200,
    )


async def delete(request: Request) -> Response:
    wanted = query(request, "version").get("version")
    await services(request).repository.remove(request.path_params["name"], wanted)
    return Response(status_code=204)


async def module(request: Request) -> Response:
    wanted = query(request, "version").get("version")
    repository = services(request).repository
    found = await repository.find(request.path_params["name"], wanted)
    etag = f'"{found.digest}"'
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={"ETag": etag})
    return Response(await repository.read(found.digest), headers={"ETag": etag}, media_type=WASM)


def version_json(version: Version) -> dict[str, Any]:
    """A version, for a client."""
    return {
        "name": version.name,
        "version": version.version,
        "sha256": version.digest,
        "published_at": version.published_at,
    }


def module_json(info: ModuleInfo) -> dict[str, Any]:
    """What is known about a module, for a client."""
    value = asdict(info)
    return {"sha256": value.pop("digest"), "size": value.pop("size_bytes"), **value}
