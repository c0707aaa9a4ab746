"""Builds what is measured, in build/bench: the node, the load client, the other servers, the image that counts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from wasmote.adapters.project import Project
from wasmote.adapters.sources import ensure_sources, read_pins

HERE = Path(__file__).resolve().parent
PROJECT = Project.find()
OUT = PROJECT.build / "bench"


def tool(name: str) -> str:
    """Path of a command, the one beside this Python first. Exits if there is none."""
    beside = Path(sys.executable).parent / name
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        sys.exit(f"bench: {name} is missing; `./dev setup bench` installs it")
    return path


def sources(say: Callable[[str], None]) -> None:
    """Fetch what is missing of the third-party C sources."""
    ensure_sources(read_pins(PROJECT.firmware / "third_party.toml"), PROJECT.third_party, progress=say)


def run(*command: object) -> None:
    """Run quietly; on failure show what it said and exit."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: failed: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def build_board(board: str) -> Path:
    """The node of a board with tests/bench beside it, as `wasmote build` builds it. Returns the build folder; what
    belongs to the bench is in its subfolder `bench`."""
    folder = OUT / board
    run(
        tool("cmake"),
        "-S", PROJECT.firmware,
        "-B", folder,
        "-G", "Ninja",
        f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
        f"-DWM_BOARD={board}",
        "-DWM_BENCH=ON",
    )  # fmt: skip
    run(tool("cmake"), "--build", folder, "-j", "2")
    return folder


def wat(source: Path) -> Path:
    """A module in text, assembled."""
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / f"{source.stem}.wasm"
    run(tool("wat2wasm"), source, "-o", target)
    return target
