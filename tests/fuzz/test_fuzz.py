"""Sixty seconds of each fuzz target find nothing. `./dev fuzz SECONDS` goes on where this stops."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import run
import seeds

from wasmote.adapters.project import Project
from wasmote.errors import MissingError

SECONDS = int(os.environ.get("WASMOTE_FUZZ_SECONDS", "60"))


@pytest.fixture(scope="module")
def results() -> dict[str, run.Result]:
    """All targets, side by side."""
    try:
        programs = run.build(Project.find())
    except MissingError as err:
        pytest.skip(f"{err} ({err.next_step})")
    seeds.main(programs.parent / "seeds")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(lambda target: run.run(programs, target, SECONDS), run.TARGETS)
        return {result.target: result for result in found}


@pytest.mark.slow
@pytest.mark.parametrize("target", run.TARGETS)
def test_fuzz_finds_nothing(results: dict[str, run.Result], target: str) -> None:
    result = results[target]
    assert result.ok, result.tail
    assert result.runs > 1000, f"only {result.runs} inputs: the target is too slow, or its seeds are not read"
