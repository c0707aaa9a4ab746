"""The alarm feeds, and the clock that fires them: of several servers, the one with the lease ow/alarms."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from wasmote_fleet.compat.openwhisk.alarms import Alarm, AlarmError, due, made, updated
from wasmote_fleet.compat.openwhisk.names import derived_id, key_part
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.compat.openwhisk.triggers import Triggers
from wasmote_fleet.engine import (
    Change,
    ChangeKind,
    Engine,
    EngineError,
    Lease,
    LeaseLost,
    RevisionConflict,
    SnapshotEnd,
)
from wasmote_fleet.engine.tasks import end, sleep_or_bell

log = logging.getLogger("wasmote.fleet.openwhisk")

LEASE = "ow/alarms"
LEASE_S = 15.0
TIDY_S = 3600.0
_RETRY_S = 1.0
_LONGEST_S = 3600.0

Tidy = Callable[[], Awaitable[None]]
Enqueue = Callable[[Doc, str], Awaitable[None]]


class Alarms:
    """What the feeds are asked, and the alarms as they are kept."""

    def __init__(self, engine: Engine, alarms: Entities, triggers: Triggers) -> None:
        self._engine = engine
        self._alarms = alarms
        self._triggers = triggers

    async def ask(self, feed: str, event: str, trigger: str, parameters: Doc) -> Doc:
        """Do what a feed is asked for: CREATE, READ, UPDATE, DELETE. Raises AlarmError, Rejected."""
        key = key_part(trigger)
        now_ms = self.now_ms()
        if event == "CREATE":
            await self._triggers.get(trigger)
            alarm = made(feed, trigger, parameters, now_ms)
            await self._alarms.put(key, lambda _before: alarm.encode())
            return {"status": "success"}
        if event == "DELETE":
            await self._alarms.remove(key)
            return {"status": "success"}
        found = Alarm.decode(await self._alarms.get(key))
        if event == "READ":
            return {"config": found.config(), "status": found.status()}
        if event == "UPDATE":
            changed = updated(found, parameters, now_ms)
            await self._alarms.put(key, lambda _before: changed.encode())
            return {"status": "success"}
        raise AlarmError("unsupported lifecycleEvent")

    def now_ms(self) -> int:
        return int(self._engine.clock.time() * 1000)


class AlarmClock:
    """start() and close(). enqueue: where a job goes when an alarm is due; one of the same id is known. tidy: what else
    the holder of the lease does now and then."""

    def __init__(self, engine: Engine, alarms: Entities, enqueue: Enqueue, tidy: Tidy) -> None:
        self._engine = engine
        self._alarms = alarms
        self._enqueue = enqueue
        self._tidy = tidy
        self._holder = f"{socket.gethostname()}-{id(self):x}"
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is not None:
            await end(self._task)

    async def _run(self) -> None:
        while True:
            try:
                lease = await self._engine.leases.acquire(LEASE, self._holder, LEASE_S)
                if lease is not None:
                    await self._hold(lease)
            except LeaseLost:
                log.warning("the lease %s was lost", LEASE)
            except EngineError as error:
                log.warning("alarms: %s", error)
            await self._engine.clock.sleep(LEASE_S / 3)

    async def _hold(self, lease: Lease) -> None:
        """Fire what is due, for as long as the lease is held."""
        known: dict[str, Alarm] = {}
        news = asyncio.Event()
        tidied_at = float("-inf")
        try:
            async with self._following(known, news) as following:
                while True:
                    if following.done():
                        await following  # raises
                    now = self._engine.clock.time()
                    if lease.expires_at - now < LEASE_S / 2:
                        lease = await self._engine.leases.renew(lease)
                    for key, alarm in list(known.items()):
                        if alarm.next_ms is not None and alarm.next_ms <= now * 1000:
                            await self._fire(lease, key)
                            known.pop(key, None)  # what was written comes back as news
                    if now - tidied_at > TIDY_S:
                        tidied_at = now
                        await self._tidy()
                    nexts = [alarm.next_ms / 1000 for alarm in known.values() if alarm.next_ms is not None]
                    until = min([lease.expires_at - LEASE_S / 2, *nexts, now + _LONGEST_S])
                    left_s = max(0.01, until - self._engine.clock.time())
                    await sleep_or_bell(left_s, news, self._engine.clock)
                    news.clear()
        finally:
            with contextlib.suppress(EngineError):
                await self._engine.leases.release(lease)

    @asynccontextmanager
    async def _following(
        self, known: dict[str, Alarm], news: asyncio.Event
    ) -> AsyncIterator[asyncio.Task[None]]:
        """The alarms as they change, in known; what keeps them so, which ends only by an error."""
        synced = asyncio.Event()

        async def follow() -> None:
            async with self._engine.kv.watch(self._alarms.prefix) as changes:
                async for change in changes:
                    if isinstance(change, SnapshotEnd):
                        synced.set()
                    else:
                        await self._learn(change, known)
                    news.set()

        task = asyncio.create_task(follow())
        waiting = asyncio.create_task(synced.wait())
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task  # raises
            yield task
        finally:
            await end(task, waiting)

    async def _learn(self, change: Change, known: dict[str, Alarm]) -> None:
        key = change.key.removeprefix(self._alarms.prefix)
        stored = await self._alarms.find(key) if change.kind is ChangeKind.PUT else None
        if stored is None:
            known.pop(key, None)
        else:
            known[key] = Alarm.decode(stored.doc)

    async def _fire(self, lease: Lease, key: str) -> None:
        """Fire an alarm that is due, and write when it is due again. The job comes first, and its id is made of the
        moment: who does it again after a crash adds nothing."""
        stored = await self._alarms.find(key)
        now = self._engine.clock.time()
        if stored is None:
            return
        if now >= lease.expires_at:
            raise LeaseLost(f"the lease {LEASE} is over")
        alarm = Alarm.decode(stored.doc)
        moment, after = due(alarm, int(now * 1000))
        if moment is not None:
            id = derived_id("alarm", alarm.trigger, str(moment))
            job: Doc = {
                "kind": "fire",
                "id": id,
                "trigger": alarm.trigger,
                "payload": alarm.payload,
                "then": alarm.delete_after_fire if alarm.feed == "once" else "false",
            }
            await self._enqueue(job, id)
        with contextlib.suppress(RevisionConflict):  # it was changed meanwhile: that is looked at next
            await self._alarms.replace(key, after.encode(), stored.revision)
