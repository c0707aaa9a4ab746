"""The fuzz targets, fuzz_*.c: built with clang for 64 and 32 bits, and run."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import filelock

from wasmote.adapters.project import Project
from wasmote.adapters.sources import ensure_sources, read_pins
from wasmote.adapters.tools import need_tool, run_tool
from wasmote.errors import BuildError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CORPUS = HERE / "corpus"
NAMES = tuple(sorted(path.stem for path in HERE.glob("fuzz_*.c")))
MODULE_BYTES = 4096
# A conversation has a module of 1 KB in it; the codecs need less.
MAX_BYTES = {"fuzz_node": 8192, "fuzz_validate": MODULE_BYTES, "fuzz_module": MODULE_BYTES}
# libFuzzer stacks up to five changes of an input: two of a module are enough, more than that seldom is a valid one.
DEPTH = {"fuzz_validate": 2, "fuzz_module": 2}
OPTIONS = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@dataclass(frozen=True)
class Target:
    """One program. bits: 64, with the limits of a PC, or 32, with those of a chip."""

    name: str
    bits: int

    def __str__(self) -> str:
        return f"{self.name}, {self.bits} bits"

    @property
    def program(self) -> Path:
        return ROOT / "build" / f"fuzz{self.bits}" / "fuzz" / self.name

    @property
    def kept(self) -> Path:
        """The corpus that is part of the repository. What is a module goes to both that take one."""
        return CORPUS / ("fuzz_module" if self.name == "fuzz_validate" else self.name)


TARGETS = tuple(Target(name, bits) for name in NAMES for bits in (64, 32))


@dataclass(frozen=True)
class Result:
    """How a run ended. coverage: places in the code and, finer, features of paths; remark: what the target says of its
    inputs; found: the input that it stopped at; tail: the end of what it printed."""

    target: Target
    ok: bool
    runs: int
    coverage: tuple[int, int]
    remark: str
    found: Path | None
    tail: str

    def summary(self) -> str:
        places, features = self.coverage
        text = f"{self.target}: {self.runs} inputs, coverage {places} ({features} features), "
        text += f"{self.remark}, " if self.remark else ""
        if self.ok:
            return text + "nothing found"
        again = f": {self.found}\n  again: {self.target.program} {self.found}" if self.found else ""
        return text + f"FOUND SOMETHING{again}"


def build(project: Project, bits: int = 64) -> Path:
    """All targets for 64 or 32 bits; returns the programs' folder. Raises MissingError, BuildError."""
    clang = need_tool("clang")
    ensure_sources(
        read_pins(project.firmware / "third_party.toml"), project.third_party, progress=lambda _text: None
    )
    folder = project.build / f"fuzz{bits}"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        _build(project, folder, clang, bits)
    return folder / "fuzz"


def _build(project: Project, folder: Path, clang: str, bits: int) -> None:
    for command in (
        [need_tool("cmake"), "-S", project.firmware, "-B", folder, "-G", "Ninja", "-DWM_BOARD=host", "-DWM_FUZZ=ON",
         f"-DCMAKE_MAKE_PROGRAM={need_tool('ninja')}", f"-DCMAKE_C_COMPILER={clang}", "-DWM_SANITIZE=address,undefined",
         f"-DWM_THIRD_PARTY_DIR={project.third_party}", f"-DWM_CONFIG={HERE / 'wm_config_fuzz.h'}",
         f"-DWM_32BIT={'ON' if bits == 32 else 'OFF'}"],
        [need_tool("cmake"), "--build", folder],
    ):  # fmt: skip
        done = run_tool(command)
        if done.returncode != 0:
            raise BuildError("cannot build the fuzz targets", cause=(done.stdout + done.stderr)[-2000:])


def run(target: Target, inputs: list[Path], *options: str, findings: Path) -> Result:
    """Run the program on these corpora, of which the first grows. options: libFuzzer's."""
    findings.mkdir(parents=True, exist_ok=True)
    prefix = f"{findings}/{target.name}-{target.bits}-"
    command = [
        *(
            str(target.program),
            f"-max_len={MAX_BYTES.get(target.name, 1500)}",
            "-timeout=20",
            "-rss_limit_mb=2048",
        ),
        *("-print_final_stats=1", f"-artifact_prefix={prefix}", f"-mutate_depth={DEPTH.get(target.name, 5)}"),
        *(*options, *(str(path) for path in inputs)),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env={**os.environ, **OPTIONS}, check=False
    )
    return _result(target, done.returncode == 0, done.stdout + done.stderr)


def _result(target: Target, ok: bool, text: str) -> Result:
    runs = re.findall(r"^stat::number_of_executed_units:\s*(\d+)", text, re.MULTILINE)
    coverage = re.findall(r"\bcov: (\d+) ft: (\d+)", text)
    remark = re.findall(rf"^{target.name}: (.*)", text, re.MULTILINE)
    found = re.findall(r"Test unit written to (\S+)", text)
    return Result(
        target, ok, int(runs[-1]) if runs else 0, (int(coverage[-1][0]), int(coverage[-1][1])) if coverage else (0, 0),
        remark[-1] if remark else "", Path(found[-1]) if found else None, "\n".join(text.splitlines()[-60:]),
    )  # fmt: skip


def replay(target: Target, folder: Path, findings: Path) -> Result:
    """Every input in a folder, once."""
    return run(target, [folder], "-runs=0", findings=findings)
