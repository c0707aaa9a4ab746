"""The validator against the WebAssembly core test suite: an item a file. Execution joins with the engine."""

from __future__ import annotations

from pathlib import Path

import core_suite
import pytest
from native_validator import Validator

WHY_NOT = core_suite.missing()
FILES = sorted(core_suite.suite_dir().glob("*.wast")) if WHY_NOT is None else []

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")


@pytest.fixture(scope="module", params=["chip", "host"])
def validate(request: pytest.FixtureRequest) -> Validator:
    return Validator(request.param)


@pytest.mark.parametrize("wast", FILES, ids=lambda wast: wast.stem)
def test_validator_agrees_with(wast: Path, validate: Validator, request: pytest.FixtureRequest) -> None:
    result = core_suite.judge(validate, wast.stem, core_suite.commands(wast))
    if validate.limits == "chip":
        request.node.user_properties.append(("core_suite", result.to_json()))
    assert result.wrong == []


def test_suite_is_whole() -> None:
    """A file that is lost, or that wast2json converts otherwise, must not go unseen. Figures: design section 11."""
    kinds = [
        command.kind for wast in FILES for command in core_suite.commands(wast) if command.module is not None
    ]
    assert len(FILES) == 73
    assert kinds.count("assert_invalid") == 1094
    assert kinds.count("assert_malformed") == 680
