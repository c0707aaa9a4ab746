"""The nodes that this server speaks with: it holds the lease `nodes/<id>` of each, renews it, and has a keeper ask the
node. And who holds the others.

The order counts, for other servers watch: first the lease, then the record under it, then the events.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wasmote.node import Tuning
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import Change as KeyChange
from wasmote_fleet.engine import ChangeKind, Engine, EngineError, Lease, LeaseLost, holding
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import records
from wasmote_fleet.registry.errors import NotHere
from wasmote_fleet.registry.keeper import Keeper, Link
from wasmote_fleet.registry.ledger import Ledger, Wanted
from wasmote_fleet.registry.news import News
from wasmote_fleet.registry.presence import Change, State
from wasmote_fleet.registry.records import Record, device_facts

log = logging.getLogger("wasmote.fleet.registry")

PARALLEL_BEATS = 256


class Holdings:
    """holder: this server, for its leases. lease_s: how long a lease lasts unless it is renewed. slots: renewals at a
    time. ended: called with a node's id when its keeper has ended, so that somebody looks whether it should have.
    tuning: as Keeper has it."""

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        news: News,
        *,
        holder: str,
        lease_s: float,
        slots: asyncio.Semaphore,
        ended: Callable[[str], None],
        tuning: Tuning | None,
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._news = news
        self._holder = holder
        self._lease_s = lease_s
        self._slots = slots
        self._ended = ended
        self._tuning = tuning
        self._beats = asyncio.Semaphore(PARALLEL_BEATS)
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._reserved: dict[str, Lease] = {}  # of nodes that are being taken in
        self._holders: dict[str, str] = {}
        self._expired: set[str] = set()  # leases of servers that died

    # ---- who has what ----

    def ids(self) -> list[str]:
        """The nodes that have a keeper here."""
        return list(self._keepers)

    def holder_of(self, id: str) -> str:
        """The server that speaks with a node, as far as is known; "" for none."""
        return self._holders.get(id, "")

    def has(self, id: str) -> bool:
        """Whether this server speaks with it now, by its lease."""
        if id not in self._keepers:
            return False
        keeper, task = self._keepers[id]
        return not task.done() and self._engine.clock.time() < keeper.lease.expires_at

    def keeper(self, id: str) -> Keeper:
        """Of a node that this server has. Raises NotHere."""
        if not self.has(id):
            known = self._ledger.get(id) is not None
            server = self.holder_of(id)
            by = f"{server} does" if server else "no server does now"
            raise NotHere(
                f"this server does not speak with node {id}",
                cause=by if known else "there is no such node",
                next_step="ask that server" if known and server else "try again soon",
            )
        return self._keepers[id][0]

    def link(self, id: str) -> Link | None:
        """The way to a node that has a keeper here."""
        mine = self._keepers.get(id)
        return None if mine is None else mine[0].link

    def ask_soon(self, id: str) -> None:
        """It has been heard of: if it has a keeper here, that asks it now."""
        if id in self._keepers:
            self._keepers[id][0].ask_soon()

    def heard(self, id: str, change: KeyChange) -> None:
        """What a watch told of a lease."""
        if change.kind is ChangeKind.PUT:
            self._holders[id] = holding(change).holder
            self._expired.discard(id)
            return
        self._holders.pop(id, None)
        if change.kind is ChangeKind.EXPIRE:
            self._expired.add(id)

    # ---- to have a node, and to let it go ----

    async def reserve(self, id: str) -> None:
        """Be the one that gets a node, before others hear of it; unless another has it. Raises EngineError."""
        lease = await self._engine.leases.acquire(records.PREFIX + id, self._holder, self._lease_s)
        if lease is not None:
            self._reserved[id] = lease

    async def give_back(self, id: str) -> None:
        """What was reserved, and is not needed. Raises EngineError."""
        if (unused := self._reserved.pop(id, None)) is not None:
            await self._engine.leases.release(unused)

    async def hold(self, record: Record) -> None:
        """Speak with this node, as its record says, if no other server does. One at a time for each node. Raises
        EngineError."""
        id = record.id
        mine = self._keepers.get(id)
        if mine is not None:
            keeper, task = mine
            if not task.done() and (keeper.record.uri, keeper.record.beat_s) == (record.uri, record.beat_s):
                keeper.record = record
                return
            await self.drop(id)
        lease = self._reserved.pop(id, None)
        if lease is None:
            if id in self._holders and self._holders[id] != self._holder:
                return
            if not _within_reach(record.uri):
                return
            lease = await self._engine.leases.acquire(records.PREFIX + id, self._holder, self._lease_s)
        if lease is None:
            return
        keeper = Keeper(
            record,
            lease,
            clock=self._engine.clock,
            report=self._report,
            slots=self._beats,
            unknown=id in self._expired,
            tuning=self._tuning,
        )
        task = asyncio.create_task(keeper.run())
        task.add_done_callback(lambda done: self._keeper_ended(id, done))
        self._keepers[id] = keeper, task
        self._holders[id] = self._holder
        self._news.tell()

    async def drop(self, id: str) -> None:
        """Speak with it no longer."""
        mine = self._keepers.pop(id, None)
        if mine is None:
            return
        keeper, task = mine
        await end(task)
        try:
            await self._engine.leases.release(keeper.lease)
        except EngineError as err:
            log.warning("the lease of node %s was not released and will expire: %s", id, err)

    async def close(self) -> None:
        """Let other servers have all at once."""
        await asyncio.gather(*(self.drop(id) for id in list(self._keepers)))
        for lease in self._reserved.values():
            await self._engine.leases.release(lease)

    async def tend(self) -> None:
        """Renew the leases; and read who has the others, in case a message about one was missed."""
        await asyncio.gather(*(self._renew(id, keeper) for id, (keeper, _) in list(self._keepers.items())))
        try:
            held = await self._engine.leases.held(records.PREFIX)
            holders = {lease.name.partition("/")[2]: lease.holder for lease in held}
            if holders != self._holders:
                self._holders = holders
                self._news.tell()
        except EngineError as err:
            log.warning("the leases cannot be read: %s", err)

    async def _renew(self, id: str, keeper: Keeper) -> None:
        try:
            async with self._slots:
                keeper.lease = await self._engine.leases.renew(keeper.lease)
        except LeaseLost:
            log.warning("the lease of node %s is lost", id)
            if id in self._keepers and self._keepers[id][0] is keeper:
                self._keepers[id][1].cancel()
        except EngineError as err:
            log.warning("the lease of node %s was not renewed: %s", id, err)

    # ---- what keepers say ----

    def _keeper_ended(self, id: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("node %s: %r", id, error, exc_info=error)
        self._ended(id)

    async def _report(
        self, keeper: Keeper, changes: list[Change], device: dict[str, Any] | None, cause: str
    ) -> None:
        """A keeper's news. Written only where something changed, and only under its lease."""
        facts = None if device is None else device_facts(device)
        told = keeper.record.server == self._holder and (facts is None or facts == keeper.record.device)
        if not changes and told:
            return
        presence = keeper.presence

        def change(record: Record | None) -> Wanted | None:
            if record is None or record.state is State.LEFT or record.token > keeper.lease.token:
                return None  # it left, or a successor speaks with it
            changed = record.changed(
                state=presence.state,
                boot=presence.boot,
                began_at=presence.began_at,
                since=record.since if presence.state is record.state else self._engine.clock.time(),
                device=record.device if facts is None else facts,
                server=self._holder,
                token=keeper.lease.token,
            )
            return changed, changes

        try:
            record = await self._ledger.change(keeper.record.id, change, cause=cause)
        except EngineError as err:
            log.warning("node %s: %s was not written: %s", keeper.record.id, ", ".join(changes), err)
            # The next beat tries again: in the record nothing has changed yet.
            presence.state = keeper.record.state
            presence.boot, presence.began_at = keeper.record.boot, keeper.record.began_at
        else:
            keeper.record = record or keeper.record


def _within_reach(uri: str) -> bool:
    """False for a serial device of another machine, or one that is not plugged in."""
    target = parse_target(uri)
    return target.kind != "serial" or not target.device.startswith("/") or Path(target.device).exists()
