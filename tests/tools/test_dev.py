"""The script ./dev, as far as it can be asked without installing anything."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import parallel
import pytest

from wasmote.adapters.project import Project

DEV = Project.find().root / "dev"


def dev(*args: str, path: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    return subprocess.run(
        [sys.executable, DEV, *args], capture_output=True, text=True, env=environment, cwd=cwd, check=False
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """./dev as a module, for what cannot be had from its outside on every machine."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = SourceFileLoader("dev_script", str(DEV))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_dev_help_and_unknown_word() -> None:
    shown = dev("--help")
    assert shown.returncode == 0 and "usage: ./dev WORD" in shown.stdout
    wrong = dev("tset")
    assert wrong.returncode == 2 and "no such word: tset" in wrong.stderr


def test_dev_runs_the_command_line() -> None:
    shown = dev("wasmote", "--version")
    assert shown.returncode == 0 and shown.stdout.startswith("wasmote ")
    # Exit codes come through.
    assert dev("wasmote", "nothing").returncode == 2


def test_dev_without_apt_names_what_is_missing(tmp_path: Path) -> None:
    done = dev("setup", "size", path=str(tmp_path))
    assert done.returncode == 8
    assert "missing gcc-arm-none-eabi: compiler for STM32" in done.stderr
    assert "there is no apt-get here" in done.stderr


def test_dev_without_root_or_sudo_names_one_command(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    with pytest.raises(SystemExit) as ended:
        script.install_packages({"gcc": "C compiler", "wabt": "compiles .wat files"})
    assert ended.value.code == 8
    said = capsys.readouterr().err
    assert "missing wabt: compiles .wat files" in said and "installing" not in said
    assert "ask an administrator for\n  apt-get install --no-install-recommends gcc wabt\n" in said


def test_dev_tests_run_in_the_repository_from_anywhere(tmp_path: Path) -> None:
    # --quick: a test that runs at all has what it needs, and nothing gets installed here.
    listed = dev("test", "--quick", "--collect-only", "-q", "tests/tools/test_dev.py", cwd=tmp_path)
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "test_dev_help_and_unknown_word" in listed.stdout


def test_dev_makes_venv_anew_after_an_interruption(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[list[str]] = []
    interrupt = True

    def run(command: list[Any], **_: object) -> int:
        words = [str(word) for word in command]
        done.append(words)
        if "venv" in words:
            script.PYTHON.parent.mkdir(parents=True, exist_ok=True)
            script.PYTHON.touch()
        if interrupt and "install" in words:
            raise KeyboardInterrupt
        return 0

    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "VENV", tmp_path / "venv")
    monkeypatch.setattr(script, "PYTHON", tmp_path / "venv" / "bin" / "python")
    with pytest.raises(KeyboardInterrupt):
        script.make_venv("dev", "digest")
    assert not script.venv_is_current("dev", "digest")

    interrupt = False
    for made_anew in (True, False):
        done.clear()
        script.make_venv("dev", "digest")
        assert any("--clear" in words for words in done) == made_anew
        assert script.venv_is_current("dev", "digest") and script.venv_is_current("", "digest")
        assert not script.venv_is_current("dev", "another")


def test_dev_installs_what_the_fleet_needs_only_for_the_fleet(script: ModuleType) -> None:
    assert script.EXTRA["wasmote"] == "" and script.EXTRA["wasmote fleet"] == "fleet"
    assert script.EXTRA["wasmote fleet demo"] == "fleet"
    assert script.NEEDS["wasmote fleet demo"] == script.NEEDS["demo"] and not script.NEEDS["wasmote fleet"]
    # Each extra is served by itself and by the bigger ones.
    assert all(extra in serving and "dev" in serving for extra, serving in script.SERVED_BY.items())
    assert set(script.EXTRA.values()) <= set(script.SERVED_BY)


def test_dev_tests_side_by_side_unless_some_are_chosen(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DEV.parent)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(64)))
    assert (
        script.workers([]) == script.workers(["-k", "push and not slow"]) == ["-n", str(script.MOST_WORKERS)]
    )
    for words in (
        ["-n0"],
        ["-n", "3"],
        ["--pdb"],
        ["tests/tools"],
        ["-q", "tests/tools/test_dev.py::test_x"],
    ):
        assert script.workers(words) == []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert script.workers([]) == []


def test_long_files_are_there() -> None:
    """tests/parallel.py has them by name."""
    assert set(parallel.APART) <= set(parallel.LONG)
    assert [file for file in parallel.LONG if not (DEV.parent / file).is_file()] == []
