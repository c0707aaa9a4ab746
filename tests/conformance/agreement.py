"""Hold the node's validator and engine against wabt's wasm-validate and wasmtime, on generated modules and mutants.

    python tests/conformance/agreement.py [--modules 100000] [--seed 1] [--mutants 9] [--keep FOLDER] [--write]

Modules come from generate.py and from binaryen's fuzzer (`wasm-opt -ttf`, package binaryen; its logging imports become
functions that do nothing). Each is compared as it is and in mutated forms. What the node refuses for a limit or a
missing feature is counted apart. What is valid runs in the node's engine, with sanitizers, and in wasmtime: results,
traps, globals and the memory must be equal. The same seed gives the same modules. Exit status 1: somebody disagrees,
and the modules are in FOLDER. --write puts the figures into docs/CONFORMANCE.md.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import generate
import rewrite
import wasmtime
from core_suite import RUNNER
from execution import Comparer, Crash
from native_validator import ROOT, Validator, Verdict

sys.path.append(str(ROOT / "tests"))
from support import SANITIZER_OPTIONS, built_tests

PAGE = ROOT / "docs" / "CONFORMANCE.md"
HEADING = "## Agreement with other engines"
WABT = ("--disable-reference-types", "--disable-simd", "--ignore-custom-section-errors")
BINARYEN = (
    "--mvp-features",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-multivalue",
)
BULK = "--enable-bulk-memory"  # with it come a DataCount section, and often memory.init, which the node lacks


def wasmtime_engine() -> wasmtime.Engine:
    config = wasmtime.Config()
    for feature in (
        "threads",
        "tail_call",
        "simd",
        "relaxed_simd",
        "multi_memory",
        "memory64",
    ):
        setattr(config, f"wasm_{feature}", False)
    return wasmtime.Engine(config)


class Oracles:
    """What others say: None if the module is valid, else their reason."""

    def __init__(self, folder: Path) -> None:
        self._engine = wasmtime_engine()
        self._file = folder / "module.wasm"

    def wasmtime(self, module: bytes) -> str | None:
        try:
            wasmtime.Module.validate(self._engine, module)
        except wasmtime.WasmtimeError as error:
            return str(error).replace("\n", " ")[:200]
        return None

    def wabt(self, module: bytes) -> str | None:
        self._file.write_bytes(module)
        run = subprocess.run(
            ["wasm-validate", *WABT, str(self._file)], capture_output=True, text=True, check=False
        )
        return None if run.returncode == 0 else run.stderr.strip().replace("\n", " ")[:200] or "?"


def from_binaryen(rng: random.Random, folder: Path) -> bytes | None:
    """A module of binaryen's fuzzer, or None: its input decides the size, and it may come to nothing."""
    source, target = folder / "seed", folder / "ttf.wasm"
    source.write_bytes(rng.randbytes(rng.randrange(50, 3000)))
    features = [*BINARYEN, BULK] if rng.random() < 0.3 else list(BINARYEN)
    run = subprocess.run(
        ["wasm-opt", "-ttf", *features, str(source), "-o", str(target)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    if run.returncode != 0:
        return None
    module = target.read_bytes()
    # Some keep their imports, so that these are validated as well; they cannot run.
    return module if rng.random() < 0.1 else rewrite.with_getters(rewrite.with_stubs(module))


def without_nans(module: bytes, folder: Path) -> bytes | None:
    """The module with each NaN replaced by 0; None if binaryen cannot read it."""
    source, target = folder / "nan.wasm", folder / "denan.wasm"
    source.write_bytes(module)
    command = ["wasm-opt", "--denan", *BINARYEN, BULK, str(source), "-o", str(target)]
    run = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return target.read_bytes() if run.returncode == 0 else None


def grows(module: bytes, folder: Path) -> bool:
    """Whether memory.grow is among its instructions."""
    path = folder / "grow.wasm"
    path.write_bytes(module)
    run = subprocess.run(["wasm-objdump", "-d", str(path)], capture_output=True, text=True, check=False)
    return "memory.grow" in run.stdout


def code_range(module: bytes) -> tuple[int, int]:
    """Where the code section lies; the whole module if there is none."""
    at = 8
    while at < len(module):
        number, at = module[at], at + 1
        size = shift = 0
        while True:
            byte, at = module[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if number == 10:
            return at, at + size
        at += size
    return 8, len(module)


def mutate(module: bytes, rng: random.Random) -> bytes:
    """A few changes. Half of them leave the length alone, inside of the code: these reach the type rules."""
    bytes_ = bytearray(module)
    first, last = code_range(module)
    inside = rng.random() < 0.7
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if len(bytes_) < 10:
            break
        at = rng.randrange(first, min(last, len(bytes_))) if inside else rng.randrange(8, len(bytes_))
        roll = rng.random()
        if inside or roll < 0.5:
            near = bytes_[at] + rng.choice((-2, -1, 1, 2))
            swap = bytes_[rng.randrange(8, len(bytes_))]
            known = rng.choice(
                b"\x00\x01\x02\x03\x04\x05\x0b\x0c\x0d\x0e\x0f\x10\x11\x1a\x1b\x20\x21\x22\x23\x24\x28\x36\x40"
            )
            bytes_[at] = rng.choice(
                (near & 0xFF, rng.randrange(256), swap, known, rng.choice(b"\x40\x7c\x7d\x7e\x7f"))
            )
        elif roll < 0.7:
            del bytes_[at : at + rng.choice((1, 1, 2, 8))]
        elif roll < 0.9:
            bytes_[at:at] = rng.randbytes(rng.choice((1, 1, 2, 8)))
        else:
            bytes_ = bytes_[:at]
    return bytes(bytes_)


# wabt 1.0.32 reads a constant expression past the end of its section, takes the `end` of a block for that of the
# function, and asks no data section of a DataCount section.
WABT_LENIENT = ("unexpected end", "length out of bounds", "data count")


def explained(ours: Verdict, wabt: str | None, wasmtime: str | None) -> str | None:
    """Where a difference is known and meant, its name."""
    if "targets of a br_table" in ours.text:
        return "br_table in unreachable code: we follow the stricter rule that the core suite tests"
    if wabt is None and wasmtime is not None and ours.text.startswith(WABT_LENIENT):
        return f"wabt alone accepts: {ours.text}"
    return None


GENERATOR, BINARYEN_FUZZER = "generate.py", "wasm-opt -ttf"
SOURCES = (GENERATOR, BINARYEN_FUZZER, f"mutants of {GENERATOR}", f"mutants of {BINARYEN_FUZZER}")


@dataclasses.dataclass
class Tally:
    """counts: (source or "", what) -> modules."""

    counts: collections.Counter[tuple[str, str]] = dataclasses.field(default_factory=collections.Counter)
    disagreements: int = 0

    def add(self, source: str, what: str, n: int = 1) -> None:
        self.counts[source, what] += n

    def total(self, what: str) -> int:
        return sum(n for (_source, name), n in self.counts.items() if name == what)


class Agreement:
    """What modules are held against, and what came of it. A disagreement leaves its module in keep."""

    def __init__(self, folder: Path, keep: Path, runner: Path) -> None:
        self.tally = Tally()
        self._folder, self._keep = folder, keep
        self._validate, self._oracles = Validator("chip"), Oracles(folder)
        self._comparer = Comparer(runner, folder, SANITIZER_OPTIONS)

    def compare(self, source: str, module: bytes) -> None:
        """The verdict on one module, then, if it is valid, what it does."""
        tally = self.tally
        tally.add(source, "modules")
        ours = self._validate(module)
        if ours.reason in ("limit", "unsupported"):
            tally.add(source, f"refused: {ours.reason}")
            return
        wasmtime, wabt = self._oracles.wasmtime(module), self._oracles.wabt(module)
        agreed, reasons = True, set()
        for name, theirs in (("wasmtime", wasmtime), ("wabt", wabt)):
            if ours.accepted == (theirs is None):
                continue
            agreed = False
            known = explained(ours, wabt, wasmtime)
            if known:
                reasons.add(known)
            else:
                said = f"we say {ours.reason or 'valid'} {ours.text} at {ours.offset}; {name} says {theirs or 'valid'}"
                self._disagree(module, said)
        for known in reasons:
            tally.add("explained", known)
        tally.add(source, "explained" if not agreed else "valid" if ours.accepted else "not valid")
        if agreed and ours.accepted:
            self._run(source, module)

    def _run(self, source: str, module: bytes) -> None:
        try:
            outcome = self._comparer.run(module)
            if outcome.difference is not None:
                why = self._why(module)
                if why is None:
                    self._disagree(module, outcome.difference)
                else:
                    self.tally.add("explained", why)
                return
        except Crash as crash:
            self._disagree(module, str(crash))
            return
        if outcome.calls or not outcome.why:
            self.tally.add(source, "run")
        if outcome.why:
            self.tally.add("not run to the end", outcome.why)
        self.tally.add("", "calls", outcome.calls)
        self.tally.add("", "traps", outcome.traps)
        self.tally.add("", "memories", int(outcome.memory))

    def _why(self, module: bytes) -> str | None:
        """Why a difference between two runs may be. The bits of a NaN are the engine's choice."""
        same = without_nans(module, self._folder)
        if same is not None and self._validate(same).accepted:
            again = self._comparer.run(same)
            if again.difference is None and not again.why:
                return "the bits of a NaN were looked at: equal when each NaN is replaced by 0"
        if grows(module, self._folder):
            return "memory.grow always gives -1 on a node, also for 0 pages"
        return None

    def _disagree(self, module: bytes, said: str) -> None:
        self.tally.disagreements += 1
        self._keep.mkdir(parents=True, exist_ok=True)
        path = self._keep / f"{self.tally.disagreements}.wasm"
        path.write_bytes(module)
        print(f"{path}: {said}", flush=True)

    def end(self) -> None:
        """Raises Crash if the engine's process does not end in order."""
        self._comparer.ours.end()


def modules(rng: random.Random, folder: Path, mutants: int) -> Iterator[tuple[str, bytes]]:
    """(source, module) without end: each module, then its mutants."""
    while True:
        if rng.random() < 0.5:
            source, module = BINARYEN_FUZZER, from_binaryen(rng, folder)
        else:
            generated = generate.Module(rng.getrandbits(40), size=rng.choice((20, 60, 150)))
            source, module = GENERATOR, rewrite.with_getters(generated.bytes)
        if module is None:
            continue
        yield source, module
        for _ in range(mutants):
            yield f"mutants of {source}", mutate(module, rng)


COLUMNS = ("modules", "valid", "not valid", "run", "refused: limit", "refused: unsupported", "explained")


def page(tally: Tally, command: str) -> str:
    """The figures as a part of docs/CONFORMANCE.md."""
    counts = tally.counts
    rows = [[source, *(str(counts[source, name] or "") for name in COLUMNS)] for source in SOURCES]
    rows.append(["**all**", *(str(sum(counts[source, name] for source in SOURCES)) for name in COLUMNS)])
    table = [["source", *COLUMNS], ["---"] * (len(COLUMNS) + 1), *rows]
    lines = [f"`{command}`", "", *(f"| {' | '.join(row)} |" for row in table), ""]
    lines.append(
        f"{tally.total('calls')} calls, {tally.total('traps')} of them traps, and {tally.total('memories')} memories"
        f" were equal to wasmtime's. Disagreements: {tally.disagreements}."
    )
    for title in ("explained", "not run to the end"):
        found = sorted((what, n) for (kind, what), n in counts.items() if kind == title)
        lines += ["", f"{title.capitalize()}:", "", *(f"- {n}: {what}" for what, n in found)] if found else []
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--modules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=9, help="of each module")
    parser.add_argument("--keep", type=Path, default=Path("build/disagreements"))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args(arguments)
    for tool, package in (("wasm-validate", "wabt"), ("wasm-opt", "binaryen")):
        if shutil.which(tool) is None:
            print(f"{tool} is missing (Debian package {package})", file=sys.stderr)
            return 2
    rng, began_s = random.Random(args.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        agreement = Agreement(Path(name), args.keep, built_tests() / RUNNER)
        tally = agreement.tally
        for number, (source, module) in enumerate(modules(rng, Path(name), args.mutants), 1):
            agreement.compare(source, module)
            if number % 5000 == 0:
                print(f"{number} modules, {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
            if number == args.modules:
                break
        agreement.end()
    command = f"python tests/conformance/agreement.py --modules {args.modules} --seed {args.seed}"
    if args.mutants != parser.get_default("mutants"):
        command += f" --mutants {args.mutants}"
    text = page(tally, command)
    print(text)
    if args.write:
        write(text)
    return 1 if tally.disagreements else 0


def write(text: str) -> None:
    """Put the figures behind the heading's introduction, in the place of older ones."""
    before, heading, rest = PAGE.read_text().partition(HEADING)
    introduction = rest.partition("\n`python")[0]
    PAGE.write_text(f"{before}{heading}{introduction}\n{text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
