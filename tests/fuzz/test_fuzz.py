"""Some seconds of each fuzz target find nothing, and neither does what was kept of earlier runs. `./dev fuzz SECONDS`
goes on where this stops."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import fuzz_targets
import run
from fuzz_targets import CORPUS, TARGETS, Result, Target

from wasmote.adapters.project import Project
from wasmote.errors import MissingError

SECONDS = int(os.environ.get("WASMOTE_FUZZ_SECONDS", "8"))
BASE = Project.find().build / "fuzz"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built() -> None:
    try:
        for bits in (64, 32):
            fuzz_targets.build(Project.find(), bits)
    except MissingError as err:
        pytest.skip(f"{err} ({err.next_step})")


@pytest.fixture(scope="module")
def results(built: None, tmp_path_factory: pytest.TempPathFactory) -> dict[Target, Result]:
    """All targets, side by side."""
    grown = tmp_path_factory.mktemp("corpus")
    return {result.target: result for result in run.fuzz(TARGETS, SECONDS, BASE, grown=grown, own=True)}


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz_corpus_finds_nothing(built: None, target: Target) -> None:
    inputs = len(list(target.kept.iterdir()))
    result = fuzz_targets.replay(target, target.kept, BASE / "findings")
    assert result.ok, result.tail
    assert result.runs >= inputs > 10


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_fuzz_finds_nothing(results: dict[Target, Result], target: Target) -> None:
    result = results[target]
    assert result.ok, result.tail
    given = [path for folder in (target.kept, BASE / "seeds" / target.name) for path in folder.iterdir()]
    assert result.runs > len(given), f"only {result.runs} inputs: too slow, or nothing is changed"


def test_fuzz_corpus_is_small() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 300_000
