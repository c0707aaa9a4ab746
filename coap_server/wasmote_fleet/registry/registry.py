"""The registry: which nodes there are, what they can do, and whether they are there.

    async with Registry(engine) as registry:
        node = await registry.adopt("coap://192.0.2.7", labels={"room": "1"})
        async for event in registry.events():
            ...

Several registries on one engine share the nodes: each node is spoken to by the one that holds its lease
`nodes/<id>`. When its server is gone, the lease expires, and another takes the node over. Everything is in the
engine: a registry that starts reads it and goes on.

Its parts: ledger.py has the records and tells the events, holdings.py the leases and keepers of this server,
membership.py says who belongs to the fleet, settler.py lets one thing happen at a time to each node. The registry
passes on to them what the engine's watches say, and decides what is due for a node (_step).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from wasmote.adapters import discover as discovery
from wasmote.node import Node, Tuning
from wasmote_fleet.engine import Change as KeyChange
from wasmote_fleet.engine import Engine, EngineUnavailable, Lease, SnapshotEnd
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import directory, events, records
from wasmote_fleet.registry.errors import UnknownNode
from wasmote_fleet.registry.events import Event
from wasmote_fleet.registry.holdings import Holdings
from wasmote_fleet.registry.ledger import Ledger
from wasmote_fleet.registry.membership import Membership
from wasmote_fleet.registry.news import News
from wasmote_fleet.registry.presence import State
from wasmote_fleet.registry.records import Record
from wasmote_fleet.registry.settler import Settler

log = logging.getLogger("wasmote.fleet.registry")

BEAT_S = 5.0
LEASE_S = 15.0
_PARALLEL_WORK = 32
_RETRY_S = 1.0
_FORGET_LEFT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as it is now. state: `unknown` also while no server speaks with it, and until one that has just begun has
    heard of it. server: the one that does, "" for none."""

    record: Record
    state: State
    server: str


