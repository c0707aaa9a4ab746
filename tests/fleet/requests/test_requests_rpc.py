"""Functions on nodes that call each other through the server, by `communication.rpcCall`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_server import FleetServer, fleet_server
from requests_world import module
from support import HOST, built, start_node

from wasmote_fleet.requests.requests import MAX_HOPS

pytestmark = pytest.mark.slow
D = "/api/v1/deployments/d"
# turn: counts, and asks the other one for its turn, with what it was given and 1 more. Bytes in, bytes out.
PING = """(module
  (import "communication" "rpcCall" (func $call (param i32 i32 i32 i32)))
  (global $turns (mut i32) (i32.const 0))
  (memory (export "memory") 1)
  (data (i32.const 0) "{other}/turn")
  (data (i32.const 64) "[1]")
  (func (export "turn") (param i32) (result i32)
    (global.set $turns (i32.add (global.get $turns) (i32.const 1)))
    (call $call (i32.const 0) (i32.const {length}) (i32.const 64) (i32.const 3))
    (global.get $turns))
  (func (export "turns") (result i64) (i64.extend_i32_s (global.get $turns))))"""


def player(name: str, other: str) -> bytes:
    text = PING.replace("{other}", other).replace("{length}", str(len(other) + len("/turn")))
    return module(text, name, ("turns",))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FleetServer]:
    """`ping` on the node a and `pong` on b, both registered by themselves."""
    built(HOST)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(fleet_server(tmp_path / "fleet.db"))
        for ep in ("a", "b"):
            stack.enter_context(
                contextlib.contextmanager(start_node)(HOST, "--ep", ep, "--register", server.coap)
            )
        for name, other in (("ping", "pong"), ("pong", "ping")):
            put = server.request(
                "PUT",
                f"/api/v1/functions/{name}",
                data=player(name, other),
                headers={"Content-Type": "application/wasm"},
            )
            assert put.status_code == 201, put.text
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if [each["state"] for each in server.request("GET", "/api/v1/nodes").json()["nodes"]] == [
                "up"
            ] * 2:
                break
            time.sleep(0.2)
        spec = {"id": "d", "functions": [{"name": "ping", "nodes": ["a"]}, {"name": "pong", "nodes": ["b"]}]}
        made = server.request("PUT", D, json=spec)
        assert made.status_code == 201, made.text
        assert server.request("GET", f"{D}/progress?wait_s=60").json()["phase"] == "ready"
        yield server


def turns(server: FleetServer) -> tuple[int, int]:
    a, b = (
        server.request("POST", f"{D}/functions/{name}/turns").json()["value"] for name in ("ping", "pong")
    )
    return a, b


def test_a_to_b_to_a_ends_at_the_hop_limit(server: FleetServer) -> None:
    """Each function calls the other one, for ever. Nothing locks; after so many calls the server takes no more of
    them. Every call has its parent and the first one's deadline."""
    first = server.request("POST", f"{D}/functions/ping/turn?queued=true&timeout_s=40", json=[1])
    assert first.status_code == 202, first.text
    end = time.monotonic() + 60
    while sum(turns(server)) < MAX_HOPS + 1 and time.monotonic() < end:
        time.sleep(0.2)
    time.sleep(1)  # no other comes
    made: list[dict[str, Any]] = server.request("GET", "/api/v1/requests").json()["requests"]
    made.reverse()
    assert [each["led_by"] for each in made] == list(range(MAX_HOPS + 1))
    assert {each["state"] for each in made} == {"done"}
    assert [each["hops"][0]["node"] for each in made] == [("a", "b")[at % 2] for at in range(MAX_HOPS + 1)]
    assert [each["parent"] for each in made] == [None, *(each["id"] for each in made[:-1])]
    assert all(abs(each["deadline_at"] - made[0]["deadline_at"]) < 0.01 for each in made)
    assert turns(server) == (MAX_HOPS // 2 + 1, MAX_HOPS // 2)


def test_a_call_at_once_leads_to_others_too(server: FleetServer) -> None:
    """It has no record, but its context has the hops; the deployment is that of the function that asks."""
    assert server.request("POST", f"{D}/functions/ping/turn", json=[1]).json()["value"] == 1
    end = time.monotonic() + 60
    while sum(turns(server)) < MAX_HOPS + 1 and time.monotonic() < end:
        time.sleep(0.2)
    time.sleep(1)
    made = server.request("GET", "/api/v1/requests").json()["requests"]
    assert len(made) == MAX_HOPS and sum(turns(server)) == MAX_HOPS + 1
