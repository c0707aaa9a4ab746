"""Boards that run MicroPython: recognise one, read its identity, save its files, send it to its bootloader.

It is recognised by the handshake of its raw REPL; all else goes through mpremote, which runs as a process of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from wasmote.adapters.programmers import Program
from wasmote.adapters.serial_line import SerialLine
from wasmote.adapters.tools import need_tool
from wasmote.errors import LocalError, UnreachableError

BAUD = 115200
_RAW_REPL = b"raw REPL; CTRL-B to exit\r\n>"
_PROBE_S = 1.5
_BOOTLOADER_S = 1.0
_PATIENCE_S = 300.0  # a megabyte at 115200 baud takes a third of it

# Both run on the board. Its os lacks walk(), and some ports lack uname() or unique_id().
_IDENTIFY = """
import sys, json
d = {"implementation": sys.implementation.name, "version": ".".join(str(n) for n in sys.implementation[1][:3])}
d["platform"] = sys.platform
try:
    import os
    u = os.uname()
    d["machine"] = u.machine
    d["release"] = u.release
except (ImportError, AttributeError):
    d["machine"] = getattr(sys.implementation, "_machine", "")
try:
    import machine, binascii
    d["unique_id"] = binascii.hexlify(machine.unique_id()).decode()
except (ImportError, AttributeError):
    pass
print(json.dumps(d))
"""
_LIST = """
import os, json
def walk(folder):
    found = []
    for entry in os.ilistdir(folder):
        path = folder.rstrip("/") + "/" + entry[0]
        if entry[1] & 0x4000:
            found += walk(path)
        else:
            try:
                found.append([path, os.stat(path)[6]])
            except OSError:
                found.append([path, -1])
    return found
print(json.dumps(walk("/")))
"""


@dataclass(frozen=True)
class Identity:
    """What a board says about itself. unique_id: hexadecimal, "" where its port has none. raw: all of it."""

    version: str
    machine: str
    platform: str
    unique_id: str
    raw: dict[str, Any] = field(repr=False)

    @property
    def text(self) -> str:
        where = f" on {self.machine}" if self.machine else ""
        return f"MicroPython {self.version}{where}{f', id {self.unique_id}' if self.unique_id else ''}"


@dataclass(frozen=True)
class BoardFile:
    """A file on a board: an absolute path, and its size in bytes (-1: the board itself cannot tell)."""

    path: str
    size: int


def probe(port: str, baud: int = BAUD) -> bool:
    """Does MicroPython answer here? Interrupts the program that it runs. Raises LocalError where the port cannot
    be used."""
    with SerialLine(port, baud) as line:
        line.write(b"\r\x03\x03")
        time.sleep(0.1)
        line.discard()
        line.write(b"\r\x01")
        deadline = time.monotonic() + _PROBE_S
        heard = b""
        while (left_s := deadline - time.monotonic()) > 0 and not heard.endswith(_RAW_REPL):
            heard += line.read_some(left_s)
        line.write(b"\r\x02")
        return heard.endswith(_RAW_REPL)


def identify(port: str) -> Identity:
    """What the board says about itself. Raises UnreachableError."""
    raw = json.loads(_execute(port, _IDENTIFY, "could not read the board's identity"))
    return Identity(
        version=str(raw.get("version", "")),
        machine=str(raw.get("machine", "")),
        platform=str(raw.get("platform", "")),
        unique_id=str(raw.get("unique_id", "")),
        raw=raw,
    )


def list_files(port: str) -> list[BoardFile]:
    """All files on the board. Raises UnreachableError."""
    raw = json.loads(_execute(port, _LIST, "could not list the board's files"))
    return [BoardFile(str(path), int(size)) for path, size in raw]


def save_files(
    port: str, folder: Path, files: Sequence[BoardFile], on_saved: Callable[[int], None] = lambda _count: None
) -> None:
    """Copy files into folder, which is made; sizes are compared. Raises UnreachableError, LocalError."""
    for count, one in enumerate(files, 1):
        parts = PurePosixPath(one.path).parts[1:]
        if not parts or ".." in parts:
            raise LocalError(
                f"a file of the board has an odd name: {one.path!r}",
                next_step="save its files by hand with mpremote",
            )
        target = folder.joinpath(*parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise LocalError(
                f"cannot make {target.parent}",
                cause=err.strerror or str(err),
                next_step="give another folder",
            ) from err
        _run(port, ["fs", "cp", f":{one.path}", str(target)], f"could not save {one.path}")
        if not target.is_file() or one.size not in (-1, target.stat().st_size):
            raise UnreachableError(
                f"could not save {one.path}",
                cause=f"it has {one.size} bytes on the board and other ones in {target}",
                next_step="run the same command again",
            )
        on_saved(count)


def to_bootloader(port: str) -> None:
    """machine.bootloader(): the chip starts the bootloader in its ROM, where its port knows how."""
    # The board says nothing more, so it is not waited for. mpremote's parting bytes must come while Python still
    # runs: a bootloader would take the first of them as the measure of the line.
    _run(
        port,
        ["exec", "--no-follow", "import machine, time\ntime.sleep_ms(400)\nmachine.bootloader()"],
        "could not switch the board to its bootloader",
    )
    time.sleep(_BOOTLOADER_S)


def _execute(port: str, script: str, failure: str) -> str:
    lines = [line for line in _run(port, ["exec", script], failure).lines if line.startswith(("{", "["))]
    if not lines:
        raise UnreachableError(failure, cause="it printed nothing", next_step="reset the board and try again")
    return lines[-1]


def _run(port: str, words: Sequence[str], failure: str) -> Program:
    # resume: without a soft reset, which would run the board's own program again.
    program = Program([need_tool("mpremote"), "connect", port, "resume", *words], timeout_s=_PATIENCE_S)
    if program.run() != 0:
        raise UnreachableError(
            failure,
            cause=program.said,
            next_step="close other programs that use the port, reset the board, and try again",
        )
    return program
