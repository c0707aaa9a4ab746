"""Prints the table of the core test suite after the tests that fill it, also when they ran in several processes."""

from __future__ import annotations

import core_suite
import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    results = [
        core_suite.FileResult.from_json(value)
        for reports in (terminalreporter.getreports("passed"), terminalreporter.getreports("failed"))
        for report in reports
        for key, value in report.user_properties
        if key == "core_suite"
    ]
    if results:
        terminalreporter.section("validator, core test suite, limits of a chip")
        terminalreporter.write_line(core_suite.table(sorted(results, key=lambda result: result.name)))
