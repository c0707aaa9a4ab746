"""Runs the core test suite and prints the table; with --write it goes to docs/CONFORMANCE.md."""

from __future__ import annotations

import sys

import core_suite
import judge
from native_validator import ROOT, Validator
from results import FileResult, table

from wasmote.adapters import boards, build
from wasmote.adapters.project import Project

PAGE = ROOT / "docs" / "CONFORMANCE.md"
PREAMBLE = """\
# WebAssembly core test suite

What a node does with the official test suite of 2020-09-28: the MVP with sign extension, saturating conversions,
multi-value and mutable globals. `./dev test tests/conformance` runs it, where it is present, and prints this table;
`python tests/conformance/report.py --write` wrote this page. The validator and the engine ran as they are in a node, on
a PC, with the limits of the `host` board and under address and undefined-behaviour sanitizers.

- The columns in the middle count what passed: modules that are instantiated, or not, as they must be; invalid and
  malformed ones that are refused, also with the limits of a chip; calls that return what they must, floats bit by bit;
  calls that trap, for the right reason.
- refused: the module is beyond a limit (config_default.h, wasm/validate.h) or needs what the engine does not have.
  Counted with all that the file asks of it.
- skipped: a node has no way to do it. A node's functions do not import from each other and export no globals, it reads
  no text, and `memory.grow` always gives -1, which the specification allows.
- "call" and "loop" are one module each, which is refused for two of its functions: their calls run again without these.

"""


class _Silent:
    """A build's progress, for nobody."""

    def describe(self, text: str) -> None: ...
    def total(self, total: int) -> None: ...
    def update(self, done: int) -> None: ...


def _node() -> judge.Node:
    project = Project.find()
    variant = build.Variant(sanitize=True, tests=True)
    image = build.build(project, boards.find_board(project, "host"), variant, progress=_Silent(), log=print)
    return judge.Node(image.parent / core_suite.RUNNER, {}, host=Validator("host"), chip=Validator("chip"))


def _run(node: judge.Node) -> list[FileResult]:
    results = []
    for wast in core_suite.files():
        with core_suite.converted(wast) as commands:
            results.append(judge.judge(node, wast.stem, commands))
        if wast.stem in core_suite.AGAIN_WITHOUT:
            results.append(judge.judge_again(node, wast))
    return results


def main() -> None:
    if reason := core_suite.missing():
        raise SystemExit(reason)
    results = _run(_node())
    text = table(results)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(f"{PREAMBLE}{text}\n")
    else:
        print(text)
    if any(result.wrong for result in results):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
