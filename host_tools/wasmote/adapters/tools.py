"""Commands of other projects: where they are, and what a person installs when they are not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from wasmote.errors import MissingError

# Command -> (Debian packages, what it is).
PACKAGES: dict[str, tuple[str, str]] = {
    "cc": ("gcc libc6-dev", "a C compiler"),
    "clang": ("clang libclang-rt-14-dev", "the compiler clang"),
    "arm-none-eabi-gcc": ("gcc-arm-none-eabi libnewlib-arm-none-eabi", "the compiler for STM32"),
    "riscv64-unknown-elf-gcc": (
        "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
        "the compiler for RISC-V",
    ),
    "qemu-system-arm": ("qemu-system-arm", "the emulator of ARM boards"),
    "qemu-system-riscv32": ("qemu-system-misc", "the emulator of RISC-V boards"),
    "dfu-util": ("dfu-util", "the tool for chips in their USB bootloader"),
    "openocd": ("openocd", "the tool for debug probes"),
    "st-flash": ("stlink-tools", "the tool for ST-LINK probes"),
    "st-info": ("stlink-tools", "the tool for ST-LINK probes"),
    "wat2wasm": ("wabt", "the assembler of .wat files"),
    "wast2json": ("wabt", "the converter of .wast files"),
}


def find_tool(name: str) -> Path | None:
    """The command of this name: beside the Python that runs, or in PATH."""
    beside = Path(sys.executable).parent / name
    if beside.is_file() and os.access(beside, os.X_OK):
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def need_tool(name: str) -> Path:
    """The command of this name. Raises MissingError, which names the Debian package."""
    found = find_tool(name)
    if found is None:
        raise missing_tool(name)
    return found


def missing_tool(name: str) -> MissingError:
    """The error for a command that is not there."""
    packages, what = PACKAGES.get(name, (None, f"the command {name}"))
    if packages is None:
        step = (
            "Run `pip install -e .` in the checkout again: it comes with the Python packages of this project."
        )
    else:
        step = f"On Debian or Ubuntu: apt-get install --no-install-recommends {packages}"
    return MissingError(f"{what} is missing", cause=f"'{name}' is not in PATH", next_step=step)


def run_tool(command: Sequence[str | Path], *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end; stdout and stderr as text."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
