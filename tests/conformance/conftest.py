"""Prints the table of the core test suite after the tests that fill it, also when they ran in several processes."""

from __future__ import annotations

import pytest
from results import FileResult, table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results = [
        FileResult.from_json(value)
        for reports in (terminalreporter.getreports("passed"), terminalreporter.getreports("failed"))
        for report in reports
        for key, value in report.user_properties
        if key == "core_suite"
    ]
    if results:
        terminalreporter.section("core test suite")
        terminalreporter.write_line(table(sorted(results, key=lambda result: result.name)))
