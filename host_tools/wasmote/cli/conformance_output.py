"""What `wasmote conformance` prints and writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wasmote.cli.base import Session
from wasmote.errors import FailedError, LocalError
from wasmote.protocol.conformance.results import FileResult, NodeResult, reasons, total

_SHOWN = 10  # of what failed


def print_node(session: Session, results: Sequence[FileResult]) -> None:
    """A line a file."""
    whole = total(results)
    rows = [_row(result) for result in [*results, whole]]
    columns = {
        "file": "file",
        "passed": "passed",
        "failed": "failed",
        "refused": "refused",
        "skipped": "skipped",
        "why": "refused or skipped because",
    }
    value = {"files": [_json(result) for result in results], "all": _json(whole)}
    session.output.table(rows, columns, value=value)


def _row(result: FileResult) -> dict[str, Any]:
    return {
        "file": result.name,
        "passed": result.passed.total(),
        "failed": len(result.wrong),
        "refused": result.refused.total(),
        "skipped": result.skipped.total(),
        "why": reasons(result.refused + result.skipped),
    }


def print_boards(session: Session, nodes: Sequence[NodeResult]) -> None:
    """A line a file, a column a board."""
    value = [
        {
            "board": node.name,
            "files": [_json(result) for result in node.files],
            "all": _json(total(node.files)),
            "stopped": node.stopped or None,
        }
        for node in nodes
    ]
    session.output.table(
        board_rows(nodes), {"file": "file", **{node.name: node.name for node in nodes}}, value=value
    )


def board_rows(nodes: Sequence[NodeResult]) -> list[dict[str, Any]]:
    """Of the table: files in their order, their sums, and how long they took. A blank: the board was not asked, or its
    result stands under another name, without some functions."""
    by_name = {node.name: {result.name: result for result in node.files} for node in nodes}
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(result.name for node in nodes for result in node.files):
        found = {board: results.get(name) for board, results in by_name.items()}
        rows.append({"file": name, **{board: result and _cell(result) for board, result in found.items()}})
    sums = {node.name: _cell(total(node.files), stopped=bool(node.stopped)) for node in nodes}
    seconds = {node.name: round(total(node.files).elapsed_s or 0.0) for node in nodes}
    return [*rows, {"file": "all", **sums}, {"file": "seconds", **seconds}]


def _cell(result: FileResult, *, stopped: bool = False) -> int | str:
    """How many passed, and whatever else there is to say."""
    counts = {
        "FAILED": len(result.wrong),
        "refused": result.refused.total(),
        "skipped": result.skipped.total(),
    }
    more = [f"{count} {text}" for text, count in counts.items() if count] + (["STOPPED"] if stopped else [])
    return ", ".join([str(result.passed.total()), *more]) if more else result.passed.total()


def _json(result: FileResult) -> dict[str, Any]:
    return {
        "name": result.name,
        "passed": result.passed,
        "refused": result.refused,
        "skipped": result.skipped,
        "failed": result.wrong,
        "ms": round((result.elapsed_s or 0.0) * 1000, 1),
    }


def tests_failed(wrong: Sequence[str], commands: int, also: Sequence[str] = ()) -> FailedError:
    """The error of a run. wrong: what failed, of so many tests. also: more to be said."""
    more = [f"and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    return FailedError(
        f"{len(wrong)} of {commands} tests failed",
        cause="\n".join([*wrong[:_SHOWN], *more, *also]),
        next_step="report these lines with the node's description (`wasmote info`)",
    )


def write(path: Path, text: str) -> None:
    """Raises LocalError."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LocalError(
            f"cannot write {path}", cause=error.strerror or str(error), next_step="give another file"
        ) from error
