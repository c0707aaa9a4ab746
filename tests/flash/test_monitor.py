"""`wasmote monitor` and `wasmote boards --connected`, on nodes and boards at pseudo-terminals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

import pytest
from micropython_board import MicroPythonBoard
from stm32_chip import Stm32Chip
from support import HOST, built
from tool import wasmote
from wires import PtyWire

from wasmote.adapters import ports
from wasmote.adapters.boards import Board
from wasmote.adapters.ports import SerialPort
from wasmote.protocol import slipmux

pytestmark = pytest.mark.slow


@contextmanager
def serial_node() -> Iterator[tuple[str, str]]:
    """A host node with a serial device: its device and its address. Killed afterwards: a board that is pulled out."""
    built(HOST)
    command = [sys.executable, "-m", "wasmote", "--json", "emulate", HOST, "--serial", "--udp", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        started = json.loads(process.stdout.readline())
        device = next(one for one in started["addresses"] if "://" not in one).removeprefix("serial:")
        address = next(one for one in started["addresses"] if one.startswith("coap://"))
        try:
            yield device, address
        finally:
            os.kill(started["pid"], signal.SIGKILL)
            process.kill()


class Lines:
    """What a command prints, as it comes."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "wasmote", *map(str, arguments)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self._queue: Queue[str] = Queue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        self.seen: list[str] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._queue.put(line)

    def wait_for(self, text: str, timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                line = self._queue.get(timeout=left_s)
            except Empty:
                break
            self.seen.append(line)
            if text in line:
                return
        pytest.fail(f"'{text}' did not come; what came:\n{''.join(self.seen)}")

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(20)
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status


def test_monitor_goes_on_when_the_board_is_plugged_in_again(tmp_path: Path) -> None:
    port = tmp_path / "ttyBOARD"
    fib = Path(__file__).parents[2] / "wasm_apps" / "fib"
    lines: Lines | None = None
    try:
        with serial_node() as (device, address):
            port.symlink_to(device)
            lines = Lines("monitor", f"serial:{port}")
            lines.wait_for("connected to")
            assert wasmote("-t", address, "push", fib).code == 0
            lines.wait_for("fib")
        lines.wait_for("waiting until it is back")
        port.unlink()
        time.sleep(1.0)
        with serial_node() as (device, address):
            port.symlink_to(device)
            lines.wait_for("connected to")
            assert wasmote("-t", address, "push", fib).code == 0
            lines.wait_for("fib")
    finally:
        status = None if lines is None else lines.interrupt()
    assert status == 130


def test_monitor_shows_diagnostics_of_a_node_that_does_not_answer() -> None:
    class Crying(Stm32Chip):
        def feed(self, data: bytes) -> bytes:
            return slipmux.encode(slipmux.TEXT, b"fault: bus error at 0x08001234")

    with PtyWire(Crying(boot0=False)) as wire:
        lines = Lines("monitor", wire.path)
        try:
            lines.wait_for("node: fault: bus error at 0x08001234")
        finally:
            assert lines.interrupt() == 130


def test_monitor_of_a_device_that_never_was() -> None:
    done = wasmote("monitor", "/dev/ttyNONE")
    assert done.code == 10 and "no such serial device" in done.words


def test_boards_connected_asks_who_is_there(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    with (
        serial_node() as (device, _address),
        PtyWire(MicroPythonBoard(tmp_path)) as python,
        PtyWire(Stm32Chip(boot0=False)) as silent,
    ):
        words = [word for path in (device, python.path, silent.path) for word in ("--port", path)]
        done = wasmote("boards", "--connected", "--probe", *words)
    assert done.code == 0, done.err
    rows = {row["port"]: row for row in json.loads(done.out)}
    assert rows[device]["boards"] == [HOST] and rows[device]["runs"].startswith("wasmote ")
    assert rows[python.path]["runs"].startswith("MicroPython 1.24.1 on Board of the tests")
    assert rows[silent.path]["runs"] == ""


def test_boards_connected_guesses_by_usb_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        SerialPort("/dev/ttyACM0", "0483:374b", "STM32 STLink"),
        SerialPort("/dev/ttyACM1", "f055:9800", "Pyboard Virtual Comm Port"),
        SerialPort("/dev/ttyS9"),
    ]
    monkeypatch.setattr("wasmote.cli.boards.serial_ports", lambda: found)
    monkeypatch.setattr("wasmote.cli.boards.usb_devices", lambda: ["0483:df11", "1d6b:0002"])
    rows = json.loads(wasmote("boards", "--connected").out)
    assert "nucleo_f429zi" in rows[0]["boards"]
    assert rows[1]["boards"] == [] and "MicroPython" in rows[1]["runs"]
    assert rows[2]["boards"] == [] and rows[2]["runs"] == ""
    assert [row["usb"] for row in rows[3:]] == ["0483:df11"]
    assert "netduinoplus2" in rows[3]["boards"]
    assert wasmote("boards", "--probe").code == 2


def test_usb_devices_are_read_from_files(tmp_path: Path) -> None:
    for name, vendor, product in (("1-1", "0483", "DF11"), ("1-2", "303a", "1001")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "idVendor").write_text(f"{vendor}\n")
        (tmp_path / name / "idProduct").write_text(f"{product}\n")
    (tmp_path / "1-3").mkdir()
    (tmp_path / "1-3" / "idVendor").write_text("0000\n")
    assert ports.usb_devices(tmp_path) == ["0483:df11", "303a:1001"]
    assert ports.usb_devices(tmp_path / "nowhere") == []
    board = Board("b", "B", "built", "p", "t", "c", tmp_path, usb={"serial": ["303A:1001"]})
    assert ports.guess_boards(SerialPort("/dev/x", "303a:1001"), [board]) == ["b"]
    assert ports.guess_boards(SerialPort("/dev/x"), [board]) == []
