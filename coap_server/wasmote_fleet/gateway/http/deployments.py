"""/api/v1/deployments: what should run where, and how far it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from wasmote_fleet.deploy import Deployment, Deployments, Progress, parse_json, parse_toml, spec_json
from wasmote_fleet.gateway.http.body import JSON, need_type, read_body
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import query, seconds, services

TOML = "application/toml"
EVENTS = "text/event-stream"
MAX_SPEC_BYTES = 256 * 1024
PROGRESS_S = 300.0  # an event stream ends then; who wants more asks again
_STILL_S = 10.0  # without news a comment is sent, so that a client that is gone is noticed


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
    deployments = services(request).deployments
    if EVENTS in request.headers.get("accept", ""):
        await deployments.now(id)  # raises before anything is sent
        return StreamingResponse(
            _events(deployments, id), media_type=EVENTS, headers={"Cache-Control": "no-store"}
        )
    found = await (deployments.wait(id, timeout_s=wait_s) if wait_s else deployments.now(id))
    return JSONResponse(progress_json(found))


async def _events(deployments: Deployments, id: str) -> AsyncIterator[str]:
    """Ends when it has settled, with an event `settled`."""
    stream = deployments.progress(id)
    coming = asyncio.ensure_future(anext(stream))
    try:
        async with asyncio.timeout(PROGRESS_S):
            while True:
                done, _ = await asyncio.wait({coming}, timeout=_STILL_S)
                if not done:
                    yield ": still there\n\n"
                    continue
                found = coming.result()
                kind = "settled" if found.settled else "progress"
                yield f"event: {kind}\ndata: {json.dumps(progress_json(found))}\n\n"
                if found.settled:
                    return
                coming = asyncio.ensure_future(anext(stream))
    except TimeoutError:
        return
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        await stream.aclose()


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
    raw["nodes"] = [{**node, "sha256": node.pop("digest")} for node in raw["nodes"]]
    if not nodes:
        del raw["nodes"]
    return raw | {"settled": progress.settled}
