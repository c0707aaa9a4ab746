"""`pio run` without any network: it compiles, what it makes is the image, and the image runs."""

from __future__ import annotations

import asyncio
import configparser
import shutil
import time
from pathlib import Path

import pytest
from nodes import app
from platformio_core import prepare_core, run_pio
from support import STM32, built

from wasmote.adapters.boards import find_board, list_boards
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.node import Node

PROJECT = Project.find()
BOARDS = [board.name for board in list_boards(PROJECT) if board.port == "stm32f4"]

pytest.importorskip("platformio")


@pytest.fixture
def core(tmp_path: Path) -> Path:
    prepare_core(tmp_path)
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
    done = run_pio(core, "run", "-e", STM32, "-j", "2")
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

    again = run_pio(core, "run", "-e", STM32)
    assert again.returncode == 0 and "Compiling" not in again.stdout
    # An object that is not as it was left is made again, and nothing else.
    objects[0].unlink()
    again = run_pio(core, "run", "-e", STM32)
    assert again.returncode == 0 and again.stdout.count("Compiling ") == 1


@pytest.mark.slow
def test_pio_run_builds_every_stm32_board(core: Path) -> None:
    """Byte for byte what CMake and Ninja build."""
    boards = [board for board in BOARDS if board != STM32]
    environments = [word for board in boards for word in ("-e", _environment_of(board))]
    done = run_pio(core, "run", *environments, "-j", "2")
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


def test_platformio_ini_of_the_idf_example_has_every_board_of_the_port() -> None:
    """It is read only: CI cannot reach the registry that has platform and framework."""
    example = PROJECT.root / "firmware" / "ports" / "esp_idf" / "example"
    ini = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=";")
    ini.read(example / "platformio.ini", encoding="utf-8")
    chips = {name.removeprefix("env:") for name in ini.sections() if name.startswith("env:")}
    boards = {board.name for board in list_boards(PROJECT) if board.port == "esp_idf"}
    assert chips == boards | {"esp32c3"}  # boards/esp32c3 is the bare metal one; the component runs there too
    assert ini["env"]["framework"] == "espidf"
    assert (example / ini["platformio"]["src_dir"] / "CMakeLists.txt").is_file()


@pytest.mark.slow
def test_pio_says_what_is_missing(core: Path) -> None:
    """An environment of a board that is not there, in a copy of the configuration."""
    config = core / "platformio.ini"
    shutil.copy(PROJECT.root / "platformio.ini", config)
    with config.open("a", encoding="utf-8") as file:
        file.write("\n[env:nowhere]\nextends = machine\ncustom_board = nowhere\n")
    done = run_pio(core, "run", "-c", str(config), "-d", str(PROJECT.root), "-e", "nowhere")
    assert done.returncode != 0
    assert "no board 'nowhere'" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
