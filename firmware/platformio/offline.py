#!/usr/bin/env python3
"""Prepares PlatformIO so that it needs no network: offline.py CORE_FOLDER

PlatformIO runs SCons out of a package of its registry, tool-scons. This makes that package in CORE_FOLDER/packages: a
few lines that start the SCons of PyPI. Use it with PLATFORMIO_CORE_DIR=CORE_FOLDER; `./dev pio` does both.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import semantic_version
from platformio.dependencies import get_core_dependencies

_START = """\
import sys

from SCons.Script import main

sys.exit(main())
"""


def prepare(core: Path) -> str:
    """Make or renew the package; returns its version. SystemExit: this SCons is not the one PlatformIO wants."""
    major, minor, patch = (int(part) for part in metadata.version("scons").split(".")[:3])
    version = f"4.{major}{minor:02}{patch:02}.0"  # as the registry numbers them: 4.41101.0 is SCons 4.11.1
    wanted = get_core_dependencies()["tool-scons"]
    if semantic_version.Version(version) not in semantic_version.SimpleSpec(wanted):
        sys.exit(
            f"PlatformIO {metadata.version('platformio')} wants tool-scons {wanted}, but scons {major}.{minor}.{patch}"
            f" is {version}: install the version of scons that fits, or change the pins in pyproject.toml together"
        )
    folder = core / "packages" / "tool-scons"
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": "tool-scons", "version": version, "description": "Starts the SCons of PyPI"}
    spec = {"owner": "platformio", "id": None, "name": "tool-scons", "requirements": None, "uri": None}
    installed = {"type": "tool", "name": "tool-scons", "version": version, "spec": spec}
    for name, text in {
        "package.json": json.dumps(about),
        ".piopm": json.dumps(installed),
        "scons.py": _START,
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
    return version


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    prepare(Path(sys.argv[1]))
