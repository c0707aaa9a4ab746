"""`wasmote flash` through the UART bootloader of a simulated STM32: the bytes that arrive, and what a person is
told when something is in the way. Nothing here ran on hardware."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from emulated_board import EmulatedBoard
from stm32_chip import Stm32Chip
from support import STM32, built
from tool import finish, start, wasmote
from wires import PtyWire, TcpWire

from wasmote.adapters.boards import find_board
from wasmote.adapters.flash_config import FlashConfig, read_flash_config
from wasmote.adapters.flash_image import read_segments
from wasmote.adapters.project import Project
from wasmote.adapters.stm32_uart import Stm32Uart
from wasmote.adapters.tools import find_tool
from wasmote.errors import UnreachableError
from wasmote.protocol.stm32_flash import Segment

pytestmark = pytest.mark.slow

BASE = 0x08000000
BOARD = "netduinoplus2"
DATA = random.Random(1).randbytes(90_001)  # sectors 0 to 4


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(DATA)
    return path


def arguments(port: str, image: Path) -> list[object]:
    return ["flash", BOARD, "--port", port, "--image", image, "--wait", 0]


def test_flash_writes_and_verifies_and_starts(image: Path) -> None:
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 0, done.err
    assert chip.flash[: len(DATA)] == DATA
    assert chip.flash[len(DATA) :].count(0xFF) == len(chip.flash) - len(DATA)
    assert chip.started_at == BASE
    assert done.result["verified"] and done.result["method"] == "stm32-uart"
    assert (done.result["erased"], done.result["written"]) == ([0, 1, 2, 3, 4], 90_112)


def test_flash_ends_with_what_the_node_says(tmp_path: Path) -> None:
    """The whole way: build, flash, start; QEMU runs what is in the flash memory, and the node describes itself."""
    if find_tool("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    elf = built(STM32)
    with EmulatedBoard(tmp_path) as board:
        done = wasmote("flash", STM32, "--port", board.path)
        assert done.code == 0, done.err
        for segment in read_segments(elf, BASE):
            at = segment.address - BASE
            assert board.chip.flash[at : at + len(segment.data)] == segment.data
        assert done.result["hello"].startswith("wasmote ")
        assert done.result["device"]["board"] == STM32
        for speaks in (False, True):
            with board.speaking() if speaks else contextlib.nullcontext():
                again = wasmote("flash", STM32, "--port", board.path, "--no-build")
            assert again.code == 6
            assert "a wasmote node does" in again.words and "BOOT0" in again.words, again.words


def test_flash_says_so_when_the_node_is_not_heard(image: Path) -> None:
    with PtyWire(Stm32Chip()) as wire:
        done = wasmote("flash", BOARD, "--port", wire.path, "--image", image, "--wait", 0.5)
    assert done.code == 7
    assert "it said nothing in 0.5 s" in done.words
    assert done.error["verified"], "what was done is told all the same"


def test_flash_of_a_board_whose_node_talks_on_other_pins(image: Path) -> None:
    with PtyWire(Stm32Chip()) as wire:
        done = wasmote("flash", "stm32f4discovery", "--port", wire.path, "--image", image)
        assert done.code == 0, done.err
        assert "on other pins than the bootloader" in done.err and "device" not in done.result
    with PtyWire(Stm32Chip()) as wire, PtyWire(Stm32Chip(boot0=False)) as other:
        words = ["--image", image, "--node-port", other.path, "--wait", 0.5]
        done = wasmote("flash", "stm32f4discovery", "--port", wire.path, *words)
    assert done.code == 7 and f"not heard on {other.path}" in done.words


def test_flash_that_was_killed_goes_on(image: Path) -> None:
    chip = Stm32Chip()
    chip.flash[: len(DATA)] = bytes(len(DATA))  # an older image
    process: subprocess.Popen[str] | None = None

    def kill(count: int) -> None:
        if count == 300:  # sectors 1, 2 and 3 are done
            assert process is not None
            process.send_signal(signal.SIGKILL)

    chip.on_write = kill
    with PtyWire(chip) as wire:
        process = start(*arguments(wire.path, image))
        assert finish(process).code == -signal.SIGKILL
        assert chip.flash[:256].count(0xFF) == 256, "half an image has no vector table"
        chip.on_write = lambda _count: None
        chip.erased.clear()
        done = wasmote(*arguments(wire.path, image))  # without a reset of the chip
    assert done.code == 0, done.err
    assert chip.flash[: len(DATA)] == DATA
    assert done.result["unchanged"] == 3 * 16384 and chip.erased == [0, 4]


def test_flash_interrupted_by_a_person(image: Path) -> None:
    chip = Stm32Chip()
    process: subprocess.Popen[str] | None = None

    def interrupt(count: int) -> None:
        if count == 100:
            assert process is not None
            process.send_signal(signal.SIGINT)

    chip.on_write = interrupt
    with PtyWire(chip) as wire:
        process = start(*arguments(wire.path, image))
        done = finish(process)
        assert done.code == 130
        assert "no whole image" in done.err
        assert wasmote(*arguments(wire.path, image)).code == 0
    assert chip.flash[: len(DATA)] == DATA


def test_flash_unplugged_in_the_middle(image: Path) -> None:
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        chip.on_write = lambda count: wire.disconnect() if count == 100 else None
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 11
    assert "ended while the board was flashed" in done.words and "run the same command again" in done.words
    chip.on_write = lambda _count: None
    chip.reset()
    with PtyWire(chip) as wire:
        assert wasmote(*arguments(wire.path, image)).code == 0
    assert chip.flash[: len(DATA)] == DATA


def test_flash_chip_falls_silent_in_the_middle(image: Path) -> None:
    chip = Stm32Chip()

    def die(count: int) -> None:
        if count == 20:
            chip._machine = None

    chip.on_write = die
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 11
    assert "flashing through" in done.words and "reset the chip into its bootloader" in done.words


def test_flash_no_answer(image: Path) -> None:
    with PtyWire(Stm32Chip(boot0=False)) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 6
    assert "no bootloader answers" in done.words and "BOOT0" in done.words and "PA9" in done.words


def test_flash_wrong_baud(image: Path) -> None:
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        first = wasmote(*arguments(wire.path, image), "--baud", 57600, "--dry-run")
        assert first.code == 0, first.err
        chip.reset()
        chip.baud = 38400
        chip.feed(b"\x7f")  # another program has spoken to it
        done = wasmote(*arguments(wire.path, image))
        assert done.code == 6
        assert "another baud rate" in done.words and "--baud" in done.words
        assert chip.writes == 0
        assert wasmote(*arguments(wire.path, image), "--baud", 38400).code == 0
    assert chip.flash[: len(DATA)] == DATA


def test_flash_wrong_chip(image: Path) -> None:
    chip = Stm32Chip(chip_id=0x431)
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 2
    assert "STM32F411" in done.words and "0x413" in done.words and "nothing was written" in done.words
    assert chip.writes == 0 and chip.erased == []


def test_flash_locked_chip(image: Path) -> None:
    chip = Stm32Chip(locked=True)
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
        assert done.code == 3
        assert "readout protection" in done.words and "--unlock" in done.words and "ERASES" in done.words
        assert chip.locked and chip.erased == []
        done = wasmote(*arguments(wire.path, image), "--unlock")
        assert done.code == 0, done.err
    assert not chip.locked
    assert chip.flash[: len(DATA)] == DATA


def test_flash_write_protected_sector(image: Path) -> None:
    chip = Stm32Chip(protected={2})
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
        assert done.code == 11
        assert "sector 2" in done.words and "--unlock takes the write protection off" in done.words
        assert wasmote(*arguments(wire.path, image), "--unlock").code == 0
    assert chip.flash[: len(DATA)] == DATA


def test_flash_dry_run_writes_nothing_and_starts_what_is_there(image: Path) -> None:
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image), "--dry-run")
        assert done.code == 0, done.err
        assert done.result["differing"] == [0, 1, 2, 3, 4] and "written" not in done.result
    assert chip.writes == 0 and chip.erased == [] and chip.started_at == BASE


def test_flash_image_that_does_not_fit(tmp_path: Path) -> None:
    image = tmp_path / "big.bin"
    image.write_bytes(b"\x01" * (1024 * 1024 + 1))
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 2
    assert "0x08100000 of the image is not in the flash memory" in done.words
    assert chip.writes == 0


def test_flash_port_that_is_not_there_or_in_use(image: Path) -> None:
    done = wasmote(*arguments("/dev/ttyNONE", image))
    assert done.code == 10 and "no such serial device" in done.words
    import fcntl

    with PtyWire(Stm32Chip()) as wire:
        holder = os.open(wire.path, os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX)
            done = wasmote(*arguments(wire.path, image))
        finally:
            os.close(holder)
    assert done.code == 10 and "another program uses it" in done.words


def test_flash_board_without_a_way() -> None:
    done = wasmote("flash", "host", "--port", "/dev/null")
    assert done.code == 2 and "no [flash]" in done.words
    done = wasmote("flash", BOARD, "--method", "esptool", "--port", "/dev/null")
    assert done.code == 2 and "stm32-uart" in done.words


# pyserial's RFC 2217 client calls Thread.setDaemon and setName.
served = pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning")

# ---- a port that another machine serves: parity and control lines, which a pseudo-terminal lacks ----


@pytest.fixture
def wired() -> FlashConfig:
    """A board whose adapter's DTR is on NRST and RTS on BOOT0."""
    plain = read_flash_config(find_board(Project.find(), BOARD))
    return dataclasses.replace(plain, reset_line="dtr", boot0_line="rts")


