"""Flashing an ESP through esptool, which runs as a process of its own (its licence is the GPL, so it is never
imported).

esptool resets the chip into its ROM loader by the port's control lines, checks the chip, and has the chip compute a
digest of what was written. A write that was cut off starts again from the beginning of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wasmote.adapters.flash_config import FlashConfig
from wasmote.adapters.programmers import Program
from wasmote.adapters.tools import need_tool
from wasmote.errors import (
    InputError,
    LocalError,
    RefusedError,
    UnfinishedError,
    UnreachableError,
    WasmoteError,
)
from wasmote.protocol.stm32_boot import Progress

_PERCENT = re.compile(r"Writing at 0x[0-9a-f]+ .*?([\d.]+)%")
_VERIFIED = "Hash of data verified"
_FATAL = re.compile(r"A fatal error occurred: (.*)")
_MAC = re.compile(r"^(?:BASE )?MAC: +([0-9a-f:]{17})$", re.MULTILINE)
_WRONG_CHIP = re.compile(r"This chip is (\S+), not (\S+?)\.(?:\s|$)")
_SECURED = re.compile(r"(Secure Boot|Flash Encryption): Enabled|(Secure Download Mode)", re.IGNORECASE)
_NOISE = ("Invalid head of packet", "noise or corruption", "Invalid SLIP escape", "Packet content transfer")
ROM_BAUD = 115200
_NO_SECURITY_INFO = ("esp8266", "esp32")  # their ROM does not know the question


@dataclass
class Esp:
    """One ESP on one port. baud: for the transfer; the first words are always at 115200."""

    port: str
    board: str
    config: FlashConfig
    baud: int
    progress: Callable[[Progress], None]
    note: Callable[[str], None]

    def check(self) -> str:
        """See that the chip is there, is the board's, and is not locked; its MAC address, "" where esptool does not
        tell. It stays in its ROM loader."""
        word = "read-mac" if self.config.esp_chip in _NO_SECURITY_INFO else "get-security-info"
        # At the ROM's own rate: a chip that no control line resets would stay at another one.
        program = self._run([*self._base(after="no-reset", baud=ROM_BAUD), "--no-stub", word], begun=False)
        if found := _SECURED.search("\n".join(program.lines)):
            raise RefusedError(
                f"the chip on {self.port} is locked",
                cause=f"{(found[1] or found[2]).lower()} is on: it takes signed or encrypted images only",
                next_step="nothing was written; its fuses cannot be set back:"
                " use another board, or sign the image with the vendor's tools",
            )
        mac = _MAC.search("\n".join(program.lines))
        return mac[1] if mac else ""

    def write(self, files: Sequence[tuple[int, Path]]) -> None:
        """Write files at their offsets, verify them, and reset the chip."""
        total = sum(path.stat().st_size for _, path in files)
        written = 0

        def on_line(line: str) -> None:
            nonlocal written
            if found := _PERCENT.search(line):
                size = files[min(written, len(files) - 1)][1].stat().st_size
                before = sum(path.stat().st_size for _, path in files[:written])
                self.progress(Progress("write", before + int(size * float(found[1]) / 100), total))
            elif _VERIFIED in line:
                written += 1

        words = [word for offset, path in files for word in (f"0x{offset:x}", str(path))]
        program = self._run([*self._base(after="hard-reset"), "write-flash", *words], on_line)
        if sum(_VERIFIED in line for line in program.lines) != len(files):
            raise UnfinishedError(
                "esptool did not say that it verified the image",
                cause=program.said,
                next_step="run the same command again",
            )

    def load_ram(self, path: Path) -> None:
        """Load an image into RAM and start it there; the flash memory stays as it is."""
        self._run([*self._base(after="no-reset"), "--no-stub", "load-ram", str(path)], begun=False)

    # ---- esptool ----

    def _base(self, *, after: str, baud: int | None = None) -> list[str | Path]:
        words: list[str | Path] = [need_tool("esptool"), "--chip", self.config.esp_chip, "--port", self.port]
        return [*words, "--baud", str(baud or self.baud), "--after", after]

    def _run(
        self,
        command: Sequence[str | Path],
        on_line: Callable[[str], None] = lambda _line: None,
        *,
        begun: bool = True,
    ) -> Program:
        started = False

        def watch(line: str) -> None:
            nonlocal started
            # From here on the flash memory is being erased.
            started = started or line.startswith(
                ("Flash will be erased", "Compressed", "Writing at", "Erasing")
            )
            on_line(line)

        env = {**os.environ, "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}
        program = Program(command, watch, env)
        if program.run() != 0:
            raise self._error(program, begun=begun and started)
        return program

    def _error(self, program: Program, *, begun: bool) -> WasmoteError:
        text = "\n".join(program.lines)
        fatal = _FATAL.search(text)
        why = fatal[1].strip() if fatal else program.said
        enter = self.config.enter
        if begun:
            return UnfinishedError(
                f"flashing through {self.port} failed",
                cause=f"{why}; the chip has no whole image now",
                next_step=f"check cable and supply, then run the same command again: it starts over. {enter}",
            )
        if found := _WRONG_CHIP.search(text):
            return InputError(
                f"the chip on {self.port} is not that of {self.board}",
                cause=f"it is an {found[1]}; {self.board} has an {found[2]}",
                next_step="nothing was written: name the board that is connected (`wasmote boards`),"
                " or another --port",
            )
        if "Could not open" in text or "doesn't exist" in text:
            return LocalError(
                f"cannot open {self.port}",
                cause=why,
                next_step="plug the board in, check the port's name (`wasmote boards --connected`), and close"
                " other programs that use it",
            )
        if any(one in text for one in _NOISE):
            return UnreachableError(
                f"the chip on {self.port} cannot be understood",
                cause=f"{why} (at 115200 baud): it runs a program that talks at another rate, or the line is noisy",
                next_step=f"reset it into its ROM loader, or try a lower --baud. {enter}",
            )
        return UnreachableError(
            f"no ESP answers on {self.port}",
            cause=why,
            next_step=f"{enter or 'hold BOOT while the chip is reset.'} Then run the same command again",
        )
