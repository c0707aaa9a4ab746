"""A blocking CoAP client of a few lines: one request at a time over UDP or slipmux. It adds next to nothing to what it
times, and can hold a serial line to its baud rate where an emulator would not."""

from __future__ import annotations

import itertools
import socket
import time
from pathlib import Path
from typing import Protocol

import aiocoap
from aiocoap.numbers.types import ACK, CON
from aiocoap.optiontypes import BlockOption

from wasmote.protocol import slipmux

RETRANSMIT_S = 2.0
ATTEMPTS = 5


class Link(Protocol):
    def send(self, datagram: bytes) -> None: ...
    def receive(self, timeout_s: float) -> bytes | None:
        """The next datagram; None after timeout_s."""


class UdpLink:
    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))

    def send(self, datagram: bytes) -> None:
        self._socket.send(datagram)

    def receive(self, timeout_s: float) -> bytes | None:
        self._socket.settimeout(timeout_s)
        try:
            return self._socket.recv(2048)
        except (TimeoutError, ConnectionRefusedError):
            return None

    def close(self) -> None:
        self._socket.close()


class SlipmuxLink:
    """slipmux over the stream socket of an emulated UART.

    With a baud rate no frame takes less than the time of its bytes on such a line (10 bits a byte). A request leaves in
    small pieces, so what the emulator needs to take them in runs meanwhile, as on a chip.
    """

    def __init__(self, path: Path, baud: int | None = None, piece_bytes: int = 16) -> None:
        self._piece_bytes = piece_bytes
        self._byte_s = 0.0 if baud is None else 10 / baud
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        deadline = time.monotonic() + 10
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._decoder = slipmux.Decoder()
        self._frames: list[slipmux.Frame] = []
        self._heard_at: float | None = None  # the first bytes after the last frame
        self.texts: list[str] = []

    def _wait_until(self, when: float) -> None:
        left = when - time.monotonic()
        if self._byte_s > 0 and left > 0:
            time.sleep(left)

    def send(self, datagram: bytes) -> None:
        frame = slipmux.encode(slipmux.COAP, datagram)
        if self._byte_s == 0:
            self._socket.sendall(frame)
            return
        start = time.monotonic()
        for at in range(0, len(frame), self._piece_bytes):
            piece = frame[at : at + self._piece_bytes]
            self._wait_until(start + (at + len(piece)) * self._byte_s)
            self._socket.sendall(piece)

    def _frame(self, timeout_s: float) -> slipmux.Frame | None:
        deadline = time.monotonic() + timeout_s
        while not self._frames:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(4096)
            except TimeoutError:
                return None
            if not data:
                raise ConnectionError("the emulator closed its serial port")
            self._heard_at = self._heard_at or time.monotonic()
            self._frames += self._decoder.feed(data)
        return self._frames.pop(0)

    def receive(self, timeout_s: float) -> bytes | None:
        while (frame := self._frame(timeout_s)) is not None:
            began, self._heard_at = self._heard_at, None
            if frame.kind == slipmux.TEXT:
                self.texts.append(frame.text)
                continue
            if began is not None:
                self._wait_until(began + len(slipmux.encode(slipmux.COAP, frame.content)) * self._byte_s)
            return frame.content
        return None

    def text(self, start: str, timeout_s: float) -> str:
        """The next diagnostics text that begins so, without its beginning. Raises TimeoutError."""
        while True:
            while self.texts:
                text = self.texts.pop(0)
                if text.startswith(start):
                    return text.removeprefix(start)
            frame = self._frame(timeout_s)
            self._heard_at = None
            if frame is None:
                raise TimeoutError(f"no text {start!r} from the node")
            if frame.kind == slipmux.TEXT:
                self.texts.append(frame.text)

    def close(self) -> None:
        self._socket.close()


class Client:
    def __init__(self, link: Link) -> None:
        self._link = link
        self._mids = itertools.count(int(time.monotonic() * 1000) & 0xFFFF)

    def request(self, code: aiocoap.numbers.codes.Code, path: str, payload: bytes = b"", **options: object):
        """Send, repeat, and give the response, piggy-backed or separate. Raises TimeoutError."""
        mid = next(self._mids) & 0xFFFF
        message = aiocoap.Message(code=code, _mtype=CON, _mid=mid, payload=payload)
        message.token = mid.to_bytes(2, "big")
        message.opt.uri_path = tuple(path.strip("/").split("/"))
        for name, value in options.items():
            setattr(message.opt, name, value)
        datagram = message.encode()
        for _ in range(ATTEMPTS):
            self._link.send(datagram)
            deadline = time.monotonic() + RETRANSMIT_S
            while (left := deadline - time.monotonic()) > 0:
                received = self._link.receive(left)
                if received is None:
                    break
                reply = aiocoap.Message.decode(received)
                if reply.token != message.token or reply.code.is_request():
                    continue
                if reply.mtype is CON:
                    self._link.send(aiocoap.Message(code=aiocoap.EMPTY, _mtype=ACK, _mid=reply.mid).encode())
                return reply
        raise TimeoutError(f"no reply to {code} {path}")

    def put(self, path: str, body: bytes, block_bytes: int = 1024) -> None:
        """PUT wasm bytes by Block1. Raises RuntimeError if the node refuses."""
        szx = block_bytes.bit_length() - 5
        for start in range(0, len(body), block_bytes):
            chunk = body[start : start + block_bytes]
            more = start + block_bytes < len(body)
            options: dict[str, object] = {"content_format": 42}
            if len(body) > block_bytes:
                options["block1"] = BlockOption.BlockwiseTuple(start // block_bytes, more, szx)
                if start == 0:
                    options["size1"] = len(body)
            reply = self.request(aiocoap.PUT, path, chunk, **options)
            if not reply.code.is_successful():
                raise RuntimeError(f"PUT {path}: {reply.code} {reply.payload!r}")

    def post(self, path: str, payload: bytes = b"", content_format: int | None = None) -> bytes:
        """POST; the payload of a success. Raises RuntimeError."""
        options = {} if content_format is None else {"content_format": content_format}
        reply = self.request(aiocoap.POST, path, payload, **options)
        if not reply.code.is_successful():
            raise RuntimeError(f"POST {path}: {reply.code} {reply.payload!r}")
        return reply.payload
