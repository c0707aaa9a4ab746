"""Two servers that share a fleet by NATS: each reaches the nodes of both, and one of them dies."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from fleet_server import FleetServer, fleet_server
from nats_server import NatsServer
from support import HOST, RunningNode, built, start_node

from wasmote.adapters import apps
from wasmote.adapters.tools import need_tool
from wasmote.protocol.section import Section, with_section

pytestmark = pytest.mark.slow
MODULES = Path(__file__).resolve().parents[1] / "integration" / "modules"
LEASE_S = 4.0
EXPIRY_LATE_S = 2.0  # of the engine
NODES = ("a", "b", "c", "d")
# mark(id) counts a call of this id and says how often it ran; it takes some milliseconds. seen(id) tells.
MARKS = """(module (memory (export "memory") 1)
  (func (export "mark") (param $id i32) (result i32) (local $n i32)
    (local.set $n (i32.const 400000))
    (loop $again
      (local.set $n (i32.sub (local.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
    (i32.store8 (local.get $id) (i32.add (i32.load8_u (local.get $id)) (i32.const 1)))
    (i32.load8_u (local.get $id)))
  (func (export "seen") (param $id i32) (result i32) (i32.load8_u (local.get $id))))"""
IDS = 60_000


@functools.cache
def marks() -> bytes:
    module = subprocess.run(
        [need_tool("wat2wasm"), "--output=-", "-"], input=MARKS.encode(), capture_output=True, check=True
    ).stdout
    return with_section(module, Section(name="marks", fuel=100_000_000, heap=IDS))


@pytest.fixture
def nodes() -> Iterator[dict[str, RunningNode]]:
    built(HOST)
    with contextlib.ExitStack() as stack:
        start = contextlib.contextmanager(start_node)
        yield {name: stack.enter_context(start(HOST, "--ep", name)) for name in NODES}


def data_of(nats: NatsServer) -> str:
    return f"{nats.url}#t{secrets.token_hex(6)}"


def shared(data: str, name: str) -> contextlib.AbstractContextManager[FleetServer]:
    return fleet_server(data, "--name", name, "--beat", "0.5", "--lease", str(LEASE_S))


def call(server: FleetServer, node: str, path: str, *args: int, timeout_s: float = 30.0) -> requests.Response:
    return server.request(
        "POST", f"/api/v1/nodes/{node}/functions/{path}?timeout_s={timeout_s}", json=list(args)
    )


def views(server: FleetServer) -> dict[str, dict[str, Any]]:
    return {node["id"]: node for node in server.request("GET", "/api/v1/nodes").json()["nodes"]}


def until(true: Callable[[], bool], within_s: float, what: str) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, f"not within {within_s} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def name_of(server: FleetServer) -> str:
    return str(server.request("GET", "/api/v1/status").json()["server"])


def fill(one: FleetServer, two: FleetServer, nodes: dict[str, RunningNode]) -> None:
    """a and b belong to one, c and d to two; all have marks and fib, pushed through the other one."""
    for name, node in nodes.items():
        mine, other = (one, two) if name in "ab" else (two, one)
        adopted = mine.request("POST", "/api/v1/nodes", json={"uri": node.uri})
        assert adopted.status_code == 201, adopted.text
        assert other.request("GET", f"/api/v1/nodes/{name}").status_code == 200
    echo = with_section(apps.load(str(MODULES / "echo.wat")).data, Section(name="echo", heap=0))
    for function, module in (("marks", marks()), ("fib", apps.load("fib").data), ("echo", echo)):
        put = one.request(
            "PUT", f"/api/v1/functions/{function}", data=module, headers={"Content-Type": "application/wasm"}
        )
        assert put.status_code == 201, put.text
        for name in nodes:
            other = two if name in "ab" else one
            pushed = other.request("PUT", f"/api/v1/nodes/{name}/functions/{function}")
            assert pushed.status_code == 201, pushed.text


def test_each_server_reaches_the_nodes_of_both(
    nats_server: NatsServer, nodes: dict[str, RunningNode]
) -> None:
    data = data_of(nats_server)
    with shared(data, "one") as one, shared(data, "two") as two:
        fill(one, two, nodes)
        owners = {name: view["server"] for name, view in views(one).items()}
        assert owners == {"a": name_of(one), "b": name_of(one), "c": name_of(two), "d": name_of(two)}
        for server in (one, two):
            for name in NODES:
                assert call(server, name, "fib/fib", 20).json()["value"] == 6765
                listed = server.request("GET", f"/api/v1/nodes/{name}/functions").json()["functions"]
                assert {found["name"] for found in listed} == {"marks", "fib", "echo"}
                shown = server.request("GET", f"/api/v1/nodes/{name}/functions/fib").json()
                assert {export["name"]: export["pure"] for export in shown["exports"]}["fib"]
        # Errors are the same, whoever is asked.
        for path, args in (("fib/none", [1]), ("none", [1]), ("fib/fib", [1, 2]), ("fib/fib", ["x"])):
            answers = [
                server.request("POST", f"/api/v1/nodes/a/functions/{path}", json=args)
                for server in (one, two)
            ]
            assert answers[0].status_code == answers[1].status_code >= 400, answers[0].text
            assert answers[0].json() == answers[1].json()
        # More than a message between servers holds: it arrives all the same, and the node says what it takes.
        body, octets = bytes(range(256)) * 1200, {"Content-Type": "application/octet-stream"}
        answers = [
            server.request("POST", "/api/v1/nodes/a/functions/echo/echo", data=body, headers=octets)
            for server in (one, two)
        ]
        assert [answer.content for answer in answers] == [body, body], answers[1].content[:300]
        unknown = two.request("PUT", "/api/v1/nodes/a/functions/fib", json={"version": "9"})
        assert unknown.status_code == 404
        gone = two.request("DELETE", "/api/v1/nodes/a/functions/fib")
        assert gone.status_code == 204 and call(one, "a", "fib/fib", 20).status_code == 404
        # One that stops in order hands its nodes over at once.
        one.process.terminate()
        assert one.end() == ""
        until(lambda: all(v["server"] == name_of(two) for v in views(two).values()), 5.0, "two has all")
        assert call(two, "b", "fib/fib", 20).json()["value"] == 6765


@dataclass
class Caller:
    """Calls one node again and again through one server, each time with another id."""

    server: FleetServer
    node: str
    first: int
    answered: list[int] = field(default_factory=list)
    maybe: list[int] = field(default_factory=list)
    not_run: list[int] = field(default_factory=list)
    pure: int = 0
    wrong: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        id = self.first
        while not self.stop.is_set():
            id += 1
            try:
                answer = call(self.server, self.node, "marks/mark", id)
            except requests.ConnectionError as error:
                # Its own server died: it knows nothing of this call.
                (self.not_run if "refused" in str(error) else self.maybe).append(id)
                return
            if answer.status_code == 200:
                if answer.json()["value"] != 1:
                    self.wrong.append(f"{self.node} {id}: {answer.text}")
                self.answered.append(id)
            elif answer.status_code == 504 and "may have run" in json.dumps(answer.json()):
                self.maybe.append(id)
            else:
                self.not_run.append(id)

    def run_pure(self) -> None:
        while not self.stop.is_set():
            answer = call(self.server, self.node, "fib/fib", 20)
            if answer.status_code != 200 or answer.json()["value"] != 6765:
                self.wrong.append(answer.text)
            self.pure += 1


def test_a_server_dies_in_the_middle_of_calls(nats_server: NatsServer, nodes: dict[str, RunningNode]) -> None:
    data = data_of(nats_server)
    with shared(data, "one") as one, shared(data, "two") as two:
        fill(one, two, nodes)
        callers = [
            Caller(server, name, first * 7_000)
            for first, (server, name) in enumerate((s, n) for s in (one, two) for n in NODES)
        ]
        pure = [Caller(two, name, 0) for name in NODES]
        threads = [threading.Thread(target=caller.run) for caller in callers]
        threads += [threading.Thread(target=caller.run_pure) for caller in pure]
        for thread in threads:
            thread.start()
        time.sleep(2.0)
        one.kill()
        successor = name_of(two)
        took_s = until(
            lambda: all(v["server"] == successor and v["state"] == "up" for v in views(two).values()),
            2 * LEASE_S + EXPIRY_LATE_S,
            "two has all nodes",
        )
        time.sleep(3.0)
        for caller in callers + pure:
            caller.stop.set()
        for thread in threads:
            thread.join(60)
        assert not [text for caller in callers + pure for text in caller.wrong]
        assert all(caller.pure > 0 for caller in pure)
        for caller in callers:
            assert caller.answered, caller.node
            if caller.server is two and caller.node in "ab":
                assert caller.answered[-1] > max(caller.maybe, default=0), "it did not go on"
            for id in caller.answered + caller.maybe + caller.not_run:
                seen = call(two, caller.node, "marks/seen", id).json()["value"]
                if id in caller.answered:
                    assert seen == 1
                else:
                    assert seen <= (id in caller.maybe)
        events = two.request("GET", "/api/v1/events?wait=false&limit=1000").json()["events"]
        for name in "ab":
            told = [(event["kind"], event["server"]) for event in events if event["node"] == name]
            assert told[-2:] == [("unknown", successor), ("up", successor)]
        print(f"two had all nodes after {took_s:.1f} s, lease {LEASE_S} s")
        print("may have run:", {c.node: len(c.maybe) for c in callers if c.maybe})
