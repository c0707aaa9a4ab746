"""Hold the validator against wabt's wasm-validate and against wasmtime, on generated modules and mutants of them.

    python tests/conformance/agreement.py [--seconds 120] [--seed 1] [--keep FOLDER]

Modules come from generate.py and, where it is installed, from binaryen's fuzzer (`wasm-opt -ttf`). Each is compared as
it is and in many mutated forms. What the node refuses for a limit or a missing feature is counted apart. Exit status 1:
somebody disagrees, and the modules are in FOLDER.
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
from collections.abc import Iterator
from pathlib import Path

import generate
import wasmtime
from native_validator import Validator, Verdict

WABT = ("--disable-reference-types", "--disable-simd", "--ignore-custom-section-errors")
BINARYEN = (
    "-ttf",
    "--mvp-features",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-multivalue",
    "--enable-bulk-memory",
)


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
    run = subprocess.run(
        ["wasm-opt", *BINARYEN, str(source), "-o", str(target)], capture_output=True, check=False, timeout=60
    )
    return target.read_bytes() if run.returncode == 0 else None


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


@dataclasses.dataclass
class Tally:
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    disagreements: int = 0


def compare(module: bytes, validate: Validator, oracles: Oracles, tally: Tally, keep: Path) -> None:
    ours = validate(module)
    if ours.reason in ("limit", "unsupported"):
        tally.counts[f"refused, not compared: {ours.reason}"] += 1
        return
    wasmtime, wabt = oracles.wasmtime(module), oracles.wabt(module)
    for name, theirs in (("wasmtime", wasmtime), ("wabt", wabt)):
        if ours.accepted == (theirs is None):
            tally.counts[f"{name} agrees: {'valid' if ours.accepted else 'not valid'}"] += 1
            continue
        known = explained(ours, wabt, wasmtime)
        if known:
            tally.counts[f"explained: {known}"] += 1
            continue
        tally.disagreements += 1
        keep.mkdir(parents=True, exist_ok=True)
        path = keep / f"{name}-{tally.disagreements}.wasm"
        path.write_bytes(module)
        print(
            f"{path}: we say {ours.reason or 'valid'} {ours.text} at {ours.offset}; {name} says {theirs or 'valid'}"
        )


def sources(rng: random.Random, folder: Path) -> Iterator[bytes]:
    binaryen = shutil.which("wasm-opt") is not None
    while True:
        if binaryen and rng.random() < 0.5:
            module = from_binaryen(rng, folder)
            if module is None:
                continue
        else:
            module = generate.Module(rng.getrandbits(40), size=rng.choice((20, 60, 150))).bytes
        yield module


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=60, help="of each module")
    parser.add_argument("--keep", type=Path, default=Path("build/disagreements"))
    args = parser.parse_args()
    if shutil.which("wasm-validate") is None:
        print("wasm-validate is missing (Debian package wabt)", file=sys.stderr)
        return 2
    rng, validate, tally = random.Random(args.seed), Validator("chip"), Tally()
    end = time.monotonic() + args.seconds
    with tempfile.TemporaryDirectory() as name:
        oracles = Oracles(Path(name))
        for module in sources(rng, Path(name)):
            compare(module, validate, oracles, tally, args.keep)
            for _ in range(args.mutants):
                compare(mutate(module, rng), validate, oracles, tally, args.keep)
            if time.monotonic() > end:
                break
    for text, count in sorted(tally.counts.items()):
        print(f"{count:8} {text}")
    print(f"{tally.disagreements:8} disagreements")
    return 1 if tally.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
