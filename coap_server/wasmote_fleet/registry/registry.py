"""The registry: which nodes there are, what they can do, and whether they are there.

    async with Registry(engine) as registry:
        node = await registry.adopt("coap://192.0.2.7", labels={"room": "1"})
        async for event in registry.events():
            ...

Several registries on one engine share the nodes: each node is spoken to by the one that holds its lease
`nodes/<id>`. When its server is gone, the lease expires, and another takes the node over. Everything is in the
engine: a registry that starts reads it and goes on.

Nodes that register themselves come by the directory (directory.py), whose keys `rd/<id>` the registry follows.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

from wasmote.adapters import discover as discovery
from wasmote.errors import InputError, UnreachableError
from wasmote.node import Node, Tuning
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import Change as KeyChange
from wasmote_fleet.engine import (
    ChangeKind,
    Engine,
    EngineError,
    EngineUnavailable,
    Lease,
    LeaseLost,
    RevisionConflict,
    SnapshotEnd,
    holding,
)
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.registry import directory, events, records
from wasmote_fleet.registry.errors import NodeExists, NotHere, UnknownNode, WrongNode
from wasmote_fleet.registry.events import Event
from wasmote_fleet.registry.keeper import Keeper, Link
from wasmote_fleet.registry.presence import Change, State
from wasmote_fleet.registry.records import Record, device_facts, node_id

log = logging.getLogger("wasmote.fleet.registry")

BEAT_S = 5.0
LEASE_S = 15.0
PARALLEL_BEATS = 256
_PARALLEL_WORK = 32
_NODE_TYPE = "wm.d"  # resource type of a node's /d
_RETRY_S = 1.0
_MAX_LABELS = 64
_FORGET_LEFT_S = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as it is now. state: `unknown` also while no server speaks
    with it, and until one that has just begun has heard of it. server: the one that does, "" for
    none."""

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
        self._beat_s = beat_s
        self._lease_s = lease_s
        self._tuning = tuning
        self._records: dict[str, tuple[Record, int]] = {}
        self._registered: dict[str, directory.Registration] = {}
        self._holders: dict[str, str] = {}
        self._expired: set[str] = set()  # leases of servers that died
        self._keepers: dict[str, tuple[Keeper, asyncio.Task[None]]] = {}
        self._reserved: dict[str, Lease] = {}  # of nodes that are being taken in
        self._dirty: set[str] = set()
        self._orders: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._synced = {name: asyncio.Event() for name in ("nodes", "leases", "rd")}
        self._beats = asyncio.Semaphore(PARALLEL_BEATS)
        self._work = asyncio.Semaphore(_PARALLEL_WORK)
        self._closing = False
        self._news = asyncio.Event()
        self._version = 0

    # ---- life ----

    async def start(self) -> None:
        """Read what is known, and begin to speak with the nodes that no other server has. Raises EngineError."""
        kv, leases = self.engine.kv, self.engine.leases
        self._go(self._follow("nodes", lambda: kv.watch(records.PREFIX), self._on_record))
        self._go(self._follow("rd", lambda: kv.watch(directory.PREFIX), self._on_registration))
        self._go(self._follow("leases", lambda: leases.watch(records.PREFIX), self._on_lease))
        synced = asyncio.create_task(self._all_synced())
        await asyncio.wait({synced, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not synced.done():
            failed = next(task for task in self._tasks if task.done())
            await end(synced)
            await self.close()
            await failed  # raises
        self._go(self._tend())
        self._wake_all()

    async def close(self) -> None:
        """Stop, and let other servers have the nodes at once."""
        self._closing = True
        await end(*self._tasks, *self._settling.values())
        await asyncio.gather(*(self._drop(id) for id in list(self._keepers)))
        for lease in self._reserved.values():
            await self.engine.leases.release(lease)

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
        return [self._view(record) for _, (record, _) in sorted(self._records.items())]

    def get(self, id: str) -> NodeView | None:
        known = self._records.get(id)
        return None if known is None else self._view(known[0])

    async def find(self, id: str) -> NodeView:
        """As get, and asks the engine for one that another server has just taken in. Raises UnknownNode, InputError
        for what can be no node's id, EngineError."""
        known = self.get(records.check_id(id))
        if known is not None:
            return known
        entry = await self.engine.kv.get(records.PREFIX + id)
        if entry is None:
            raise UnknownNode(id)
        return self._view(records.decode(entry.value))

    def speaks_with(self, id: str) -> bool:
        """Whether this server does now, by its lease."""
        mine = self._keepers.get(id)
        return mine is not None and not mine[1].done() and self.engine.clock.time() < mine[0].lease.expires_at

    async def news(self) -> None:
        """Until something has changed: a node, who speaks with it, or what is known of either."""
        await self._news.wait()

    @property
    def version(self) -> int:
        """Another number whenever something may have changed of what nodes() and get() say."""
        return self._version

    def _tell_news(self) -> None:
        self._version += 1
        self._news.set()
        self._news = asyncio.Event()

    def events(self, after: int = 0, *, wait: bool = True) -> AsyncGenerator[Event, None]:
        """What happened to nodes of the whole fleet, from an offset of the log on; with wait it goes on for ever."""
        return events.follow(self.engine, after, wait=wait)

    async def node(self, id: str) -> Node:
        """The client of a node whose lease this server holds; it stays open, do not close it: that happens when this
        server speaks with the node no longer. Raises NotHere where another server, or none, does (get(id).server), and
        what opening it raises."""
        keeper = self._mine(id)
        if keeper.presence.state is State.DOWN:
            keeper.ask_soon()  # somebody believes that it is back
        return await keeper.link.node()

    def lease(self, id: str) -> Lease:
        """The lease of a node that this server holds, for the fencing token and the time it ends. Raises NotHere."""
        return self._mine(id).lease

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
        uri = str(parse_target(uri))
        _check(labels, beat_s)
        known = next((record for record, _ in self._records.values() if record.uri == uri), None)
        mine = self._keepers.get(known.id) if known is not None else None
        link = mine[0].link if mine is not None else Link(uri, max(self._beat_s, 5.0))
        try:
            device = await link.device()
        except TimeoutError:
            raise UnreachableError(
                f"no answer from {uri}",
                cause="/d was asked several times",
                next_step="check that the node runs and that UDP reaches it; `wasmote discover` looks for nodes",
            ) from None
        finally:
            if mine is None:
                await link.close()
        ep = str(device.get("ep", ""))
        if not 1 <= len(ep.encode()) <= directory.MAX_NAME_BYTES or not ep.isprintable():
            raise WrongNode(
                f"the node at {uri} has no name",
                cause=f"ep of its /d is {ep!r}",
                next_step="give it one (--ep)",
            )

        created = False

        def change(record: Record | None) -> tuple[Record, list[Change]]:
            nonlocal created
            base = record or Record(node_id(ep), ep, uri, beat_s=self._beat_s)
            created = new = record is None or record.state is State.LEFT
            if not new and base.adopted and base.uri != uri:
                raise NodeExists(
                    f"there is a node '{base.id}' already",
                    cause=f"its address is {base.uri}, not {uri}",
                    next_step=f"if it has moved: `wasmote fleet nodes {base.id} --rm`, then adopt it again",
                )
            changed = base.changed(
                uri=uri,
                adopted=True,
                labels=base.labels if labels is None else dict(labels),
                beat_s=base.beat_s if beat_s is None else beat_s,
                device=device_facts(device),
                **({"state": State.JOINED, "since": self.engine.clock.time()} if new else {}),
            )
            return changed, [Change.JOINED] if new else []

        id = node_id(ep)
        # Before others hear of it: what this server has just reached may be out of their reach.
        lease = await self.engine.leases.acquire(records.PREFIX + id, self.holder, self._lease_s)
        if lease is not None:
            self._reserved[id] = lease
        try:
            record = await self._change(id, change, cause="adopted")
        except NodeExists:
            if (unused := self._reserved.pop(id, None)) is not None:
                await self.engine.leases.release(unused)
            raise
        assert record is not None
        self._wake(id)
        return record, created

    async def change(
        self, id: str, *, labels: Mapping[str, str] | None = None, beat_s: float | None = None
    ) -> None:
        """Replace a node's labels, or how often it is asked, in seconds; None leaves it. Raises InputError,
        UnknownNode."""
        _check(labels, beat_s)
        wanted: dict[str, Any] = {}
        if labels is not None:
            wanted["labels"] = dict(labels)
        if beat_s is not None:
            wanted["beat_s"] = beat_s
        await self._existing(id, lambda record: record.changed(**wanted))

    async def set_labels(self, id: str, labels: Mapping[str, str]) -> None:
        """Replace a node's labels. Raises InputError, UnknownNode."""
        await self.change(id, labels=labels)

    async def set_beat(self, id: str, beat_s: float) -> None:
        """How often a node is asked, in seconds. Raises InputError, UnknownNode."""
        await self.change(id, beat_s=beat_s)

    async def remove(self, id: str) -> bool:
        """Forget a node, adopted or registered; False if there is none. One that registers again joins again."""
        entry = await self.engine.kv.get(records.PREFIX + id)
        if entry is None:
            return False
        # First, or it would join again.
        await self.engine.kv.delete(directory.PREFIX + id)
        self._registered.pop(id, None)
        await self.engine.kv.delete(records.PREFIX + id)
        self._records.pop(id, None)
        self._tell_news()
        if records.decode(entry.value).state is not State.LEFT:
            await self._tell(Change.LEFT, id, None, "removed")
        return True

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
        self, name: str, watch: Callable[[], Any], on_change: Callable[[str, KeyChange], None]
    ) -> None:
        while True:
            try:
                async with watch() as changes:
                    async for change in changes:
                        if isinstance(change, SnapshotEnd):
                            self._synced[name].set()
                        else:
                            id = change.key.partition("/")[2]
                            on_change(id, change)
                            self._tell_news()
                            self._wake(id)
            except EngineUnavailable as err:
                log.warning("%s: %s", name, err)
                await self.engine.clock.sleep(_RETRY_S)

    def _on_record(self, id: str, change: KeyChange) -> None:
        if change.kind is ChangeKind.PUT:
            known = self._records.get(id)
            if known is None or known[1] < change.revision:
                self._records[id] = records.decode(change.value), change.revision
        else:
            self._records.pop(id, None)

    def _on_registration(self, id: str, change: KeyChange) -> None:
        if change.kind is not ChangeKind.PUT:
            self._registered.pop(id, None)
            return
        registration = directory.decode(change.value)
        if registration.offers(_NODE_TYPE) and registration.base.startswith("coap://"):
            self._registered[id] = registration
            if id in self._keepers:
                self._keepers[id][0].ask_soon()  # it may have rebooted

    def _on_lease(self, id: str, change: KeyChange) -> None:
        if change.kind is ChangeKind.PUT:
            self._holders[id] = holding(change).holder
            self._expired.discard(id)
            return
        self._holders.pop(id, None)
        if change.kind is ChangeKind.EXPIRE:
            self._expired.add(id)

    # ---- one node at a time: what should be done about it now ----

    def _wake_all(self) -> None:
        for id in {*self._records, *self._registered, *self._keepers}:
            self._wake(id)

    def _wake(self, id: str) -> None:
        if self._closing or not all(event.is_set() for event in self._synced.values()):
            return
        if id in self._settling:
            self._dirty.add(id)
        else:
            self._settling[id] = asyncio.create_task(self._settle(id))

    async def _settle(self, id: str) -> None:
        try:
            while True:
                self._dirty.discard(id)
                async with self._work:
                    await self._step(id)
                if id not in self._dirty:
                    return
        except EngineError as err:
            log.warning("node %s: %s", id, err)  # _tend comes back to it
        finally:
            self._settling.pop(id, None)

    async def _step(self, id: str) -> None:
        await self._follow_registration(id)
        known = self._records.get(id)
        if known is None or known[0].state is State.LEFT:
            await self._drop(id)
            if known is not None and self.engine.clock.time() - known[0].since > _FORGET_LEFT_S:
                await self.engine.kv.delete(records.PREFIX + id)
            return
        record = known[0]
        mine = self._keepers.get(id)
        if mine is not None:
            keeper, task = mine
            if not task.done() and (keeper.record.uri, keeper.record.beat_s) == (record.uri, record.beat_s):
                keeper.record = record
                return
            await self._drop(id)
        lease = self._reserved.pop(id, None)
        if lease is None:
            if id in self._holders and self._holders[id] != self.holder:
                return
            if not _within_reach(record.uri):
                return
            lease = await self.engine.leases.acquire(records.PREFIX + id, self.holder, self._lease_s)
        if lease is None:
            return
        unknown = id in self._expired
        keeper = Keeper(
            record,
            lease,
            clock=self.engine.clock,
            report=self._report,
            slots=self._beats,
            unknown=unknown,
            tuning=self._tuning,
        )
        task = asyncio.create_task(keeper.run())
        task.add_done_callback(lambda done: self._keeper_ended(id, done))
        self._keepers[id] = keeper, task
        self._holders[id] = self.holder
        self._tell_news()

    async def _follow_registration(self, id: str) -> None:
        """Make the record say what the directory says."""
        registration = self._registered.get(id)
        known = self._records.get(id)
        if registration is None:
            if known is not None and known[0].registered:
                await self._change(id, self._left, cause="its registration ended")
            return
        if (
            known is not None
            and known[0].registered
            and (known[0].adopted or known[0].uri == registration.base)
        ):
            return

        def change(record: Record | None) -> tuple[Record, list[Change]]:
            base = record or Record(id, registration.ep, registration.base, beat_s=self._beat_s)
            new = record is None or record.state is State.LEFT
            changed = base.changed(
                registered=True,
                # A person's word counts more: anyone may register under any name.
                uri=base.uri if base.adopted else registration.base,
                **({"state": State.JOINED, "since": self.engine.clock.time()} if new else {}),
            )
            return changed, [Change.JOINED] if new else []

        await self._change(id, change, cause="registered")

    def _left(self, record: Record | None) -> tuple[Record, list[Change]] | None:
        if record is None or not record.registered:
            return None
        if record.adopted:
            return record.changed(registered=False), []
        now = self.engine.clock.time()
        return record.changed(registered=False, state=State.LEFT, since=now), [Change.LEFT]

    # ---- keepers ----

    def _mine(self, id: str) -> Keeper:
        if not self.speaks_with(id):
            view = self.get(id)
            by = f"{view.server} does" if view is not None and view.server else "no server does now"
            raise NotHere(
                f"this server does not speak with node {id}",
                cause=by if view is not None else "there is no such node",
                next_step="ask that server" if view is not None and view.server else "try again soon",
            )
        return self._keepers[id][0]

    def _keeper_ended(self, id: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("node %s: %r", id, error, exc_info=error)
        self._wake(id)

    async def _drop(self, id: str) -> None:
        """Speak with it no longer."""
        mine = self._keepers.pop(id, None)
        if mine is None:
            return
        keeper, task = mine
        await end(task)
        try:
            await self.engine.leases.release(keeper.lease)
        except EngineError as err:
            log.warning("the lease of node %s was not released and will expire: %s", id, err)

    async def _report(
        self, keeper: Keeper, changes: list[Change], device: dict[str, Any] | None, cause: str
    ) -> None:
        """A keeper's news. Written only where something changed, and only under its lease."""
        facts = None if device is None else device_facts(device)
        told = keeper.record.server == self.holder and (facts is None or facts == keeper.record.device)
        if not changes and told:
            return
        presence = keeper.presence

        def change(record: Record | None) -> tuple[Record, list[Change]] | None:
            if record is None or record.state is State.LEFT or record.token > keeper.lease.token:
                return None  # it left, or a successor speaks with it
            changed = record.changed(
                state=presence.state,
                boot=presence.boot,
                began_at=presence.began_at,
                since=record.since if presence.state is record.state else self.engine.clock.time(),
                device=record.device if facts is None else facts,
                server=self.holder,
                token=keeper.lease.token,
            )
            return changed, changes

        try:
            record = await self._change(keeper.record.id, change, cause=cause)
        except EngineError as err:
            log.warning("node %s: %s was not written: %s", keeper.record.id, ", ".join(changes), err)
            # The next beat tries again: in the record nothing has changed yet.
            presence.state = keeper.record.state
            presence.boot, presence.began_at = keeper.record.boot, keeper.record.began_at
        else:
            keeper.record = record or keeper.record

    async def _tend(self) -> None:
        """Renew the leases, and look at every node in case a message about it was missed."""
        while True:
            await self.engine.clock.sleep(self._lease_s / 3)
            await asyncio.gather(
                *(self._renew(id, keeper) for id, (keeper, _) in list(self._keepers.items()))
            )
            try:
                held = await self.engine.leases.held(records.PREFIX)
                holders = {lease.name.partition("/")[2]: lease.holder for lease in held}
                if holders != self._holders:
                    self._holders = holders
                    self._tell_news()
            except EngineError as err:
                log.warning("the leases cannot be read: %s", err)
            self._wake_all()

    async def _renew(self, id: str, keeper: Keeper) -> None:
        try:
            async with self._work:
                keeper.lease = await self.engine.leases.renew(keeper.lease)
        except LeaseLost:
            log.warning("the lease of node %s is lost", id)
            if id in self._keepers and self._keepers[id][0] is keeper:
                self._keepers[id][1].cancel()
        except EngineError as err:
            log.warning("the lease of node %s was not renewed: %s", id, err)

    # ---- records ----

    def _view(self, record: Record) -> NodeView:
        server = self._holders.get(record.id, "")
        # What another server wrote, nobody has seen since: until the first beat under the new lease.
        stale = server != record.server and record.state not in (State.LEFT, State.JOINED)
        return NodeView(record, State.UNKNOWN if stale else record.state, server)

    async def _existing(self, id: str, change: Callable[[Record], Record]) -> None:
        if await self._change(id, lambda record: None if record is None else (change(record), [])) is None:
            raise UnknownNode(id)

    async def _change(
        self,
        id: str,
        change: Callable[[Record | None], tuple[Record, list[Change]] | None],
        *,
        cause: str = "",
    ) -> Record | None:
        """Compare and swap until it is done; None if change wanted nothing. Then the events are told. Raises
        EngineError."""
        async with self._order(id):
            while True:
                entry = await self.engine.kv.get(records.PREFIX + id)
                record = None if entry is None else records.decode(entry.value)
                wanted = change(record)
                if wanted is None:
                    return None
                changed, kinds = wanted
                if changed != record:
                    try:
                        revision = await self.engine.kv.put(
                            changed.key, changed.encode(), expected=0 if entry is None else entry.revision
                        )
                    except RevisionConflict:
                        continue
                    if id not in self._records or self._records[id][1] < revision:
                        self._records[id] = changed, revision
                        self._tell_news()
                for kind in kinds:
                    await self._tell(kind, id, changed.boot, cause)
                return changed

    def _order(self, id: str) -> asyncio.Lock:
        """One change of a node after the other, each with its events: what the first did may wake who does the next."""
        return self._orders.setdefault(id, asyncio.Lock())

    async def _tell(self, kind: Change, id: str, boot: int | None, cause: str) -> None:
        data = events.encode(kind, id, server=self.holder, boot=boot, cause=cause)
        await (await self.engine.log(events.LOG)).append(data)


def _check(labels: Mapping[str, str] | None, beat_s: float | None) -> None:
    if beat_s is not None and not 0.1 <= beat_s <= 3600:
        raise InputError(f"no beat of {str(beat_s)[:20]} s", next_step="give 0.1 to 3600 seconds")
    if labels is not None and len(labels) > _MAX_LABELS:
        raise InputError(f"{len(labels)} labels are too many", next_step=f"give {_MAX_LABELS} at most")
    for name, value in (labels or {}).items():
        if (
            not name
            or not name.isprintable()
            or not value.isprintable()
            or len(name) > 63
            or len(value) > 255
        ):
            raise InputError(
                f"no label: {name!r} = {value!r}", next_step="give printable text, 63 and 255 long at most"
            )


def _within_reach(uri: str) -> bool:
    """False for a serial device of another machine, or one that is not plugged in."""
    target = parse_target(uri)
    return target.kind != "serial" or not target.device.startswith("/") or Path(target.device).exists()
