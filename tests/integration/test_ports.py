"""What ports promise beside CoAP: the host's command line and pseudo-terminal, and a chip's serial line under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import module
from support import HOST, MPS2, STM32, built

from wasmote.adapters.boards import find_board
from wasmote.adapters.project import Project
from wasmote.node import Node
from wasmote.protocol.section import Section, with_section

RV32 = "qemu_virt_rv32"
PING = bytes.fromhex("4000")
RESET = bytes.fromhex("7000")


def _fcs(data: bytes) -> int:
    fcs = 0xFFFF
    for byte in data:
        fcs ^= byte
        for _ in range(8):
            fcs = fcs >> 1 ^ (0x8408 if fcs & 1 else 0)
    return fcs ^ 0xFFFF


def _frame(message: bytes) -> bytes:
    body = b"\xa9" + message
    body += _fcs(body).to_bytes(2, "little")
    return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


class _Line:
    """Frames over a file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = b""

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def frame(self, timeout_s: float = 10.0) -> bytes:
        """The next frame's content: its first byte, then a message (FCS checked and removed) or text. The node's own
        requests (docs/PROTOCOL.md, 3.7) come when they come, and are left out."""
        deadline = time.monotonic() + timeout_s
        while True:
            raw, end, rest = self._buffer.partition(b"\xc0")
            if end:
                self._buffer = rest
                body = raw.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
                if not body:
                    continue
                if body[0] != 0xA9:
                    return body
                assert _fcs(body[:-2]).to_bytes(2, "little") == body[-2:]
                if not 0 < body[2] < 32:
                    return body[:-2]
                continue
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no frame in {timeout_s} s, only {self._buffer!r}"
            data = os.read(self._fd, 65536)
            assert data, "the line was closed"
            self._buffer += data

    def message(self) -> bytes:
        """The next message; text in between is passed over."""
        while (found := self.frame())[:1] == b"\n":
            pass
        return found


@contextlib.contextmanager
def _host(*options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The host's image and its ready lines, of which there is one for each way in."""
    count = 2 if "--serial" in options and "--no-udp" not in options else 1
    with subprocess.Popen([built(HOST), *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline().rstrip() for _ in range(count)]
        finally:
            process.terminate()


def _port(ready: str) -> int:
    assert ready.startswith("wasmote 0.1.0 ready coap://127.0.0.1:")
    return int(ready.rpartition(":")[2])


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_host_stops_cleanly(stop: signal.Signals) -> None:
    with _host("--port", "0") as (process, ready):
        assert _port(ready[0]) != 0
        process.send_signal(stop)
        assert process.wait(timeout=5) == 0


async def test_host_stops_while_a_function_runs() -> None:
    with _host("--port", "0") as (process, ready):
        async with Node(f"coap://127.0.0.1:{_port(ready[0])}") as node:
            endless = with_section(module("forever"), Section(name="forever", abi=1, fuel=4_000_000_000))
            await node.push(endless, name="forever")
            await node.start("forever", job_id="long")
            await asyncio.sleep(0.1)
            assert (await node.job("long")).state == "running"
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 2) == 0


def test_host_names_the_port_in_use() -> None:
    with _host("--port", "0") as (_, ready):
        port = _port(ready[0])
        second = subprocess.run(
            [built(HOST), "--port", str(port)], capture_output=True, text=True, timeout=10
        )
    assert second.returncode == 69
    assert second.stdout == ""
    assert f"UDP port {port} is in use" in second.stderr
    assert "--port" in second.stderr


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--port", "65536"], 64, "0 to 65535"),
        (["--port", "x"], 64, "0 to 65535"),
        (["--port", "-1"], 64, "0 to 65535"),
        (["--pool", "1"], 64, "--pool"),
        (["--pool", "99999999999999999999"], 64, "--pool"),
        (["--ep", "e" * 64], 64, "--ep"),
        (["--bind", "here"], 64, "IPv4 or IPv6"),
        (["--bind", "192.0.2.1"], 69, "192.0.2.1"),
        (["--no-udp"], 64, "--serial"),
        (["--what"], 64, "--help"),
        (["more"], 64, "more"),
    ],
)
def test_host_explains_bad_options(options: list[str], code: int, says: str) -> None:
    result = subprocess.run([built(HOST), *options], capture_output=True, text=True, timeout=10)
    assert result.returncode == code
    assert result.stdout == ""
    assert says in result.stderr


