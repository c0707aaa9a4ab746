"""A server that is killed in the middle of a rollout, and what the next one finds."""

from __future__ import annotations

import json
import signal
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fleet_server import FleetServer, fleet_server
from support import HOST, start_node

from wasmote.adapters import apps
from wasmote.protocol.section import Section, with_section

NODES = [f"n{index}" for index in range(8)]
BEAT = ("--http", "127.0.0.1:0", "--beat", "0.5", "--lease", "2")


def module(version: str) -> bytes:
    """fib, each version another module."""
    return with_section(
        apps.load("fib").data, Section(name="fib", version=version, abi=1, heap=0, stack=2048)
    )


def spec(pause_s: float) -> dict[str, Any]:
    return {
        "id": "d",
        "functions": [{"name": "fib", "count": "all"}],
        "rollout": {"waves": [1, 1, 1, 1, 1, 1], "pause_s": pause_s},
    }


def progress(server: FleetServer, wait_s: float = 0) -> dict[str, Any]:
    found = server.request("GET", f"/api/v1/deployments/d/progress?wait_s={wait_s:g}")
    assert found.status_code == 200, found.text
    answer: dict[str, Any] = found.json()
    return answer


def publish(server: FleetServer, version: str) -> str:
    headers = {"Content-Type": "application/wasm"}
    done = server.request("PUT", "/api/v1/functions/fib", data=module(version), headers=headers)
    assert done.status_code in (200, 201), done.text
    return str(done.json()["sha256"])


def versions(server: FleetServer) -> list[str]:
    return [
        server.request("GET", f"/api/v1/nodes/{node}/functions/fib").json().get("version", "")
        for node in NODES
    ]


def until_up(server: FleetServer) -> None:
    end = time.monotonic() + 60
    while True:
        nodes = server.request("GET", "/api/v1/nodes").json()["nodes"]
        if sum(node["state"] == "up" for node in nodes) == len(NODES):
            return
        assert time.monotonic() < end, nodes
        time.sleep(0.1)


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_of_a_rollout_goes_on_with_it(tmp_path: Path) -> None:
    data = tmp_path / "fleet.db"
    with ExitStack() as stack:
        uris = []
        for ep in NODES:
            starting = start_node(HOST, "--ep", ep)
            uris.append(next(starting).uri)
            stack.callback(lambda starting=starting: next(starting, None))
        with fleet_server(data, *BEAT) as server:
            for uri in uris:
                assert server.request("POST", "/api/v1/nodes", json={"uri": uri}).status_code == 201
            until_up(server)
            publish(server, "1")
            assert server.request("PUT", "/api/v1/deployments/d", json=spec(0)).status_code == 201
            assert progress(server, 60)["phase"] == "ready"
            assert versions(server) == ["1"] * len(NODES)
            publish(server, "2")
            assert server.request("PUT", "/api/v1/deployments/d", json=spec(0.4)).status_code == 200
            while progress(server)["wave"] < 3:
                time.sleep(0.05)
            server.process.kill()
            server.process.wait()
        # The second one is killed at once after it has begun to work, the third one may end it.
        with fleet_server(data, *BEAT) as server:
            until_up(server)
            before = progress(server)
            assert before["generation"] == 2
            assert versions(server).count("2") in range(2, len(NODES))
            while progress(server)["wave"] <= before["wave"]:
                time.sleep(0.05)
            server.process.kill()
            server.process.wait()
        with fleet_server(data, *BEAT) as server:
            assert progress(server, 60)["phase"] == "ready"
            assert versions(server) == ["2"] * len(NODES)
            logs = [server.request("GET", f"/api/v1/nodes/{node}/functions").json() for node in NODES]
            assert all([one["name"] for one in log["functions"]] == ["fib"] for log in logs)


@pytest.mark.slow
def test_the_command_goes_on_watching_when_the_server_starts_again(tmp_path: Path) -> None:
    data = tmp_path / "fleet.db"
    file = tmp_path / "d.json"
    file.write_text(json.dumps(spec(1.0)))
    with ExitStack() as stack:
        starting = [start_node(HOST, "--ep", ep) for ep in NODES[:4]]
        nodes = [next(one) for one in starting]
        for one in starting:
            stack.callback(lambda one=one: next(one, None))
        with fleet_server(data, *BEAT) as server:
            for node in nodes:
                assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
            publish(server, "1")
            end = time.monotonic() + 30
            while any(
                node["state"] != "up" for node in server.request("GET", "/api/v1/nodes").json()["nodes"]
            ):
                assert time.monotonic() < end
                time.sleep(0.1)
            port = server.http.rpartition(":")[2]
            done: list[Any] = []
            watching = threading.Thread(target=lambda: done.append(server.cli("deploy", str(file))))
            watching.start()
            while server.request("GET", "/api/v1/deployments/d").status_code != 200:
                time.sleep(0.05)
            while progress(server)["wave"] < 2:
                time.sleep(0.05)
            server.tell(signal.SIGKILL)
            server.process.wait()
        with fleet_server(data, "--http", f"127.0.0.1:{port}", *BEAT[2:]):
            watching.join(60)
            assert not watching.is_alive()
        assert done[0].returncode == 0, done[0].stderr
        assert json.loads(done[0].stdout)["progress"]["ready"] == 4
