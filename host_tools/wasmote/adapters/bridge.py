"""A bridge between one serial node and loopback UDP, so that any CoAP client reaches it (protocol/bridge.py).

async with SerialBridge("/dev/ttyUSB0", bind=("127.0.0.1", 0)) as bridge:
    host, port = bridge.address          # the node has answered by now
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from wasmote.adapters.serial import DEFAULT_BAUD, SerialStream, open_serial
from wasmote.errors import LocalError, UnreachableError
from wasmote.protocol import slipmux
from wasmote.protocol.bridge import (
    MAX_IN_FLIGHT,
    MAX_IN_FLIGHT_BYTES,
    Action,
    Bridge,
    BridgeStats,
    ToPeer,
    is_pong,
    ping,
)

log = logging.getLogger("wasmote.bridge")

_PING_EVERY_S = 0.3
_SILENCE_S = 3.0
HELLO = "wasmote "


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes, Any], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("a client is gone: %s", exc)  # ICMP; its reply is simply not wanted


class SerialBridge:
    """A running bridge.

    serial_url: see adapters/serial.py. bind: address of the UDP side, port 0 picks a free one. forward: host
    and port of the CoAP server that gets the node's own requests. on_text: called with each line of diagnostics from
    the node. on_silence: called with a text when the node is long in answering. ready_timeout_s: how long it
    may take to greet or to answer a ping; 0 does not wait. max_in_flight, max_in_flight_bytes: unanswered messages, and
    their bytes, beyond which others wait here.
    """

    def __init__(
        self,
        serial_url: str,
        *,
        bind: tuple[str, int] = ("127.0.0.1", 0),
        baud: int = DEFAULT_BAUD,
        forward: tuple[str, int] | None = None,
        on_text: Callable[[str], None] | None = None,
        on_silence: Callable[[str], None] | None = None,
        ready_timeout_s: float = 10.0,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
    ) -> None:
        self._url = serial_url
        self._bind = bind
        self._baud = baud
        self._forward = forward
        self._on_text = on_text or (lambda text: log.info("%s", text))
        self._on_silence = on_silence or (lambda _text: None)
        self._ready_timeout_s = ready_timeout_s
        self._pacing = (max_in_flight, max_in_flight_bytes)
        self._decoder = slipmux.Decoder()
        self._ready = asyncio.Event()
        self._ping_mid = secrets.randbelow(0x10000)
        self._stream: SerialStream | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._bridge: Bridge | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the UDP side."""
        assert self._udp is not None, "the bridge has not been started"
        sockname: Sequence[Any] = self._udp.get_extra_info("sockname")
        return str(sockname[0]), int(sockname[1])

    @property
    def stats(self) -> BridgeStats:
        assert self._bridge is not None, "the bridge has not been started"
        return self._bridge.stats

    @property
    def dropped_frames(self) -> int:
        """Frames from the node that were damaged on the line."""
        return self._decoder.dropped

    async def start(self) -> None:
        """Open both sides and wait for the node. Raises LocalError (device, UDP port), UnreachableError
        (silent node)."""
        loop = asyncio.get_running_loop()
        self._closed = loop.create_future()
        forward = await self._resolve_forward()
        self._bridge = Bridge(
            # Message IDs begin behind the ping's, so that a late answer to it finds none of them.
            seed=secrets.randbits(16) << 16 | self._ping_mid,
            forward=forward,
            max_in_flight=self._pacing[0],
            max_in_flight_bytes=self._pacing[1],
        )
        try:
            self._udp, _ = await loop.create_datagram_endpoint(
                lambda: _Udp(self._from_udp), local_addr=self._bind
            )
        except OSError as error:
            host, port = self._bind
            raise LocalError(
                f"cannot use UDP port {port} on {host}",
                cause=error.strerror or str(error),
                next_step="stop the program that uses it, or give another port (0 picks a free one)",
            ) from error
        try:
            self._stream = await open_serial(self._url, self._baud)
            self._tasks.append(asyncio.create_task(self._read_serial(), name=f"bridge {self._url}"))
            if self._ready_timeout_s > 0:
                await self._wait_ready()
        except BaseException:
            await self.close()
            raise

    async def wait_closed(self) -> None:
        """Until the serial side ends. Raises LocalError then: a bridge is of no use any more."""
        assert self._closed is not None, "the bridge has not been started"
        await asyncio.shield(self._closed)
        raise LocalError(
            f"the serial link {self._url} ended",
            cause="the device was unplugged, or the emulator stopped",
            next_step="start the bridge again when the node is back",
        )

    async def close(self) -> None:
        """Free the device and the port. May be called twice."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()
        if self._udp is not None:
            self._udp.close()
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def __aenter__(self) -> SerialBridge:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def _resolve_forward(self) -> Any:
        if self._forward is None:
            return None
        host, port = self._forward
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._bind[0] else socket.AF_INET
        try:
            found = await loop.getaddrinfo(host, port, family=family)
        except OSError as error:
            raise LocalError(
                f"unknown host '{host}' for --forward",
                cause=str(error),
                next_step="give an address or a known name",
            ) from error
        return found[0][4]

    async def _wait_ready(self) -> None:
        """Ping until the node answers: bytes sent before its UART was on are lost, so one is not enough."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        deadline = began + self._ready_timeout_s
        told = False
        assert self._stream is not None and self._closed is not None
        while not self._ready.is_set():
            self._stream.write(slipmux.encode(slipmux.COAP, ping(self._ping_mid)))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), _PING_EVERY_S)
            if self._ready.is_set():
                return
            if self._closed.done():
                raise UnreachableError(
                    f"the serial link {self._url} ended before the node answered",
                    next_step="check that the emulator or the device is still there",
                )
            if not told and loop.time() - began >= _SILENCE_S:
                told = True
                self._on_silence(
                    f"no answer yet on {self._url} after {_SILENCE_S:g} s:"
                    f" waiting up to {deadline - loop.time():.0f} s more"
                )
            if loop.time() >= deadline:
                damaged = f", but {self.dropped_frames} damaged frames" if self.dropped_frames else ""
                raise UnreachableError(
                    f"no node answers on {self._url}",
                    cause=f"nothing came in {self._ready_timeout_s:g} s{damaged} (at {self._baud} baud)",
                    next_step="reset the board, check TX and RX and the baud rate (--baud, or DEVICE@BAUD),"
                    " and that it runs wasmote",
                )

    async def _read_serial(self) -> None:
        assert self._stream is not None and self._bridge is not None and self._closed is not None
        loop = asyncio.get_running_loop()
        while data := await self._stream.read():
            for frame in self._decoder.feed(data):
                if frame.kind == slipmux.TEXT:
                    if frame.text.startswith(HELLO):
                        self._ready.set()
                    self._on_text(frame.text.rstrip("\n"))
                elif not self._ready.is_set() and is_pong(frame.content, self._ping_mid):
                    self._ready.set()
                else:
                    self._act(self._bridge.from_node(frame.content, loop.time()))
        if not self._closed.done():
            self._closed.set_result(None)

    def _from_udp(self, data: bytes, addr: Any) -> None:
        assert self._bridge is not None
        self._act(self._bridge.from_peer(addr, data, asyncio.get_running_loop().time()))

    def _act(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, ToPeer):
                if self._udp is not None:
                    self._udp.sendto(action.datagram, action.peer)  # type: ignore[arg-type]
            elif self._stream is not None:
                self._stream.write(slipmux.encode(slipmux.COAP, action.message))
        self._set_timer()

    def _set_timer(self) -> None:
        assert self._bridge is not None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        delay_s = self._bridge.next_poll_s(loop.time())
        if delay_s is not None:
            self._timer = loop.call_later(delay_s, self._poll)

    def _poll(self) -> None:
        assert self._bridge is not None
        self._act(self._bridge.poll(asyncio.get_running_loop().time()))
