"""Events for many watchers: the log is read once, and kept for a while.

async with Feed(engine) as feed:
    seen = feed.offset
    while not feed.ended:
        for event in await feed.wait(seen, 15.0): ...
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import asdict
from types import TracebackType
from typing import Any

from wasmote_fleet.engine import Engine, EngineError
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import events
from wasmote_fleet.registry.events import Event

log = logging.getLogger("wasmote.fleet.events")

KEPT_IN_LOG = 10_000  # events; older ones are trimmed away
_RECENT = 512
_RETRY_S = 1.0


class Feed:
    """`async with`. ended: there will be no more."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._news = asyncio.Event()
        self.ended = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Feed:
        async for event in events.follow(self._engine, wait=False):
            self._recent.append(event)
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end()
        if self._task is not None:
            await end(self._task)

    def end(self) -> None:
        """All who wait have seen the last event."""
        self.ended = True
        self._tell()

    @property
    def latest(self) -> Event | None:
        """The last event of all; None if there was never one."""
        return self._recent[-1] if self._recent else None

    @property
    def offset(self) -> int:
        """Of the last event; 0 for none."""
        return self._recent[-1].offset if self._recent else 0

    async def read(self, after: int | None, limit: int) -> list[Event]:
        """The first events behind an offset; None: the last ones of all."""
        if after is None:
            found: deque[Event] = deque(maxlen=limit)
            async for event in events.follow(self._engine, wait=False):
                found.append(event)
            return list(found)
        if self._has(after):
            return [event for event in self._recent if event.offset > after][:limit]
        first = []
        async with contextlib.aclosing(events.follow(self._engine, after, wait=False)) as behind:
            async for event in behind:
                first.append(event)
                if len(first) == limit:
                    break
        return first

    async def wait(self, after: int, wait_s: float) -> list[Event]:
        """Events behind an offset; where there is none, waits for one, wait_s at most. One who is slow misses none, and
        one who is very slow only what was trimmed from the log. Raises EngineError."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                while not self.ended:
                    news = self._news
                    if found := await self.read(after, _RECENT):
                        return found
                    await news.wait()
        return []

    def _has(self, after: int) -> bool:
        """Whether everything behind an offset is among the recent ones."""
        if len(self._recent) < _RECENT:
            return True
        return self._recent[0].offset <= after

    async def _read(self) -> None:
        while True:
            try:
                async for event in events.follow(self._engine, self.offset):
                    self._recent.append(event)
                    self._tell()
            except EngineError as error:
                log.warning("events: %s", error)
                await self._engine.clock.sleep(_RETRY_S)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def event_json(event: Event) -> dict[str, Any]:
    """An event, for a client."""
    return {**asdict(event), "kind": event.kind.value}
