"""Runs the command line as a person does: its exit code and its words count."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasmote.cli.main import run

TIMEOUT_S = 60


@dataclass(frozen=True)
class Done:
    """What a run left: its exit code, what it printed, and the JSON values in the last lines of that."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return value

    @property
    def error(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.err.splitlines()[-1])
        return value

    @property
    def words(self) -> str:
        """Cause and next step of the error, and what failed."""
        return " | ".join(str(self.error[key]) for key in ("error", "cause", "next_step"))


def start(*arguments: object, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The command, running in a process of its own, for tests that end it in the middle."""
    command = [sys.executable, "-m", "wasmote", "--json", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})}
    )


def finish(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=TIMEOUT_S)
    return Done(process.returncode, out, err)


def wasmote(*arguments: object, env: Mapping[str, str] | None = None) -> Done:
    """The command, to its end. In this process, where no environment is asked for: that is much quicker."""
    if env is not None:
        return finish(start(*arguments, env=env))
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["--json", *map(str, arguments)])
    return Done(int(code), out.getvalue(), err.getvalue())
