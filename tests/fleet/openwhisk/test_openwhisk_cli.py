"""`wasmote fleet action` against a real server and a real node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleet_server import FleetServer, fleet_server
from support import RunningNode
from whisk_world import words

from wasmote.errors import ExitCode


def said(server: FleetServer, *args: str) -> Any:
    """What `wasmote fleet action ARGS` prints."""
    done = server.cli("action", *args)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(server: FleetServer, code: ExitCode, *args: str) -> dict[str, Any]:
    """The error of `wasmote fleet action ARGS`."""
    done = server.cli("action", *args)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    error: dict[str, Any] = json.loads(done.stderr)
    assert error["next_step"]
    return error


def test_actions_from_the_command_line(node: RunningNode, tmp_path: Path) -> None:
    module, params = tmp_path / "words.wasm", tmp_path / "params.json"
    module.write_bytes(words())
    params.write_text('{"args": [40, 1]}')
    with fleet_server(tmp_path / "fleet.db") as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        made = said(
            server, "put", "sum", str(module), "--main", "add", "-p", "args", "[1, 2]", "-a", "note", "hi"
        )
        assert made["exec"]["kind"] == "wasm" and {"key": "note", "value": "hi"} in made["annotations"]
        assert said(server, "invoke", "sum")["response"]["result"] == {"result": 3}
        assert said(server, "invoke", "sum", "--params", str(params))["response"]["result"] == {"result": 41}
        said(server, "put", "echo", str(module), "--main", "echo")
        got = said(server, "invoke", "echo", "-p", "place", "Bath", "-p", "n", "7")["response"]["result"]
        assert got == {"place": "Bath", "n": 7}
        assert said(server, "put", "twice", "echo,echo", "--sequence")["exec"]["components"]
        assert {one["name"] for one in said(server, "list")} == {"sum", "echo", "twice"}

        handed = said(server, "invoke", "sum", "--no-wait")["activationId"]
        assert said(server, "result", handed)["response"]["result"] == {"result": 3}
        assert handed in {one["activationId"] for one in said(server, "activations", "sum")}
        assert said(server, "logs", handed)["logs"] == []

        assert "resource" in refused(server, ExitCode.USAGE, "show", "nothing")["error"]
        wrong = refused(server, ExitCode.APPLICATION, "invoke", "sum", "-p", "args", '["x"]')
        assert wrong["error"] == "sum: application error" and wrong["cause"]
        said(server, "put", "crash", str(module), "--main", "trap")
        wrong = refused(server, ExitCode.TRAP, "invoke", "crash")
        assert wrong["error"] == "crash: action developer error" and "unreachable" in wrong["cause"]
        said(server, "rm", "crash")
        assert "JSON" in refused(server, ExitCode.USAGE, "invoke", "sum", "--params", str(module))["error"]
        said(server, "rm", "twice")
        assert {one["name"] for one in said(server, "list")} == {"sum", "echo"}
        for human in (("list",), ("activations",), ("show", "sum"), ("logs", handed)):
            assert server.cli("action", *human).returncode == 0
