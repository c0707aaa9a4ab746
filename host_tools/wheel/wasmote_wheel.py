"""Builds the wheel: setuptools does, and the validator of modules is compiled into it (docs/VALIDATOR.md).

An editable installation compiles it when it is needed, so that needs no compiler here.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 (the hooks of PEP 517 and 660; one is replaced below)
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]


def get_requires_for_build_wheel(config_settings: dict[str, Any] | None = None) -> list[str]:
    """The compiler too, in the version that the tools pin."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies = tomllib.load(file)["project"]["dependencies"]
    pinned = [entry for entry in dependencies if entry.startswith("ziglang==")]
    return [*build_meta.get_requires_for_build_wheel(config_settings), *pinned]


class BuildPy(build_py):
    """The package's files, and its validator."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        sys.path.insert(0, str(ROOT / "host_tools"))
        from wasmote.adapters import validator_build

        into = Path(self.build_lib) / "wasmote" / "data" / validator_build.FILE_NAME
        validator_build.compile_validator(ROOT / "firmware", into)
