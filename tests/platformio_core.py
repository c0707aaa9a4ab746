"""PlatformIO for tests: a core folder that needs no network, and runs that have none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool

PROJECT = Project.find()


def _without_network() -> list[str]:
    """What a command is started with to have no network at all; nothing where that takes more rights."""
    command = ["unshare", "--map-root-user", "--net", "--"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, check=False)
    except OSError:
        return []
    return command if done.returncode == 0 else []


def _environment(core: Path) -> dict[str, str]:
    proxies = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    nowhere = dict.fromkeys(proxies, "http://127.0.0.1:9")  # where a network namespace is not allowed
    settings = {
        "PLATFORMIO_CORE_DIR": str(core),
        "PLATFORMIO_BUILD_DIR": str(core / "build"),
        "PLATFORMIO_WORKSPACE_DIR": str(core / "workspace"),
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **nowhere, **settings, "PATH": path}


def run_pio(core: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command line of PlatformIO, in the repository, without a network. Builds are in core/build."""
    return subprocess.run(
        [*_without_network(), sys.executable, "-m", "platformio", *arguments],
        cwd=PROJECT.root,
        env=_environment(core),
        capture_output=True,
        text=True,
        check=False,
    )


def prepare_core(folder: Path) -> None:
    """Make folder a PlatformIO that has nothing but what offline.py gave it. Skips the test if there is no compiler."""
    if find_tool("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    done = subprocess.run(
        [sys.executable, PROJECT.firmware / "platformio/offline.py", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
