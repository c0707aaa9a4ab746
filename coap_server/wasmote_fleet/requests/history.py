"""The requests that are known: read, listed, waited for, forgotten. A bounded number of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from wasmote_fleet.engine import Engine
from wasmote_fleet.requests import records
from wasmote_fleet.requests.errors import UnknownRequest
from wasmote_fleet.requests.records import Request, State

MAX_KEPT = 10_000
_LOST_S = 60.0  # after its deadline, a request that nobody works on is ended by end_lost()


class History:
    def __init__(self, engine: Engine, *, max_kept: int = MAX_KEPT) -> None:
        self._engine = engine
        self._max_kept = max_kept
        self._listening: dict[str, list[asyncio.Event]] = {}
        self._order: dict[str, int] = {}
        self._ended: set[str] = set()  # ids that tidy() need not read again

    async def get(self, rid: str) -> tuple[Request, int]:
        """The request, and its record's revision. Raises UnknownRequest, InputError."""
        entry = await self._engine.kv.get(records.PREFIX + records.check_id(rid))
        if entry is None:
            raise UnknownRequest(rid)
        return records.decode(entry.value), entry.revision

    async def put(self, request: Request, expected: int) -> int:
        """Write it; the new revision. Raises RevisionConflict."""
        revision = await self._engine.kv.put(
            request.key, request.encode(), ttl_s=records.KEEP_S, expected=expected
        )
        for event in self._listening.get(request.id, ()):
            event.set()
        return revision

    async def remove(self, rid: str) -> None:
        await self._engine.kv.delete(records.PREFIX + records.check_id(rid))

    async def newest(
        self, *, limit: int, before: str | None, deployment: str | None, state: State | None
    ) -> list[Request]:
        """As Requests.list."""
        found: list[Request] = []
        end = None if before is None else (await self._order_of(before), before)
        for at, rid in reversed(await self._ids()):
            if end is not None and (at, rid) >= end:
                continue
            entry = await self._engine.kv.get(records.PREFIX + rid)
            if entry is None:
                continue
            request = records.decode(entry.value)
            if deployment is not None and request.target.deployment != deployment:
                continue
            if state is not None and request.state is not state:
                continue
            found.append(request)
            if len(found) >= limit:
                break
        return found

    async def _ids(self) -> list[tuple[int, str]]:
        """When they came, and their ids, the oldest first."""
        ids = [key.partition("/")[2] for key in await self._engine.kv.keys(records.PREFIX)]
        order = {rid: await self._order_of(rid) for rid in ids}
        self._order = order
        return sorted((at, rid) for rid, at in order.items())

    async def _order_of(self, rid: str) -> int:
        """When a request came, in milliseconds. Ids that were made here tell; of others it is read once."""
        made = records.made_at(rid)
        if made is not None:
            return made
        known = self._order.get(rid)
        if known is None:
            entry = await self._engine.kv.get(records.PREFIX + rid)
            known = 0 if entry is None else int(records.decode(entry.value).queued_at * 1000)
        return known

    @contextlib.contextmanager
    def listening(self, rid: str) -> Iterator[asyncio.Event]:
        """An event that is set when this server has written the request."""
        event = asyncio.Event()
        self._listening.setdefault(rid, []).append(event)
        try:
            yield event
        finally:
            self._listening[rid].remove(event)
            if not self._listening[rid]:
                del self._listening[rid]

    async def tidy(self) -> list[Request]:
        """Forget the oldest that have ended, if there are too many. Returns those that have not ended though their
        deadline passed a while ago: nobody works on them."""
        ids = [rid for _, rid in await self._ids()]
        self._ended.intersection_update(ids)
        too_many, lost = len(ids) - self._max_kept, []
        for rid in ids:
            if rid not in self._ended:
                entry = await self._engine.kv.get(records.PREFIX + rid)
                if entry is None:
                    continue
                request = records.decode(entry.value)
                if not request.state.finished:
                    if request.deadline_at + _LOST_S < self._engine.clock.time():
                        lost.append(request)
                    continue
                self._ended.add(rid)
            if too_many > 0:
                await self.remove(rid)
                self._ended.discard(rid)
                too_many -= 1
        return lost
