"""Fuzzes the node's parsers and its whole way from datagram to reply, with libFuzzer under sanitizers.

    ./dev fuzz SECONDS [TARGET ...]

SECONDS is the time for each target. What is found lands in build/fuzz/findings; run the target's program on such a file
to see it again. The corpus grows in build/fuzz/corpus from run to run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import filelock

sys.path.insert(0, str(Path(__file__).resolve().parent))
import seeds

from wasmote.adapters.project import Project
from wasmote.adapters.sources import ensure_sources, read_pins
from wasmote.adapters.tools import need_tool, run_tool
from wasmote.errors import BuildError, WasmoteError

HERE = Path(__file__).resolve().parent
TARGETS = tuple(sorted(path.stem for path in HERE.glob("fuzz_*.c")))
# A module of 1 KB and a conversation around it; the codecs need less.
MAX_BYTES = {"fuzz_node": 8192, "fuzz_validate": 2048}


@dataclass(frozen=True)
class Result:
    """How one target's run ended. tail: the end of what it printed."""

    target: str
    ok: bool
    runs: int
    tail: str


def build(project: Project, bits: int = 64) -> Path:
    """All targets, with clang, for 64 or 32 bits; returns the programs' folder. Raises MissingError, BuildError."""
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


def run(programs: Path, target: str, seconds: int) -> Result:
    """Fuzz one target for so long."""
    base = programs.parent
    corpus, findings = base / "corpus" / target, base / "findings"
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    command = [
        *(str(programs / target), f"-max_total_time={seconds}", f"-max_len={MAX_BYTES.get(target, 1500)}"),
        *(
            f"-artifact_prefix={findings}/{target}-",
            "-timeout=20",
            "-rss_limit_mb=2048",
            "-print_final_stats=1",
        ),
        *(str(corpus), str(base / "seeds" / target)),
    ]
    options = {
        "ASAN_OPTIONS": "detect_stack_use_after_return=0:detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", env={**os.environ, **options}, check=False
    )
    lines = (done.stdout + done.stderr).splitlines()
    runs = [int(line.split(":")[-1]) for line in lines if line.startswith("stat::number_of_executed_units")]
    return Result(target, done.returncode == 0, runs[0] if runs else 0, "\n".join(lines[-60:]))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=int, help="for each target")
    parser.add_argument(
        "targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; otherwise all"
    )
    arguments = parser.parse_args()
    wrong = set(arguments.targets) - set(TARGETS)
    if wrong:
        parser.error(f"no such target: {', '.join(sorted(wrong))}; there are {', '.join(TARGETS)}")
    try:
        programs = build(Project.find())
    except WasmoteError as err:
        print(f"{err}\n{err.next_step}", file=sys.stderr)
        return int(err.exit_code)
    seeds.main(programs.parent / "seeds")
    chosen = arguments.targets or TARGETS
    print(f"fuzzing {', '.join(chosen)}: {arguments.seconds} s each", file=sys.stderr)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(lambda target: run(programs, target, arguments.seconds), chosen))
    for result in results:
        print(f"{result.target}: {result.runs} inputs, {'nothing found' if result.ok else 'FOUND SOMETHING'}")
        if not result.ok:
            print(result.tail)
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
