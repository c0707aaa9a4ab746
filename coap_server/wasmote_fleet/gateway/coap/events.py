"""What happened to nodes, by CoAP: GET /events is the latest event, and can be observed; /events?after=N those behind
an offset, the first ones first. CBOR, or JSON if that is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from types import TracebackType
from typing import Any

import aiocoap
import cbor2
from aiocoap import resource
from aiocoap.error import BadRequest

from wasmote.protocol.messages import FORMAT_CBOR
from wasmote_fleet.engine import EngineError
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry.feed import Feed, event_json

WATCHERS = 64  # beyond it, the oldest one goes
PAGE = 50  # events in one answer
_FORMAT_JSON = 50


class Events(resource.ObservableResource):  # type: ignore[misc]
    """`async with`: tells observers meanwhile. An observation may skip events: its offsets tell."""

    rt = "wm.events"
    ct = f"{FORMAT_CBOR} {_FORMAT_JSON}"

    def __init__(self, feed: Feed) -> None:
        super().__init__()
        self._feed = feed
        self._observers: list[Any] = []  # the oldest first
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Events:
        self._task = asyncio.create_task(self._tell())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._task is not None:
            await end(self._task)

    async def add_observation(self, _request: aiocoap.Message, observation: Any) -> None:
        if len(self._observers) >= WATCHERS:
            self._observers[0].trigger(aiocoap.Message(code=aiocoap.SERVICE_UNAVAILABLE), is_last=True)
        self._observers.append(observation)

        def ended() -> None:
            with contextlib.suppress(ValueError):
                self._observers.remove(observation)

        observation.accept(ended)

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        wanted = FORMAT_CBOR if request.opt.accept is None else int(request.opt.accept)
        if wanted not in (FORMAT_CBOR, _FORMAT_JSON):
            return aiocoap.Message(code=aiocoap.NOT_ACCEPTABLE)
        after = _after(request)
        if after is None:
            latest = self._feed.latest
            value: Any = {} if latest is None else event_json(latest)
        else:
            value = [event_json(event) for event in await self._feed.read(after, PAGE)]
        payload = cbor2.dumps(value) if wanted == FORMAT_CBOR else json.dumps(value).encode()
        return aiocoap.Message(payload=payload, content_format=wanted)

    async def _tell(self) -> None:
        seen = self._feed.offset
        while not self._feed.ended:
            try:
                found = await self._feed.wait(seen, 60.0)
            except EngineError:
                await asyncio.sleep(1.0)
                continue
            if found:
                seen = found[-1].offset
                for observation in self._observers:
                    observation.trigger()


def _after(request: aiocoap.Message) -> int | None:
    query = request.opt.uri_query
    if not query:
        return None
    name, _, value = query[0].partition("=")
    if len(query) > 1 or name != "after" or not value.isascii() or not value.isdigit() or len(value) > 18:
        raise BadRequest("one parameter is known here: after=OFFSET")
    return int(value)
