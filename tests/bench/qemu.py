"""Instructions a call on the emulated STM32F405, serial in to serial out (icount.c), and an emulator to push to."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from build import tool
from client import Client, SlipmuxLink


@contextmanager
def emulated(
    image: Path, *options: str, baud: int | None = None, piece_bytes: int = 16, hello: str = "wasmote "
) -> Iterator[SlipmuxLink]:
    """The image in QEMU and a link to its UART, after its hello."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uart"
        command = [
            tool("qemu-system-arm"), "-M", "netduinoplus2", "-nographic", "-monitor", "none",
            "-kernel", str(image), "-serial", f"unix:{path},server=on,wait=on", *options,
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            link = SlipmuxLink(path, baud, piece_bytes)
            link.text(hello, 60)
            yield link
            link.close()
        finally:
            process.kill()
            process.wait()


def instructions_a_call(image: Path, module: bytes, calls: int) -> list[int]:
    """Of POST /f/noop, one by one. Bytes come one at a time, as on a line: each wakes the node by itself. A tick that
    falls into a call belongs to it."""
    with emulated(image, "-icount", "shift=0", baud=9600, piece_bytes=1) as link:
        client = Client(link)
        client.put("/f/noop", module)
        link.text("icount ", 5)
        counts = []
        for _ in range(calls):
            client.post("/f/noop")
            counts.append(int(link.text("icount ", 5)))
        return counts
