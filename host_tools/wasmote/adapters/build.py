"""Builds a board's image: sources fetched and verified, then CMake and Ninja."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import filelock

from wasmote.adapters.boards import Board
from wasmote.adapters.project import Project
from wasmote.adapters.sources import ensure_sources, read_pins
from wasmote.adapters.tools import find_tool, missing_tool, need_tool
from wasmote.errors import BuildError, InputError

SANITIZERS = "address,undefined"
_STEP = re.compile(r"\[(\d+)/(\d+)\] (.*)")
_SHOWN_LINES = 40


class Progress(Protocol):
    """Told how a build goes on."""

    def describe(self, text: str) -> None: ...
    def total(self, total: int) -> None: ...
    def update(self, done: int) -> None: ...


@dataclass(frozen=True)
class Variant:
    """What is built beside the plain image (host only). tests: the C unit tests too."""

    sanitize: bool = False
    tests: bool = False

    @property
    def suffix(self) -> str:
        return ("-sanitize" if self.sanitize else "") + ("-tests" if self.tests else "")


PLAIN = Variant()


def build_dir(project: Project, board: Board, variant: Variant = PLAIN) -> Path:
    """build/BOARD, with a suffix for other variants."""
    return project.build / f"{board.name}{variant.suffix}"


def image_path(project: Project, board: Board, variant: Variant = PLAIN) -> Path:
    """Where the image is, once it has been built."""
    return build_dir(project, board, variant) / ("wasmote-node" if board.is_host else "wasmote-node.elf")


def check_toolchain(board: Board) -> None:
    """Raises MissingError, which names the Debian package, if the board's compiler is not there."""
    if board.is_host:
        if not os.environ.get("CC") and not any(find_tool(name) for name in ("cc", "gcc", "clang")):
            raise missing_tool("cc")
        return
    need_tool(f"{board.toolchain}-gcc")


def fetch_sources(project: Project, ports: Collection[str] = (), *, progress: Progress) -> None:
    """The third-party C sources that every port needs, and those for these, verified and unpacked. Raises
    MissingError."""
    pins = read_pins(project.firmware / "third_party.toml", ports)
    ensure_sources(pins, project.third_party, progress=progress.describe)


def build(
    project: Project,
    board: Board,
    variant: Variant = PLAIN,
    *,
    progress: Progress,
    log: Callable[[str], None],
) -> Path:
    """Build the image; returns its path. log gets warnings of the compilers. Two builds of one folder run one after the
    other. Raises MissingError, BuildError, InputError."""
    if not board.is_host and variant != PLAIN:
        raise InputError(
            f"{board.name} is not the host: sanitizers and unit tests are for the host",
            next_step="leave out --sanitize, or name the host",
        )
    if board.tier == "source":
        raise InputError(
            f"{board.name} is built with its vendor's SDK, not here",
            next_step=f"boards/{board.name}/README.md has the commands",
        )
    check_toolchain(board)
    cmake, ninja = need_tool("cmake"), need_tool("ninja")
    fetch_sources(project, (board.port,), progress=progress)
    folder = build_dir(project, board, variant)
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        progress.describe(f"configure {folder.name}")
        configure: list[str | Path] = [
            *(cmake, "-S", project.firmware, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
            *(f"-DWM_BOARD={board.name}", f"-DWM_BOARD_DIR={board.folder.resolve()}"),
            *(f"-DWM_THIRD_PARTY_DIR={project.third_party}", f"-DPython3_EXECUTABLE={sys.executable}"),
            f"-DWM_SANITIZE={SANITIZERS if variant.sanitize else ''}",
            f"-DWM_TESTS={'ON' if variant.tests else 'OFF'}",
        ]
        if not board.is_host:
            configure.append(
                f"-DCMAKE_TOOLCHAIN_FILE={project.firmware / 'cmake' / f'{board.toolchain}.cmake'}"
            )
        _run(configure, f"cannot configure {board.name}", progress=None, log=lambda _line: None)
        progress.describe(f"build {folder.name}")
        _run([cmake, "--build", folder], f"cannot build {board.name}", progress=progress, log=log)
    image = image_path(project, board, variant)
    if not image.is_file():
        raise BuildError(
            f"the build of {board.name} made no {image.name}",
            next_step=f"remove {image.parent} and build again",
        )
    return image


def _run(
    command: list[str | Path], failure: str, *, progress: Progress | None, log: Callable[[str], None]
) -> None:
    lines: list[str] = []
    total = 0
    with subprocess.Popen(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            step = _STEP.match(line)
            if step is None:
                lines.append(line.rstrip())
                continue
            if progress is not None:
                if int(step[2]) != total:
                    total = int(step[2])
                    progress.total(total)
                progress.update(int(step[1]))
    if process.returncode != 0:
        # Ninja prints what failed last; a compiler's first error is the one that counts.
        shown = [line for line in lines if line and not line.startswith("ninja: ")]
        first = next((at for at, line in enumerate(shown) if "FAILED" in line or "error" in line.lower()), 0)
        raise BuildError(
            failure,
            cause="\n".join(shown[first : first + _SHOWN_LINES]) or f"ended with {process.returncode}",
            next_step=f"the command was: {' '.join(str(part) for part in command)}",
        )
    for line in lines:
        if "warning:" in line:
            log(line)
