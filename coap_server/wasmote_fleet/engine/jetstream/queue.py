"""Queues in JetStream: a work-queue stream each, one subject a job, and one durable consumer that all servers share.

One message a subject makes an id unique while its job lives, the duplicate window for remember_s after that. Dead
letters move to a bucket: JetStream itself would leave them where nobody finds them.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

from nats.aio.msg import Msg

from wasmote_fleet.engine.checks import check_key, check_value
from wasmote_fleet.engine.errors import lease_lost
from wasmote_fleet.engine.interface import Job, QueuePolicy, QueueStats
from wasmote_fleet.engine.jetstream.connection import (
    TIMEOUT_S,
    TOO_MANY_PER_SUBJECT,
    ApiError,
    Connection,
    decode_key,
    encode_key,
    nanoseconds,
    status,
)
from wasmote_fleet.engine.jetstream.kv import JetStreamBucket

_CONSUMER = "workers"
_WAIT_S = 30.0  # a longer wait is several pulls
_ATTEMPT, _ENQUEUED = "Wasmote-Attempt", "Wasmote-Enqueued"


@dataclass(slots=True)
class _Delivery:
    """A Job's receipt. until: by time.monotonic(), the end of the visibility timeout."""

    reply: str
    subject: str
    until: float


class JetStreamQueue:
    """A Queue."""

    def __init__(self, connection: Connection, name: str, policy: QueuePolicy, dead: JetStreamBucket) -> None:
        self._connection = connection
        self._name = name
        self._policy = policy
        self._dead = dead
        self._stream = f"{connection.prefix}-queue-{name}"
        self._subject = f"{connection.prefix}.queue.{name}"

    async def ensure(self) -> JetStreamQueue:
        """Make the stream unless it is there, and its consumer as the policy says."""
        window = nanoseconds(self._policy.remember_s)
        await self._connection.ensure_stream(
            self._stream,
            {
                "subjects": [f"{self._subject}.>"],
                "retention": "workqueue",
                "discard": "new",
                "discard_new_per_subject": True,
                "max_msgs_per_subject": 1,
                "duplicate_window": window,
            },
        )
        info = await self._connection.api(f"STREAM.INFO.{self._stream}")
        if info["config"].get("duplicate_window") != window:
            config = {**info["config"], "duplicate_window": window}
            await self._connection.api(f"STREAM.UPDATE.{self._stream}", config)
        consumer = {
            "durable_name": _CONSUMER,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(self._policy.visibility_s),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "filter_subject": f"{self._subject}.>",
        }
        await self._connection.api(
            f"CONSUMER.DURABLE.CREATE.{self._stream}.{_CONSUMER}",
            {"stream_name": self._stream, "config": consumer},
        )
        return self

    async def enqueue(self, data: bytes, *, id: str) -> bool:
        check_key(id)
        check_value(data)
        if await self._dead.last(f"{self._name}/{id}") is not None:
            return False
        return await self._publish(id, data, id)

    async def _publish(self, id: str, data: bytes, message_id: str) -> bool:
        try:
            done = await self._connection.publish(
                f"{self._subject}.{encode_key(id)}", data, {"Nats-Msg-Id": encode_key(message_id)}
            )
        except ApiError as err:
            if err.code == TOO_MANY_PER_SUBJECT:
                return False
            raise
        return not done.get("duplicate", False)

    async def lease(self, limit: int = 1, *, wait_s: float = 0.0) -> list[Job]:
        deadline = time.monotonic() + wait_s
        while True:
            jobs = await self._pull(limit, {"no_wait": True}, TIMEOUT_S)
            left = deadline - time.monotonic()
            if jobs or left <= 0:
                return jobs
            wait = min(left, _WAIT_S)
            jobs = await self._pull(1, {"expires": nanoseconds(wait)}, wait + 1)
            if jobs:
                if limit > 1:
                    jobs += await self._pull(limit - 1, {"no_wait": True}, TIMEOUT_S)
                return jobs

    async def _pull(self, limit: int, how: dict[str, object], timeout_s: float) -> list[Job]:
        jobs: list[Job] = []
        async with self._connection.inbox() as (inbox, subscription):
            await self._connection.send(
                f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{_CONSUMER}", {"batch": limit, **how}, inbox
            )
            for _ in range(limit):
                message = await self._connection.next(subscription, timeout_s)
                if message is None or status(message) is not None:
                    if message is not None and status(message) == 503:
                        raise self._connection.error(Exception("the queue's consumer does not answer"))
                    break
                job = await self._job(message)
                if job is not None:
                    jobs.append(job)
        return jobs

    async def _job(self, message: Msg) -> Job | None:
        metadata = message.metadata
        delivery = _Delivery(message.reply, message.subject, time.monotonic() + self._policy.visibility_s)
        job = Job(
            decode_key(message.subject[len(self._subject) + 1 :]),
            message.data,
            metadata.num_delivered,
            metadata.timestamp.timestamp(),
            delivery,
        )
        if job.attempt > self._policy.max_deliveries:
            await self._bury(job, delivery, self._policy.max_deliveries)
            return None
        return job

    async def _bury(self, job: Job, delivery: _Delivery, attempt: int) -> None:
        # A crash in between leaves both; the job is then delivered, and buried, again.
        headers = {_ATTEMPT: str(attempt), _ENQUEUED: str(job.enqueued_at)}
        await self._dead.store(f"{self._name}/{job.id}", job.data, headers, None)
        await self._connection.request(delivery.reply, b"+TERM")

    async def ack(self, job: Job) -> None:
        delivery = self._held(job)
        await self._connection.request(delivery.reply, b"+ACK")
        delivery.until = 0.0

    async def nack(self, job: Job, *, delay_s: float = 0.0) -> None:
        delivery = self._held(job)
        if job.attempt >= self._policy.max_deliveries:
            await self._bury(job, delivery, job.attempt)
        else:
            delay = b'-NAK {"delay": %d}' % nanoseconds(delay_s) if delay_s > 0 else b"-NAK"
            await self._connection.request(delivery.reply, delay)
        delivery.until = 0.0

    async def extend(self, job: Job) -> None:
        delivery = self._held(job)
        until = time.monotonic() + self._policy.visibility_s
        await self._connection.request(delivery.reply, b"+WPI")
        delivery.until = until

    def _held(self, job: Job) -> _Delivery:
        # The server would take the acknowledgement of any earlier delivery, so the time is looked at here.
        delivery = job.receipt
        assert isinstance(delivery, _Delivery)
        if time.monotonic() >= delivery.until:
            raise lease_lost(f"job {job.id} of {self._name}")
        return delivery

    async def dead_letters(self) -> list[Job]:
        jobs = []
        for key in await self._dead.keys(f"{self._name}/"):
            last = await self._dead.last(key)
            if last is not None:
                attempt, enqueued = int(last.headers[_ATTEMPT]), float(last.headers[_ENQUEUED])
                jobs.append(Job(key.partition("/")[2], last.data, attempt, enqueued))
        return sorted(jobs, key=lambda job: job.enqueued_at)

    async def revive(self, id: str) -> bool:
        key = f"{self._name}/{check_key(id)}"
        last = await self._dead.last(key)
        if last is None:
            return False
        # The window still knows the id itself.
        await self._publish(id, last.data, f"{id}/{secrets.token_hex(8)}")
        await self._dead.delete(key)
        return True

    async def discard(self, id: str) -> bool:
        return await self._dead.delete(f"{self._name}/{check_key(id)}")

    async def stats(self) -> QueueStats:
        info = await self._connection.api(f"CONSUMER.INFO.{self._stream}.{_CONSUMER}")
        dead = len(await self._dead.keys(f"{self._name}/"))
        return QueueStats(info["num_pending"], info["num_ack_pending"], dead)
