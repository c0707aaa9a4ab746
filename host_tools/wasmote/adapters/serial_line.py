"""A serial port for bootloaders and first words: blocking, with control lines, and a node's hello on it.

/dev/ttyUSB0, COM3, or rfc2217://HOST:PORT (a port that another machine serves, with its control lines).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable
from typing import Any, TypeVar

import cbor2
import serial
from aiocoap import Message
from aiocoap.error import UnparsableMessage
from aiocoap.numbers.types import Type

from wasmote.adapters.bridge import HELLO
from wasmote.adapters.serial import device_error
from wasmote.errors import LocalError
from wasmote.protocol import messages, slipmux
from wasmote.protocol.bridge import is_pong, ping
from wasmote.protocol.stm32_boot import Exchange, Progress, Steps

try:
    from termios import error as _termios_error
except ImportError:  # Windows

    class _termios_error(Exception):  # type: ignore[no-redef]
        pass


T = TypeVar("T")
_PING_EVERY_S = 0.3
_WRITE_TIMEOUT_S = 10.0
_REMOTE_SLICE_S = 0.02


def _harmless_ping() -> tuple[int, bytes]:
    """Message ID and frame of a ping without the characters that MicroPython, if it is there instead of a node, takes
    for commands: 01 to 05, of which 04 runs its program again."""
    while True:
        mid = secrets.randbelow(0x10000)
        frame = slipmux.encode(slipmux.COAP, ping(mid))
        if not set(frame) & {1, 2, 3, 4, 5}:
            return mid, frame


class LinkLost(LocalError):
    """The port is gone: unplugged, or its other end was closed."""


class SerialLine:
    """An open port. parity: "N" or "E". idle: control lines to leave inactive from the start, such as "dtr"; the
    others are as the system sets them."""

    def __init__(self, url: str, baud: int, *, parity: str = "N", idle: tuple[str, ...] = ()) -> None:
        self.url = url
        self.baud = baud
        self._remote = "://" in url  # there a change of the timeout negotiates all settings anew
        try:
            self._port = serial.serial_for_url(
                url, do_not_open=True, baudrate=baud, parity=parity, timeout=_REMOTE_SLICE_S
            )
            if not self._remote:
                self._port.write_timeout = _WRITE_TIMEOUT_S  # RFC 2217 has none
            for line in idle:
                self.set_line(line, False)
            if not self._remote and os.name == "posix":
                self._port.exclusive = True
            self._open(parity)
        except (serial.SerialException, OSError, ValueError) as error:
            if self._remote:
                raise LocalError(
                    f"cannot open {url}",
                    cause=str(error),
                    next_step="check the address, and that the server of the port runs",
                ) from error
            raise device_error(url, error) from error

    def _open(self, parity: str) -> None:
        try:
            self._port.open()
        except _termios_error:
            # The C library's way to say that parity did not stick: on a pseudo-terminal Linux takes it away.
            self._port.parity = "N"
            self._port.open()
            with contextlib.suppress(OSError, _termios_error):
                self._port.parity = parity

    def __enter__(self) -> SerialLine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        with contextlib.suppress(OSError, serial.SerialException):
            self._port.close()

    @property
    def parity(self) -> str:
        return str(self._port.parity)

    def set_line(self, line: str, active: bool) -> bool:
        """Set "dtr" or "rts"; "!dtr" and "!rts" are the other way round. False: this port has no such line."""
        try:
            setattr(self._port, line.removeprefix("!"), active != line.startswith("!"))
        except OSError:
            return False
        return True

    def configure(self, baud: int, parity: str) -> None:
        """Change rate and parity while the port stays open."""
        # Linux takes parity away from a pseudo-terminal, and the C library reports that; the rate is set all the
        # same.
        for name, value in (("baudrate", baud), ("parity", parity)):
            with contextlib.suppress(OSError, _termios_error):
                setattr(self._port, name, value)
        self.baud = baud

    def write(self, data: bytes) -> None:
        """Raises LinkLost."""
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise self._lost(error) from error

    def read(self, count: int, timeout_s: float) -> bytes:
        """Up to count bytes that come in time. Raises LinkLost."""
        if not self._remote:
            with contextlib.suppress(OSError, _termios_error):
                self._port.timeout = timeout_s
        try:
            if self._remote and timeout_s < _REMOTE_SLICE_S:
                time.sleep(timeout_s)
                count = min(count, self._port.in_waiting)
            data = bytes(self._port.read(count))
            deadline = time.monotonic() + timeout_s
            while self._remote and len(data) < count and time.monotonic() < deadline:
                data += self._port.read(count - len(data))
            return data
        except (serial.SerialException, OSError, TypeError) as error:
            raise self._lost(error) from error

    def read_some(self, timeout_s: float) -> bytes:
        """What has come, waiting for the first byte. Raises LinkLost."""
        first = self.read(1, timeout_s)
        if not first:
            return b""
        try:
            waiting = self._port.in_waiting
        except OSError as error:
            raise self._lost(error) from error
        return first + (self.read(waiting, 0) if waiting else b"")

    def discard(self) -> None:
        """Throw away what came in. Raises LinkLost."""
        try:
            self._port.reset_input_buffer()
        except (serial.SerialException, OSError, _termios_error) as error:
            raise self._lost(error) from error

    def run(self, steps: Steps[T], progress: Callable[[Progress], None] = lambda _progress: None) -> T:
        """Carry out a bootloader operation. Raises what it raises, and LinkLost."""
        answer = b""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Exchange):
                    if step.send:
                        self.write(step.send)
                    answer = self.read(step.receive, step.timeout_s)
                else:
                    progress(step)
                    answer = b""
                step = steps.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result

    # ---- a node on the line ----

    def wait_hello(self, timeout_s: float, on_text: Callable[[str], None]) -> str | None:
        """The node's hello (docs/PROTOCOL.md, 1), "" where it was missed but the node answers; None: nothing came in
        time. on_text gets each line of diagnostics."""
        decoder = slipmux.Decoder()
        mid, frame_of_ping = _harmless_ping()
        deadline = time.monotonic() + timeout_s
        next_ping = time.monotonic() + _PING_EVERY_S
        while (now := time.monotonic()) < deadline:
            if now >= next_ping:
                next_ping = now + _PING_EVERY_S
                self.write(frame_of_ping)
            for frame in decoder.feed(self.read_some(max(0.0, min(next_ping, deadline) - now))):
                if frame.kind == slipmux.TEXT:
                    on_text(frame.text.rstrip("\n"))
                    if frame.text.startswith(HELLO):
                        return frame.text.strip()
                elif is_pong(frame.content, mid):
                    return ""
        return None

    def get_device(self, timeout_s: float) -> dict[str, Any] | None:
        """`/d` of the node; None if it does not answer in time, or not with a map in one message."""
        request = Message(
            code=messages.GET, _mtype=Type.CON, _mid=secrets.randbelow(0x10000), _token=secrets.token_bytes(4)
        )
        request.opt.uri_path = ("d",)
        frame = slipmux.encode(slipmux.COAP, request.encode())
        decoder = slipmux.Decoder()
        deadline = time.monotonic() + timeout_s
        next_send = 0.0
        while (now := time.monotonic()) < deadline:
            if now >= next_send:
                next_send = now + 1.0
                self.write(frame)
            for found in decoder.feed(self.read_some(max(0.0, min(next_send, deadline) - now))):
                if found.kind != slipmux.COAP:
                    continue
                with contextlib.suppress(UnparsableMessage, ValueError):
                    reply = Message.decode(found.content)
                    if reply.token == request.token and int(reply.code) == messages.CONTENT:
                        decoded = cbor2.loads(reply.payload)
                        return decoded if isinstance(decoded, dict) else None
        return None

    def _lost(self, error: Exception) -> LinkLost:
        return LinkLost(
            f"the serial link {self.url} ended",
            cause=str(error) or type(error).__name__,
            next_step="plug the adapter in again, then run the same command",
        )
