"""Boards that run MicroPython: a simulated one that executes what it is sent, and MicroPython itself, in the form
of its WebAssembly port."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from micropython_board import UNIQUE_ID, MicroPythonBoard, PythonThenBootloader
from stm32_chip import Stm32Chip
from tool import wasmote
from wires import PtyWire

from wasmote.adapters import micropython
from wasmote.errors import UnreachableError

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
BASE = 0x08000000
DATA = random.Random(5).randbytes(9_000)
FILES = {"main.py": b"print('hello')\n", "lib/blob.bin": bytes(range(256)) * 5, "lib/deep/a.txt": b""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.bin"
    path.write_bytes(DATA)
    return path


def arguments(port: str, image: Path) -> list[object]:
    return ["flash", "netduinoplus2", "--port", port, "--image", image, "--wait", 0]


def test_micropython_is_recognised_and_described(root: Path) -> None:
    with PtyWire(MicroPythonBoard(root)) as wire:
        assert micropython.probe(wire.path)
        found = micropython.identify(wire.path)
        assert (found.version, found.platform, found.unique_id) == ("1.24.1", "pyboard", UNIQUE_ID.hex())
        assert "STM32F405RG" in found.text
        assert {(one.path, one.size) for one in micropython.list_files(wire.path)} == {
            (f"/{name}", len(data)) for name, data in FILES.items()
        }
    with PtyWire(Stm32Chip(boot0=False)) as wire:
        assert not micropython.probe(wire.path)


def test_micropython_files_are_saved(root: Path, tmp_path: Path) -> None:
    with PtyWire(MicroPythonBoard(root)) as wire:
        files = micropython.list_files(wire.path)
        micropython.save_files(wire.path, tmp_path / "saved", files)
    for name, data in FILES.items():
        assert (tmp_path / "saved" / name).read_bytes() == data


def test_flash_does_not_erase_files_unasked(root: Path, image: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        done = wasmote(*arguments(wire.path, image))
    assert done.code == 2
    assert "3 files of MicroPython" in done.words and "--save-files" in done.words and "main.py" in done.words
    assert board.runs_python and board.chip.writes == 0


def test_flash_saves_files_and_goes_to_the_bootloader_by_itself(
    root: Path, image: Path, tmp_path: Path
) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        done = wasmote(*arguments(wire.path, image), "--save-files", tmp_path / "saved")
    assert done.code == 0, done.err
    assert done.result["micropython"]["version"] == "1.24.1"
    assert board.chip.flash[: len(DATA)] == DATA
    for name, data in FILES.items():
        assert (tmp_path / "saved" / name).read_bytes() == data


def test_flash_dry_run_goes_to_the_bootloader_and_back(root: Path, image: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip())
    with PtyWire(board) as wire:
        done = wasmote(*arguments(wire.path, image), "--dry-run")
        assert done.code == 0, done.err
        assert board.runs_python and micropython.probe(wire.path)
    assert board.chip.writes == 0 and board.chip.resets == 1


def test_flash_that_is_refused_leaves_micropython_running(root: Path, image: Path) -> None:
    board = PythonThenBootloader(root, Stm32Chip(chip_id=0x431))
    with PtyWire(board) as wire:
        done = wasmote(*arguments(wire.path, image), "--discard-files")
    assert done.code == 2 and "STM32F411" in done.words
    assert board.runs_python and "runs MicroPython again" in done.err


def test_micropython_that_lost_its_mind(root: Path) -> None:
    class Deaf(MicroPythonBoard):
        def _execute(self, source: str) -> bytes:
            return b"\x04Traceback: MemoryError\r\n\x04"

    with PtyWire(Deaf(root)) as wire, pytest.raises(UnreachableError, match="MemoryError"):
        micropython.identify(wire.path)


# ---- MicroPython itself ----


class ProcessBoard:
    """A program whose standard input and output are the line."""

    def __init__(self, command: list[str | Path], folder: Path) -> None:
        self.baud: int | None = None
        self.wire = PtyWire(self)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder)
        self._thread = threading.Thread(target=self._forward, daemon=True)

    def feed(self, data: bytes) -> bytes:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(data)
            self._process.stdin.flush()
        return b""

    def _forward(self) -> None:
        assert self._process.stdout is not None
        while data := os.read(self._process.stdout.fileno(), 4096):
            self.wire.send(data)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with self.wire:
            self._thread.start()
            try:
                yield self.wire.path
            finally:
                self._process.kill()
                self._process.wait()
                self._thread.join()
                for pipe in (self._process.stdin, self._process.stdout):
                    assert pipe is not None
                    with contextlib.suppress(OSError):
                        pipe.close()


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with MicroPython's WebAssembly port and a script that puts its REPL on stdin and stdout."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("MicroPython's WebAssembly port needs nodejs and npm")
    folder = tmp_path_factory.mktemp("micropython")
    for name in ("package.json", "package-lock.json", ".npmrc", "micropython.mjs"):
        shutil.copy(HERE / "micropython" / name, folder)
    done = subprocess.run(
        [npm, "ci"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip(f"npm could not fetch MicroPython's WebAssembly port: {done.stderr[-300:]}")
    return folder


def test_micropython_itself(real: Path, tmp_path: Path) -> None:
    board = ProcessBoard(["node", "micropython.mjs"], real)
    with board.running() as port:
        found = None
        for _ in range(10):  # it takes a moment to start
            if found := micropython.probe(port):
                break
        assert found
        identity = micropython.identify(port)
        assert identity.raw["implementation"] == "micropython"
        assert identity.version == "1.27.0" and identity.unique_id == ""
        made = "import os\nos.mkdir('/saved')\nf = open('/saved/it.txt', 'w')\nf.write('real')\nf.close()"
        micropython._run(port, ["exec", made], "could not make a file")
        file = next(one for one in micropython.list_files(port) if one.path == "/saved/it.txt")
        assert file.size == 4
        micropython.save_files(port, tmp_path, [file])
    assert (tmp_path / "saved/it.txt").read_text() == "real"