class Registry:
    """`async with`, or start() and close(). server: this server's name, 1 to 40 of A-Z a-z 0-9 _ -; holder, which is
    unique for each start, begins with it. beat_s: how often a node is asked that says nothing else. lease_s: how
    long after a server's death its nodes are taken over. tuning: how patient calls and transfers are with nodes."""

    def __init__(
        self,
        engine: Engine,
        *,
        server: str = "fleet",
        beat_s: float = BEAT_S,
        lease_s: float = LEASE_S,
        tuning: Tuning | None = None,
    ) -> None:
        self.engine = engine
        self.holder = f"{server}-{secrets.token_hex(4)}"
        self._lease_s = lease_s
        work = asyncio.Semaphore(_PARALLEL_WORK)
        self._news = News()
        self._settler = Settler(self._step, work)
        self._ledger = Ledger(engine, self.holder, self._news)
        self._holdings = Holdings(
            engine,
            self._ledger,
            self._news,
            holder=self.holder,
            lease_s=lease_s,
            slots=work,
            ended=self._settler.wake,
            tuning=tuning,
        )
        self._membership = Membership(engine, self._ledger, self._holdings, beat_s=beat_s)
        self._tasks: list[asyncio.Task[None]] = []
        self._synced = {name: asyncio.Event() for name in ("nodes", "leases", "rd")}

    # ---- life ----

    async def start(self) -> None:
        """Read what is known, and begin to speak with the nodes that no other server has. Raises EngineError."""
        kv, leases = self.engine.kv, self.engine.leases
        self._go(self._follow("nodes", lambda: kv.watch(records.PREFIX), self._ledger.heard))
        self._go(self._follow("rd", lambda: kv.watch(directory.PREFIX), self._membership.heard))
        self._go(self._follow("leases", lambda: leases.watch(records.PREFIX), self._holdings.heard))
        synced = asyncio.create_task(self._all_synced())
        await asyncio.wait({synced, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not synced.done():
            failed = next(task for task in self._tasks if task.done())
            await end(synced)
            await self.close()
            await failed  # raises
        self._settler.open()
        self._go(self._tend())
        self._wake_all()

    async def close(self) -> None:
        """Stop, and let other servers have the nodes at once."""
        await asyncio.gather(self._settler.close(), end(*self._tasks))
        await self._holdings.close()

    async def __aenter__(self) -> Registry:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # ---- what there is ----

    def nodes(self) -> list[NodeView]:
        """All nodes, by id, also those that left less than a day ago."""
        return [self._view(record) for record in self._ledger.all()]

    def get(self, id: str) -> NodeView | None:
        record = self._ledger.get(id)
        return None if record is None else self._view(record)

    async def find(self, id: str) -> NodeView:
        """As get, and asks the engine for one that another server has just taken in. Raises UnknownNode, InputError
        for what can be no node's id, EngineError."""
        known = self.get(records.check_id(id))
        if known is not None:
            return known
        record = await self._ledger.stored(id)
        if record is None:
            raise UnknownNode(id)
        return self._view(record)

    def speaks_with(self, id: str) -> bool:
        """Whether this server does now, by its lease."""
        return self._holdings.has(id)

    async def news(self) -> None:
        """Until something has changed: a node, who speaks with it, or what is known of either."""
        await self._news.wait()

    @property
    def version(self) -> int:
        """Another number whenever something may have changed of what nodes() and get() say."""
        return self._news.version

    def events(self, after: int = 0, *, wait: bool = True) -> AsyncGenerator[Event, None]:
        """What happened to nodes of the whole fleet, from an offset of the log on; with wait it goes on for ever."""
        return events.follow(self.engine, after, wait=wait)

    async def node(self, id: str) -> Node:
        """The client of a node whose lease this server holds; it stays open, do not close it: that happens when this
        server speaks with the node no longer. Raises NotHere where another server, or none, does (get(id).server), and
        what opening it raises."""
        keeper = self._holdings.keeper(id)
        if keeper.presence.state is State.DOWN:
            keeper.ask_soon()  # somebody believes that it is back
        return await keeper.link.node()

    def lease(self, id: str) -> Lease:
        """The lease of a node that this server holds, for the fencing token and the time it ends. Raises NotHere."""
        return self._holdings.keeper(id).lease

    def _view(self, record: Record) -> NodeView:
        server = self._holdings.holder_of(record.id)
        # What another server wrote, nobody has seen since: until the first beat under the new lease.
        stale = server != record.server and record.state not in (State.LEFT, State.JOINED)
        return NodeView(record, State.UNKNOWN if stale else record.state, server)

    # ---- who belongs to it ----

    async def adopt(
        self, uri: str, *, labels: Mapping[str, str] | None = None, beat_s: float | None = None
    ) -> Record:
        """Make the node at uri one of the fleet's, until it is removed. Asks it who it is. labels, beat_s: None
        leaves what they were. Raises InputError, NodeExists, WrongNode, UnreachableError, EngineError."""
        return (await self.take_in(uri, labels=labels, beat_s=beat_s))[0]

    async def take_in(
        self, uri: str, *, labels: Mapping[str, str] | None = None, beat_s: float | None = None
    ) -> tuple[Record, bool]:
        """As adopt; and whether the node is new."""
        record, new = await self._membership.take_in(uri, labels=labels, beat_s=beat_s)
        self._settler.wake(record.id)
        return record, new

    async def change(
        self, id: str, *, labels: Mapping[str, str] | None = None, beat_s: float | None = None
    ) -> None:
        """Replace a node's labels, or how often it is asked, in seconds; None leaves it. Raises InputError,
        UnknownNode."""
        await self._membership.change(id, labels=labels, beat_s=beat_s)

    async def set_labels(self, id: str, labels: Mapping[str, str]) -> None:
        """Replace a node's labels. Raises InputError, UnknownNode."""
        await self.change(id, labels=labels)

    async def set_beat(self, id: str, beat_s: float) -> None:
        """How often a node is asked, in seconds. Raises InputError, UnknownNode."""
        await self.change(id, beat_s=beat_s)

    async def remove(self, id: str) -> bool:
        """Forget a node, adopted or registered; False if there is none. One that registers again joins again."""
        return await self._membership.remove(id)

    def discover(self, **options: Any) -> AsyncGenerator[discovery.Found, None]:
        """Nodes that answer a multicast, as wasmote.adapters.discover.discover; adopt(found.address) takes one in."""
        return discovery.discover(**options)

    # ---- what comes from the engine ----

    async def _all_synced(self) -> None:
        for event in self._synced.values():
            await event.wait()

    def _go(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _follow(
        self, name: str, watch: Callable[[], Any], heard: Callable[[str, KeyChange], None]
    ) -> None:
        while True:
            try:
                async with watch() as changes:
                    async for change in changes:
                        if isinstance(change, SnapshotEnd):
                            self._synced[name].set()
                        else:
                            id = change.key.partition("/")[2]
                            heard(id, change)
                            self._news.tell()
                            self._settler.wake(id)
            except EngineUnavailable as err:
                log.warning("%s: %s", name, err)
                await self.engine.clock.sleep(_RETRY_S)

    async def _tend(self) -> None:
        """Keep the leases, and look at every node in case a message about it was missed."""
        while True:
            await self.engine.clock.sleep(self._lease_s / 3)
            await self._holdings.tend()
            self._wake_all()

    # ---- what should be done about a node now ----

    def _wake_all(self) -> None:
        for id in {*self._ledger.ids(), *self._membership.registered_ids(), *self._holdings.ids()}:
            self._settler.wake(id)

    async def _step(self, id: str) -> None:
        await self._membership.follow_registration(id)
        record = self._ledger.get(id)
        if record is not None and record.state is not State.LEFT:
            await self._holdings.hold(record)
            return
        await self._holdings.drop(id)
        if record is not None and self.engine.clock.time() - record.since > _FORGET_LEFT_S:
            await self._ledger.forget(id)
