"""The user's configuration: a TOML file with names for targets.

[targets]
bench = "coap://192.0.2.7"
stm = "/dev/ttyACM0"
"""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wasmote.errors import InputError


def config_path() -> Path:
    """WASMOTE_CONFIG, or `wasmote/config.toml` where this system keeps a user's configuration."""
    if explicit := os.environ.get("WASMOTE_CONFIG"):
        return Path(explicit)
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "wasmote" / "config.toml"


@dataclass(frozen=True)
class Config:
    """targets: name -> coap:// address or serial device."""

    targets: Mapping[str, str] = field(default_factory=dict)


def load_config(path: Path | None = None) -> Config:
    """The configuration, empty if there is no file. Raises InputError if the file is wrong."""
    path = path or config_path()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as err:
        raise InputError(
            f"cannot read the configuration {path}", cause=str(err), next_step="correct or remove it"
        ) from err
    targets = raw.get("targets", {})
    if not isinstance(targets, dict) or not all(isinstance(value, str) for value in targets.values()):
        raise InputError(
            f"[targets] of {path} is not a table of texts",
            next_step='Write lines such as  bench = "coap://192.0.2.7"',
        )
    return Config(targets)
