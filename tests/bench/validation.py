"""Validation of a compiled module of 20 KB: instructions on the host and on the emulated STM32F405, C stack there."""

from __future__ import annotations

import re
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import qemu
from build import tool


@dataclass(frozen=True)
class OnChip:
    instructions: int
    stack_bytes: int


def on_host(folder: Path, module: Path) -> int:
    """Instructions, as the difference between three times and two. folder: of the program `validate`."""
    two, three = (_collected(folder / "validate", module, times) for times in (2, 3))
    return three - two


def _collected(program: Path, module: Path, times: int) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        out = f"--callgrind-out-file={temporary}/out"
        command = [tool("valgrind"), "--tool=callgrind", out, program, module, times]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        collected = re.search(r"Collected : (\d+)", done.stderr)
        if done.stdout != "valid\n" or collected is None:
            raise RuntimeError(f"{module.name} is refused: {done.stdout}{done.stderr}")
        return int(collected[1])


def on_chip(folder: Path, module: Path) -> OnChip:
    """folder: of validate.elf."""
    with tempfile.TemporaryDirectory() as temporary:
        length = Path(temporary) / "length"
        length.write_bytes(struct.pack("<I", module.stat().st_size))
        loaders = [f"loader,file={length},addr=0x08080000,force-raw=on"]
        loaders += [f"loader,file={module},addr=0x08081000,force-raw=on"]
        options = [part for loader in loaders for part in ("-device", loader)]
        image = folder / "validate.elf"
        with qemu.emulated(image, "-icount", "shift=0", *options, hello="wasmote validate") as link:
            count, stack, verdict = link.text("validate ", 20).split(" ", 2)
    if verdict != "valid":
        raise RuntimeError(f"{module.name} is refused on the chip: {verdict}")
    return OnChip(int(count), int(stack))
