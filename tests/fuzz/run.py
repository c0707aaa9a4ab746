"""Fuzzes what meets bytes from outside: the parsers, a module's whole way, a node's from datagram to reply. libFuzzer
with address and undefined-behaviour sanitizers, in 64 bits with the limits of a PC and in 32 bits with those of a chip.

    ./dev fuzz SECONDS [TARGET ...]

SECONDS is the time for each target in each width. It starts from tests/fuzz/corpus, from modules of our own and, where
it is present, from the WebAssembly core test suite. The corpus grows in build/fuzz/corpus from run to run; what is
found lands in build/fuzz/findings, and the summary says how to see it again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzz_targets
import seeds
from fuzz_targets import NAMES, TARGETS, Result, Target

from wasmote.adapters.project import Project
from wasmote.errors import WasmoteError

# What the corpus of the repository may take at most, in bytes.
KEPT_BYTES = {"fuzz_module": 160_000, "fuzz_node": 80_000, "fuzz_coap_msg": 20_000, "fuzz_slipmux": 20_000}


def fuzz(chosen: Iterable[Target], seconds: int, base: Path, *, grown: Path, own: bool) -> list[Result]:
    """All of them, as many at a time as there are processors. grown: where the corpora are and grow. own: from seeds
    of our own alone."""
    seeds.main(base / "seeds", suite=not own)

    def one(target: Target) -> Result:
        corpus = grown / target.name / str(target.bits)
        corpus.mkdir(parents=True, exist_ok=True)
        inputs = [corpus, base / "seeds" / target.name, target.kept]
        options = (f"-max_total_time={seconds}",)
        return fuzz_targets.run(
            target, [path for path in inputs if path.is_dir()], *options, findings=base / "findings"
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, chosen))


def keep(chosen: Iterable[Target], base: Path) -> None:
    """Make the repository's corpus anew of what grew from our own seeds: the smallest inputs that together reach every
    place in the code that was reached, in both widths, up to KEPT_BYTES."""
    for name in sorted({target.kept.name for target in chosen}):
        with tempfile.TemporaryDirectory() as folder:
            merged = Path(folder)
            widths = [target for target in TARGETS if target.name == name]
            for target in widths:
                grown = [base / "own" / name / str(target.bits), base / "seeds" / name]
                fuzz_targets.run(
                    target, [merged, *grown], "-merge=1", "-use_counters=0", findings=base / "findings"
                )
            kept = widths[0].kept
            shutil.rmtree(kept, ignore_errors=True)
            kept.mkdir(parents=True)
            total = 0
            for path in sorted(merged.iterdir(), key=lambda path: (path.stat().st_size, path.name)):
                data = path.read_bytes()
                if total + len(data) > KEPT_BYTES[name]:
                    break
                total += len(data)
                (kept / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)
            print(
                f"{kept}: {len(list(kept.iterdir()))} of {len(list(merged.iterdir()))} inputs, {total} bytes"
            )


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="./dev fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("seconds", type=int, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; otherwise all")
    parser.add_argument("--bits", type=int, choices=(64, 32), help="only this width")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="start from our own seeds alone, and make tests/fuzz/corpus anew of what came of them",
    )
    arguments = parser.parse_args()
    wrong = set(arguments.targets) - set(NAMES)
    if wrong:
        parser.error(f"no such target: {', '.join(sorted(wrong))}; there are {', '.join(NAMES)}")
    if arguments.keep and arguments.bits:
        parser.error("--keep needs both widths: leave out --bits")
    project = Project.find()
    chosen = [
        target
        for target in TARGETS
        if (not arguments.targets or target.name in arguments.targets)
        and arguments.bits in (None, target.bits)
    ]
    try:
        for bits in sorted({target.bits for target in chosen}):
            fuzz_targets.build(project, bits)
    except WasmoteError as err:
        print(f"{err}\n{err.next_step}", file=sys.stderr)
        return int(err.exit_code)
    base = project.build / "fuzz"
    print(f"fuzzing {'; '.join(map(str, chosen))}: {arguments.seconds} s each", file=sys.stderr)
    grown = base / ("own" if arguments.keep else "corpus")
    results = fuzz(chosen, arguments.seconds, base, grown=grown, own=arguments.keep)
    for result in results:
        if not result.ok:
            print(f"{result.tail}\n")
    for result in results:
        print(result.summary())
    if any(not result.ok for result in results):
        return 1
    if arguments.keep:
        keep(chosen, base)
    return 0


if __name__ == "__main__":
    sys.exit(main())
