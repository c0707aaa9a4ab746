"""A server that takes in what is announced on this machine, announces it in its turn, and looks for nodes on request.
What speaks with it is zeroconf itself."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet_server import fleet_server, run_cli
from support import HOST, RunningNode, built, start_node
from zeroconf import ServiceInfo, Zeroconf

from wasmote.errors import ExitCode

pytestmark = pytest.mark.slow
COAP, WEBTHING = "_coap._udp.local.", "_webthing._tcp.local."
LOOPBACK = ipaddress.ip_address("127.0.0.1").packed


@contextlib.contextmanager
def zeroconf() -> Iterator[Zeroconf]:
    other = Zeroconf(interfaces=["127.0.0.1"])
    try:
        yield other
    finally:
        other.close()


@contextlib.contextmanager
def node(ep: str) -> Iterator[RunningNode]:
    built(HOST)
    yield from start_node(HOST, "--ep", ep)


def port_of(running: RunningNode) -> int:
    return int(running.uri.rpartition(":")[2])


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_node_that_is_announced_comes_and_is_announced_as_a_webthing(tmp_path: Path) -> None:
    ep, port = f"n{secrets.token_hex(5)}", free_port()
    options = ["--mdns-address", "127.0.0.1", "--mdns-adopt", "--announce-webthing", "--beat", "0.5"]
    options += ["--wasmiot", "127.0.0.1:0", "--wasmiot-nodes", f"{port}-{port}"]
    with zeroconf() as other, node(ep) as running, fleet_server(tmp_path / "fleet.db", *options) as server:
        other.register_service(
            ServiceInfo(
                COAP, f"{ep}.{COAP}", addresses=[LOOPBACK], port=port_of(running), server=f"{ep}.local."
            )
        )
        eventually(lambda: server.request("GET", f"/api/v1/nodes/{ep}").status_code == 200)
        assert server.request("GET", f"/api/v1/nodes/{ep}").json()["uri"] == running.uri
        thing = ServiceInfo(WEBTHING, f"{ep}.{WEBTHING}")
        eventually(lambda: thing.request(other, 1000))
        assert (thing.parsed_addresses(), thing.port) == (["127.0.0.1"], port)
        assert thing.properties == {b"path": b"/", b"tls": b"0", b"address": b"127.0.0.1"}


def test_looking_for_nodes(tmp_path: Path) -> None:
    ep = f"n{secrets.token_hex(5)}"
    with (
        zeroconf() as other,
        node(ep) as running,
        fleet_server(tmp_path / "fleet.db", "--mdns-address", "127.0.0.1", "--announce") as server,
    ):
        other.register_service(
            ServiceInfo(
                COAP, f"{ep} here.{COAP}", addresses=[LOOPBACK], port=port_of(running), server=f"{ep}.local."
            )
        )
        done = server.cli("nodes", "--discover")
        assert done.returncode == 0, done.stderr
        found = next(row for row in json.loads(done.stdout) if row["uri"] == running.uri)
        assert (found["ep"], found["name"], found["how"], found["node"]) == (ep, f"{ep} here", ["mdns"], None)
        assert server.cli("adopt", found["uri"]).returncode == 0
        # Now the server itself announces it, by its own name.
        announced = ServiceInfo(COAP, f"{ep}.{COAP}")
        eventually(lambda: announced.request(other, 1000))
        assert announced.port == port_of(running) and announced.properties[b"ep"] == ep.encode()


def test_what_is_refused(tmp_path: Path) -> None:
    data = str(tmp_path / "fleet.db")
    for options, word in (
        (["--announce-webthing"], "--wasmiot"),
        (["--announce", "--mdns-address", "here"], "no IP address"),
    ):
        refused = run_cli("serve", "--data", data, "--http", "127.0.0.1:0", "--coap", "127.0.0.1:0", *options)
        assert refused.returncode == ExitCode.USAGE and word in refused.stderr
    nowhere = run_cli(
        "serve", "--data", data, "--http", "127.0.0.1:0", "--coap", "127.0.0.1:0",
        "--announce", "--mdns-address", "192.0.2.77",
    )  # fmt: skip
    assert nowhere.returncode == ExitCode.LOCAL and "multicast DNS cannot be used" in nowhere.stderr
