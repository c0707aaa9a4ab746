"""Serial lines between the tools and a simulated chip: a pseudo-terminal, and RFC 2217 over TCP.

A pseudo-terminal shows the speed that its user has set, but no parity (Linux takes it away) and no control lines;
RFC 2217 carries all of them.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import threading
import tty
from types import TracebackType
from typing import Protocol

from esp32c3_rom import Esp32C3
from serial import rfc2217

_SPEEDS = {
    getattr(termios, name): int(name[1:]) for name in dir(termios) if name[0] == "B" and name[1:].isdigit()
}
_READ_BYTES = 4096


class Device(Protocol):
    """What hangs on a line. baud: the rate that it listens at; None: it measures the next byte."""

    baud: int | None

    def feed(self, data: bytes) -> bytes: ...


def transmit(device: Device, data: bytes, baud: int) -> bytes:
    """Bytes to the device and its answer, both useless where the rates differ."""
    if device.baud is None and 1200 <= baud <= 115200:
        device.baud = baud
    if device.baud != baud:
        data = _noise(data)
        return _noise(device.feed(data))
    return device.feed(data)


def _noise(data: bytes) -> bytes:
    return bytes((byte * 5 + 0x83) & 0xFF | 0x80 for byte in data)


class PtyWire:
    """A device behind a pseudo-terminal, served by a thread. path: what a tool opens."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._serve, name=f"wire {self.path}", daemon=True)
        self._lock = threading.Lock()
        self._closed = False
        self.received = bytearray()

    def __enter__(self) -> PtyWire:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def baud(self) -> int:
        """What the user of the line has set."""
        return _SPEEDS[termios.tcgetattr(self._master)[5]]

    def send(self, data: bytes) -> None:
        """Bytes that the device sends by itself."""
        with contextlib.suppress(OSError):
            os.write(self._master, data)

    def disconnect(self) -> None:
        """Pull the plug; may be called by the device itself."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.write(self._stop_write, b"x")
        if not self._thread.is_alive():
            self._end()

    def _serve(self) -> None:
        try:
            while not self._closed:
                ready, _, _ = select.select([self._master, self._stop_read], [], [])
                if self._stop_read in ready:
                    break
                data = os.read(self._master, _READ_BYTES)
                self.received += data
                answer = transmit(self.device, data, self.baud)
                if answer and not self._closed:
                    os.write(self._master, answer)
        except OSError:
            pass
        finally:
            with self._lock:  # disconnect() must not write into a pipe that is closed
                self._closed = True
            self._end()

    def _end(self) -> None:
        for end in (self._master, self._slave, self._stop_read, self._stop_write):
            with contextlib.suppress(OSError):
                os.close(end)


class _FakeSerial:
    """What pyserial's RFC 2217 server sets and reads: settings and lines of a port."""

    def __init__(self, wire: TcpWire) -> None:
        self._wire = wire
        self.baudrate, self.bytesize, self.parity, self.stopbits = 9600, 8, "N", 1
        self.xonxoff = self.rtscts = False
        self.cts = self.dsr = self.cd = True
        self.ri = self.break_condition = False
        self._rts = self._dtr = True

    @property
    def rts(self) -> bool:
        return self._rts

    @rts.setter
    def rts(self, value: bool) -> None:
        self._rts = value
        self._wire.lines_changed(self)

    @property
    def dtr(self) -> bool:
        return self._dtr

    @dtr.setter
    def dtr(self, value: bool) -> None:
        self._dtr = value
        self._wire.lines_changed(self)

    def reset_input_buffer(self) -> None: ...

    def reset_output_buffer(self) -> None: ...


class TcpWire:
    """A device behind an RFC 2217 server. parity: what it needs; boot0, nrst: the control lines that reach these
    pins of an Stm32Chip, "rts" or "dtr"; asserted means BOOT0 high, NRST low."""

    def __init__(self, device: Device, *, parity: str = "E", boot0: str = "", nrst: str = "") -> None:
        self.device = device
        self._parity, self._boot0, self._nrst = parity, boot0, nrst
        self._held = False
        self._client: socket.socket | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name=self.url, daemon=True)
        self._closed = False

    def __enter__(self) -> TcpWire:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            socket.create_connection(self._listener.getsockname(), 1).close()
        self._thread.join()
        self._listener.close()

    def lines_changed(self, port: _FakeSerial) -> None:
        if isinstance(self.device, Esp32C3):
            self.device.lines(port.dtr, port.rts)
            return
        if self._boot0:
            self.device.boot0 = getattr(port, self._boot0)  # type: ignore[attr-defined]
        if self._nrst:
            held = getattr(port, self._nrst)
            if self._held and not held:
                self.device.reset()  # type: ignore[attr-defined]
            self._held = held

    def _serve(self) -> None:
        while not self._closed:
            client, _ = self._listener.accept()
            with client:
                self._client = client
                if not self._closed:
                    self._serve_client(client)
                self._client = None

    def _serve_client(self, client: socket.socket) -> None:
        port = _FakeSerial(self)

        class Connection:
            def write(self, data: bytes) -> None:
                client.sendall(data)

        manager = rfc2217.PortManager(port, Connection())
        while True:
            try:
                data = client.recv(_READ_BYTES)
            except OSError:
                return
            if not data:
                return
            content = b"".join(manager.filter(data))
            if not content or self._held:
                continue
            if port.parity != self._parity:
                answer = _noise(self.device.feed(_noise(content)))
            else:
                answer = transmit(self.device, content, port.baudrate)
            with contextlib.suppress(OSError):
                client.sendall(b"".join(manager.escape(answer)))
