"""The simulated STM32 bootloader against PyPI's stm32loader, and ours against what that reads."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from stm32_chip import Stm32Chip
from tool import wasmote
from wires import PtyWire

CLIENT = Path(__file__).with_name("independent_client.py")


def stm32loader(port: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    # Without parity: a pseudo-terminal has none, and the C library calls it an error to ask for it twice.
    command = [sys.executable, CLIENT, "-p", port, "-P", "none", "-f", "F4", "-n", *arguments]
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(random.Random(4).randbytes(20_001))
    return path


def test_stm32loader_erases_writes_and_verifies(image: Path) -> None:
    chip = Stm32Chip()
    chip.flash[:] = bytes(len(chip.flash))
    with PtyWire(chip) as wire:
        done = stm32loader(wire.path, "-e", "-w", "-v", image)
        assert done.returncode == 0, done.stderr
        assert "Verification OK" in done.stdout + done.stderr
        assert "0x413" in done.stderr and "1024 KiB" in done.stderr
    assert chip.flash[:20_001] == image.read_bytes()
    assert chip.flash[20_004:].count(0xFF) == len(chip.flash) - 20_004


def test_stm32loader_meets_a_flash_that_only_clears_bits(image: Path) -> None:
    chip = Stm32Chip()
    chip.flash[:] = bytes(len(chip.flash))
    with PtyWire(chip) as wire:
        done = stm32loader(wire.path, "-w", "-v", image)
    assert done.returncode != 0
    assert "Verification data does not match" in done.stdout + done.stderr


def test_stm32loader_is_refused_by_a_locked_chip_and_starts_a_program(image: Path) -> None:
    chip = Stm32Chip(locked=True)
    with PtyWire(chip) as wire:
        assert stm32loader(wire.path, "-w", image).returncode != 0
        assert chip.writes == 0
        chip.locked = False
        chip.reset()
        done = stm32loader(wire.path, "-w", "-g", "0x08000000", image)
        assert done.returncode == 0, done.stderr
    assert chip.started_at == 0x08000000


def test_stm32loader_reads_what_we_wrote(image: Path, tmp_path: Path) -> None:
    chip = Stm32Chip()
    with PtyWire(chip) as wire:
        done = wasmote("flash", "netduinoplus2", "--port", wire.path, "--image", image, "--wait", 0)
        assert done.code == 0, done.err
        chip.reset()
        back = tmp_path / "back.bin"
        read = stm32loader(wire.path, "-r", "-l", "20001", "-a", "0x08000000", back)
        assert read.returncode == 0, read.stderr
    assert back.read_bytes()[:20_001] == image.read_bytes()
