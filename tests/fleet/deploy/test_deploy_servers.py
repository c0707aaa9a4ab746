"""Two servers that share a fleet by NATS; the one that rolls a deployment out dies."""

from __future__ import annotations

import contextlib
import secrets
import time
from typing import Any

import pytest
from fleet_server import FleetServer, fleet_server
from nats_server import NatsServer
from support import HOST, start_node

from wasmote.adapters import apps

LEASE_S = 3.0
NODES = [f"n{index}" for index in range(4)]


def progress(server: FleetServer) -> dict[str, Any]:
    found = server.request("GET", "/api/v1/deployments/d/progress")
    return found.json() if found.status_code == 200 else {"wave": 0, "phase": "", "ready": 0}


@pytest.mark.slow
def test_another_server_goes_on_with_a_rollout(nats_server: NatsServer) -> None:
    data = f"{nats_server.url}#t{secrets.token_hex(6)}"

    def shared(name: str) -> contextlib.AbstractContextManager[FleetServer]:
        return fleet_server(data, "--name", name, "--beat", "0.5", "--lease", str(LEASE_S))

    start = contextlib.contextmanager(start_node)
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(start(HOST, "--ep", ep)) for ep in NODES]
        one, two = stack.enter_context(shared("one")), stack.enter_context(shared("two"))
        for index, node in enumerate(nodes):
            adopted = (one, two)[index % 2].request("POST", "/api/v1/nodes", json={"uri": node.uri})
            assert adopted.status_code == 201, adopted.text
        put = one.request(
            "PUT",
            "/api/v1/functions/fib",
            data=apps.load("fib").data,
            headers={"Content-Type": "application/wasm"},
        )
        assert put.status_code == 201
        end = time.monotonic() + 60
        while any(node["state"] != "up" for node in one.request("GET", "/api/v1/nodes").json()["nodes"]):
            assert time.monotonic() < end
            time.sleep(0.1)
        spec = {
            "id": "d",
            "functions": [{"name": "fib", "count": "all"}],
            "rollout": {"waves": [1, 1, 1], "pause_s": 2},
        }
        assert one.request("PUT", "/api/v1/deployments/d", json=spec).status_code == 201
        while progress(two)["wave"] < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        one.process.kill()
        one.process.wait()
        while (now := progress(two))["phase"] != "ready":
            assert time.monotonic() < end, now
            time.sleep(0.1)
        assert now["ready"] == len(NODES)
        for ep in NODES:
            called = two.request("POST", f"/api/v1/nodes/{ep}/functions/fib/fib", json=[20])
            assert called.json()["value"] == 6765, called.text
