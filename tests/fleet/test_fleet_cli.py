"""`wasmote fleet`: found by its entry point, and what it says without its extra."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wasmote.cli import lazy
from wasmote.cli.main import run
from wasmote.errors import ExitCode


def test_fleet_is_in_the_list_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "many nodes as one system" in capsys.readouterr().out
    assert run(["fleet", "--help"]) == 0
    assert "engine" in capsys.readouterr().out
    assert run(["fleet", "nothing"]) == ExitCode.USAGE
    assert "status, keys, engine" in capsys.readouterr().err


def test_wasmote_alone_imports_nothing_of_the_fleet() -> None:
    program = (
        "import sys\nfrom wasmote.cli.main import run\nrun(['boards', '--json'])\n"
        "assert not {name for name in sys.modules if name.partition('.')[0] in ('wasmote_fleet', 'nats')}\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_without_the_fleet_package_there_is_no_such_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lazy, "entry_points", lambda group: [])
    assert run(["fleet"]) == ExitCode.USAGE
    assert "No such command 'fleet'" in capsys.readouterr().err
    assert run(["--help"]) == 0
    assert "Fleet:" not in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["starlette", "nats"])
def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None) -> object:
        if name.startswith("wasmote_fleet.cli."):
            raise ModuleNotFoundError(f"No module named '{missing}'", name=missing)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert run(["fleet", "engine", "x"]) == ExitCode.MISSING
    said = capsys.readouterr().err
    assert f"engine needs the Python package {missing}" in said
    assert "pip install 'wasmote[fleet]'" in said and "./dev setup wasmote fleet" in said


def test_engine_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = str(tmp_path / "fleet.db")
    assert run(["fleet", "engine", location, "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["driver"], info["location"], info["shared"]) == ("sqlite", location, False)
    assert run(["fleet", "engine", location]) == 0
    assert "synchronous=FULL" in capsys.readouterr().out


def test_engine_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("x" * 5000)
    assert run(["fleet", "engine", str(tmp_path / "text")]) == ExitCode.LOCAL
    assert "not a database" in capsys.readouterr().err
    assert run(["--json", "fleet", "engine", "ftp://x"]) == ExitCode.LOCAL
    assert json.loads(capsys.readouterr().err)["next_step"].startswith("give a file")


def test_nats_without_its_client(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if "jetstream" in name]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    assert run(["fleet", "engine", "nats://127.0.0.1:9"]) == ExitCode.MISSING
    assert "the Python package nats" in capsys.readouterr().err
