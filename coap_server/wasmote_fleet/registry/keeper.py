"""What the server that holds a node's lease does: ask the node for a beat, again and again, and say what changes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from wasmote.adapters.coap import CoapClient, Tuning
from wasmote.errors import WasmoteError
from wasmote.node import Node
from wasmote.protocol import answers, messages
from wasmote.protocol.messages import Request
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import Clock, Lease
from wasmote_fleet.engine.tasks import sleep_or_bell
from wasmote_fleet.registry.errors import WrongNode
from wasmote_fleet.registry.presence import Beat, Change, Presence, State
from wasmote_fleet.registry.records import Record

_TRIES = 5  # messages a beat, so that a lossy line loses few beats
_RANDOM_FACTOR = 1.5  # of retransmissions (RFC 7252, 4.8): the longest they may take
_SHARE = 0.95  # of a beat that all tries take at most


class Link:
    """The way to one node: one client for beats, and, once somebody wants it, one for all the rest. A serial device is
    opened once for both. tuning: how patient all is but the beats."""

    def __init__(self, uri: str, beat_s: float, tuning: Tuning | None = None) -> None:
        self.uri = uri
        self._beat_s = beat_s
        self._tuning = tuning
        self._node: Node | None = None
        self._beats: CoapClient | None = None
        self._opening = asyncio.Lock()
        self._bridged = parse_target(uri).kind == "serial"

    async def node(self) -> Node:
        """The node, open; it is the link's, which closes it. Raises WasmoteError."""
        async with self._opening:
            if self._node is None:
                node = Node(self.uri, tuning=self._tuning)
                await node.open()
                self._node = node
            return self._node

    async def device(self) -> dict[str, Any]:
        """`/d`, or WasmoteError within about a beat."""
        client = self._beats or await self._open_beats()
        async with asyncio.timeout(self._beat_s):
            reply = await client.request(Request(messages.GET, ("d",)), repeatable=True)
        if not reply.ok:
            raise WrongNode(
                f"{self.uri} is no wasmote node",
                cause=f"/d answers {reply.code_text}",
                next_step="check the address; `wasmote discover` looks for nodes",
            )
        return answers.cbor_map(reply)

    async def retry(self) -> None:
        """The node is down. A serial device that was unplugged must be opened anew."""
        if self._bridged:
            await self.close()

    async def close(self) -> None:
        for part in (self._beats, self._node):
            if part is not None:
                await part.close()
        self._beats = self._node = None

    async def _open_beats(self) -> CoapClient:
        target = parse_target(self.uri)
        if self._bridged:
            target = parse_target((await self.node()).client.uri)
        # Faster than ACK_TIMEOUT, which is for requests that many clients send: this is one message a beat. All tries
        # end before the beat does: a client has one unacknowledged message at a time at a node, and the next beat must
        # not wait behind this one, or fail with it.
        longest = _RANDOM_FACTOR * (2.0**_TRIES - 1.0)
        tuning = Tuning(
            ack_timeout_s=_SHARE * self._beat_s / longest,
            max_retransmit=_TRIES - 1,
            reply_timeout_s=self._beat_s,
            attempts=1,
            busy_wait_s=0.0,
        )
        client = CoapClient(target.host, target.port, tuning=tuning)
        await client.start()
        self._beats = client
        return client


Report = Callable[["Keeper", list[Change], dict[str, Any] | None, str], Awaitable[None]]


class Keeper:
    """One node. lease: held, and renewed by the registry. report: called with what changed, /d if the node answered,
    and the cause if it did not. slots: how many nodes are asked at a time. tuning: as Link has it."""

    def __init__(
        self,
        record: Record,
        lease: Lease,
        *,
        clock: Clock,
        report: Report,
        slots: asyncio.Semaphore,
        unknown: bool,
        tuning: Tuning | None = None,
    ) -> None:
        self.record = record
        self.lease = lease
        self.link = Link(record.uri, record.beat_s, tuning)
        self.presence = Presence(
            State.UNKNOWN if unknown else record.state,
            beat_s=record.beat_s,
            boot=record.boot,
            began_at=record.began_at,
        )
        self._clock = clock
        self._report = report
        self._slots = slots
        self._unknown = unknown
        self._soon = asyncio.Event()

    def ask_soon(self) -> None:
        """The node has just been heard of: do not wait for its turn."""
        self._soon.set()

    async def run(self) -> None:
        """Ask while the lease lasts."""
        if self._unknown:
            await self._report(self, [Change.UNKNOWN], None, "the server that spoke with it is gone")
        try:
            while self._clock.time() < self.lease.expires_at:
                began = self._clock.time()
                await self._ask()
                pause_s = began + self.presence.pause_s(random.random()) - self._clock.time()
                self._soon.clear()
                await sleep_or_bell(max(pause_s, 0.0), self._soon, self._clock)
        finally:
            await self.link.close()

    async def _ask(self) -> None:
        async with self._slots:
            sent_at = self._clock.time()
            device: dict[str, Any] | None = None
            cause = "no answer in time"
            try:
                device = await self.link.device()
                beat = self._beat(sent_at, device)
            except (WasmoteError, TimeoutError, KeyError, TypeError, ValueError, ArithmeticError) as err:
                device, cause = None, str(err) or cause
                changes = self.presence.missed()
            else:
                changes, cause = self.presence.answered(beat), ""
        await self._report(self, changes, device, cause)
        if self.presence.state is State.DOWN:
            await self.link.retry()

    def _beat(self, sent_at: float, device: dict[str, Any]) -> Beat:
        if device["ep"] != self.record.ep:
            raise WrongNode(
                f"another node answers at {self.link.uri}",
                cause=f"it is {device['ep']!r}",
                next_step="adopt that one, or give this one an address of its own",
            )
        return Beat(sent_at, self._clock.time(), int(device["boot"]), int(device["up_ms"]) / 1000)
