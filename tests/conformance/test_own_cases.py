"""The tests that come with the tools: that they are what own_cases.py makes, and that the engine passes
them. Nodes: tests/integration/test_conformance_boards.py."""

from __future__ import annotations

import own_cases
import pytest
import report
from hypothesis import given
from hypothesis import strategies as st

from wasmote.adapters import own_suite
from wasmote.protocol.conformance.own import call_line, module_line, parse
from wasmote.protocol.conformance.results import total


def test_own_cases_are_up_to_date() -> None:
    made, kept = own_cases.text().splitlines(), own_cases.FILE.read_text().splitlines()
    different = [
        number for number, lines in enumerate(zip(made, kept, strict=False), 1) if lines[0] != lines[1]
    ]
    assert (different[:3], len(made)) == ([], len(kept)), "run python tests/conformance/own_cases.py"


def test_engine_passes_its_own_cases() -> None:
    node = report.in_process()
    whole = total([result for file in own_suite.read() for result in node.run(file)])
    assert whole.wrong == []
    assert not whole.refused and not whole.skipped and not whole.chip
    assert whole.passed["invalid"] > 1000 and whole.passed["malformed"] > 100
    assert whole.passed["unsupported"] > 50 and whole.passed["valid"] > 250
    assert whole.passed["return"] > 1000 and whole.passed["trap"] > 200


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.binary(max_size=20))
def test_modules_survive_the_format(modules: list[bytes], common: bytes) -> None:
    lines, before = ["file x"], b""
    for module in modules:
        whole = common + module
        lines.append(module_line("invalid", whole, before, "a text"))
        before = whole
    (file,) = parse("\n".join(lines))
    assert [command.module for command in file.commands] == [common + module for module in modules]
    assert {command.fields["text"] for command in file.commands} == {"a text"}


def test_calls_survive_the_format() -> None:
    lines = [
        "file x",
        call_line("return", "f", [("i32", 1), ("f64", 2)], "i64:3 f32:4"),
        call_line("return", "f", [], ""),
        call_line("trap", "f", [], "div-zero"),
        call_line("call", "f", [("i32", 5)]),
    ]
    (file,) = parse("\n".join(lines))
    whole, nothing, trap, call = (command.fields for command in file.commands)
    assert whole["action"]["args"] == [{"type": "i32", "value": "1"}, {"type": "f64", "value": "2"}]
    assert whole["expected"] == [{"type": "i64", "value": "3"}, {"type": "f32", "value": "4"}]
    assert (nothing["action"]["args"], nothing["expected"]) == ([], [])
    assert trap["text"] == "integer divide by zero"
    assert (file.commands[3].kind, call["action"]["args"]) == ("action", [{"type": "i32", "value": "5"}])


@pytest.mark.parametrize(
    "text",
    ["valid 0:00", "file x\nvalid 1:00", "file x\nvalid 0:0", "file x\ntrap f = nothing", "file x\nwhat 1"],
)
def test_a_damaged_file_names_its_line(text: str) -> None:
    with pytest.raises(ValueError, match=f"line {text.count(chr(10)) + 1}: "):
        parse(text)