@served
def test_flash_sends_even_parity(image: Path) -> None:
    image.write_bytes(DATA[:1000])
    chip = Stm32Chip()
    with TcpWire(chip, parity="E") as wire:
        assert wasmote(*arguments(wire.url, image), "--dry-run").code == 0
    with TcpWire(Stm32Chip(), parity="N") as wire:
        done = wasmote(*arguments(wire.url, image), "--dry-run")
    assert done.code == 6 and "no bootloader answers" in done.words


@served
def test_flash_uses_control_lines(wired: FlashConfig) -> None:
    chip = Stm32Chip(boot0=False)
    assert chip.started_at == BASE
    with (
        TcpWire(chip, boot0="rts", nrst="dtr") as wire,
        Stm32Uart(wire.url, BOARD, wired) as tool,
    ):
        tool.connect()
        assert chip.started_at is None
        plan, differing = tool.compare([Segment(BASE, DATA[:5000])])
        tool.flash(plan, differing)
        assert tool.start(BASE) is True
        assert chip.started_at == BASE and not chip.boot0
    assert chip.flash[:5000] == DATA[:5000]


def test_flash_without_control_lines_says_what_to_do(wired: FlashConfig) -> None:
    notes: list[str] = []
    with (
        PtyWire(Stm32Chip(boot0=False)) as wire,
        Stm32Uart(wire.path, BOARD, wired, note=notes.append) as tool,
        pytest.raises(UnreachableError),
    ):
        tool.connect(rounds=1)
    assert any("no control lines" in note and "BOOT0" in note for note in notes)
