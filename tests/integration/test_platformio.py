"""`pio run` without any network: it compiles, what it makes is the image, and the image runs."""

from __future__ import annotations

import asyncio
import configparser
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from nodes import app
from support import STM32, built

from wasmote.adapters.boards import find_board, list_boards
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.node import Node

PROJECT = Project.find()
BOARDS = [board.name for board in list_boards(PROJECT) if board.port == "stm32f4"]

pytest.importorskip("platformio")


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


def _pio(core: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*_without_network(), sys.executable, "-m", "platformio", *arguments],
        cwd=PROJECT.root,
        env=_environment(core),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A PlatformIO that has nothing but what offline.py gave it."""
    if find_tool("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    done = subprocess.run(
        [sys.executable, PROJECT.firmware / "platformio/offline.py", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tmp_path


def _environment_of(board: str) -> str:
    return board if board == STM32 else f"{board}_machine"


async def _smoke(image: Path) -> None:
    board = find_board(PROJECT, STM32)
    async with Emulator(board, image) as emulator:
        assert emulator.uri is not None
        async with Node(emulator.uri) as node:
            assert (await node.device())["board"] == STM32
            await node.push(app("fib"), name="fib")
            assert (await node.call("fib/fib", [20])).value == 6765


@pytest.mark.slow
def test_pio_run_builds_the_image_that_boots(core: Path) -> None:
    reference = built(STM32)
    began = time.time()
    done = _pio(core, "run", "-e", STM32, "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = core / "build" / STM32
    objects = sorted((folder / "cmake/objects").rglob("*.o"))
    sources = done.stdout.count("Compiling ")
    assert len(objects) == sources > 60
    assert all(file.stat().st_mtime >= began - 1 for file in [*objects, folder / "firmware.elf"])
    assert (folder / "firmware.bin").read_bytes() == reference.with_suffix(".bin").read_bytes()
    if find_tool("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed: built, but not started")
    asyncio.run(_smoke(folder / "firmware.elf"))

    again = _pio(core, "run", "-e", STM32)
    assert again.returncode == 0 and "Compiling" not in again.stdout
    # An object that is not as it was left is made again, and nothing else.
    objects[0].unlink()
    again = _pio(core, "run", "-e", STM32)
    assert again.returncode == 0 and again.stdout.count("Compiling ") == 1


@pytest.mark.slow
def test_pio_run_builds_every_stm32_board(core: Path) -> None:
    """Byte for byte what CMake and Ninja build."""
    boards = [board for board in BOARDS if board != STM32]
    environments = [word for board in boards for word in ("-e", _environment_of(board))]
    done = _pio(core, "run", *environments, "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for board in boards:
        made = core / "build" / _environment_of(board) / "firmware.bin"
        assert made.read_bytes() == built(board).with_suffix(".bin").read_bytes()


def test_platformio_ini_has_every_stm32_board() -> None:
    """For users, with the vendor's platform, and for this machine's tools."""
    ini = configparser.ConfigParser(interpolation=None)
    ini.read(PROJECT.root / "platformio.ini", encoding="utf-8")
    for board in BOARDS:
        section = ini[f"env:{_environment_of(board)}"]
        assert section["extends"] == "machine"
        assert section.get("custom_board", board) == board
        if board != STM32:
            user = ini[f"env:{board}"]
            assert user["extends"] == "ststm32" and user["board"]
            assert user["upload_protocol"] in ("dfu", "stlink")
    assert ini["ststm32"]["platform"] == "ststm32"


@pytest.mark.slow
def test_pio_says_what_is_missing(core: Path) -> None:
    """An environment of a board that is not there, in a copy of the configuration."""
    config = core / "platformio.ini"
    shutil.copy(PROJECT.root / "platformio.ini", config)
    with config.open("a", encoding="utf-8") as file:
        file.write("\n[env:nowhere]\nextends = machine\ncustom_board = nowhere\n")
    done = _pio(core, "run", "-c", str(config), "-d", str(PROJECT.root), "-e", "nowhere")
    assert done.returncode != 0
    assert "no board 'nowhere'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
