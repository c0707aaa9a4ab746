"""Leases: who may do something now. Made of a bucket's expiry and compare-and-swap, so the same for all drivers.

A holder that was stopped for long does not know that its lease has gone. So whatever it writes on behalf of the lease
carries the fencing token, and who accepts such writes refuses a token lower than the highest it has seen.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import LeaseLost, RevisionConflict
from wasmote_fleet.engine.interface import Change, Entry, KeyValue, SnapshotEnd


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as its holder has it. token: the fencing token, higher than that of every earlier lease of this name.
    expires_at: by Clock.time(), counted from before the request: never later than the engine's own."""

    name: str
    holder: str
    token: int
    ttl_s: float
    expires_at: float
    revision: int


@dataclass(frozen=True, slots=True)
class Holding:
    """A lease as others see it."""

    name: str
    holder: str
    token: int


class Leases:
    """Names are keys (checks.py). Durability and ordering are those of the bucket."""

    def __init__(self, bucket: KeyValue, clock: Clock) -> None:
        self._bucket = bucket
        self._clock = clock

    async def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        """The lease, for ttl_s; None if it is held, also if by the same holder. holder: unique for each start of a
        program, for one that starts again does not know what it held."""
        began = self._clock.time()
        try:
            revision = await self._bucket.put(name, _encode(holder, 0), ttl_s=ttl_s, expected=0)
        except RevisionConflict:
            return None
        return Lease(name, holder, revision, ttl_s, began + ttl_s, revision)

    async def renew(self, lease: Lease) -> Lease:
        """The same lease, for ttl_s from now on. Raises LeaseLost; after EngineUnavailable the lease may be the old
        one or lost, but nobody else gets it before the old one's end."""
        began = self._clock.time()
        value = _encode(lease.holder, lease.token)
        try:
            revision = await self._bucket.put(lease.name, value, ttl_s=lease.ttl_s, expected=lease.revision)
        except RevisionConflict:
            raise LeaseLost(f"the lease {lease.name} is lost", cause="it expired or was taken away") from None
        return Lease(lease.name, lease.holder, lease.token, lease.ttl_s, began + lease.ttl_s, revision)

    async def release(self, lease: Lease) -> bool:
        """Let others have it at once; False if it was lost already."""
        try:
            return await self._bucket.delete(lease.name, expected=lease.revision)
        except RevisionConflict:
            return False

    async def get(self, name: str) -> Holding | None:
        """Who holds it now; None if nobody does."""
        entry = await self._bucket.get(name)
        return None if entry is None else holding(entry)

    async def held(self, prefix: str = "") -> list[Holding]:
        """What is held now, by name."""
        return [holding(entry) for entry in await self._bucket.entries(prefix)]

    def watch(self, prefix: str = "") -> AbstractAsyncContextManager[AsyncIterator[Change | SnapshotEnd]]:
        """As KeyValue.watch: a PUT for each acquisition and renewal (its value by holding()), DELETE for a release,
        EXPIRE when nobody renewed."""
        return self._bucket.watch(prefix)

    async def compact(self, older_than_s: float) -> int:
        """As KeyValue.compact."""
        return await self._bucket.compact(older_than_s)


def holding(entry: Entry | Change) -> Holding:
    """Who holds the lease of an entry, or of a PUT."""
    value = json.loads(entry.value)
    return Holding(entry.key, value["holder"], value["token"] or entry.revision)


def _encode(holder: str, token: int) -> bytes:
    # The token is the revision of the acquisition, which its own value cannot hold yet.
    return json.dumps({"holder": holder, "token": token}).encode()
