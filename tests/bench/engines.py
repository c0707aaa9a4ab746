"""Our engine, with fuel and stack limits, against plain wasm3: instructions for the same call on the same module."""

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
class Work:
    app: str
    export: str
    kind: str  # "number": the argument; "bytes": a request of n bytes
    n: int
    n_chip: int  # smaller, where an emulator runs it


WORKS = (
    Work("fib", "fib", "number", 20, 16),
    Work("crc32", "crc32", "bytes", 4096, 1024),
    Work("sha256", "sha256", "bytes", 1024, 256),
    Work("conv8", "conv8", "number", 1, 1),
)


@dataclass(frozen=True)
class Comparison:
    work: Work
    ours: int  # instructions
    plain: int

    @property
    def overhead(self) -> float:
        """0.03: 3 % more than plain wasm3."""
        return self.ours / self.plain - 1


def _host_run(program: Path, module: Path, work: Work, calls: int) -> tuple[int, str]:
    """Instructions of the whole run, and what the program printed."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            tool("valgrind"), "--tool=callgrind", f"--callgrind-out-file={folder}/out",
            program, module, work.export, calls, work.kind, work.n,
        ]  # fmt: skip
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        collected = re.search(r"Collected : (\d+)", done.stderr)
        if done.returncode != 0 or collected is None:
            raise RuntimeError(f"{program.name} {work.app}: {done.stderr}")
        return int(collected[1]), done.stdout


def on_host(folder: Path, modules: dict[str, Path]) -> list[Comparison]:
    """One call, as the difference between three calls and two: what the first one sets up is outside. folder: of
    engine-ours and engine-plain."""
    comparisons = []
    for work in WORKS:
        counts, answers = [], set()
        for engine in ("ours", "plain"):
            two, _ = _host_run(folder / f"engine-{engine}", modules[work.app], work, 2)
            three, answer = _host_run(folder / f"engine-{engine}", modules[work.app], work, 3)
            counts.append(three - two)
            answers.add(answer)
        if len(answers) != 1:
            raise RuntimeError(f"{work.app}: the engines differ: {answers}")
        comparisons.append(Comparison(work, *counts))
    return comparisons


def on_chip(folder: Path, modules: dict[str, Path]) -> list[Comparison]:
    """The second call, on the emulated STM32F405."""
    comparisons = []
    for work in WORKS:
        counts, answers = [], set()
        for engine in ("ours", "plain"):
            with tempfile.TemporaryDirectory() as temporary:
                order = Path(temporary) / "order"
                module = modules[work.app].read_bytes()
                order.write_bytes(
                    struct.pack(
                        "<III32s", len(module), work.kind == "number", work.n_chip, work.export.encode()
                    )
                )
                loaders = [f"loader,file={order},addr=0x08080000,force-raw=on"]
                loaders += [f"loader,file={modules[work.app]},addr=0x08081000,force-raw=on"]
                options = [part for loader in loaders for part in ("-device", loader)]
                image = folder / f"engine-{engine}.elf"
                with qemu.emulated(image, "-icount", "shift=0", *options, hello="wasmote engine") as link:
                    count, *answer = link.text("engine ", 10).split()
            counts.append(int(count))
            answers.add(tuple(answer))
        if len(answers) != 1:
            raise RuntimeError(f"{work.app}: the engines differ on the chip: {answers}")
        comparisons.append(Comparison(work, *counts))
    return comparisons
