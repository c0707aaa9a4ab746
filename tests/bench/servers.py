"""The servers that are compared, as processes on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiocoap
from build import HERE, tool
from client import Client, UdpLink


@dataclass(frozen=True)
class Server:
    """How to start one, and what the load client asks it."""

    name: str
    title: str
    command: tuple[str, ...]  # {port} stands for its port
    ask: tuple[str, ...]  # the load client's mode and path
    module: Path | None = None  # pushed to /f/noop when it is up
    stop: signal.Signals = signal.SIGTERM


@dataclass
class Running:
    server: Server
    process: subprocess.Popen[bytes]
    port: int

    def pin(self, core: int) -> None:
        os.sched_setaffinity(self.process.pid, {core})


def catalogue(host: Path, noop: Path) -> list[Server]:
    """All of them; host is the build folder of the host board."""
    tools = host / "bench"
    libcoap = (tool("coap-server-notls"), "-A", "127.0.0.1", "-p", "{port}")
    return [
        Server("echo", "bare UDP echo", (str(tools / "echo"), "{port}"), ("echo",)),
        Server(
            "bare",
            "recv, wasm3 call, send",
            (str(tools / "bare"), "{port}", str(noop), "noop"),
            ("echo",),
        ),
        Server(
            "node",
            "wasmote: POST of an empty export",
            (str(host / "wasmote-node"), "--port", "{port}"),
            ("post", "/f/noop"),
            module=noop,
        ),
        # / with its fixed text is the cheapest it offers; /time formats a little and is what the bar was set by.
        Server("libcoap", "libcoap coap-server: GET /time", libcoap, ("get", "/time"), stop=signal.SIGINT),
        Server("libcoap-root", "libcoap coap-server: GET /", libcoap, ("get", "/"), stop=signal.SIGINT),
        Server(
            "aiocoap",
            "aiocoap server: POST, empty",
            (sys.executable, str(HERE / "aiocoap_server.py"), "{port}"),
            ("post", "/f/noop"),
        ),
    ]


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_up(running: Running, timeout_s: float) -> None:
    """Until it answers a GET (an echo answers anything)."""
    link = UdpLink(running.port)
    deadline = time.monotonic() + timeout_s
    probe = aiocoap.Message(code=aiocoap.GET, _mtype=aiocoap.CON, _mid=1).encode()
    while time.monotonic() < deadline:
        if running.process.poll() is not None:
            sys.exit(
                f"bench: {running.server.name} ended with {running.process.returncode} instead of answering"
            )
        try:
            link.send(probe)
            if link.receive(0.25) is not None:
                link.close()
                return
        except ConnectionRefusedError:
            pass
        time.sleep(0.05)
    sys.exit(f"bench: {running.server.name} does not answer on port {running.port}")


@contextmanager
def started(server: Server, prefix: Sequence[str] = (), timeout_s: float = 10) -> Iterator[Running]:
    """Start it, under a prefix such as valgrind's; stop it at the end, so that a profiler can write its file."""
    port = _free_port()
    command = [*prefix, *(part.format(port=port) for part in server.command)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = Running(server, process, port)
    try:
        _wait_until_up(running, timeout_s)
        if server.module is not None:
            link = UdpLink(port)
            Client(link).put("/f/noop", server.module.read_bytes())
            link.close()
        yield running
    finally:
        process.send_signal(server.stop)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
