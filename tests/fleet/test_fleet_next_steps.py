"""What the commands tell somebody who has just begun: an empty fleet, a key, and what was meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_server import FleetServer, fleet_server
from support import HOST, RunningNode, built, start_node

from wasmote.cli.main import run
from wasmote.errors import ExitCode

SPEC = """
id = "text"
functions = [{ name = "words", module = "wordcount" }]
chains = [{ name = "both", steps = ["words", "words"] }]
"""


@pytest.fixture
def node() -> Iterator[RunningNode]:
    built(HOST)
    yield from start_node(HOST, "--ep", "n")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetServer]:
    with fleet_server(tmp_path / "fleet.db") as running:
        monkeypatch.setenv("WASMOTE_FLEET", running.http)
        yield running


@pytest.mark.parametrize(
    ("what", "step"),
    [
        ("nodes", "adopt"),
        ("events", "adopt"),
        ("functions", "publish"),
        ("deployments", "deploy"),
        ("history", "call --queue"),
    ],
)
def test_an_empty_list_says_how_to_begin(
    server: FleetServer, capsys: pytest.CaptureFixture[str], what: str, step: str
) -> None:
    assert run(["fleet", what]) == ExitCode.OK
    said = capsys.readouterr()
    assert said.out == "" and f"`wasmote fleet {step}" in said.err
    assert run(["--json", "fleet", what]) == ExitCode.OK
    assert capsys.readouterr() == ("[]\n", "")


def test_next_steps_are_the_command_lines(
    server: FleetServer, node: RunningNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["fleet", "adopt", node.uri]) == ExitCode.OK
    assert run(["fleet", "call", "n", "fib", "20"]) == ExitCode.REFUSED
    assert "`wasmote fleet nodes n`" in capsys.readouterr().err
    spec = tmp_path / "text.toml"
    spec.write_text(SPEC)
    assert run(["fleet", "deploy", str(spec)]) == ExitCode.OK
    assert run(["fleet", "deployments", "text"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "chain both: words, words" in said and "words on n: ready, 1.0.0 (" in said
    assert run(["fleet", "history", "--state", "failed"]) == ExitCode.OK
    assert "`wasmote fleet history` lists all" in capsys.readouterr().err
    assert run(["fleet", "events", "--after", "1000"]) == ExitCode.OK
    assert "no events after 1000" in capsys.readouterr().err
    spec.write_text(SPEC.replace("module =", "modul ="))
    assert run(["fleet", "deploy", str(spec)]) == ExitCode.USAGE
    assert "as, module" in capsys.readouterr().err
    assert run(["fleet", "call", "text:both"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "a chain of this name" in said and "--chain" in said
    assert run(["fleet", "call", "text:words", "5"]) == ExitCode.USAGE
    assert "--in FILE" in capsys.readouterr().err


def test_a_server_that_wants_a_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "fleet.db"
    assert run(["fleet", "keys", "list", "--data", str(data)]) == ExitCode.OK
    assert "`wasmote fleet keys add" in capsys.readouterr().err
    assert run(["fleet", "serve", "--data", str(data), "--http", "0.0.0.0:0"]) == ExitCode.USAGE
    assert f"`wasmote fleet keys add deploy --data {data}`" in capsys.readouterr().err
    assert run(["fleet", "keys", "add", "read", "--data", str(data)]) == ExitCode.OK
    capsys.readouterr()
    with fleet_server(data, "--http", "0.0.0.0:0") as running:
        assert run(["fleet", "nodes", "--server", running.http]) == ExitCode.REFUSED
        assert "--key" in capsys.readouterr().err
        # Beside a server keys can be listed, but not changed.
        assert run(["--json", "fleet", "keys", "list", "--data", str(data)]) == ExitCode.OK
        (key,) = json.loads(capsys.readouterr().out)
        assert key["role"] == "read"
        assert run(["fleet", "keys", "add", "call", "--data", str(data)]) == ExitCode.LOCAL
        assert "stop the server, make the key, and start it again" in capsys.readouterr().err
        assert run(["fleet", "keys", "rm", key["id"], "--data", str(data)]) == ExitCode.LOCAL
        assert "stop the server, remove the key, and start it again" in capsys.readouterr().err
