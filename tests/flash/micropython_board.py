"""A board that runs MicroPython, as far as its raw REPL goes: what it receives it really executes, in this Python, with
`os` and `machine` put in its place and a folder as its file system."""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import sys
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stm32_chip import Stm32Chip

_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
UNIQUE_ID = bytes(range(0xA0, 0xAC))


class MicroPythonBoard:
    """root: its file system. on_bootloader: machine.bootloader() was called."""

    def __init__(self, root: Path, on_bootloader: Callable[[], None] = lambda: None) -> None:
        self.baud: int | None = None
        self.root = root
        self.executed: list[str] = []
        self._on_bootloader = on_bootloader
        self._raw = False
        self._source = bytearray()
        self._globals: dict[str, Any] = {}
        self._restart()

    def feed(self, data: bytes) -> bytes:
        return b"".join(self._take(byte) for byte in data)

    def _take(self, byte: int) -> bytes:
        if byte == 0x01:
            self._raw = True
            self._source.clear()
            return b"\r\n" + _BANNER
        if byte == 0x02:
            self._raw = False
            return b"\r\nMicroPython v1.24.1 on 2024-11-29; a board of the tests with nothing\r\n>>> "
        if byte == 0x03:
            self._source.clear()
            return b"" if self._raw else b"\r\n>>> "
        if not self._raw:
            return bytes([byte])  # the friendly REPL echoes
        if byte != 0x04:
            self._source.append(byte)
            # Raw paste is asked for like this; this board knows the question and has no such mode.
            if bytes(self._source) == b"\x05A\x01":
                self._source.clear()
                return b"R\x00"
            return b""
        source = self._source.decode()
        self._source.clear()
        if not source:
            self._restart()
            return b"OK\r\nMPY: soft reboot\r\n" + _BANNER
        return b"OK" + self._execute(source) + b">"

    def _restart(self) -> None:
        names = {name: getattr(builtins, name) for name in dir(builtins)}
        names |= {"open": self._open, "__import__": self._import}
        self._globals = {"__builtins__": names, "__name__": "__main__"}

    def _execute(self, source: str) -> bytes:
        self.executed.append(source)
        out, err = io.StringIO(newline="\r\n"), ""
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(source, "<stdin>", "exec"), self._globals)
        except Exception:
            err = traceback.format_exc(limit=0)
        return out.getvalue().encode() + b"\x04" + err.encode() + b"\x04"

    # ---- what its modules are ----

    def _real(self, path: str) -> Path:
        return self.root / str(path).lstrip("/")

    def _open(self, path: str, mode: str = "r") -> Any:
        return self._real(path).open(mode)

    def _import(self, name: str, *_: object) -> types.ModuleType:
        module = types.ModuleType(name)
        if name in ("os", "uos"):
            module.__dict__.update(
                ilistdir=self._ilistdir,
                stat=lambda path: tuple(self._real(path).stat()),
                uname=lambda: types.SimpleNamespace(
                    sysname="pyboard", release="1.24.1", machine="Board of the tests with STM32F405RG"
                ),
            )
        elif name == "machine":
            module.__dict__.update(unique_id=lambda: UNIQUE_ID, bootloader=self._on_bootloader)
        elif name == "sys":

            class Implementation(tuple):
                name = "micropython"

            module.__dict__.update(
                implementation=Implementation(("micropython", (1, 24, 1, ""))),
                platform="pyboard",
                stdout=sys.stdout,
            )
        elif name == "json":
            return json
        elif name in ("binascii", "hashlib"):
            return __import__(name)
        elif name == "time":
            module.__dict__.update(sleep_ms=lambda ms: time.sleep(ms / 1000))
        else:
            raise ImportError(f"no module named '{name}'")
        return module

    def _ilistdir(self, path: str = "/") -> Any:
        for entry in sorted(self._real(path).iterdir()):
            yield (
                entry.name,
                0x4000 if entry.is_dir() else 0x8000,
                0,
                0 if entry.is_dir() else entry.stat().st_size,
            )


class PythonThenBootloader:
    """An STM32 with MicroPython, whose machine.bootloader() does what it says; a start of the flash memory runs
    MicroPython again as long as that is in it."""

    def __init__(self, root: Path, chip: Stm32Chip) -> None:
        self.chip = chip
        self.python = MicroPythonBoard(root, self._to_bootloader)
        self.runs_python = True
        self.chip.flash[:256] = b"\x22" * 256  # MicroPython's own image, as far as it matters here
        self.chip.on_go = self._go

    def _to_bootloader(self) -> None:
        self.runs_python = False
        self.chip.reset()

    def _go(self, _address: int) -> None:
        self.runs_python = self.chip.flash[:256] == b"\x22" * 256

    @property
    def baud(self) -> int | None:
        return 115200 if self.runs_python else self.chip.baud

    @baud.setter
    def baud(self, value: int) -> None:
        self.chip.baud = value

    def feed(self, data: bytes) -> bytes:
        return self.python.feed(data) if self.runs_python else self.chip.feed(data)
