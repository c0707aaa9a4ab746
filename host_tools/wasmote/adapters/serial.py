"""Byte streams to a node's serial port: a device (pyserial), an emulator's Unix socket, or TCP.

/dev/ttyUSB0, COM3     a device at `baud`, 8N1, no flow control
unix:PATH              a Unix socket, as `qemu-system-arm -serial unix:PATH,server=on` offers
tcp:HOST:PORT          a TCP port
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import serial

from wasmote.errors import InputError, LocalError, MissingError

DEFAULT_BAUD = 115200
_READ_BYTES = 4096


class SerialStream:
    """An open serial link. read() gives b"" when the other side is gone."""

    def __init__(
        self,
        url: str,
        reader: asyncio.StreamReader,
        writer: asyncio.WriteTransport,
        *,
        others: Sequence[asyncio.BaseTransport] = (),
        port: serial.Serial | None = None,
        stream: asyncio.StreamWriter | None = None,
    ) -> None:
        self.url = url
        self._reader = reader
        self._writer = writer
        self._others = others
        self._port = port
        self._stream = stream  # a StreamWriter that nobody holds closes its transport

    async def read(self) -> bytes:
        """The next bytes, at least one; b"" at the end of the link."""
        try:
            return await self._reader.read(_READ_BYTES)
        except OSError:  # a device that is pulled out, a pseudo-terminal whose other end closed
            return b""

    def write(self, data: bytes) -> None:
        """Queue bytes; the operating system takes them as the line allows."""
        self._writer.write(data)

    async def close(self) -> None:
        """Close the link; the device is free for others afterwards."""
        # A transport that lost its device has closed itself, and cannot be aborted any more.
        if not self._writer.is_closing():
            self._writer.abort()  # what has not been sent by now would only hold the device
        for transport in self._others:
            transport.close()
        if self._port is not None:
            import fcntl  # not on Windows, where no device gets this far

            with contextlib.suppress(OSError, serial.SerialException):
                # The transports have copies of the descriptor, which would keep the lock.
                fcntl.flock(self._port.fileno(), fcntl.LOCK_UN)
                self._port.close()
        # asyncio closes a transport's descriptor in the next turn of its loop.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def open_serial(url: str, baud: int = DEFAULT_BAUD) -> SerialStream:
    """Open a link. Raises LocalError for what cannot be opened, InputError for a text that names no link."""
    if url.startswith("unix:"):
        return await _open_unix(url)
    if url.startswith("tcp:"):
        return await _open_tcp(url)
    return await _open_device(url, baud)


async def _open_unix(url: str) -> SerialStream:
    path = url.removeprefix("unix:")
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise LocalError(
            f"no emulator at {path}",
            cause=error.strerror or str(error),
            next_step="start the emulator first; `wasmote emulate` prints the socket of its serial port",
        ) from error
    return SerialStream(url, reader, writer.transport, stream=writer)


async def _open_tcp(url: str) -> SerialStream:
    host, _, port = url.removeprefix("tcp:").rpartition(":")
    if not host or not port.isdigit():
        raise InputError(f"no TCP address: '{url}'", next_step="write tcp:HOST:PORT")
    try:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except OSError as error:
        raise LocalError(
            f"no serial server at {host}:{port}",
            cause=error.strerror or str(error),
            next_step="check that the emulator or the terminal server runs and listens on this port",
        ) from error
    return SerialStream(url, reader, writer.transport, stream=writer)


async def _open_device(url: str, baud: int) -> SerialStream:
    if os.name != "posix":
        raise MissingError(
            f"cannot open {url}",
            cause="serial devices are supported on Linux and macOS",
            next_step="use a TCP serial server and tcp:HOST:PORT",
        )
    try:
        # exclusive: a second program on the same line would steal bytes of frames.
        port = serial.Serial(url, baud, timeout=0, write_timeout=0, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        raise device_error(url, error) from error
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    try:
        receiving, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(os.dup(port.fileno()), "rb", buffering=0)
        )
        sending, _ = await loop.connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(os.dup(port.fileno()), "wb", buffering=0)
        )
    except (OSError, ValueError) as error:
        port.close()
        raise device_error(url, error) from error
    return SerialStream(url, reader, sending, others=(receiving,), port=port)


def device_error(url: str, error: Exception) -> LocalError:
    """Why a device cannot be opened, and what helps."""
    cause = str(error)
    if not Path(url).exists():
        cause = "no such serial device"
        others = serial_devices()
        found = (
            "serial devices here: " + ", ".join(others)
            if others
            else "there is no serial device on this machine"
        )
        step = f"{found}; plug the board in and check its name"
    elif not stat.S_ISCHR(Path(url).stat().st_mode) or f"({errno.ENOTTY}," in cause:
        cause, step = "this is no serial device", "name a device such as /dev/ttyACM0"
    elif isinstance(error, PermissionError) or "ermission" in cause:
        cause = "permission denied"
        step = (
            "add yourself to the group that owns it (`sudo usermod -a -G dialout $USER`, then log in again)"
        )
    elif "lock" in cause.lower() or "busy" in cause.lower():
        cause, step = (
            "another program uses it",
            "close the other program: a monitor, a bridge, a modem manager",
        )
    else:
        step = "check the device and its baud rate"
    return LocalError(f"cannot open {url}", cause=cause, next_step=step)


def serial_devices() -> list[str]:
    """Names of the serial devices of this machine."""
    from serial.tools import list_ports

    return sorted(port.device for port in list_ports.comports())