def test_host_help_lists_exit_codes() -> None:
    result = subprocess.run([built(HOST), "--help"], capture_output=True, text=True, timeout=10)
    assert result.returncode == 0
    for word in ("--serial", "--ack-timeout-ms", " 64 ", " 69 "):
        assert word in result.stdout


@pytest.mark.parametrize("count", [1, 3, 16, 40])
def test_host_answers_bursts(count: int) -> None:
    """One, a few, a batch and more than a batch at once; again and again, so that both ways to receive are taken."""
    with _host("--port", "0") as (_, ready), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", _port(ready[0])))
        for turn in range(30):
            ids = [(turn * 100 + i).to_bytes(2, "big") for i in range(count)]
            for mid in ids:
                sock.send(PING + mid)
            assert sorted(sock.recv(64) for _ in ids) == sorted(RESET + mid for mid in ids)


def test_host_drops_what_is_too_long_or_empty() -> None:
    with _host("--port", "0") as (_, ready), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.connect(("127.0.0.1", _port(ready[0])))
        for turn in range(40):
            sock.send(b"\x40" * 9000)
            sock.send(b"")
            sock.send(PING + turn.to_bytes(2, "big"))
            assert sock.recv(64) == RESET + turn.to_bytes(2, "big")


def test_host_bound_to_any_answers_on_loopback() -> None:
    with _host("--port", "0", "--bind", "any") as (_, ready):
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.settimeout(5)
                try:
                    sock.connect((address, _port(ready[0])))
                except OSError:
                    pytest.skip(f"no {address} here")
                sock.send(PING + b"\x12\x34")
                assert sock.recv(64) == RESET + b"\x12\x34"


def test_host_speaks_slipmux_on_a_terminal_beside_udp() -> None:
    with (
        _host("--port", "0", "--serial") as (_, ready),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        sock.settimeout(5)
        sock.connect(("127.0.0.1", _port(ready[0])))
        assert ready[1].startswith("wasmote 0.1.0 ready serial:/dev/")
        fd = os.open(ready[1].partition("serial:")[2], os.O_RDWR | os.O_NOCTTY)
        try:
            line = _Line(fd)
            assert line.frame().startswith(b"\x0awasmote 0.1.0 host")
            for turn in range(100):
                mid = turn.to_bytes(2, "big")
                line.write(_frame(PING + mid))
                sock.send(PING + mid)
                assert line.frame() == b"\xa9" + RESET + mid
                assert sock.recv(64) == RESET + mid
        finally:
            os.close(fd)


@pytest.mark.slow
@pytest.mark.parametrize("board_name", [STM32, RV32, MPS2])
def test_chip_loses_nothing_on_its_serial_line(board_name: str, tmp_path: Path) -> None:
    """Hello, then pings: one by one, among noise, and 500 at once, more than the ring holds."""
    board = find_board(Project.find(), board_name)
    path = tmp_path / "serial"
    image = built(board_name)
    command = [
        word.format(image=image, serial=f"unix:{path},server=on,wait=on") for word in board.emulate["command"]
    ]
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except FileNotFoundError:
        pytest.skip(f"{command[0]} is not installed")
    with process, socket.socket(socket.AF_UNIX) as sock:
        try:
            while sock.connect_ex(str(path)) != 0:  # its name is there a moment before somebody listens
                assert process.poll() is None
                time.sleep(0.01)
            line = _Line(sock.fileno())
            assert line.frame().startswith(f"\nwasmote 0.1.0 {board_name} {board.chip}".encode())
            dice = random.Random(1)
            for turn in range(200):
                mid = turn.to_bytes(2, "big")
                noise = dice.randbytes(dice.randrange(60)) if turn % 2 else b""
                line.write(noise + _frame(PING + mid))
                assert line.message() == b"\xa9" + RESET + mid
            burst = [turn.to_bytes(2, "big") for turn in range(1000, 1500)]
            line.write(b"".join(_frame(PING + mid) for mid in burst))
            assert [line.message() for _ in burst] == [b"\xa9" + RESET + mid for mid in burst]
        finally:
            process.kill()
