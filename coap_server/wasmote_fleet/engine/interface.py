"""What the fleet server keeps its data with, and passes messages by. Two drivers do it: sqlite (one process, one file)
and jetstream (several servers that share a NATS server).

What holds for all methods:

- A write that returned is acknowledged: it survives a crash of this process, and beyond that as info() says.
- A write that raised EngineUnavailable, or was cancelled, may have happened. One that raised another error did not.
- Whoever reads after an acknowledged write sees it, in this process. Another server sees it at once, too, if it asks,
  and after a moment if it watches.
- Names and keys that are not well-formed raise ValueError (checks.py), values beyond MAX_VALUE_BYTES TooLarge,
  anything after close() EngineClosed.
- Durations are seconds. A time to live is rounded up to whole seconds; what expires is gone at that time or up to two
  seconds later, never before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from wasmote_fleet.engine.checks import MAX_VALUE_BYTES as MAX_VALUE_BYTES

# ---- keys and values ----


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value. revision: of the write that put it there; revisions only go up within a bucket."""

    key: str
    value: bytes
    revision: int


class ChangeKind(Enum):
    PUT = "put"
    DELETE = "delete"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Change:
    """What a watch tells of one key: its latest state. value is empty unless kind is PUT."""

    kind: ChangeKind
    key: str
    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class SnapshotEnd:
    """All changes up to here were told; what follows happens now. A watch after revision continues from here."""

    revision: int


class KeyValue(Protocol):
    """A bucket: keys with values, compare and swap, expiry, and changes as they happen."""

    async def put(
        self, key: str, value: bytes, *, ttl_s: float | None = None, expected: int | None = None
    ) -> int:
        """Set key to value; returns the new revision. ttl_s: the key expires then, unless it is put again; a put
        without it lives for good. expected: write only if the key's last change (a put, or a deletion that a watch
        told) has this revision; 0: only if the key does not exist. Raises RevisionConflict, TooLarge."""
        ...

    async def get(self, key: str) -> Entry | None:
        """The entry; None if the key does not exist or has expired."""
        ...

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Remove key; returns whether it was there. Raises RevisionConflict if expected is not its revision, or if it
        is given and the key does not exist."""
        ...

    async def keys(self, prefix: str = "") -> list[str]:
        """The keys below prefix ("nodes/", or "" for all), sorted."""
        ...

    async def entries(self, prefix: str = "") -> list[Entry]:
        """The entries below prefix, sorted by key."""
        ...

    def watch(
        self, prefix: str = "", *, after: int | None = None
    ) -> AbstractAsyncContextManager[AsyncIterator[Change | SnapshotEnd]]:
        """Changes below prefix. First, without after: a PUT for each entry; with after: the latest change of each key
        that changed after that revision. Then a SnapshotEnd, then changes as they happen, for ever.

        Changes come in the order of their revisions, none is told twice, and of several quick changes of one key only
        the last may be told: a slow reader costs no memory. A lost connection is taken up again where it was.
        Iterating raises RevisionTooOld, before anything else, if compact() removed deletions after that revision.

            async with kv.watch("nodes/") as changes:
                async for change in changes: ...
        """
        ...

    async def compact(self, older_than_s: float = 86400) -> int:
        """Forget deletions and expiries older than that; returns how many. Watches cannot start before them any
        longer. Whoever runs the server calls this now and then."""
        ...


# ---- queues ----


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """visibility_s: how long a leased job is hidden from others. max_deliveries: a job that was leased so often and
    neither acknowledged nor extended becomes a dead letter. remember_s: so long after it was enqueued, the id of a
    finished job still counts as known. All servers give the same policy for a queue."""

    visibility_s: float = 30.0
    max_deliveries: int = 5
    remember_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Job:
    """A leased job. attempt counts from 1. receipt is the driver's."""

    id: str
    data: bytes
    attempt: int
    enqueued_at: float
    receipt: object = None


@dataclass(frozen=True, slots=True)
class QueueStats:
    """waiting: to be leased, now or after a delay. leased: hidden by a visibility timeout. dead: dead letters."""

    waiting: int
    leased: int
    dead: int


