"""A bucket and a queue against models of a few lines, by hypothesis: any order of operations, time and restarts."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from nats_server import NatsServer
from worlds import NatsWorld, SqliteWorld, World

from wasmote_fleet.engine import (
    Change,
    ChangeKind,
    Job,
    LeaseLost,
    QueuePolicy,
    QueueStats,
    RevisionConflict,
    RevisionTooOld,
    SnapshotEnd,
)

T = TypeVar("T")
KEYS = st.sampled_from(["a", "a/1", "a/2", "a/ä", "b/1"])
POLICY = QueuePolicy(visibility_s=10, max_deliveries=3, remember_s=60)


class EngineMachine(RuleBasedStateMachine):
    """An engine in a loop of its own. Each example begins with an empty one."""

    server: ClassVar[NatsServer | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.world: World
        if self.server is None:
            self.world = SqliteWorld(Path(self.folder.name))
        else:
            self.world = NatsWorld(self.server)
        self.engine = self.run(self.world.open())

    def run(self, work: Awaitable[T]) -> T:
        async def bounded() -> T:
            return await asyncio.wait_for(work, 20)

        return self.loop.run_until_complete(bounded())

    @property
    def time_is_ours(self) -> bool:
        return self.server is None

    async def restart(self) -> None:
        await self.engine.close()
        self.engine = await self.world.open()

    def teardown(self) -> None:
        self.run(self.world.end())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()


class BucketMachine(EngineMachine):
    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, tuple[bytes, int, float]] = {}  # value, revision, when it expires
        self.highest = 0
        # What a watcher knows who looks now and then, from where it stopped.
        self.seen: dict[str, bytes] = {}
        self.watched: int | None = None
        # Keys had expired without a change when the bucket was compacted: that change may have come and gone since.
        self.untold = False

    def now(self) -> float:
        return self.world.clock.time()

    def live(self) -> dict[str, tuple[bytes, int, float]]:
        return {key: row for key, row in self.values.items() if row[2] > self.now()}

    @rule(key=KEYS, value=st.binary(max_size=4), ttl=st.sampled_from([None, 0.4, 2.0]),
          expected=st.sampled_from(["any", "right", "none", "wrong"]))  # fmt: skip
    def put(self, key: str, value: bytes, ttl: float | None, expected: str) -> None:
        ttl = ttl if self.time_is_ours else None
        _value, revision, _at = self.live().get(key, (b"", 0, 0.0))
        wanted = {"any": None, "right": revision, "none": 0, "wrong": revision + 10_000}[expected]
        if wanted in (None, revision):
            made = self.run(self.engine.kv.put(key, value, ttl_s=ttl, expected=wanted))
            assert made > self.highest
            self.highest = made
            ends = math.inf if ttl is None else self.now() + math.ceil(ttl)
            self.values[key] = (value, made, ends)
        else:
            with pytest.raises(RevisionConflict):
                self.run(self.engine.kv.put(key, value, expected=wanted))

    @rule(key=KEYS, expected=st.sampled_from(["any", "right", "wrong"]))
    def delete(self, key: str, expected: str) -> None:
        row = self.live().get(key)
        if expected == "any":
            assert self.run(self.engine.kv.delete(key)) is (row is not None)
        elif row is not None and expected == "right":
            assert self.run(self.engine.kv.delete(key, expected=row[1])) is True
        else:
            with pytest.raises(RevisionConflict):
                self.run(self.engine.kv.delete(key, expected=(row[1] if row else 0) + 10_000))
            return
        self.values.pop(key, None)

    @precondition(lambda self: self.time_is_ours)
    @rule(delay_s=st.sampled_from([0.5, 1.0, 5.0]))
    def time_passes(self, delay_s: float) -> None:
        self.run(self.world.pass_time(delay_s))

    @rule()
    def restarts(self) -> None:
        self.run(self.restart())

    @rule()
    def compacts(self) -> None:
        self.watches()  # who is up to date loses nothing but expiries that are not told yet
        self.untold = any(row[2] <= self.now() for row in self.values.values())
        self.run(self.engine.kv.compact(0))

    @rule()
    def watches(self) -> None:
        async def follow() -> int:
            async with self.engine.kv.watch(after=self.watched) as changes:
                last = self.watched or 0
                async for change in changes:
                    if isinstance(change, SnapshotEnd):
                        return change.revision
                    assert isinstance(change, Change) and change.revision > last
                    last = change.revision
                    if change.kind is ChangeKind.PUT:
                        self.seen[change.key] = change.value
                    else:
                        self.seen.pop(change.key, None)
                    if change.kind is ChangeKind.EXPIRE and change.key not in self.live():
                        self.values.pop(change.key, None)
            raise AssertionError("a watch ended")

        try:
            self.watched = self.run(follow())
        except RevisionTooOld:
            assert self.untold
            self.watched, self.seen = None, {}
            self.watched = self.run(follow())
        self.untold = False
        # An expiry may be told a moment later than it is in force.
        live = {key: row[0] for key, row in self.live().items()}
        assert {key: value for key, value in self.seen.items() if key in live} == live
        assert all(self.values[key][2] <= self.now() for key in self.seen if key not in live)

    @invariant()
    def is_as_the_model(self) -> None:
        live = self.live()
        found = self.run(self.engine.kv.entries())
        assert [(e.key, e.value, e.revision) for e in found] == [
            (key, live[key][0], live[key][1]) for key in sorted(live)
        ]
        assert self.run(self.engine.kv.keys("a/")) == sorted(key for key in live if key.startswith("a/"))
        for key in ("a", "a/1"):
            entry = self.run(self.engine.kv.get(key))
            assert (None if entry is None else entry.value) == (live[key][0] if key in live else None)


class QueueMachine(EngineMachine):
    def __init__(self) -> None:
        super().__init__()
        self.queue = self.run(self.engine.queue("jobs", POLICY))
        # id -> [state, visible at, attempt, enqueued at, order]; and what workers believe to hold
        self.jobs: dict[str, list[Any]] = {}
        self.leased: list[tuple[Job, float]] = []
        self.count = 0

    def now(self) -> float:
        return self.world.clock.time()

    @rule(id=st.sampled_from(["1", "2", "x/3"]))
    def enqueue(self, id: str) -> None:
        job = self.jobs.get(id)
        known = job is not None and (job[0] != "done" or job[3] + POLICY.remember_s > self.now())
        assert self.run(self.queue.enqueue(id.encode(), id=id)) is not known
        if not known:
            self.count += 1
            self.jobs[id] = ["open", self.now(), 0, self.now(), self.count]

    @rule(limit=st.integers(1, 3))
    def lease(self, limit: int) -> None:
        due = sorted(
            (job[1], job[4], id) for id, job in self.jobs.items() if job[0] == "open" and job[1] <= self.now()
        )
        expected = []
        for _at, _order, id in due:
            if len(expected) == limit:
                break
            job = self.jobs[id]
            if job[2] == POLICY.max_deliveries:
                job[0] = "dead"
                continue
            job[2] += 1
            job[1] = self.now() + POLICY.visibility_s
            expected.append((id, id.encode(), job[2]))
        got = self.run(self.queue.lease(limit))
        assert [(job.id, job.data, job.attempt) for job in got] == expected
        self.leased += [(job, self.now() + POLICY.visibility_s) for job in got]

    @rule()
    def a_worker_is_late(self) -> None:
        self.lease(1)
        self.time_passes(POLICY.visibility_s + 1)
        self.lease(3)

    def settle(self, data: st.DataObject) -> tuple[Job, list[Any], bool]:
        at = data.draw(st.integers(0, len(self.leased) - 1))
        job, until = self.leased[at]
        state = self.jobs[job.id]
        held = state[0] == "open" and state[2] == job.attempt and state[1] == until and until > self.now()
        return job, state, held

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "delay", "extend"]))
    def settles(self, data: st.DataObject, how: str) -> None:
        job, state, held = self.settle(data)
        work = {
            "ack": lambda: self.queue.ack(job),
            "nack": lambda: self.queue.nack(job),
            "delay": lambda: self.queue.nack(job, delay_s=5),
            "extend": lambda: self.queue.extend(job),
        }[how]()
        if not held:
            with pytest.raises(LeaseLost):
                self.run(work)
            return
        self.run(work)
        self.leased = [(other, until) for other, until in self.leased if other is not job]
        if how == "extend":
            state[1] = self.now() + POLICY.visibility_s
            self.leased.append((job, state[1]))
        elif how == "ack":
            state[0] = "done"
        elif job.attempt == POLICY.max_deliveries:
            state[0] = "dead"
        else:
            state[1] = self.now() + (5 if how == "delay" else 0)

    @rule(id=st.sampled_from(["1", "2", "x/3"]), revived=st.booleans())
    def dead_letter(self, id: str, revived: bool) -> None:
        job = self.jobs.get(id)
        dead = job is not None and job[0] == "dead"
        work = self.queue.revive(id) if revived else self.queue.discard(id)
        assert self.run(work) is dead
        if job is not None and dead:
            self.leased = [(other, until) for other, until in self.leased if other.id != id]
            job[:3] = ["open", self.now(), 0] if revived else ["done", 0, 0]

    @rule(delay_s=st.sampled_from([5.0, 11.0, 11.0, 61.0]))
    def time_passes(self, delay_s: float) -> None:
        self.run(self.world.pass_time(delay_s))

    @rule()
    def restarts(self) -> None:
        self.run(self.restart())
        self.queue = self.run(self.engine.queue("jobs", POLICY))

    @invariant()
    def counts_as_the_model(self) -> None:
        open_jobs = [job for job in self.jobs.values() if job[0] == "open"]
        stats = self.run(self.queue.stats())
        dead = sorted(id for id, job in self.jobs.items() if job[0] == "dead")
        assert stats.waiting + stats.leased == len(open_jobs)
        assert stats == QueueStats(stats.waiting, stats.leased, len(dead))
        assert sorted(job.id for job in self.run(self.queue.dead_letters())) == dead


def check(machine: type[EngineMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sqlite_bucket_is_as_its_model() -> None:
    check(BucketMachine, 40, 25)


def test_sqlite_queue_is_as_its_model() -> None:
    check(QueueMachine, 40, 30)


@pytest.mark.slow
def test_jetstream_bucket_is_as_its_model(nats_server: NatsServer) -> None:
    machine = type("JetStreamBucketMachine", (BucketMachine,), {"server": nats_server})
    check(machine, 12, 20)
