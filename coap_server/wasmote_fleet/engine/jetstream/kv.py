"""Buckets in JetStream: streams as the NATS command line's `nats kv` knows them, one message a key.

A key that was deleted, or has expired, keeps a message that says so until compact(): the marker that the server writes
for an expiry would go by itself too, but then nobody would know up to where a watch can still catch up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any

from wasmote_fleet.engine.checks import check_key, check_prefix, check_value, whole_seconds
from wasmote_fleet.engine.errors import EngineUnavailable, RevisionConflict, conflict, too_old
from wasmote_fleet.engine.interface import Change, ChangeKind, Entry, SnapshotEnd
from wasmote_fleet.engine.jetstream.connection import (
    WRONG_LAST_SEQUENCE,
    ApiError,
    Connection,
    Stored,
    decode_key,
    description,
    encode_key,
    nanoseconds,
    seconds,
    status,
)

_MARKER_S = 100 * 365 * 86400
_PULL_S = 3.0  # how long a pull waits; after a lost connection a watch goes on within this
_PULL_MESSAGES = 256
_PULL_BYTES = 4 * 1024 * 1024
_IDLE_S = 60.0
_RETRY_S = 0.5
HORIZONS = "horizons"


class JetStreamBucket:
    """A KeyValue. Revisions are the stream's sequence numbers."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._stream = f"KV_{connection.prefix}-{name}"
        self._subject = f"$KV.{connection.prefix}-{name}"

    async def ensure(self) -> JetStreamBucket:
        """Make the stream unless it is there."""
        await self._connection.ensure_stream(
            self._stream,
            {
                "subjects": [f"{self._subject}.>"],
                "max_msgs_per_subject": 1,
                "discard": "new",
                "allow_direct": True,
                "allow_rollup_hdrs": True,
                "allow_msg_ttl": True,
                "subject_delete_marker_ttl": nanoseconds(_MARKER_S),
            },
        )
        return self

    async def put(
        self, key: str, value: bytes, *, ttl_s: float | None = None, expected: int | None = None
    ) -> int:
        check_key(key)
        check_value(value)
        headers = {} if ttl_s is None else {"Nats-TTL": f"{whole_seconds(ttl_s)}s"}
        return await self.store(key, value, headers, expected)

    async def store(self, key: str, value: bytes, headers: dict[str, str], expected: int | None) -> int:
        """As put, with any headers."""
        subject = f"{self._subject}.{encode_key(key)}"
        after = expected
        while True:
            if after is not None:
                headers["Nats-Expected-Last-Subject-Sequence"] = str(after)
            try:
                return int((await self._connection.publish(subject, value, headers))["seq"])
            except ApiError as err:
                if err.code != WRONG_LAST_SEQUENCE:
                    raise
            last = await self._connection.last(self._stream, subject)
            if expected == 0 and (last is None or _kind(last.headers) is not ChangeKind.PUT):
                after = 0 if last is None else last.sequence  # it was deleted, so it does not exist
                continue
            raise conflict(key, expected or 0, _what_is(last))

    async def get(self, key: str) -> Entry | None:
        last = await self.last(check_key(key))
        return None if last is None else Entry(key, last.data, last.sequence)

    async def last(self, key: str) -> Stored | None:
        """The message that holds the key's value."""
        last = await self._connection.last(self._stream, f"{self._subject}.{encode_key(key)}")
        return last if last is not None and _kind(last.headers) is ChangeKind.PUT else None

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        check_key(key)
        while True:
            last = await self.last(key)
            if expected is not None and (last is None or last.sequence != expected):
                raise conflict(key, expected, _what_is(last))
            if last is None:
                return False
            headers = {
                "KV-Operation": "DEL",
                "Nats-Expected-Last-Subject-Sequence": str(last.sequence),
            }
            try:
                await self._connection.publish(last.subject, b"", headers)
            except ApiError as err:
                if err.code != WRONG_LAST_SEQUENCE:
                    raise
                continue  # somebody wrote it in between: look again
            return True

    async def keys(self, prefix: str = "") -> list[str]:
        return sorted(
            [change.key async for change, _at in self._walk(check_prefix(prefix), headers_only=True)
             if change.kind is ChangeKind.PUT]
        )  # fmt: skip

    async def entries(self, prefix: str = "") -> list[Entry]:
        found = [
            Entry(change.key, change.value, change.revision)
            async for change, _at in self._walk(check_prefix(prefix))
            if change.kind is ChangeKind.PUT
        ]
        return sorted(found, key=lambda entry: entry.key)

    @asynccontextmanager
    async def watch(
        self, prefix: str = "", *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Change | SnapshotEnd]]:
        changes = self._changes(check_prefix(prefix), after)
        try:
            yield changes
        finally:
            await changes.aclose()

    async def compact(self, older_than_s: float = 86400) -> int:
        _last, now = await self._state()
        gone = [
            change.revision
            async for change, at in self._walk("", headers_only=True)
            if change.kind is not ChangeKind.PUT and at <= now - older_than_s
        ]
        if not gone:
            return 0
        # First what nobody can catch up with any longer, then the deletions.
        horizons = JetStreamBucket(self._connection, HORIZONS)
        while True:
            entry = await horizons.get(self._name)
            if entry is not None and int(entry.value) >= max(gone):
                break
            try:
                revision = 0 if entry is None else entry.revision
                await horizons.put(self._name, str(max(gone)).encode(), expected=revision)
                break
            except RevisionConflict:
                continue
        for revision in gone:
            with suppress(ApiError):  # the key was written again, which replaced its deletion
                await self._connection.api(
                    f"STREAM.MSG.DELETE.{self._stream}", {"seq": revision, "no_erase": True}
                )
        return len(gone)

    # ---- reading a stream ----

    async def _state(self) -> tuple[int, float]:
        """The stream's last sequence number, and the server's time."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        return int(info["state"]["last_seq"]), seconds(info["ts"])

    async def _changes(self, prefix: str, after: int | None) -> AsyncGenerator[Change | SnapshotEnd, None]:
        begin, _now = await self._state()
        if after is not None:
            entry = await JetStreamBucket(self._connection, HORIZONS).get(self._name)
            if not (0 if entry is None else int(entry.value)) <= after <= begin:
                raise too_old(after)
        dull = begin if after is None else after
        seen = after
        in_snapshot = True
        while True:
            # Each turn is a consumer: the first one, or another one after a lost connection.
            try:
                async with aclosing(self._follow(prefix, seen)) as messages:
                    async for change, _at, pending in messages:
                        if change is not None:
                            seen = change.revision
                            if change.kind is ChangeKind.PUT or change.revision > dull:
                                yield change
                        if in_snapshot and pending == 0:
                            in_snapshot = False
                            # Others than this prefix's may have changed since: only a later end is known.
                            seen = max(begin, seen or 0)
                            yield SnapshotEnd(seen)
            except _Interrupted:
                continue
            except EngineUnavailable:
                await asyncio.sleep(_RETRY_S)

    async def _walk(
        self, prefix: str, *, headers_only: bool = False
    ) -> AsyncGenerator[tuple[Change, float], None]:
        """The last message of each key, and when it was written. Raises EngineUnavailable."""
        try:
            async with aclosing(self._follow(prefix, None, headers_only)) as messages:
                async for change, at, pending in messages:
                    if change is not None:
                        yield change, at
                    if pending == 0:
                        return
        except _Interrupted:
            raise self._connection.error(Exception("the connection was lost")) from None

    async def _follow(
        self, prefix: str, after: int | None, headers_only: bool = False
    ) -> AsyncGenerator[tuple[Change | None, float, int], None]:
        """Messages after a sequence number, or the last of each key, and then new ones, each with how many there are
        behind it; if there is none, first a None. Raises _Interrupted when some may be missing."""
        begin: dict[str, Any] = {"deliver_policy": "last_per_subject"}
        if after is not None:
            begin = {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        config = {
            **begin,
            "filter_subject": f"{self._subject}.{encode_key(prefix[:-1])}.>"
            if prefix
            else f"{self._subject}.>",
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": nanoseconds(_IDLE_S),
            "headers_only": headers_only,
        }
        connection = self._connection
        reconnects = connection.nc.stats["reconnects"]
        made = await self._consumer(config)
        if made["num_pending"] == 0:
            yield None, 0.0, 0
        name, expected = made["name"], 1
        try:
            async with connection.inbox() as (inbox, subscription):
                asked = 0
                while True:
                    if connection.nc.stats["reconnects"] != reconnects:
                        raise _Interrupted
                    if asked <= 0:
                        asked = _PULL_MESSAGES
                        body = {
                            "batch": asked,
                            "max_bytes": _PULL_BYTES,
                            "expires": nanoseconds(_PULL_S),
                        }
                        await connection.send(f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{name}", body, inbox)
                    message = await connection.next(subscription, _PULL_S + 1)
                    code = None if message is None else status(message)
                    if message is None or code == 503 or (code == 409 and "onsumer" in description(message)):
                        raise _Interrupted
                    if code is not None:
                        asked = 0  # this pull is over: it expired, or brought max_bytes
                        continue
                    asked -= 1
                    metadata = message.metadata
                    if metadata.sequence.consumer != expected:
                        raise _Interrupted
                    expected += 1
                    headers = message.headers or {}
                    kind = _kind(headers)
                    change = Change(
                        kind,
                        decode_key(message.subject[len(self._subject) + 1 :]),
                        message.data if kind is ChangeKind.PUT else b"",
                        metadata.sequence.stream,
                    )
                    yield change, metadata.timestamp.timestamp(), metadata.num_pending
        finally:
            if not connection.closing:
                with suppress(ApiError, EngineUnavailable):
                    await connection.api(f"CONSUMER.DELETE.{self._stream}.{name}")

    async def _consumer(self, config: dict[str, Any]) -> dict[str, Any]:
        return await self._connection.api(
            f"CONSUMER.CREATE.{self._stream}", {"stream_name": self._stream, "config": config}
        )


class _Interrupted(Exception):
    """Messages may have been missed."""


def _kind(headers: dict[str, str]) -> ChangeKind:
    if headers.get("Nats-Marker-Reason") == "MaxAge":
        return ChangeKind.EXPIRE
    if "Nats-Marker-Reason" in headers or headers.get("KV-Operation", "PUT") != "PUT":
        return ChangeKind.DELETE
    return ChangeKind.PUT


def _what_is(last: Stored | None) -> str:
    if last is None or _kind(last.headers) is not ChangeKind.PUT:
        return "it does not exist"
    return f"it has revision {last.sequence}"
