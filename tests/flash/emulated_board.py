"""A chip that becomes a node: when the bootloader is told to start the flash memory, QEMU runs what is in it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from stm32_chip import Stm32Chip
from wires import PtyWire

from wasmote.adapters.tools import need_tool
from wasmote.protocol import slipmux

IMAGE_BYTES = 512 * 1024  # of the flash memory, handed to QEMU; the image is smaller


class EmulatedBoard:
    """An Stm32Chip on a pseudo-terminal whose program is run by QEMU's netduinoplus2. path: the port."""

    def __init__(self, folder: Path, chip: Stm32Chip | None = None) -> None:
        self.chip = chip or Stm32Chip()
        self.chip.on_go = self._start
        self._folder = folder
        self._qemu: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self.wire = PtyWire(self)
        self.path = self.wire.path

    # What the line sees: the bootloader, or the program's UART at its own rate.

    @property
    def baud(self) -> int | None:
        return 115200 if self._qemu is not None else self.chip.baud

    @baud.setter
    def baud(self, value: int) -> None:
        self.chip.baud = value

    def feed(self, data: bytes) -> bytes:
        if self._qemu is None:
            return self.chip.feed(data)
        assert self._qemu.stdin is not None
        with contextlib.suppress(OSError):
            self._qemu.stdin.write(data)
            self._qemu.stdin.flush()
        return b""

    def _start(self, address: int) -> None:
        assert address == self.chip.base
        image = self._folder / "flash.bin"
        image.write_bytes(self.chip.flash[:IMAGE_BYTES])
        command = [need_tool("qemu-system-arm"), "-M", "netduinoplus2", "-kernel", image]
        command += ["-nographic", "-monitor", "none", "-serial", "stdio"]
        self._qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._thread = threading.Thread(target=self._forward, daemon=True)
        self._thread.start()

    def _forward(self) -> None:
        assert self._qemu is not None and self._qemu.stdout is not None
        while data := os.read(self._qemu.stdout.fileno(), 4096):
            self.wire.send(data)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """As a node with much to say: a line of diagnostics every 50 ms."""
        enough = threading.Event()

        def speak() -> None:
            while not enough.wait(0.05):
                self.wire.send(slipmux.encode(slipmux.TEXT, b"nobody asked"))

        speaker = threading.Thread(target=speak, daemon=True)
        speaker.start()
        try:
            yield
        finally:
            enough.set()
            speaker.join()

    def __enter__(self) -> EmulatedBoard:
        self.wire.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            assert self._thread is not None
            self._thread.join()
            for pipe in (self._qemu.stdin, self._qemu.stdout):
                assert pipe is not None
                with contextlib.suppress(OSError):
                    pipe.close()
        self.wire.__exit__(kind, error, trace)
