"""A short, repeatable piece of agreement.py: the long runs are by hand."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import agreement
import generate
import pytest
from native_validator import Validator


@pytest.mark.skipif(
    shutil.which("wasm-validate") is None, reason="wasm-validate is missing (Debian package wabt)"
)
def test_validator_agrees_with_wabt_and_wasmtime(tmp_path: Path) -> None:
    rng, validate, tally = random.Random(3), Validator("chip"), agreement.Tally()
    oracles = agreement.Oracles(tmp_path)
    for seed in range(40):
        module = generate.Module(seed, size=80).bytes
        agreement.compare(module, validate, oracles, tally, tmp_path)
        for _ in range(10):
            agreement.compare(agreement.mutate(module, rng), validate, oracles, tally, tmp_path)
    assert tally.disagreements == 0
    for name in ("wabt", "wasmtime"):  # both kinds must have been there
        assert tally.counts[f"{name} agrees: valid"] > 20
        assert tally.counts[f"{name} agrees: not valid"] > 150


def test_generated_modules_are_valid() -> None:
    validate = Validator("chip")
    verdicts = [validate(generate.Module(seed).bytes) for seed in range(500)]
    assert [verdict for verdict in verdicts if not verdict.valid] == []
    assert sum(verdict.accepted for verdict in verdicts) > 250
