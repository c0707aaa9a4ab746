"""`wasmote flash` of an ESP32-C3: the real esptool against a simulated ROM loader. Nothing here ran on hardware."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from esp32c3_rom import Esp32C3
from support import built
from tool import finish, start, wasmote
from wires import PtyWire, TcpWire

from wasmote.adapters.esp import Esp
from wasmote.adapters.flash_config import FlashConfig
from wasmote.adapters.serial_line import SerialLine
from wasmote.errors import LocalError
from wasmote.protocol.stm32_boot import Progress

pytestmark = pytest.mark.slow

BOARD = "esp_under_test"
DATA = random.Random(3).randbytes(70_000) + bytes(30_001)
TOML = f"""
name = "{BOARD}"
title = "A board of the tests"
tier = "source"
port = "none"
toolchain = "none"
chip = "esp32c3"

[flash]
methods = ["esptool"]
enter = "Hold BOOT while the chip is reset."

[flash.esptool]
chip = "esp32c3"
"""


@pytest.fixture(autouse=True)
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "boards" / BOARD
    folder.mkdir(parents=True)
    (folder / "board.toml").write_text(TOML, encoding="utf-8")
    monkeypatch.setenv("WASMOTE_BOARDS", str(folder.parent))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(DATA)
    return path


def wait_until_free(port: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            SerialLine(port, 115200).close()
            return
        except LocalError:
            time.sleep(0.1)
    pytest.fail(f"{port} is still in use")


def arguments(port: str, image: Path) -> list[object]:
    return ["flash", BOARD, "--port", port, "--image", image, "--wait", 0]


def test_esp_flash_writes_and_verifies(image: Path) -> None:
    chip = Esp32C3()
    chip.flash[:] = bytes(len(chip.flash))
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 0, done.err
    assert chip.stub and chip.ram, "esptool has loaded its stub and spoken to it"
    assert chip.flash[: len(DATA)] == DATA
    assert chip.erased_bytes == 102_400, "25 sectors, and no more"
    assert chip.flash[102_400:].count(0) == len(chip.flash) - 102_400
    assert done.result["verified"] and done.result["method"] == "esptool"


def test_esp_flash_of_the_real_board() -> None:
    """What `wasmote build esp32c3` makes arrives byte for byte."""
    image = built("esp32c3").with_name("wasmote-node.bin").read_bytes()
    chip = Esp32C3()
    with PtyWire(chip) as wire:
        done = wasmote("flash", "esp32c3", "--port", wire.path, "--wait", 0)
    assert done.code == 0, done.err
    assert chip.flash[: len(image)] == image
    assert done.result["bytes"] == len(image)


def test_esp_flash_that_was_killed_starts_over(image: Path) -> None:
    chip = Esp32C3()
    process: subprocess.Popen[str] | None = None

    def kill(count: int) -> None:
        if count == 2:
            assert process is not None
            process.send_signal(signal.SIGKILL)

    chip.on_data = kill
    with PtyWire(chip) as wire:
        process = start(*arguments(wire.path, image))
        assert finish(process).code == -signal.SIGKILL
        assert chip.flash[: len(DATA)] != DATA
        chip.on_data = lambda _count: None
        wait_until_free(wire.path)  # esptool is told to end when its parent has died
        chip._start()  # a person resets it: a pseudo-terminal has no control lines
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 0, done.err
    assert chip.flash[: len(DATA)] == DATA


def test_esp_flash_unplugged_in_the_middle(image: Path) -> None:
    chip = Esp32C3()
    with PtyWire(chip) as wire:
        chip.on_data = lambda count: wire.disconnect() if count == 2 else None
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 11
    assert "no whole image" in done.words and "run the same command again" in done.words


def test_esp_flash_wrong_chip(image: Path) -> None:
    chip = Esp32C3(chip_id=9)
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 2
    assert "ESP32-S3" in done.words and "ESP32-C3" in done.words and "nothing was written" in done.words
    assert chip.begins == 0


def test_esp_flash_locked_chip(image: Path) -> None:
    chip = Esp32C3(secure=True)
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 3
    assert "secure download mode" in done.words and "fuses" in done.words
    assert chip.begins == 0


def test_esp_flash_no_answer(image: Path) -> None:
    with PtyWire(Esp32C3(download=False)) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 6
    assert "no ESP answers" in done.words and "Hold BOOT" in done.words


def test_esp_flash_wrong_baud(image: Path) -> None:
    """The chip talks at another rate than its ROM loader does: a program of its own runs."""

    class Chatty(Esp32C3):
        def feed(self, data: bytes) -> bytes:
            super().feed(data)
            return b"boot log\r\n" * 2

    chip = Chatty(download=False)
    chip.baud = 74880
    with PtyWire(chip) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 6
    assert "cannot be understood" in done.words and "at another rate" in done.words


def test_esp_flash_port_that_is_not_there(image: Path) -> None:
    done = wasmote(*arguments("/dev/ttyNONE", image))
    assert done.code == 10 and "cannot open /dev/ttyNONE" in done.words


def test_esp_flash_dry_run(image: Path) -> None:
    chip = Esp32C3()
    with PtyWire(chip) as wire:
        assert wasmote(*arguments(wire.path, image), "--dry-run").code == 0
    assert chip.begins == 0


def test_esp_flash_resets_by_the_control_lines(image: Path) -> None:
    """Into the loader and out of it, with nobody pressing anything; over RFC 2217, which carries the lines."""
    chip = Esp32C3(download=False)
    image.write_bytes(DATA[:4000])
    config = FlashConfig(("esptool",), 0, esp_chip="esp32c3")
    with TcpWire(chip, parity="N") as wire:
        esp = Esp(wire.url, BOARD, config, 115200, progress=lambda _one: None, note=lambda _text: None)
        esp.write([(0, image)])
    assert chip.flash[:4000] == DATA[:4000]
    assert not chip.download and chip.resets >= 2


def test_esp_flash_of_several_files(tmp_path: Path) -> None:
    chip = Esp32C3()
    parts = [(0x0, DATA[:5000]), (0x8000, DATA[5000:8000]), (0x10000, DATA[:40_000])]
    files = []
    for offset, data in parts:
        path = tmp_path / f"{offset:x}.bin"
        path.write_bytes(data)
        files.append((offset, path))
    seen: list[Progress] = []
    config = FlashConfig(("esptool",), 0, esp_chip="esp32c3")
    with PtyWire(chip) as wire:
        esp = Esp(wire.path, BOARD, config, 460800, progress=seen.append, note=lambda _text: None)
        esp.check()
        esp.write(files)
    for offset, data in parts:
        assert chip.flash[offset : offset + len(data)] == data
    assert [one.done for one in seen] == sorted(one.done for one in seen)
    assert seen[-1].done == seen[-1].total == 48_000


def test_esp_load_ram(tmp_path: Path) -> None:
    """An image for RAM: a header, one segment, padding and checksum, as Espressif describes them."""
    code = bytes(range(64))
    checksum = 0xEF
    for byte in code:
        checksum ^= byte
    entry = 0x40380000
    header = bytes([0xE9, 1, 0, 0]) + entry.to_bytes(4, "little") + bytes([0xEE, 0, 0, 0, 5, 0]) + bytes(10)
    body = header + entry.to_bytes(4, "little") + len(code).to_bytes(4, "little") + code
    body += bytes(15 - len(body) % 16) + bytes([checksum])
    image = tmp_path / "ram.bin"
    image.write_bytes(body)
    chip = Esp32C3(knows_stub=False)
    with PtyWire(chip) as wire:
        config = FlashConfig(("esptool",), 0, esp_chip="esp32c3")
        esp = Esp(wire.path, BOARD, config, 115200, progress=lambda _one: None, note=lambda _text: None)
        esp.check()
        esp.load_ram(image)
    assert chip.ran_at == entry
    assert bytes(chip.ram[entry + at] for at in range(64)) == code
    assert chip.begins == 0


def test_esp_flash_of_the_board_itself() -> None:
    """boards/esp32c3: what the ROM would start is at the start of the flash, and nothing else was written."""
    image = built("esp32c3").with_suffix(".bin")
    chip = Esp32C3()
    with PtyWire(chip) as wire:
        done = wasmote("flash", "esp32c3", "--port", wire.path, "--no-build", "--wait", 0)
    assert done.code == 0, done.err
    data = image.read_bytes()
    assert data.startswith(bytes.fromhex("1d04dbae1d04dbae"))
    assert chip.flash[: len(data)] == data
    assert chip.erased_bytes == -(-len(data) // 4096) * 4096
    assert done.result["verified"]


def test_esp_load_ram_of_the_board_itself() -> None:
    """The image for RAM, through the ROM's own loader: every segment in its place, started at its entry."""
    image = built("esp32c3").with_name("wasmote-node-ram.bin")
    chip = Esp32C3(knows_stub=False)
    with PtyWire(chip) as wire:
        config = FlashConfig(("esptool",), 0, esp_chip="esp32c3")
        esp = Esp(wire.path, "esp32c3", config, 115200, progress=lambda _one: None, note=lambda _text: None)
        esp.check()
        esp.load_ram(image)
    assert chip.begins == 0
    with image.with_suffix(".elf").open("rb") as file:
        elf = ELFFile(file)
        assert chip.ran_at == elf["e_entry"]
        for name in (".text", ".rodata", ".data"):
            section = elf.get_section_by_name(name)
            start = section["sh_addr"]
            assert bytes(chip.ram[start + at] for at in range(section["sh_size"])) == section.data(), name
