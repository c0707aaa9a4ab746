"""Flashing by other projects' programs, each run as a process of its own: dfu-util, openocd, st-flash.

They write an image at one address and read it back. What they print is looked through for progress, and for the
causes that a person can do something about; the rest of it is shown as it is."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wasmote.adapters.emulator import die_with_parent
from wasmote.adapters.flash_config import FlashConfig
from wasmote.adapters.tools import need_tool
from wasmote.errors import (
    InputError,
    LocalError,
    RefusedError,
    UnfinishedError,
    UnreachableError,
    WasmoteError,
)
from wasmote.protocol.stm32_boot import CHIPS, Progress

_SHOWN_LINES = 12
_NOT_PERMITTED = re.compile(r"LIBUSB_ERROR_ACCESS|[Pp]ermission denied|Cannot open DFU device|Access denied")
_NO_DEVICE = re.compile(
    r"No DFU capable USB device|Couldn't find any ST-Link|couldn't find.*stlink|Error: open failed|"
    r"unable to open|init mode failed|no stlink|No device found|Target not examined",
    re.IGNORECASE,
)
_LOCKED = re.compile(
    r"device protected|readout protect|RDP|dfuERROR.*errVENDOR|not writeable|write protect|"
    r"Read protected|Device is write protected",
    re.IGNORECASE,
)


@dataclass
class Program:
    """One run of a program. on_line gets each line as it comes, ended by a line feed or a carriage return."""

    command: Sequence[str | Path]
    on_line: Callable[[str], None] = lambda _line: None
    env: dict[str, str] | None = None
    timeout_s: float | None = None  # after which it is ended, and says so itself in lines
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The last lines, for a text about a failure."""
        return "\n".join(self.lines[-_SHOWN_LINES:])

    def run(self) -> int:
        """Its exit status. It ends with this process, however that ends (on Linux also
        if it is killed)."""
        with subprocess.Popen(
            [str(word) for word in self.command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.env,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        ) as process:
            assert process.stdout is not None
            rest = b""
            watch = threading.Timer(self.timeout_s, self._expire, [process]) if self.timeout_s else None
            if watch is not None:
                watch.daemon = True
                watch.start()
            try:
                while data := process.stdout.read1(4096):  # type: ignore[attr-defined]
                    *whole, rest = re.split(rb"[\r\n]+", rest + data)
                    for line in whole:
                        self._take(line)
            except BaseException:
                process.terminate()
                raise
            finally:
                if watch is not None:
                    watch.cancel()
            self._take(rest)
        return process.returncode

    def _expire(self, process: subprocess.Popen[bytes]) -> None:
        self.lines.append(f"nothing more came in {self.timeout_s:g} s")
        process.kill()

    def _take(self, raw: bytes) -> None:
        line = raw.decode("utf-8", "replace").strip()
        if line:
            self.lines.append(line)
            self.on_line(line)


@dataclass
class Programmer:
    """What the three have in common. image: what address receives. progress as in Stm32Uart."""

    board: str
    config: FlashConfig
    address: int
    image: bytes
    progress: Callable[[Progress], None]
    note: Callable[[str], None]

    def dfu(self) -> None:
        """dfu-util: the bootloader in the chip's ROM, over USB. It does not verify, so the image is read back
        here."""
        tool = need_tool("dfu-util")
        base: list[str | Path] = [tool, "-d", self.config.dfu_usb, "-a", str(self.config.dfu_alt)]
        with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
            image, back, first = (Path(folder) / name for name in ("image.bin", "back.bin", "first.bin"))
            image.write_bytes(self.image)
            self._run([*base, "-s", f"0x{self.address:08x}", "-D", image], self._percent)
            self._run([*base, "-s", f"0x{self.address:08x}:{len(self.image)}", "-U", back], self._percent)
            found = back.read_bytes() if back.is_file() else b""
            if found != self.image:
                at = next(
                    (i for i, (a, b) in enumerate(zip(found, self.image, strict=False)) if a != b), len(found)
                )
                raise UnfinishedError(
                    "the image was not written as it is",
                    cause=f"what dfu-util reads back differs at 0x{self.address + at:08x}",
                    next_step="run the same command again",
                )
            # An upload can leave the bootloader; that it is gone then looks like an error to some versions.
            Program([*base, "-s", f"0x{self.address:08x}:4:leave", "-U", first]).run()

    def openocd(self) -> None:
        """openocd: a debug probe."""
        tool = need_tool("openocd")
        base: list[str | Path] = [tool]
        for name in self.config.openocd_config:
            base += ["-f", name]
        probe = self._run([*base, "-c", "init; reset halt; flash probe 0; shutdown"], begun=False)
        self._check_chip(re.search(r"device id = 0x([0-9a-fA-F]+)", "\n".join(probe.lines)))
        with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
            image = Path(folder) / "image.bin"
            image.write_bytes(self.image)
            program = f"program {{{image}}} 0x{self.address:08x} verify reset exit"
            done = self._run([*base, "-c", program], self._openocd_stage)
            self._need(done, r"\*\* Verified OK \*\*", "openocd did not say that it verified the image")

    def st_flash(self) -> None:
        """st-flash (stlink tools): a debug probe. It verifies by itself."""
        tool = need_tool("st-flash")
        info = Program([need_tool("st-info"), "--chipid"])
        if info.run() != 0:
            raise self._error(info, begun=False)
        self._check_chip(re.search(r"0x([0-9a-fA-F]{3,8})", "\n".join(info.lines)))
        with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
            image = Path(folder) / "image.bin"
            image.write_bytes(self.image)
            done = self._run([tool, "--reset", "write", image, f"0x{self.address:08x}"], self._pages)
            self._need(done, r"verified", "st-flash did not say that it verified the image")

    # ---- what they print ----

    def _percent(self, line: str) -> None:
        if found := re.search(r"^(\w+)\s*\[[=# ]*\]\s*(\d+)%", line):
            stage = {"Erase": "erase", "Download": "write", "Upload": "verify"}.get(found[1])
            if stage:
                self.progress(Progress(stage, len(self.image) * int(found[2]) // 100, len(self.image)))

    def _pages(self, line: str) -> None:
        if found := re.search(r"(\d+)/(\d+) pages written", line):
            self.progress(Progress("write", int(found[1]), int(found[2])))

    def _openocd_stage(self, line: str) -> None:
        if found := re.match(r"\*\* (\w+) (Started|Finished|OK) \*\*", line):
            stage = "verify" if found[1].startswith("Verif") else "write"
            total = len(self.image)
            self.progress(Progress(stage, 0 if found[2] == "Started" else total, total))

    # ---- what goes wrong ----

    def _run(
        self,
        command: Sequence[str | Path],
        on_line: Callable[[str], None] = lambda _line: None,
        *,
        begun: bool = True,
    ) -> Program:
        program = Program(command, on_line)
        if program.run() != 0:
            raise self._error(program, begun=begun)
        return program

    def _need(self, done: Program, pattern: str, otherwise: str) -> None:
        if not re.search(pattern, "\n".join(done.lines)):
            raise UnfinishedError(otherwise, cause=done.said, next_step="run the same command again")

    def _check_chip(self, found: re.Match[str] | None) -> None:
        """found: the device ID; its lower 12 bits are the product's."""
        if found is None or not self.config.chip_ids:
            return
        chip = int(found[1], 16) & 0xFFF
        if chip not in self.config.chip_ids:
            wanted = " or ".join(f"0x{one:03x}" for one in self.config.chip_ids)
            raise InputError(
                f"the connected chip is not that of {self.board}",
                cause=f"it is {CHIPS.get(chip, 'an unknown chip')} (ID 0x{chip:03x});"
                f" {self.board} has {wanted}",
                next_step="nothing was written: name the board that is connected (`wasmote boards`)",
            )

    def _error(self, program: Program, *, begun: bool) -> WasmoteError:
        name = Path(program.command[0]).name
        everything = "\n".join(program.lines)
        failed = f"{name} could not flash {self.board}"
        if _NOT_PERMITTED.search(everything):
            return LocalError(
                failed,
                cause=program.said,
                next_step="this user may not use the USB device: install the tool's udev rules,"
                " plug the board in again",
            )
        if _LOCKED.search(everything):
            return RefusedError(
                failed,
                cause=program.said,
                next_step="the chip is protected: take the protection off with the tool itself"
                " (the chip erases itself for it), or through its UART: --method stm32-uart --unlock",
            )
        if _NO_DEVICE.search(everything):
            return UnreachableError(
                failed,
                cause=program.said,
                next_step=f"connect it. {self.config.enter}"
                if name == "dfu-util"
                else "connect the debug probe",
            )
        if not begun:
            return UnreachableError(failed, cause=program.said, next_step="see above")
        return UnfinishedError(
            failed, cause=program.said, next_step="run the same command again; what it says is above"
        )
