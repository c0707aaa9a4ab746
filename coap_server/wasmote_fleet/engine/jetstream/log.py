"""Logs in JetStream: one stream for all, a subject each, so that a log's offsets ascend with gaps."""

from __future__ import annotations

import asyncio
import time

from wasmote_fleet.engine.checks import check_value
from wasmote_fleet.engine.interface import Record
from wasmote_fleet.engine.jetstream.connection import (
    TIMEOUT_S,
    Connection,
    seconds,
    status,
)
from wasmote_fleet.engine.jetstream.kv import JetStreamBucket

# Who waits hears of a record by its subject, but perhaps before it can be read, or not at all after a lost connection.
_AGAIN_S = (0.0, 0.005, 0.02, 0.1)
_POLL_S = 2.0


class JetStreamLog:
    """A Log. Offsets are the stream's sequence numbers. trims: where trimmed() is kept."""

    def __init__(self, connection: Connection, name: str, trims: JetStreamBucket) -> None:
        self._connection = connection
        self._name = name
        self._trims = trims
        self._stream = f"{connection.prefix}-logs"
        self._subject = f"{connection.prefix}.log.{name}"

    async def ensure(self) -> JetStreamLog:
        """Make the stream unless it is there."""
        subjects = [f"{self._connection.prefix}.log.*"]
        await self._connection.ensure_stream(self._stream, {"subjects": subjects, "allow_direct": True})
        return self

    async def append(self, data: bytes) -> int:
        check_value(data)
        return int((await self._connection.publish(self._subject, data, {}))["seq"])

    async def read(self, after: int = 0, *, limit: int = 100, wait_s: float = 0.0) -> list[Record]:
        records = await self._read(after, limit)
        if records or wait_s <= 0:
            return records
        deadline = time.monotonic() + wait_s
        async with self._connection.listen(self._subject) as subscription:
            message = None
            while True:
                for pause_s in _AGAIN_S if message is not None else (0.0,):
                    await asyncio.sleep(pause_s)
                    records = await self._read(after, limit)
                    if records:
                        return records
                left = deadline - time.monotonic()
                if left <= 0:
                    return []
                message = await self._connection.next(subscription, min(left, _POLL_S))

    async def _read(self, after: int, limit: int) -> list[Record]:
        records: list[Record] = []
        async with self._connection.inbox() as (inbox, subscription):
            body = {"seq": after + 1, "next_by_subj": self._subject, "batch": limit}
            await self._connection.send(f"$JS.API.DIRECT.GET.{self._stream}", body, inbox)
            while True:
                message = await self._connection.next(subscription, TIMEOUT_S)
                if message is None:
                    raise self._connection.error(TimeoutError("no answer in time"))
                code = status(message)
                if code == 503:
                    raise self._connection.error(Exception("the log's stream does not answer"))
                if code is not None:  # 204: the end of the batch; 404: nothing there
                    return records
                headers = message.headers or {}
                records.append(
                    Record(int(headers["Nats-Sequence"]), message.data, seconds(headers["Nats-Time-Stamp"]))
                )

    async def trim(self, *, keep: int | None = None, older_than_s: float | None = None) -> int:
        if (keep is None) == (older_than_s is None):
            raise ValueError("give either keep or older_than_s")
        what: dict[str, object] = {"filter": self._subject}
        if keep:
            what["keep"] = keep
        elif older_than_s is not None:
            what["seq"] = await self._first_since(older_than_s)
        last = await self._connection.last(self._stream, self._subject)
        purged = int((await self._connection.api(f"STREAM.PURGE.{self._stream}", what))["purged"])
        if purged and last is not None:
            first = await self._connection.first(self._stream, self._subject, 1)
            trimmed = last.sequence if first is None else first.sequence - 1
            await self._trims.put(self._name, str(trimmed).encode())
        return purged

    async def _first_since(self, older_than_s: float) -> int:
        """The offset of the first record that is not older than that; one behind the last if all are."""
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        horizon = seconds(info["ts"]) - older_than_s
        low, high = int(info["state"]["first_seq"]), int(info["state"]["last_seq"]) + 1
        # Times ascend with sequence numbers.
        while low < high:
            middle = (low + high) // 2
            found = await self._connection.first(self._stream, ">", middle)
            if found is None or found.at >= horizon:
                high = middle
            else:
                low = found.sequence + 1
        return low

    async def trimmed(self) -> int:
        entry = await self._trims.get(self._name)
        return 0 if entry is None else int(entry.value)
