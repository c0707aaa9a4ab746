"""The connection to NATS and the part of JetStream's API that the driver uses, with the engine's errors.

Reads go to a stream's leader (STREAM.MSG.GET): what was acknowledged is seen, also where streams are replicated.
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from wasmote_fleet.engine.checks import check_name
from wasmote_fleet.engine.errors import DataUnusable, EngineClosed, EngineUnavailable

TIMEOUT_S = 5.0
MIN_VERSION = (2, 11)
# https://github.com/nats-io/nats-server/blob/main/server/errors.json
NO_MESSAGE = 10037
STREAM_NOT_FOUND = 10059
WRONG_LAST_SEQUENCE = 10071
TOO_MANY_PER_SUBJECT = 10077
CONSUMER_NOT_FOUND = 10014


class ApiError(Exception):
    """JetStream refused. code: its err_code."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error.get("description", "no description"))
        self.code = int(error.get("err_code", 0))


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of a stream."""

    subject: str
    sequence: int
    data: bytes
    headers: dict[str, str]
    at: float


class Connection:
    """Use open(). prefix: what the names of this fleet's streams and subjects begin with."""

    def __init__(self, nc: Client, prefix: str, location: str) -> None:
        self.nc = nc
        self.prefix = prefix
        self.location = location
        self.closing = False

    @classmethod
    async def open(cls, location: str) -> Connection:
        """Raises EngineUnavailable, DataUnusable."""
        servers, _, name = location.partition("#")
        prefix = check_name(name or "wasmote", "fleet")

        errors: list[Exception] = []

        async def note(err: Exception) -> None:
            # What a request meets is raised there, and a lost connection is taken up again: only the first try counts.
            errors[:] = [err]

        nc = Client()
        try:
            # The client itself tries for ever: right once it was connected.
            async with asyncio.timeout(TIMEOUT_S):
                await nc.connect(
                    servers.split(","),
                    error_cb=note,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=1,
                    name=f"wasmote fleet {secrets.token_hex(4)}",
                )
        except (OSError, nats.errors.Error, TimeoutError) as err:
            await nc.close()
            cause = errors[0] if errors else err
            raise EngineUnavailable(
                f"cannot connect to {servers}",
                cause=str(cause) or type(cause).__name__,
                next_step="start nats-server with JetStream there: nats-server -js",
            ) from None
        version = nc.connected_server_version
        if (version.major, version.minor) < MIN_VERSION:
            await nc.close()
            raise DataUnusable(
                f"nats-server {version.major}.{version.minor} is too old",
                cause="2.11 is the first with expiry a key",
                next_step="update it",
            )
        self = cls(nc, prefix, servers)
        try:
            await self.api("INFO")
        except (ApiError, EngineUnavailable) as err:
            await nc.close()
            raise DataUnusable(
                f"{servers} has no JetStream", cause=str(err), next_step="start it with: nats-server -js"
            ) from None
        return self

    @property
    def version(self) -> str:
        """The server's version."""
        version = self.nc.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    async def close(self) -> None:
        """Close it; what waits for an answer gets EngineClosed."""
        self.closing = True
        await self.nc.close()

    def error(self, err: Exception) -> EngineClosed | EngineUnavailable:
        """What err of the client means."""
        if self.closing:
            return EngineClosed("the engine was closed", next_step="open it again")
        return EngineUnavailable(
            f"{self.location} does not answer",
            cause=str(err) or type(err).__name__,
            next_step="look at the server",
        )

    async def request(
        self,
        subject: str,
        data: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> Msg:
        """A reply. Raises EngineUnavailable, EngineClosed."""
        if self.closing:
            raise self.error(Exception())
        try:
            return await self.nc.request(subject, data, timeout=timeout_s, headers=headers)
        except (nats.errors.Error, TimeoutError, OSError) as err:
            raise self.error(err) from None

    async def api(self, name: str, body: Any = None) -> dict[str, Any]:
        """A request to JetStream's API; raises ApiError, EngineUnavailable."""
        reply = await self.request(f"$JS.API.{name}", b"" if body is None else json.dumps(body).encode())
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise ApiError(answer["error"])
        return answer

    async def publish(self, subject: str, data: bytes, headers: dict[str, str]) -> dict[str, Any]:
        """Store a message: JetStream's acknowledgement, with seq and perhaps duplicate. Raises ApiError."""
        reply = await self.request(subject, data, headers)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise ApiError(answer["error"])
        return answer

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject."""
        return await self._get(stream, {"last_by_subj": subject})

    async def first(self, stream: str, subject: str, sequence: int) -> Stored | None:
        """The first message of a subject from sequence on."""
        return await self._get(stream, {"seq": sequence, "next_by_subj": subject})

    async def _get(self, stream: str, what: dict[str, Any]) -> Stored | None:
        try:
            answer = await self.api(f"STREAM.MSG.GET.{stream}", what)
        except ApiError as err:
            if err.code == NO_MESSAGE:
                return None
            raise
        message = answer["message"]
        return Stored(
            message["subject"],
            message["seq"],
            base64.b64decode(message.get("data", "")),
            _headers(base64.b64decode(message.get("hdrs", ""))),
            seconds(message["time"]),
        )

    async def ensure_stream(self, name: str, config: dict[str, Any]) -> None:
        """Make a stream unless it is there; one that is there stays as its administrator set it."""
        try:
            await self.api(f"STREAM.INFO.{name}")
            return
        except ApiError as err:
            if err.code != STREAM_NOT_FOUND:
                raise
        await self.api(
            f"STREAM.CREATE.{name}",
            {"name": name, "storage": "file", "num_replicas": 1, "max_consumers": -1, **config},
        )

    @asynccontextmanager
    async def inbox(self) -> AsyncIterator[tuple[str, Subscription]]:
        """A subject of its own for replies, and what comes there."""
        inbox = self.nc.new_inbox()
        async with self.listen(inbox) as subscription:
            yield inbox, subscription

    @asynccontextmanager
    async def listen(self, subject: str) -> AsyncIterator[Subscription]:
        """What is published to a subject from now on."""
        try:
            subscription = await self.nc.subscribe(subject)
        except nats.errors.Error as err:
            raise self.error(err) from None
        try:
            yield subscription
        finally:
            with suppress(nats.errors.Error):
                await subscription.unsubscribe()

    async def send(self, subject: str, body: Any, reply: str) -> None:
        """A request whose replies come to an inbox."""
        try:
            await self.nc.publish(subject, json.dumps(body).encode(), reply)
        except (nats.errors.Error, OSError) as err:
            raise self.error(err) from None

    async def next(self, subscription: Subscription, timeout_s: float) -> Msg | None:
        """What comes next; None if nothing came in time. Raises EngineClosed, EngineUnavailable."""
        try:
            return await subscription.next_msg(timeout=timeout_s)
        except (nats.errors.TimeoutError, TimeoutError):
            if self.closing:
                raise self.error(Exception()) from None
            return None
        except nats.errors.Error as err:
            raise self.error(err) from None


def status(message: Msg) -> int | None:
    """The status of a message that says something about a request instead of being data."""
    if message.headers and not message.data and "Status" in message.headers:
        return int(message.headers["Status"])
    return None


def description(message: Msg) -> str:
    """The words that go with a status."""
    return (message.headers or {}).get("Description", "")


def encode_key(key: str) -> str:
    """A key as a subject: a token a segment, with =XX for each byte that a token should not have."""
    return ".".join("".join(_encode_byte(b) for b in segment.encode()) for segment in key.split("/"))


def decode_key(subject: str) -> str:
    """The key of encode_key's subject."""
    segments = []
    for token in subject.split("."):
        first, *rest = token.split("=")
        raw = first.encode() + b"".join(bytes.fromhex(part[:2]) + part[2:].encode() for part in rest)
        segments.append(raw.decode())
    return "/".join(segments)


def _encode_byte(byte: int) -> str:
    char = chr(byte)
    return char if byte < 128 and (char.isalnum() or char in "_-") else f"={byte:02X}"


def seconds(text: str) -> float:
    """Seconds since 1970 of a time as the server writes it: RFC 3339 with up to nine digits of a second."""
    date, _, rest = text.rstrip("Z").partition(".")
    at = datetime.datetime.fromisoformat(date).replace(tzinfo=datetime.UTC)
    return at.timestamp() + (float(f"0.{rest}") if rest else 0.0)


def nanoseconds(duration_s: float) -> int:
    """As JetStream's API has durations."""
    return round(duration_s * 1_000_000_000)


def _headers(raw: bytes) -> dict[str, str]:
    lines = raw.decode().split("\r\n")[1:]
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}
