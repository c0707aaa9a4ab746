"""Boards: what boards/*/board.toml says. Schema: boards/README.md.

Folders of boards elsewhere count too: WASMOTE_BOARDS names them, separated as in PATH.
"""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasmote.adapters.project import Project
from wasmote.errors import InputError

TIERS = {
    "emulated": "emulated in CI",
    "built": "built in CI; never run there",
    "source": "builds where the vendor's SDK is",
}


@dataclass(frozen=True)
class Board:
    """name: of its folder. budget: *_bytes limits of the image. emulate: command templates, empty if it has no
    emulator. memory, flash, usb, clock, led, limits: as in board.toml."""

    name: str
    title: str
    tier: str
    port: str
    toolchain: str
    chip: str
    folder: Path
    links: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, int] = field(default_factory=dict)
    emulate: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    flash: Mapping[str, Any] = field(default_factory=dict)
    usb: Mapping[str, Any] = field(default_factory=dict)
    clock: Mapping[str, Any] = field(default_factory=dict)
    led: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_host(self) -> bool:
        """The image is a process of this machine."""
        return self.toolchain == "host"


def list_boards(project: Project) -> list[Board]:
    """All boards, by name. Raises InputError if a board.toml is wrong, or two boards have one name."""
    boards = [read_board(file) for file in _files(project)]
    for first, second in itertools.pairwise(boards):
        if first.name == second.name:
            raise InputError(
                f"two boards are called '{first.name}'",
                cause=f"{first.folder} and {second.folder}",
                next_step="rename one, or set WASMOTE_BOARDS to other folders",
            )
    return boards


def find_board(project: Project, name: str) -> Board:
    """The board of this name. Raises InputError."""
    boards = {file.parent.name: file for file in _files(project)}
    if name not in boards:
        raise InputError(
            f"no such board: '{name}'",
            cause=f"boards: {', '.join(boards)}",
            next_step="`wasmote boards` describes them.",
        )
    return read_board(boards[name])


def _files(project: Project) -> list[Path]:
    """Every board.toml, by its board's name."""
    elsewhere = [Path(folder) for folder in os.environ.get("WASMOTE_BOARDS", "").split(os.pathsep) if folder]
    files = [file for folder in (project.boards, *elsewhere) for file in folder.glob("*/board.toml")]
    return sorted(files, key=lambda file: file.parent.name)


def read_board(file: Path) -> Board:
    """The board of a board.toml. Raises InputError."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
        texts = {key: raw[key] for key in ("name", "title", "tier", "port", "toolchain", "chip")}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise InputError(f"cannot read {file}", cause=str(err), next_step="see boards/README.md") from err
    except KeyError as err:
        raise InputError(
            f"{file} is wrong", cause=f"{err.args[0]} is missing", next_step="see boards/README.md"
        ) from err
    if not all(isinstance(value, str) for value in texts.values()):
        raise InputError(f"{file} is wrong", cause=f"no texts: {texts}", next_step="see boards/README.md")
    if texts["tier"] not in TIERS or texts["name"] != file.parent.name:
        raise InputError(
            f"{file} is wrong",
            cause="unknown tier, or a name other than the folder's",
            next_step="see boards/README.md",
        )
    return Board(
        **texts,
        folder=file.parent,
        links=raw.get("links", {}),
        budget=raw.get("budget", {}),
        emulate=raw.get("emulate", {}),
        memory=raw.get("memory", {}),
        flash=raw.get("flash", {}),
        usb=raw.get("usb", {}),
        clock=raw.get("clock", {}),
        led=raw.get("led", {}),
        limits=raw.get("limits", {}),
    )
