"""The WebAssembly core test suite: in the validator and the engine alone, an item a file; over CoAP on a host node; and
a part of it on emulated chips, over their serial line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import core_suite
import pytest
import report
from in_process import Node
from summary import CORE_SUITE

from wasmote.adapters import wast
from wasmote.adapters.boards import find_board
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.protocol.conformance import suite
from wasmote.protocol.conformance.results import COLUMNS, FileResult, NodeResult, junit, total
from wasmote.protocol.conformance.suite import File

WHY_NOT = core_suite.missing()
FILES = core_suite.files() if WHY_NOT is None else []

needs_suite = pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or "")
needs_wabt = pytest.mark.skipif(
    find_tool("wast2json") is None, reason="wast2json is missing (Debian package wabt)"
)


@pytest.fixture(scope="session")
def node() -> Node:
    return report.in_process()


def _note(request: pytest.FixtureRequest, where: str, results: Sequence[FileResult]) -> None:
    """For the tables at the end."""
    request.node.user_properties.extend(
        (CORE_SUITE, json.dumps([where, result.to_json()])) for result in results
    )


@needs_suite
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_engine_agrees_with(path: Path, node: Node, request: pytest.FixtureRequest) -> None:
    (file,) = wast.read([path])
    results = node.run(file)
    _note(request, report.IN_PROCESS, results)
    for result, asked in zip(results, (file, *file.again), strict=False):
        assert result.wrong == []
        assert result.commands == len(asked.commands)
    assert report.not_on_page(report.IN_PROCESS, results) == []


@needs_suite
@pytest.mark.slow
async def test_host_node_agrees_over_coap(request: pytest.FixtureRequest) -> None:
    results = await report.run_node(report.HOST)
    _note(request, report.HOST, results)
    whole = total(results)
    assert whole.wrong == []
    assert report.not_on_page(report.HOST, results) == []
    assert whole.passed["invalid"] == 1094
    assert whole.passed["malformed"] == 680
    assert whole.passed["return"] == 15_991
    assert whole.passed["trap"] == 456


@needs_suite
@pytest.mark.slow
@pytest.mark.parametrize("board", [report.MPS2, report.STM32, report.RV32])
async def test_emulated_chip_agrees(board: str, request: pytest.FixtureRequest) -> None:
    emulator = find_board(Project.find(), board).emulate["command"][0]
    if find_tool(emulator) is None:
        pytest.skip(f"{emulator} is not installed")
    results = await report.run_node(board)
    _note(request, board, results)
    assert total(results).wrong == []
    assert report.not_on_page(board, results) == []


@needs_suite
def test_subset_names_files_of_the_suite() -> None:
    assert set(suite.SUBSET) <= {path.stem for path in FILES}
    assert list(suite.SUBSET) == sorted(set(suite.SUBSET))


@needs_suite
def test_suite_is_whole() -> None:
    """A file that is lost, or that wast2json converts otherwise, must not go unseen. Figures: design section 11."""
    kinds = [
        command.kind
        for file in wast.read(FILES)
        for command in file.commands
        if command.module is not None or "action" in command.fields
    ]
    assert len(FILES) == 73
    assert kinds.count("assert_invalid") == 1094
    assert kinds.count("assert_malformed") == 680
    assert kinds.count("assert_return") == 16120
    assert kinds.count("assert_trap") == 478


def _float(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "value": value}


def test_judge_compares_floats_bit_by_bit() -> None:
    assert suite.matches(_float("f32", "2147483648"), 0x80000000)  # -0.0
    assert not suite.matches(_float("f32", "2147483648"), 0)
    assert not suite.matches(_float("f32", "0"), 1 << 32)  # the high half must be 0
    assert suite.matches(_float("f32", "2141192192"), 0x7FA00000)  # a NaN that is given with its bits
    assert not suite.matches(_float("f32", "2141192192"), 0x7FE00000)


def test_judge_knows_nan_patterns() -> None:
    for sign in (0, 1 << 63):
        assert suite.matches(_float("f64", "nan:canonical"), sign | 0x7FF8000000000000)
        assert not suite.matches(_float("f64", "nan:canonical"), sign | 0x7FF8000000000001)
        assert suite.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF8000000000001)
        assert not suite.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF4000000000000)  # signalling
        assert not suite.matches(_float("f64", "nan:arithmetic"), sign | 0x7FF0000000000000)  # infinity


WRONG = "\n".join(
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
        '(assert_invalid (module binary "\\00asm\\02\\00\\00\\00") "malformed, but the suite says invalid")',
        '(assert_malformed (module (func (result i32))) "invalid, but the suite says malformed")',
    ]
)


def _judged_as_wrong(result: FileResult) -> None:
    assert result.passed == {"module": 1}
    lines = {int(text.split(":")[1]) for text in result.wrong}
    assert lines == set(range(2, 12))


@needs_wabt
def test_judge_sees_every_kind_of_disagreement(node: Node) -> None:
    """A suite of our own that is wrong in each way must fail in each line of it."""
    _judged_as_wrong(node.run_once(File("wrong", tuple(wast.convert("wrong.wast", WRONG)))))


@needs_wabt
async def test_judge_sees_every_kind_of_disagreement_over_coap() -> None:
    file = File("wrong", tuple(wast.convert("wrong.wast", WRONG)))
    async with report.running(report.HOST) as client:
        (result,) = await report.run_file(client, file)
    _judged_as_wrong(result)


# Arguments and results whose bits must come through: NaNs with a payload, quiet or not, and the widest integers.
EXACT = """
(module
  (func (export "f32") (param f32) (result f32) local.get 0)
  (func (export "f64") (param f64) (result f64) local.get 0)
  (func (export "i64") (param i64) (result i64) local.get 0)
  (func (export "bits") (param f32) (result i32) local.get 0 i32.reinterpret_f32)
  (func (export "status") (result i32) i32.const 429)
  (func (export "all") (param i32 i64 f32 f64) (result f64 f32 i64 i32)
    local.get 3 local.get 2 local.get 1 local.get 0))
