"""`wasmote fleet deploy` and `deployments`, and their HTTP, against a server process with real nodes."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fleet_server import FleetServer, fleet_server
from support import HOST, RunningNode, start_node

SQUARE = """(module (func (export "square") (param i32) (result i32)
  local.get 0 local.get 0 i32.mul))"""
TOML = """
id = "flood"

[[functions]]
name = "fib"
module = "fib"
nodes = ["b", "a"]

[[functions]]
name = "square"
module = "square.wat"
count = "all"

[[chains]]
name = "both"
steps = ["fib/fib", "square/square"]
"""


@contextmanager
def running_nodes(*eps: str) -> Iterator[list[RunningNode]]:
    with ExitStack() as stack:
        found = []
        for ep in eps:
            starting = start_node(HOST, "--ep", ep)
            found.append(next(starting))
            stack.callback(lambda starting=starting: next(starting, None))
        yield found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FleetServer]:
    with running_nodes("a", "b") as nodes, fleet_server(tmp_path / "fleet.db") as running:
        for node in nodes:
            assert running.cli("adopt", node.uri).returncode == 0
        yield running


def until_up(server: FleetServer, *nodes: str) -> None:
    end = time.monotonic() + 30
    while True:
        found = {node["id"]: node["state"] for node in server.request("GET", "/api/v1/nodes").json()["nodes"]}
        if all(found.get(node) == "up" for node in nodes):
            return
        assert time.monotonic() < end, found
        time.sleep(0.05)


def answer(server: FleetServer, *words: str) -> Any:
    done = server.cli(*words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_deploy_publishes_what_is_beside_the_file_shows_it_and_removes_it(
    server: FleetServer, tmp_path: Path
) -> None:
    until_up(server, "a", "b")
    file = tmp_path / "flood.toml"
    file.write_text(TOML)
    (tmp_path / "square.wat").write_text(SQUARE)
    done = answer(server, "deploy", str(file))
    assert done["progress"]["phase"] == "ready"
    on = {(one["function"], one["node"]) for one in done["progress"]["nodes"]}
    assert on == {("fib", "b"), ("square", "a"), ("square", "b")}
    # As the OpenAPI document has them, and nothing beside it.
    assert all(
        set(one) == {"node", "function", "state", "sha256", "cause"} for one in done["progress"]["nodes"]
    )
    listed = answer(server, "deployments")
    assert [(one["id"], one["progress"]["phase"]) for one in listed] == [("flood", "ready")]
    assert answer(server, "call", "b", "fib", "20")["value"] == 6765
    called = server.request("POST", "/api/v1/deployments/flood/chains/both", json=[6])
    assert called.json()["value"] == 64, called.text

    # A changed source is a new version; the old one is a rollback away.
    (tmp_path / "square.wat").write_text(SQUARE.replace("i32.mul", "i32.add"))
    answer(server, "deploy", str(file))
    assert answer(server, "call", "a", "square", "5")["value"] == 10
    answer(server, "deployments", "flood", "--rollback")
    assert answer(server, "call", "a", "square", "5")["value"] == 25

    gone = answer(server, "deployments", "flood", "--rm")
    assert gone["progress"]["phase"] == "removed"
    assert server.request("GET", "/api/v1/deployments/flood").status_code == 404
    assert answer(server, "nodes", "b") == []


@pytest.mark.slow
def test_deploy_says_where_the_file_is_wrong_and_why_a_node_was_refused(
    server: FleetServer, tmp_path: Path
) -> None:
    until_up(server, "a", "b")
    file = tmp_path / "flood.toml"
    file.write_text('id = "flood"\n\n[[functions]]\nname = "fib"\ncount = 0\n')
    done = server.cli("deploy", str(file))
    assert done.returncode == 2
    error = json.loads(done.stderr)
    assert f"{file}, line 5: functions[1].count" in error["error"]
    file.write_text('id = "flood"\n[[functions]]\nname = "fib"\nmodule = "fib"\nwhere = {ram = 999999999}\n')
    done = server.cli("deploy", str(file))
    assert done.returncode == 3
    error = json.loads(done.stderr.splitlines()[-1])
    assert "bytes of memory" in error["cause"]
    refused = server.request(
        "PUT",
        "/api/v1/deployments/flood",
        json={
            "id": "flood",
            "functions": [{"name": "fib", "nodes": ["a", "zz"], "where": {"imports": ["dht"]}}],
        },
    )
    assert refused.status_code == 409
    assert "dht" in refused.json()["nodes"]["a"]
    assert refused.json()["nodes"]["zz"] == "there is no such node"
    assert refused.json()["function"] == "fib"


@pytest.mark.slow
def test_deploy_progress_comes_as_events_and_ends_with_the_server(
    server: FleetServer, tmp_path: Path
) -> None:
    until_up(server, "a", "b")
    assert server.cli("publish", "fib").returncode == 0
    body = 'id = "d"\n[[functions]]\nname = "fib"\ncount = "all"\n'
    headers = {"Content-Type": "application/toml"}
    put = server.request("PUT", "/api/v1/deployments/d", data=body.encode(), headers=headers)
    assert put.status_code == 201, put.text
    events = server.request(
        "GET", "/api/v1/deployments/d/progress", headers={"Accept": "text/event-stream"}, stream=True
    )
    lines = [line for line in events.iter_lines() if line]
    assert lines[-2] == b"event: settled"
    assert json.loads(lines[-1][5:])["phase"] == "ready"
    # One that pauses for an hour between its waves: whoever waits for it is told at once when the server stops.
    slow = {
        "id": "slow",
        "functions": [{"name": "slow", "function": "fib", "count": "all"}],
        "rollout": {"waves": [1], "pause_s": 3600},
    }
    assert server.request("PUT", "/api/v1/deployments/slow", json=slow).status_code == 201
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(server.request, "GET", "/api/v1/deployments/slow/progress?wait_s=200")
        time.sleep(2)
        assert not waiting.done()
        began = time.monotonic()
        server.tell(signal.SIGTERM)
        found = waiting.result().json()
    assert (found["phase"], found["ready"], found["wave"]) == ("rolling", 1, 2)
    assert server.end() == ""
    assert time.monotonic() - began < 15
