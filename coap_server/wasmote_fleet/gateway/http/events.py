"""/api/v1/events: what happened to nodes, as it happens (server-sent events) or as a list."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from wasmote_fleet.engine import EngineError
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.gateway.http.services import Streams, query, services
from wasmote_fleet.registry.feed import Feed, event_json

WATCHERS = 64
KEEP_ALIVE_S = 15.0
MAX_LIST = 1000
DEFAULT_LIST = 100
MAX_OFFSET = 2**63 - 1
EVENT_STREAM = "text/event-stream"


async def watch(request: Request) -> Response:
    wanted = query(request, "after", "wait", "limit")
    after = _number(wanted.get("after"), "after", 0, MAX_OFFSET)
    limit = _number(wanted.get("limit"), "limit", 1, MAX_LIST)
    if wanted.get("wait", "true") not in ("true", "false"):
        raise HttpProblem(
            400, "query", "wait is neither true nor false", next_step="choose one, or leave it out"
        )
    found = services(request)
    if wanted.get("wait") == "false":
        listed = await found.feed.read(after, limit or DEFAULT_LIST)
        return JSONResponse({"events": [event_json(event) for event in listed]})
    if limit is not None:
        raise HttpProblem(
            400,
            "query",
            "limit is for a list",
            cause="without wait=false the answer goes on for ever",
            next_step="add wait=false, or leave limit out",
        )
    # A client that was cut off says itself where it was.
    last = request.headers.get("last-event-id")
    seen = _number(last, "Last-Event-ID", 0, MAX_OFFSET) if last else after
    if request.method == "HEAD":
        return Response(media_type=EVENT_STREAM)
    if found.streams.open >= WATCHERS:
        raise HttpProblem(
            503,
            "overloaded",
            "too many clients watch events",
            cause=f"{WATCHERS} may",
            next_step="ask with wait=false now and then, or try again later",
        )
    offset = found.feed.offset if seen is None else seen
    return StreamingResponse(
        _stream(found.feed, offset, found.streams),
        media_type=EVENT_STREAM,
        headers={"Cache-Control": "no-store"},
    )


async def _stream(feed: Feed, after: int, streams: Streams) -> AsyncIterator[bytes]:
    streams.open += 1
    try:
        yield b": events of the fleet\n\n"
        while not feed.ended:
            found = await feed.wait(after, KEEP_ALIVE_S)
            for event in found:
                after = event.offset
                yield f"id: {event.offset}\ndata: {json.dumps(event_json(event))}\n\n".encode()
            if not found and not feed.ended:
                yield b":\n\n"  # so that all on the way know that somebody is there
    except EngineError:
        return  # the client comes again, with the id of the last event
    finally:
        streams.open -= 1


def _number(text: str | None, name: str, least: int, most: int) -> int | None:
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 20 or not least <= int(text) <= most:
        raise HttpProblem(
            400,
            "query",
            f"{name} is '{text[:40]}'",
            cause=f"it is a number, {least} to {most}",
            next_step="choose another one, or leave it out",
        )
    return int(text)
