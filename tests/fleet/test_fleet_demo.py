"""`wasmote fleet demo`, as a person runs it: to its end, and interrupted in the middle of its load."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import HOST, STM32, built

from wasmote.errors import ExitCode

pytestmark = pytest.mark.slow
TWO_MINUTES_S = 120.0
SOON_S = 20.0  # of processes that were told to stop


@contextmanager
def demo(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """It runs, with its temporary files in folder."""
    for board in (HOST, STM32):
        built(board)
    with subprocess.Popen(
        [sys.executable, "-m", "wasmote", "--json", "fleet", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def still_there(folder: Path) -> list[str]:
    """Commands of processes that were started with this folder for their temporary files."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environment = (entry / "environ").read_bytes()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it has ended, or is somebody else's
        if str(folder).encode() in environment:
            found.append(command)
    return found


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a short name: a Unix socket in a folder in it has 107 bytes for its path."""
    return tmp_path_factory.mktemp("d")


def test_fleet_demo_ends_right_and_leaves_nothing(folder: Path) -> None:
    with demo(folder) as process:
        out, err = process.communicate(timeout=TWO_MINUTES_S)
    assert process.returncode == 0, err
    rows = {row["step"]: row["result"] for row in json.loads(out)}
    assert re.search(r"words on alpha and beta, digest on (alpha|beta), check on chip", out)
    assert "digest moved to beta" in rows["kill -9 alpha meanwhile"]
    assert "words again" in rows["start alpha again, empty"]
    (calls,) = (what for what in rows if re.fullmatch(r"all \d+ calls", what))
    assert rows[calls].startswith("0 failed, 0 wrong; ")
    shares = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)", rows["who did their steps"])}
    # And the call before the load; each of three steps was done once.
    assert sum(shares.values()) == 3 * (int(calls.split()[1]) + 1)
    assert list(folder.iterdir()) == []
    assert still_there(folder) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes as Linux shows them")
def test_fleet_demo_interrupted_leaves_nothing(folder: Path) -> None:
    with demo(folder) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "callers at a time" in line:
                break
        assert list(folder.iterdir()), "where else is its data?"
        assert len(still_there(folder)) > 3
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=SOON_S)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in err
    assert list(folder.iterdir()) == []
    end = time.monotonic() + SOON_S
    while still_there(folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert still_there(folder) == []
