"""Runs the core test suite in process, on a host node and, in part, on emulated chips, and prints the tables.

    python tests/conformance/report.py [--write]

With --write they go to docs/CONFORMANCE.md. The figures of agreement.py, which stand behind them, stay.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import core_suite
from in_process import Node
from native_validator import ROOT, Validator

sys.path.append(str(ROOT / "tests"))
from support import HOST, MPS2, SANITIZER_OPTIONS, STM32, built, built_tests

from wasmote.adapters import wast
from wasmote.adapters.boards import find_board
from wasmote.adapters.build import Variant
from wasmote.adapters.coap import CoapClient, parse_address
from wasmote.adapters.conformance import run_file
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.protocol.conformance.results import COLUMNS, FileResult, reasons, total
from wasmote.protocol.conformance.suite import SUBSET, File

PAGE = ROOT / "docs" / "CONFORMANCE.md"
RV32 = "qemu_virt_rv32"
IN_PROCESS = "in process"
NODES = (HOST, MPS2, STM32, RV32)  # each is a column
ALL = "**all**"
_OWN_COLUMNS = (*COLUMNS, "failed", "refused", "skipped")

# Where it ran -> what came of each file, by its name in the table.
Results = Mapping[str, Mapping[str, FileResult]]


def wast_files(board: str) -> list[File]:
    """What a board is asked to do: the chips behind a serial line a part."""
    whole = board not in (STM32, RV32)
    part = [path for path in core_suite.files() if whole or path.stem in SUBSET]
    return list(wast.read(part))


def in_process() -> Node:
    return Node(
        built_tests() / core_suite.RUNNER, SANITIZER_OPTIONS, host=Validator("host"), chip=Validator("chip")
    )


@contextlib.asynccontextmanager
async def running(board_name: str) -> AsyncIterator[CoapClient]:
    """A node, the host's with sanitizers, and a client of it. Fails if the host's does not end in order."""
    board = find_board(Project.find(), board_name)
    said: list[str] = []
    emulator = Emulator(
        board, built(board_name, Variant(sanitize=board.is_host)), on_text=said.append, ready_timeout_s=60
    )
    async with emulator:
        assert emulator.uri is not None
        async with CoapClient(*parse_address(emulator.uri, 5683)) as client:
            yield client
    if board.is_host:
        assert await emulator.wait() == 0, "\n".join(said)


async def run_node(board: str) -> list[FileResult]:
    """Every file that is for this board, over CoAP."""
    async with running(board) as client:
        return [result for file in wast_files(board) for result in await run_file(client, file)]


def assemble(text: str, folder: Path) -> bytes:
    """The binary of a module as text."""
    source, target = folder / "module.wat", folder / "module.wasm"
    source.write_text(text, encoding="utf-8")
    subprocess.run(["wat2wasm", str(source), "-o", str(target)], check=True)
    return target.read_bytes()


# ---- the page ----


def cells(result: FileResult) -> list[str]:
    """What stands in the columns of the run in process, from the name on."""
    numbers = [result.passed[column] for column in COLUMNS]
    numbers += [len(result.wrong), result.refused.total(), result.skipped.total()]
    return [result.name, *(str(number or "") for number in numbers)]


def cell(result: FileResult | None) -> str:
    """What stands in a node's column."""
    if result is None:
        return ""
    failed = f", {len(result.wrong)} failed" if result.wrong else ""
    return f"{result.passed.total() or ''}{failed}".strip(", ")


def table(results: Results) -> str:
    """Markdown: a line a file, then the sum."""
    names = sorted({name for found in results.values() for name in found})
    head = ["file", *_OWN_COLUMNS, *NODES, "refused or skipped because"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name in names:
        lines.append(_row(name, {where: found.get(name) for where, found in results.items()}))
    sums = {where: total(list(found.values()), ALL) for where, found in results.items()}
    lines.append(_row(ALL, sums))
    chip = sums[IN_PROCESS].chip if IN_PROCESS in sums else None
    if chip:
        lines.append(f"\nModules that the limits of a chip refuse as well: {reasons(chip)}.")
    lines += [f"\nFAILED {where}: {text}" for where, one in sums.items() for text in one.wrong]
    return "\n".join(lines)


def _row(name: str, found: Mapping[str, FileResult | None]) -> str:
    own = found.get(IN_PROCESS)
    columns = cells(own) if own is not None else [name, *([""] * len(_OWN_COLUMNS))]
    columns += [cell(found.get(node)) for node in NODES]
    columns.append(reasons(own.refused + own.skipped) if own is not None else "")
    return f"| {' | '.join(columns)} |"


def differences(results: Results) -> str:
    """Markdown: what a node refuses or skips otherwise than the validator and the engine alone."""
    lines = ["| node | file | passed | refused or skipped because |", "|---|---|---|---|"]
    for node in NODES:
        for name, result in results.get(node, {}).items():
            own = results.get(IN_PROCESS, {}).get(name, FileResult(name))
            if result.refused + result.skipped != own.refused + own.skipped or (
                result.passed.total() and not own.passed
            ):
                why = reasons(result.refused + result.skipped)
                lines.append(f"| {node} | {name} | {result.passed.total() or ''} | {why} |")
    return "\n".join(lines)


def read_page() -> dict[str, list[str]]:
    """The cells of the first table of the page, by file."""
    text = PAGE.read_text(encoding="utf-8")
    first = text[text.index("| file |") :].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in first.splitlines()]
    return {row[0]: row for row in rows}


def not_on_page(where: str, found: Iterable[FileResult]) -> list[str]:
    """Lines of the page that say otherwise than these results."""
    page, wrong = read_page(), []
    for result in found:
        row = page.get(result.name, [])
        if where == IN_PROCESS:
            said, is_so = row[: len(_OWN_COLUMNS) + 1], cells(result)
        else:
            at = 1 + len(_OWN_COLUMNS) + NODES.index(where)
            said, is_so = row[at : at + 1], [cell(result)]
        if said != is_so:
            wrong.append(f"docs/CONFORMANCE.md has {said} for {result.name}, {where}; it is {is_so}")
    return wrong


def _own(node: Node, files: Iterable[File]) -> Iterator[FileResult]:
    for file in files:
        yield from node.run(file)


def main(arguments: list[str]) -> int:
    if reason := core_suite.missing():
        print(reason, file=sys.stderr)
        return 2
    found = {IN_PROCESS: list(_own(in_process(), wast_files(IN_PROCESS)))}
    for board in NODES:
        print(f"{board} ...", file=sys.stderr)
        found[board] = asyncio.run(run_node(board))
    results = {where: {result.name: result for result in list_} for where, list_ in found.items()}
    tables = f"{table(results)}\n\n{_DIFFERENCES}\n\n{differences(results)}\n"
    if "--write" in arguments:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition("| file |")
        _, heading, after = rest.partition("\n## ")
        PAGE.write_text(f"{before}{tables}{heading}{after}", encoding="utf-8")
    else:
        print(tables)
    return 1 if any(result.wrong for list_ in found.values() for result in list_) else 0


_DIFFERENCES = "On the nodes, what is refused or skipped is the same but for these files:"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
