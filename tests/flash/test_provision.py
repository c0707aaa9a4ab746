"""`wasmote provision` on a node, on boards that run MicroPython, on chips in their bootloader, and on silence."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from emulated_board import EmulatedBoard
from esp32c3_rom import Esp32C3
from micropython_board import UNIQUE_ID, MicroPythonBoard, PythonThenBootloader
from stm32_chip import Stm32Chip
from support import STM32, built
from tool import Done, wasmote
from wires import PtyWire

from wasmote.adapters import micropython
from wasmote.adapters.serial_line import SerialLine

pytestmark = pytest.mark.slow

BOARD = "netduinoplus2"
FILES = {"main.py": b"print('hello')\n", "lib/blob.bin": bytes(range(256)) * 5}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def provision(wire: PtyWire, *more: object) -> Done:
    return wasmote("provision", "--port", wire.path, *more)


def unplug_soon(wire: PtyWire) -> None:
    """What becomes of a port that the chip itself serves on USB: gone, once the last words have left."""
    threading.Timer(0.7, wire.disconnect).start()


def test_provision_describes_micropython_and_touches_nothing(root: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        done = provision(wire)
    assert done.code == 0, done.err
    result = done.result
    assert result["runs"] == "micropython" and result["text"].startswith(
        "MicroPython 1.24.1 on Board of the tests"
    )
    assert result["identity"]["micropython"]["unique_id"] == UNIQUE_ID.hex()
    assert {(one["path"], one["bytes"]) for one in result["files"]} == {
        (f"/{name}", len(data)) for name, data in FILES.items()
    }
    # The machine names the chip, and more than one board has that: the person decides.
    assert {BOARD, "feather_stm32f405"} <= set(result["boards"])
    assert result["next"] == f"wasmote flash BOARD --port {wire.path} --save-files FOLDER"
    assert board.runs_python and board.chip.resets == 0 and "saved_to" not in result


def test_provision_saves_goes_to_the_bootloader_and_back(root: Path, tmp_path: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        words = ("--board", BOARD, "--save-files", tmp_path / "saved", "--bootloader", "--back")
        done = provision(wire, *words)
        assert done.code == 0, done.err
        assert board.runs_python and micropython.probe(wire.path)
    assert done.result["runs"] == "micropython"
    assert done.result["identity"]["bootloader"] == {"chip_id": 0x413, "version": "3.1", "locked": False}
    assert done.result["next"] == f"wasmote flash {BOARD} --port {wire.path} --discard-files"
    assert board.chip.resets == 1 and board.chip.writes == 0 and not board.chip.erased
    for name, data in FILES.items():
        assert (tmp_path / "saved" / name).read_bytes() == data


def test_provision_leaves_it_in_the_bootloader_and_a_second_run_brings_it_back(root: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        done = provision(wire, "--bootloader", "--board", BOARD)
        assert done.code == 0, done.err
        assert done.result["runs"] == "bootloader" and not board.runs_python
        assert done.result["next"] == f"wasmote flash {BOARD} --port {wire.path}"
        files = provision(wire, "--save-files", root.parent / "saved")
        assert files.code == 2 and "--back" in files.words and not board.runs_python
        done = provision(wire, "--back")
        assert done.code == 0, done.err
        assert done.result["runs"] == "micropython" and board.runs_python


def test_looking_for_a_node_gives_micropython_no_commands(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter([0x0104, 0x0404, 0x4142])
    monkeypatch.setattr("wasmote.adapters.serial_line.secrets.randbelow", lambda _limit: next(ids))
    with PtyWire(MicroPythonBoard(root)) as wire:
        with SerialLine(wire.path, 115200) as line:
            assert line.wait_hello(0.5, lambda _text: None) is None
        assert b"AB" in wire.received and not set(wire.received) & {1, 2, 3, 4, 5}


def test_provision_of_another_chip_goes_back(root: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip(chip_id=0x431))
    with PtyWire(board) as wire:
        done = provision(wire, "--bootloader", "--board", BOARD)
    assert done.code == 2 and "STM32F411" in done.words
    assert board.runs_python


def test_provision_where_the_bootloader_does_not_come(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmote.cli.provision.usb_devices", list)
    with PtyWire(MicroPythonBoard(root)) as wire:
        done = provision(wire, "--bootloader")
        assert done.code == 6 and "machine.bootloader()" in done.words and "reset the board" in done.words
    with PtyWire(MicroPythonBoard(root, on_bootloader=lambda: unplug_soon(wire))) as wire:
        done = provision(wire, "--bootloader")
    assert done.code == 6 and "the port is gone" in done.words


def test_provision_finds_the_bootloader_on_usb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmote.cli.provision.usb_devices", lambda: ["1d6b:0002", "0483:df11"])
    with PtyWire(MicroPythonBoard(root, on_bootloader=lambda: unplug_soon(wire))) as wire:
        done = provision(wire, "--bootloader", "--board", BOARD)
    assert done.code == 0, done.err
    assert done.result["identity"]["bootloader"] == {"usb": "0483:df11"}
    assert done.result["next"] == f"wasmote flash {BOARD} --method dfu"


def test_provision_of_chips_in_their_bootloader() -> None:
    with PtyWire(Stm32Chip()) as wire:
        found = provision(wire)
        assert found.code == 0, found.err
        assert found.result["runs"] == "bootloader" and BOARD in found.result["boards"]
        assert provision(wire, "--board", "blackpill_f411ce").code == 2
        rows = wasmote("boards", "--connected", "--probe", "--port", wire.path)
        assert "STM32F405" in rows.out and BOARD in rows.out
    with PtyWire(Stm32Chip(locked=True)) as wire:
        locked = provision(wire)
        assert locked.result["identity"]["bootloader"]["locked"] is True
        refused = provision(wire, "--back")
        assert refused.code == 3 and "readout protection" in refused.words


def test_provision_of_an_esp_in_its_rom_loader() -> None:
    with PtyWire(Esp32C3()) as wire:
        done = provision(wire, "--board", "esp32c3")
    assert done.code == 0, done.err
    assert done.result["identity"]["bootloader"] == {"chip": "esp32c3", "mac": "a0:b0:01:02:03:04"}
    assert done.result["next"] == f"wasmote flash esp32c3 --port {wire.path}"


def test_provision_of_a_node(tmp_path: Path) -> None:
    chip = Stm32Chip()
    image = built(STM32).with_suffix(".bin").read_bytes()
    chip.flash[: len(image)] = image
    with EmulatedBoard(tmp_path, chip) as board:
        done = provision(board.wire, "--back")  # from the bootloader, into the node
        assert done.code == 0, done.err
        assert done.result["runs"] == "wasmote" and done.result["boards"] == [STM32]
        assert done.result["identity"]["wasmote"]["chip"] == "stm32f405rg"
        assert done.result["next"] == f"wasmote flash {STM32} --port {board.path}"
        wrong = provision(board.wire, "--board", "blackpill_f411ce")
        assert wrong.code == 2 and STM32 in wrong.words
        refused = provision(board.wire, "--bootloader")
        assert refused.code == 2 and "runs wasmote" in refused.words


def test_provision_of_silence() -> None:
    with PtyWire(Stm32Chip(boot0=False)) as wire:
        done = provision(wire, "--board", BOARD)
    assert done.code == 6 and "nothing answers" in done.words and "BOOT0" in done.words
    assert wasmote("provision", "--port", "/dev/ttyNONE").code == 10
