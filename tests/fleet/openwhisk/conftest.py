from __future__ import annotations

from collections.abc import Iterator

import pytest
from fleet_server import FleetServer, fleet_server
from support import HOST, RunningNode, built, start_node
from whisk_world import Whisk

from wasmote.adapters import build


@pytest.fixture(scope="session")
def node() -> Iterator[RunningNode]:
    """Its name is `n`."""
    built(HOST, build.Variant(sanitize=True))
    yield from start_node(HOST, "--sanitize", "--ep", "n")


@pytest.fixture(scope="module")
def server(node: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetServer]:
    """A server with the node `n`."""
    options = ("--http", "127.0.0.1:0", "--url-from", "127.0.0.0/8")
    with fleet_server(tmp_path_factory.mktemp("fleet") / "fleet.db", *options) as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        yield server


@pytest.fixture(scope="module")
def whisk(server: FleetServer) -> Whisk:
    return Whisk(server)
