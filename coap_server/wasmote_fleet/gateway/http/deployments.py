"""/api/v1/deployments: what should run where, and how far it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from wasmote_fleet.deploy import Deployment, Deployments, Progress, parse_json, parse_toml, spec_json
from wasmote_fleet.gateway.http.body import JSON, need_type, read_body
from wasmote_fleet.gateway.http.events import EVENT_STREAM, WATCHERS
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import Services, query, seconds, services

TOML = "application/toml"
MAX_SPEC_BYTES = 256 * 1024
PROGRESS_S = 300.0  # an event stream ends then; who wants more asks again
_LOOK_S = 1.0  # whether the server stops
_STILL = 10  # looks without news, then a comment


async def list_all(request: Request) -> Response:
    query(request)
    deployments = services(request).deployments
    found = [
        {
            **_deployment_json(deployment),
            "progress": progress_json(deployments.progress_of(deployment.id), nodes=False),
        }
        for deployment in await deployments.list()
    ]
    return JSONResponse({"deployments": found})


async def get(request: Request) -> Response:
    query(request)
    deployments = services(request).deployments
    return _answer(deployments, await deployments.get(request.path_params["deployment"]), 200)


async def put(request: Request) -> Response:
    query(request)
    kind = need_type(request, JSON, TOML)
    body = await read_body(request, MAX_SPEC_BYTES)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HttpProblem(
            400, "body", "the body is no UTF-8", cause=str(error), next_step="send text"
        ) from None
    spec = parse_json(text, "the body") if kind == JSON else parse_toml(text, "the body")
    if spec.id != request.path_params["deployment"]:
        raise HttpProblem(
            422,
            "body",
            f"the body is deployment '{spec.id}', the path is '{request.path_params['deployment']}'",
            next_step="make them the same",
        )
    deployments = services(request).deployments
    applied = await deployments.apply(spec)
    return _answer(deployments, applied, 201 if applied.generation == 1 else 200)


async def delete(request: Request) -> Response:
    query(request)
    deployments = services(request).deployments
    return _answer(deployments, await deployments.remove(request.path_params["deployment"]), 202)


async def rollback(request: Request) -> Response:
    query(request)
    deployments = services(request).deployments
    return _answer(deployments, await deployments.rollback(request.path_params["deployment"]), 200)


async def progress(request: Request) -> Response:
    """JSON, with wait_s not before it has settled or so long; or, if asked for, server-sent events."""
    id = request.path_params["deployment"]
    wait_s = seconds(query(request, "wait_s").get("wait_s"), "wait_s", 0.0, PROGRESS_S)
    found = services(request)
    now = await found.deployments.now(id)
    if EVENT_STREAM not in request.headers.get("accept", ""):
        async for change in _changes(found, id, wait_s):
            now = change or now
            if now.settled:
                break
        return JSONResponse(progress_json(now))
    if request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    if found.streams.open >= WATCHERS:
        raise HttpProblem(
            503,
            "overloaded",
            "too many clients watch",
            cause=f"{WATCHERS} may",
            next_step="ask without Accept: text/event-stream now and then, or try again later",
        )
    return StreamingResponse(
        _events(found, id), media_type=EVENT_STREAM, headers={"Cache-Control": "no-store"}
    )


async def _changes(found: Services, id: str, wait_s: float) -> AsyncGenerator[Progress | None, None]:
    """How far it is, whenever that changes, for so long; None now and then. Ends when the server does."""
    stream = found.deployments.progress(id)
    coming = asyncio.ensure_future(anext(stream))
    end = asyncio.get_running_loop().time() + wait_s
    try:
        while not found.feed.ended and (left_s := end - asyncio.get_running_loop().time()) > 0:
            done, _ = await asyncio.wait({coming}, timeout=min(left_s, _LOOK_S))
            if not done:
                yield None
                continue
            yield coming.result()
            coming = asyncio.ensure_future(anext(stream))
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await stream.aclose()


async def _events(found: Services, id: str) -> AsyncIterator[str]:
    """Ends when it has settled, with an event `settled`."""
    found.streams.open += 1
    changes = _changes(found, id, PROGRESS_S)
    silent = 0
    try:
        async for now in changes:
            if now is None:
                silent += 1
                if silent % _STILL == 0:
                    yield ":\n\n"  # so that a client that is gone is noticed
                continue
            silent = 0
            kind = "settled" if now.settled else "progress"
            yield f"event: {kind}\ndata: {json.dumps(progress_json(now))}\n\n"
            if now.settled:
                return
    finally:
        found.streams.open -= 1
        await changes.aclose()


def _answer(deployments: Deployments, deployment: Deployment, status: int) -> Response:
    found = progress_json(deployments.progress_of(deployment.id))
    return JSONResponse({**_deployment_json(deployment), "progress": found}, status)


def _deployment_json(deployment: Deployment) -> dict[str, Any]:
    return {
        "id": deployment.id,
        "generation": deployment.generation,
        "applied_at": deployment.applied_at,
        "removing": deployment.removing,
        "spec": spec_json(deployment.spec),
    }


def progress_json(progress: Progress, *, nodes: bool = True) -> dict[str, Any]:
    """How far it is, for a client."""
    raw = asdict(progress)
    raw["nodes"] = [{"sha256": node.pop("digest"), **node} for node in raw["nodes"]]
    if not nodes:
        del raw["nodes"]
    return raw | {"settled": progress.settled}
