"""Fixtures that build what a test needs, and the C unit tests as pytest items.

Each tests/unit/test_*.c is a cmocka program. Its cases are items of their own here, named as in the source; the
programs are built with sanitizers when the first of them runs. Builds are guarded by file locks, so that
`pytest -n 2` works (parallel.py).
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import parallel
import pytest
import summary
from support import HOST, SANITIZER_OPTIONS, STM32, RunningNode, built, built_tests, start_node

from wasmote.adapters import build
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool

ROOT = Path(__file__).resolve().parent.parent
UNIT = ROOT / "tests" / "unit"

# A case is found where it is defined, so that one which main() forgets to list fails instead of staying unseen.
_CASE = re.compile(r"^(?:static )?void (test_\w+)\(void \*\*", re.MULTILINE)
_TAP = re.compile(r"(ok|not ok) \d+ - (\w+)(.*)")
_PROGRAM_TIMEOUT_S = 300

# The same examples in every run, so that what fails does so for the change at hand.
# `./dev test --hypothesis-profile=default` looks for others.
hypothesis.settings.register_profile("same", derandomize=True)
hypothesis.settings.load_profile("same")


def pytest_configure() -> None:
    # A shell starts what ends in `&` with SIGINT ignored, and everything below inherits that: commands which tests end
    # with Ctrl-C would go on for ever.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


# ---- several workers ----


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> parallel.Schedule:
    return parallel.Schedule(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        parallel.sort(items)


# ---- what is to be read at the end, also when it happened in a worker ----


@pytest.fixture
def say(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """For a line that a person should read after the tests."""
    return functools.partial(record_property, summary.MEASURED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    summary.print_all(terminalreporter)


# ---- C unit tests ----


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.parent == UNIT and file_path.suffix == ".c" and file_path.name.startswith("test_"):
        collector: pytest.Collector = CmockaFile.from_parent(parent, path=file_path)
        return collector
    return None


class CmockaFile(pytest.File):
    """One cmocka program."""

    def collect(self) -> Iterable[pytest.Item]:
        for name in _CASE.findall(self.path.read_text(encoding="utf-8")):
            yield CmockaCase.from_parent(self, name=name)


class CmockaCase(pytest.Item):
    """One case of a program, which runs once for all of them."""

    def runtest(self) -> None:
        results = run_unit_program(self.path.stem)
        listed = set(_CASE.findall(self.path.read_text(encoding="utf-8")))
        if set(results.cases) - listed:
            raise CmockaFailure(
                f"cases that pytest does not see: {', '.join(sorted(set(results.cases) - listed))}"
            )
        found = results.cases.get(self.name)
        if found is None:
            raise CmockaFailure(
                f"{self.path.stem} ended with {results.status} before this case:\n{results.tail}"
            )
        if found.skipped:
            pytest.skip(found.text or "skipped by the test itself")
        if not found.ok:
            raise CmockaFailure(found.text)
        if results.status != 0 and all(case.ok or case.skipped for case in results.cases.values()):
            raise CmockaFailure(
                f"all cases passed, but {self.path.stem} ended with {results.status}:\n{results.tail}"
            )

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        if isinstance(excinfo.value, CmockaFailure):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"{self.path.stem}::{self.name}"


class CmockaFailure(Exception):
    """A case failed."""


@dataclass(frozen=True)
class CaseResult:
    ok: bool
    skipped: bool
    text: str


@dataclass(frozen=True)
class ProgramResult:
    status: int
    cases: dict[str, CaseResult]
    tail: str


def unit_programs() -> Path:
    """The folder of the unit tests' programs, built with sanitizers."""
    return built_tests() / "tests"


@functools.cache
def run_unit_program(name: str) -> ProgramResult:
    """Run one program; its TAP output by case."""
    environment = {**os.environ, **SANITIZER_OPTIONS, "CMOCKA_MESSAGE_OUTPUT": "TAP"}
    done = subprocess.run(
        [unit_programs() / name],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROGRAM_TIMEOUT_S,
        env=environment,
        check=False,
    )
    return ProgramResult(
        done.returncode, parse_tap(done.stdout), "\n".join((done.stdout + done.stderr).splitlines()[-60:])
    )


def parse_tap(text: str) -> dict[str, CaseResult]:
    """cmocka's TAP: a result line a case; what it says about a failure follows in lines with a hash."""
    cases: dict[str, CaseResult] = {}
    last: str | None = None
    for line in text.splitlines():
        result = _TAP.match(line)
        if result is not None:
            last = result[2]
            cases[last] = CaseResult(result[1] == "ok", "# SKIP" in result[3], "")
        elif line.startswith("#") and last is not None:
            before = cases[last]
            cases[last] = CaseResult(before.ok, before.skipped, f"{before.text}\n{line[1:].strip()}".strip())
    return cases


# ---- nodes ----


@pytest.fixture
def host_node() -> Iterator[RunningNode]:
    """A host node with sanitizers."""
    built(HOST, build.Variant(sanitize=True))
    yield from start_node(HOST, "--sanitize")


@pytest.fixture
def stm32_node() -> Iterator[RunningNode]:
    """An emulated STM32F405 behind a bridge."""
    if find_tool("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    built(STM32)
    yield from start_node(STM32)


@pytest.fixture(scope="session")
def project() -> Project:
    return Project.find()
