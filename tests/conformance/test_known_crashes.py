"""Every known crash of wasm3 0.5.0: the node refuses the module, or survives it, and plain wasm3 crashes on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import known_crashes
import pytest
from known_crashes import CASES, Case
from support import SANITIZER_OPTIONS, built_tests

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "fuzz"))
import fuzz_targets

from wasmote.adapters.project import Project
from wasmote.errors import MissingError

IDS = [case.number for case in CASES]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "KNOWN_CRASHES.md"


def _run(command: list[str | Path], script: str = "") -> subprocess.CompletedProcess[str]:
    options = {**SANITIZER_OPTIONS, "ASAN_OPTIONS": f"{SANITIZER_OPTIONS['ASAN_OPTIONS']}:symbolize=1"}
    if not script:  # wasm3 as published does not free everything when it fails
        options["ASAN_OPTIONS"] = "detect_leaks=0"
    return subprocess.run(
        [str(part) for part in command], input=script, capture_output=True, text=True, errors="replace",
        timeout=120, check=False, env={**os.environ, **options},
    )  # fmt: skip


def _verdict(runner: Path, case: Case, folder: Path) -> str:
    """What the node's way says: validate, load, link, then each export called with zeros."""
    path = folder / "case.wasm"
    path.write_bytes(case.data)
    done = _run([runner], f"stack 0 {case.node_stack_bytes}\nopen 0 {path}\nsweep 0\nclose 0\n")
    assert done.returncode == 0, done.stderr
    _stack, opened, swept, _close = done.stdout.splitlines()
    return opened if opened != "open" else " ".join(["survives", *sorted(set(swept.split()[1:]))])


@pytest.fixture(scope="module", params=[64, 32])
def fuzz_programs(request: pytest.FixtureRequest) -> tuple[int, Path]:
    """Bits, and the folder of the programs that were built with clang and sanitizers for them."""
    try:
        return request.param, fuzz_targets.build(Project.find(), request.param)
    except MissingError as err:
        pytest.skip(f"{err} ({err.next_step})")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_node_stands(case: Case, tmp_path: Path) -> None:
    runner = built_tests() / "conformance" / "conformance_runner"
    assert _verdict(runner, case, tmp_path) == case.verdict("host")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_node_stands_in_both_widths(case: Case, fuzz_programs: tuple[int, Path], tmp_path: Path) -> None:
    bits, folder = fuzz_programs
    limits = "host" if bits == 64 else "chip"
    assert _verdict(folder / "conformance_runner", case, tmp_path) == case.verdict(limits)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_plain_wasm3_crashes(case: Case, fuzz_programs: tuple[int, Path], tmp_path: Path) -> None:
    """Otherwise the module would not be what the report describes."""
    bits, folder = fuzz_programs
    path = tmp_path / "case.wasm"
    path.write_bytes(case.data)
    done = _run([folder / "plain_wasm3", path, str(case.stack_bytes)])
    where = case.plain_crash(bits)
    if where is None:
        assert done.returncode == 0, done.stderr
    else:
        assert "AddressSanitizer" in done.stderr, done.stdout
        assert where in re.findall(r"#\d+ \S+ in (\w+)", done.stderr)[:3]


def test_every_number_is_there() -> None:
    """CVEs and issues whose public descriptions tell of a crash."""
    cves = {"2021-38592", "2021-45929", "2021-45946", "2021-45947", "2022-28966"}
    issues = {424, 465, *range(471, 486), *range(543, 548), 562, 563, 570}
    numbers = {case.number for case in CASES}
    assert {f"CVE-{cve}" for cve in cves} | {str(issue) for issue in issues} <= numbers
    assert len(numbers) == len(CASES)


def test_page_is_current() -> None:
    assert PAGE.read_text() == known_crashes.page(), (
        "docs/KNOWN_CRASHES.md differs from the table: python tests/conformance/known_crashes.py --write"
    )
