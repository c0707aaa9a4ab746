"""What is printed after the tests, wherever they ran: with several workers it comes with the reports of their tests."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from wasmote.protocol.conformance.results import FileResult

MEASURED = "measured"  # the property of a line to be read at the end: conftest.say
CORE_SUITE = "core_suite"  # that of a FileResult and where it ran: conformance/test_core_suite.py


def print_all(terminal: pytest.TerminalReporter) -> None:
    properties = [
        (key, value)
        for outcome in ("passed", "failed")
        for report in terminal.getreports(outcome)
        for key, value in report.user_properties
    ]
    _print_core_suite(terminal, [json.loads(value) for key, value in properties if key == CORE_SUITE])
    said = [str(value) for key, value in properties if key == MEASURED]
    if said:
        terminal.section("measured")
        terminal.write_line("\n".join(said))


def _print_core_suite(terminal: pytest.TerminalReporter, found: Sequence[tuple[str, str]]) -> None:
    if not found:
        return
    sys.path.append(str(Path(__file__).parent / "conformance"))
    import report

    results: dict[str, dict[str, FileResult]] = {}
    for where, text in found:
        result = FileResult.from_json(text)
        results.setdefault(where, {})[result.name] = result
    # In whatever order the workers came to them.
    places = [where for where in (report.IN_PROCESS, *report.NODES) if where in results]
    results = {where: dict(sorted(results[where].items())) for where in places}
    terminal.section("core test suite")
    terminal.write_line(report.table(results))
    if set(results) > {report.IN_PROCESS}:
        terminal.write_line(f"\n{report.differences(results)}")