class Queue(Protocol):
    """Jobs, each done at least once. Oldest first, but one that comes back may be overtaken.

    A worker: jobs = await queue.lease(4, wait_s=30); then for each ack() when done, nack() when not, extend() while it
    takes longer than visibility_s. A job is leased again if none of these came in time: work must be repeatable, or
    the worker keeps by the job's id what it did.
    """

    async def enqueue(self, data: bytes, *, id: str) -> bool:
        """Add a job; False, and nothing changes, if id is known: waiting, leased, dead, or enqueued less than
        remember_s ago. Raises TooLarge."""
        ...

    async def lease(self, limit: int = 1, *, wait_s: float = 0.0) -> list[Job]:
        """Up to limit jobs, hidden from others for visibility_s; waits for the first one, wait_s at most. If it is
        cancelled, jobs that it just leased come back after visibility_s, and count as delivered."""
        ...

    async def ack(self, job: Job) -> None:
        """The job is done and goes away. Raises LeaseLost if visibility_s passed: the job may run again."""
        ...

    async def nack(self, job: Job, *, delay_s: float = 0.0) -> None:
        """The job was not done: another lease gets it after delay_s, or it becomes a dead letter after its last
        delivery. Raises LeaseLost."""
        ...

    async def extend(self, job: Job) -> None:
        """The job is hidden for visibility_s from now on. Raises LeaseLost."""
        ...

    async def dead_letters(self) -> list[Job]:
        """Jobs that were delivered max_deliveries times and never acknowledged, oldest first."""
        ...

    async def revive(self, id: str) -> bool:
        """Make a dead letter wait again, as if it were new; False if there is none of this id."""
        ...

    async def discard(self, id: str) -> bool:
        """Throw a dead letter away; False if there is none of this id."""
        ...

    async def stats(self) -> QueueStats:
        """How many jobs there are. A job that came back, or is delayed, may still count as leased until it is leased
        again; one whose last delivery timed out becomes a dead letter when somebody leases."""
        ...


# ---- logs ----


@dataclass(frozen=True, slots=True)
class Record:
    """A log's record. Offsets ascend within a log and start above 0; they need not be consecutive."""

    offset: int
    data: bytes
    at: float


class Log(Protocol):
    """Records in the order of their offsets, which is the order in which they were appended."""

    async def append(self, data: bytes) -> int:
        """Add a record; returns its offset. Raises TooLarge."""
        ...

    async def read(self, after: int = 0, *, limit: int = 100, wait_s: float = 0.0) -> list[Record]:
        """Records with offsets above after, at most limit; where there is none, waits for one, wait_s at most. What
        was trimmed away is left out without a word: compare after with trimmed()."""
        ...

    async def trim(self, *, keep: int | None = None, older_than_s: float | None = None) -> int:
        """Remove the oldest records: all but the last keep, or those older than that; returns how many."""
        ...

    async def trimmed(self) -> int:
        """The highest offset that trim() removed; 0 if it never did. A reader who is behind it missed records."""
        ...


# ---- calls between servers ----


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler gets. deadline: by Clock.time(); after that nobody waits for the reply."""

    data: bytes
    deadline: float


Handler = Callable[[Call], Awaitable[bytes]]


class Calls(Protocol):
    """Requests and replies between servers, not stored. A call runs at most once; it is never repeated by the engine.

    Within one SQLite engine they go from task to task of this process; by NATS they reach every server.
    """

    def serve(
        self, service: str, handler: Handler, *, instance: str = "", limit: int = 64
    ) -> AbstractAsyncContextManager[None]:
        """Answer calls of service, and those that name this instance, while the context lasts; calls run as tasks, up
        to limit at once, more are refused as Busy. When it ends, running handlers are cancelled. An exception of the
        handler reaches the caller as CallFailed."""
        ...

    async def request(
        self, service: str, data: bytes, *, instance: str | None = None, timeout_s: float = 10.0
    ) -> bytes:
        """The reply of one that serves, or of the one named instance. Raises NoSuchService, Busy, CallTimeout,
        CallFailed, TooLarge (also for a reply)."""
        ...


# ---- all of it ----


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """driver: sqlite or jetstream. version: of SQLite or of the NATS server. location: file or server. shared: whether
    several servers may use it. durability: what an acknowledged write survives, in words."""

    driver: str
    version: str
    location: str
    shared: bool
    durability: str


class Driver(Protocol):
    """What a driver supplies; Engine (engine.py) adds leases and blobs, which are made of buckets."""

    async def bucket(self, name: str) -> KeyValue: ...

    async def queue(self, name: str, policy: QueuePolicy) -> Queue: ...

    async def log(self, name: str) -> Log: ...

    @property
    def calls(self) -> Calls: ...

    async def info(self) -> EngineInfo: ...

    async def close(self) -> None:
        """Finish what was begun, end watches and waits (they raise EngineClosed), and let go of file or connection."""
        ...
