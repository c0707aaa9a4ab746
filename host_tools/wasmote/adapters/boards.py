"""Boards: what boards/*/board.toml says. Schema: boards/README.md."""

from __future__ import annotations

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
    emulator."""

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

    @property
    def is_host(self) -> bool:
        """The image is a process of this machine."""
        return self.toolchain == "host"


def list_boards(project: Project) -> list[Board]:
    """All boards, by name. Raises InputError if a board.toml is wrong."""
    return [_read(file) for file in sorted(project.boards.glob("*/board.toml"))]


def find_board(project: Project, name: str) -> Board:
    """The board of this name. Raises InputError."""
    file = project.boards / name / "board.toml"
    if not name or Path(name).name != name or not file.is_file():
        known = ", ".join(sorted(found.parent.name for found in project.boards.glob("*/board.toml")))
        raise InputError(
            f"no such board: '{name}'", cause=f"boards: {known}", next_step="`wasmote boards` describes them."
        )
    return _read(file)


def _read(file: Path) -> Board:
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
    )
