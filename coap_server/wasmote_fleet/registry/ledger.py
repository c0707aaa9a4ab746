"""The ledger of nodes: the record of each, changed by compare and swap, and the events that tell of the changes.

A record is written before its events are told, and the next change of the same node waits for both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

from wasmote_fleet.engine import Change as KeyChange
from wasmote_fleet.engine import ChangeKind, Engine, RevisionConflict
from wasmote_fleet.registry import events, records
from wasmote_fleet.registry.errors import UnknownNode
from wasmote_fleet.registry.news import News
from wasmote_fleet.registry.presence import Change, State
from wasmote_fleet.registry.records import Record

Wanted = tuple[Record, list[Change]]  # the record as it should be, and what that tells


class Ledger:
    """What this server knows of the records, and its way to change them. server: the name under which events are told.
    news: told of each change that is made here; of what a watch brings, by who calls heard()."""

    def __init__(self, engine: Engine, server: str, news: News) -> None:
        self._engine = engine
        self._server = server
        self._news = news
        self._known: dict[str, tuple[Record, int]] = {}  # with its revision
        self._orders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    # ---- what is known ----

    def ids(self) -> list[str]:
        return list(self._known)

    def all(self) -> list[Record]:
        """By id."""
        return [record for _, (record, _) in sorted(self._known.items())]

    def get(self, id: str) -> Record | None:
        known = self._known.get(id)
        return None if known is None else known[0]

    def at(self, uri: str) -> Record | None:
        """One that is reached so."""
        return next((record for record, _ in self._known.values() if record.uri == uri), None)

    async def stored(self, id: str) -> Record | None:
        """As the engine has it now. Raises EngineError."""
        entry = await self._engine.kv.get(records.PREFIX + id)
        return None if entry is None else records.decode(entry.value)

    def heard(self, id: str, change: KeyChange) -> None:
        """What a watch told of a record."""
        if change.kind is ChangeKind.PUT:
            known = self._known.get(id)
            if known is None or known[1] < change.revision:
                self._known[id] = records.decode(change.value), change.revision
        else:
            self._known.pop(id, None)

    # ---- changes ----

    async def change(
        self, id: str, change: Callable[[Record | None], Wanted | None], *, cause: str = ""
    ) -> Record | None:
        """Compare and swap until it is done; None if change wanted nothing. Then the events are told. Raises
        EngineError, and what change raises."""
        async with self._order(id):
            while True:
                entry = await self._engine.kv.get(records.PREFIX + id)
                record = None if entry is None else records.decode(entry.value)
                wanted = change(record)
                if wanted is None:
                    return None
                changed, kinds = wanted
                if changed != record:
                    try:
                        revision = await self._engine.kv.put(
                            changed.key, changed.encode(), expected=0 if entry is None else entry.revision
                        )
                    except RevisionConflict:
                        continue
                    if id not in self._known or self._known[id][1] < revision:
                        self._known[id] = changed, revision
                        self._news.tell()
                for kind in kinds:
                    await self._tell(kind, id, changed.boot, cause)
                return changed

    async def change_existing(self, id: str, change: Callable[[Record], Record]) -> None:
        """As change, of a node that there is, and without events. Raises UnknownNode."""
        if await self.change(id, lambda record: None if record is None else (change(record), [])) is None:
            raise UnknownNode(id)

    async def remove(self, id: str, *, was: State, cause: str) -> None:
        """Take a node out; that it left is told, unless that was its state. Raises EngineError."""
        await self._engine.kv.delete(records.PREFIX + id)
        self._known.pop(id, None)
        self._news.tell()
        if was is not State.LEFT:
            await self._tell(Change.LEFT, id, None, cause)

    async def forget(self, id: str) -> None:
        """Delete what left long ago; the watch tells this server, too. Raises EngineError."""
        await self._engine.kv.delete(records.PREFIX + id)

    def _order(self, id: str) -> asyncio.Lock:
        """One change of a node after the other, each with its events: what the first did may wake who does the next."""
        return self._orders.setdefault(id, asyncio.Lock())

    async def _tell(self, kind: Change, id: str, boot: int | None, cause: str) -> None:
        data = events.encode(kind, id, server=self._server, boot=boot, cause=cause)
        await (await self._engine.log(events.LOG)).append(data)
