"""Every board's image, its budget and its structure; a new board from the template, which then runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from nodes import app
from support import built

from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.build import build
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.image import image_size
from wasmote.adapters.project import Project
from wasmote.adapters.stack_probe import probe_stack
from wasmote.adapters.tools import find_tool
from wasmote.cli.size import over_budget
from wasmote.node import Node

PROJECT = Project.find()
BOARDS = [board for board in list_boards(PROJECT) if board.tier != "source"]
STM32F4 = [board for board in BOARDS if board.port == "stm32f4"]


@pytest.mark.slow
@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_board_builds_within_its_budget(board: Board) -> None:
    size = image_size(built(board.name))
    assert over_budget(board, size) == []
    if not board.is_host:
        assert size.text > 50_000 and size.stack == board.budget["stack_bytes"]


def _word(elf: ELFFile, address: int) -> int:
    for segment in elf.iter_segments("PT_LOAD"):
        offset = address - segment["p_paddr"]
        if 0 <= offset < segment["p_filesz"]:
            return int.from_bytes(segment.data()[offset : offset + 4], "little")
    raise AssertionError(f"nothing is loaded at {address:#x}")


@pytest.mark.slow
@pytest.mark.parametrize("board", STM32F4, ids=lambda board: board.name)
def test_stm32f4_image_starts_as_the_chip_expects(board: Board) -> None:
    """The vector table at the start of the flash, stack and static data in their own region, all RAM after that for
    functions; and the binary for flashing is what the ELF file loads."""
    image = built(board.name)
    flash, ram = board.memory["flash"], board.memory["ram"]
    ccm = board.memory.get("ccm", {"use": False})
    own = ccm if ccm["use"] else ram
    with image.open("rb") as file:
        elf = ELFFile(file)
        symbols = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
        assert _word(elf, flash["origin"]) == symbols["wm_stack_top"]
        reset = _word(elf, flash["origin"] + 4)
        assert reset == symbols["wm_isr_reset"] and reset & 1
        assert flash["origin"] < reset < flash["origin"] + flash["size"]
        irq = {"USART1": 37, "USART2": 38, "USART3": 39, "USART6": 71}[board.links["serial"]["uart"]]
        assert _word(elf, flash["origin"] + 4 * (16 + irq)) == symbols["wm_isr_uart"]
        assert symbols["wm_stack_bottom"] == own["origin"]
        assert own["origin"] < symbols["wm_bss_end"] <= own["origin"] + own["size"]
        assert symbols["wm_pool_bottom"] == (ram["origin"] if ccm["use"] else symbols["wm_bss_end"])
        assert symbols["wm_pool_top"] == ram["origin"] + ram["size"]
        loaded = [s for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]]
        for segment in loaded:
            at = segment["p_paddr"]
            assert flash["origin"] <= at and at + segment["p_filesz"] <= flash["origin"] + flash["size"]
        binary = image.with_suffix(".bin").read_bytes()
        for segment in loaded:
            offset = segment["p_paddr"] - flash["origin"]
            assert binary[offset : offset + segment["p_filesz"]] == segment.data()


class _Silent:
    def describe(self, text: str) -> None: ...
    def total(self, total: int) -> None: ...
    def update(self, done: int) -> None: ...


async def _use(board: Board, image: Path) -> None:
    """A node of the board in its emulator: it is who it says, and runs a function."""
    async with Emulator(board, image) as emulator:
        assert emulator.uri is not None
        async with Node(emulator.uri) as node:
            assert (await node.device())["board"] == board.name
            await node.push(app("fib"), name="fib")
            assert (await node.call("fib/fib", [20])).value == 6765


@pytest.mark.slow
def test_new_board_builds_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A board that nobody had thought of, from the template, outside of the repository: another UART, and
    stack and static data apart from the pool, as where a chip has core-coupled RAM. QEMU has none, but more SRAM than
    the chip: the upper 64 KB of it stand in."""
    if find_tool("qemu-system-arm") is None or find_tool("arm-none-eabi-gcc") is None:
        pytest.skip("qemu-system-arm or arm-none-eabi-gcc is not installed")
    name = "workbench"
    command = [sys.executable, "-m", "wasmote", "--json", "new-board", name]
    done = subprocess.run(
        [*command, "--chip", "STM32F405", "--title", "A board of the test", "--into", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    file = Path(json.loads(done.stdout)["folder"]) / "board.toml"
    assert file.parent == tmp_path / name
    text = file.read_text(encoding="utf-8")
    for line in (
        r'serial = { baud = 115200, uart = "USART3", tx = "PD8", rx = "PD9" }',
        r"ccm = { origin = 0x20020000, size = 65536, use = true }",
    ):
        text, count = re.subn(rf"^{line.split(' ')[0]} = .*$", line, text, flags=re.MULTILINE)
        assert count == 1
    like = find_board(PROJECT, "netduinoplus2")
    words = [*like.emulate["command"][:-2], "-serial", "null", "-serial", "null", "-serial", "{serial}"]
    file.write_text(f"{text}\n[emulate]\ncommand = {json.dumps(words)}\n", encoding="utf-8")
    monkeypatch.setenv("WASMOTE_BOARDS", str(tmp_path))
    board = find_board(PROJECT, name)
    try:
        image = build(PROJECT, board, progress=_Silent(), log=lambda _line: None)
        size = image_size(image)
        assert over_budget(board, size) == []
        assert size.pool == 131072
        asyncio.run(_use(board, image))
        # Its limits are those of the boards with core-coupled RAM: this is where their stack is measured.
        use = asyncio.run(probe_stack(board, image))
        assert use is not None
        assert over_budget(board, size, use) == []
        limits = find_board(PROJECT, "feather_stm32f405").limits
        assert min(use.nesting.values()) + 1 >= limits["module_nesting"]
    finally:
        shutil.rmtree(PROJECT.build / name, ignore_errors=True)


def test_new_board_asks_for_a_board_to_start_from(tmp_path: Path) -> None:
    for options, says in (
        ([], "--like"),
        (["--like", "netduinoplus2", "--chip", "stm32f4"], "--like"),
        (["--like", "host"], "no chip"),
        (["--chip", "z80"], "stm32f405rg"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "wasmote", "new-board", "a_board", "--into", tmp_path, *options],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
    assert list(tmp_path.iterdir()) == []
