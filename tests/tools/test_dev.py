"""The script ./dev, as far as it can be asked without installing anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from wasmote.adapters.project import Project

DEV = Project.find().root / "dev"


def dev(*args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({} if path is None else {"PATH": path})}
    return subprocess.run(
        [sys.executable, DEV, *args], capture_output=True, text=True, env=environment, check=False
    )


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
    assert "installing gcc-arm-none-eabi: compiler for STM32" in done.stderr
    assert "there is no apt-get here" in done.stderr