(assert_return (invoke "f32" (f32.const nan:0x200001)) (f32.const nan:0x200001))
(assert_return (invoke "f32" (f32.const -nan:0x7fffff)) (f32.const -nan:0x7fffff))
(assert_return (invoke "f64" (f64.const nan:0x4000000000001)) (f64.const nan:0x4000000000001))
(assert_return (invoke "f64" (f64.const -0)) (f64.const -0))
(assert_return (invoke "i64" (i64.const -9223372036854775808)) (i64.const -9223372036854775808))
(assert_return (invoke "i64" (i64.const -1)) (i64.const -1))
(assert_return (invoke "bits" (f32.const nan:0x200001)) (i32.const 0x7fa00001))
(assert_return (invoke "status") (i32.const 429))
(assert_return (invoke "all" (i32.const -1) (i64.const 24) (f32.const -nan:0x1) (f64.const inf))
  (f64.const inf) (f32.const -nan:0x1) (i64.const 24) (i32.const -1))
"""


@needs_wabt
async def test_bits_of_numbers_come_through_coap() -> None:
    file = File("exact", tuple(wast.convert("exact.wast", EXACT)))
    async with report.running(report.HOST) as client:
        (result,) = await report.run_file(client, file)
        assert client.traffic.busy == 0  # 4.29 is the function's own status, not the node's
    assert result.wrong == []
    assert result.passed == {"module": 1, "return": 9}


def test_results_survive_json() -> None:
    result = FileResult("x")
    result.passed[COLUMNS[0]] += 2
    result.refused["limit: a"] += 1
    assert FileResult.from_json(result.to_json()) == result


def test_junit_tells_failed_from_skipped() -> None:
    passed, failed, skipped = FileResult("a"), FileResult("b"), FileResult("c")
    passed.passed["return"] += 3
    failed.wrong.append("b.wast:1: \x01<&")
    skipped.refused["limit: too many"] += 2
    root = ElementTree.fromstring(junit([NodeResult("", [passed, failed, skipped])], "suite"))
    (suite_,) = root
    assert (suite_.get("tests"), suite_.get("failures"), suite_.get("skipped")) == ("3", "1", "1")
    assert [case.get("name") for case in suite_] == ["a", "b", "c"]
    assert suite_[1].findtext("failure") == "b.wast:1: ?<&"
    found = suite_[2].find("skipped")
    assert found is not None and found.get("message") == "2 limit: too many"
