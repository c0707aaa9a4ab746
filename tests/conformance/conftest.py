"""Prints the tables of the core test suite after the tests that fill them, also when they ran in several processes."""

from __future__ import annotations

import json

import pytest
import report

from wasmote.protocol.conformance.results import FileResult


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results: dict[str, dict[str, FileResult]] = {}
    for outcome in ("passed", "failed"):
        for item in terminalreporter.getreports(outcome):
            for key, value in item.user_properties:
                if key == "core_suite":
                    where, text = json.loads(value)
                    result = FileResult.from_json(text)
                    results.setdefault(where, {})[result.name] = result
    if results:
        terminalreporter.section("core test suite")
        terminalreporter.write_line(report.table(results))
        if set(results) > {report.IN_PROCESS}:
            terminalreporter.write_line(f"\n{report.differences(results)}")
