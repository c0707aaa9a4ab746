"""The validator and the engine against the WebAssembly core test suite: an item a file."""

from __future__ import annotations

from pathlib import Path

import core_suite
import judge
import pytest
from native_validator import Validator
from results import COLUMNS, FileResult
from support import SANITIZER_OPTIONS, built_tests

WHY_NOT = core_suite.missing()
FILES = core_suite.files() if WHY_NOT is None else []

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")


@pytest.fixture(scope="session")
def node() -> judge.Node:
    runner = built_tests() / core_suite.RUNNER
    return judge.Node(runner, SANITIZER_OPTIONS, host=Validator("host"), chip=Validator("chip"))


@pytest.mark.parametrize("wast", FILES, ids=lambda wast: wast.stem)
def test_node_agrees_with(wast: Path, node: judge.Node, request: pytest.FixtureRequest) -> None:
    with core_suite.converted(wast) as commands:
        result = judge.judge(node, wast.stem, commands)
        request.node.user_properties.append(("core_suite", result.to_json()))
        assert result.wrong == []
        assert result.commands == len(commands)


@pytest.mark.parametrize(
    "wast", [wast for wast in FILES if wast.stem in core_suite.AGAIN_WITHOUT], ids=lambda wast: wast.stem
)
def test_node_agrees_without_refused_functions(
    wast: Path, node: judge.Node, request: pytest.FixtureRequest
) -> None:
    result = judge.judge_again(node, wast)
    request.node.user_properties.append(("core_suite", result.to_json()))
    assert result.wrong == []
    assert result.passed["return"] > 60


def test_suite_is_whole() -> None:
    """A file that is lost, or that wast2json converts otherwise, must not go unseen. Figures: design section 11."""
    kinds = []
    for wast in FILES:
        with core_suite.converted(wast) as commands:
            kinds += [
                command.kind for command in commands if command.path is not None or "action" in command.fields
            ]
    assert len(FILES) == 73
    assert kinds.count("assert_invalid") == 1094
    assert kinds.count("assert_malformed") == 680
    assert kinds.count("assert_return") == 16120
    assert kinds.count("assert_trap") == 478


def _float(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "value": value}


def test_judge_compares_floats_bit_by_bit() -> None:
    assert judge.matches(_float("f32", "2147483648"), 0x80000000)  # -0.0
    assert not judge.matches(_float("f32", "2147483648"), 0)
    assert not judge.matches(_float("f32", "0"), 1 << 32)  # the high half must be 0
    assert judge.matches(_float("f32", "2141192192"), 0x7FA00000)  # a NaN that is given with its bits
    assert not judge.matches(_float("f32", "2141192192"), 0x7FE00000)


def test_judge_knows_nan_patterns() -> None:
    for sign in (0, 1 << 63):
        assert judge.matches(_float("f64", "nan:canonical"), sign | 0x7FF8000000000000)
        assert not judge.matches(_float("f64", "nan:canonical"), sign | 0x7FF8000000000001)
        assert judge.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF8000000000001)
        assert not judge.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF4000000000000)  # signalling
        assert not judge.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF0000000000000)  # infinity


def test_judge_sees_every_kind_of_disagreement(node: judge.Node, tmp_path: Path) -> None:
    """A suite of our own that is wrong in each way must fail in each line of it."""
    wast = tmp_path / "wrong.wast"
    wast.write_text(
        "\n".join(
            [
                '(module (func (export "one") (result i32) i32.const 1) (func (export "trap") unreachable))',
                '(assert_return (invoke "one") (i32.const 2))',
                '(assert_return (invoke "trap"))',
                '(assert_trap (invoke "one") "unreachable")',
                '(assert_trap (invoke "trap") "integer overflow")',
                '(assert_exhaustion (invoke "trap") "call stack exhausted")',
                '(assert_invalid (module (func)) "type mismatch")',
                '(assert_malformed (module binary "\\00asm\\01\\00\\00\\00") "unexpected end")',
                '(assert_unlinkable (module (memory 1)) "data segment does not fit")',
            ]
        )
    )
    with core_suite.converted(wast) as commands:
        result = judge.judge(node, "wrong", commands)
    assert result.passed == {"module": 1}
    lines = [int(text.split(":")[1]) for text in result.wrong]
    assert lines == list(range(2, 10))


def test_results_survive_json() -> None:
    result = FileResult("x")
    result.passed[COLUMNS[0]] += 2
    result.refused["limit: a"] += 1
    assert FileResult.from_json(result.to_json()) == result
