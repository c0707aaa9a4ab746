"""A short piece of agreement.py: modules from a generator that hypothesis drives and shrinks, and mutants."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import agreement
import core_suite
import execution
import generate
import pytest
import report
import rewrite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native_validator import Validator
from support import SANITIZER_OPTIONS, built_tests

from wasmote.protocol.module import parse_module

needs_wabt = pytest.mark.skipif(
    shutil.which("wasm-validate") is None, reason="wasm-validate is missing (Debian package wabt)"
)
needs_binaryen = pytest.mark.skipif(
    shutil.which("wasm-opt") is None, reason="wasm-opt is missing (Debian package binaryen)"
)


def modules(max_size: int = 80) -> st.SearchStrategy[bytes]:
    """Valid modules. Each choice of the generator is one of hypothesis'."""
    rngs = st.randoms(use_true_random=False)
    return st.builds(lambda rng: generate.Module(rng, size=max_size).bytes, rngs).map(rewrite.with_getters)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[agreement.Agreement]:
    folder = tmp_path_factory.mktemp("agreement")
    held = agreement.Agreement(folder, folder / "kept", built_tests() / core_suite.RUNNER)
    yield held
    held.end()


short = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@needs_wabt
@short
@given(module=modules(), seed=st.integers(0, 2**32))
def test_node_agrees_on_modules_and_mutants(held: agreement.Agreement, module: bytes, seed: int) -> None:
    before = held.tally.disagreements
    held.compare(agreement.GENERATOR, module)
    rng = random.Random(seed)
    for _ in range(4):
        held.compare(f"mutants of {agreement.GENERATOR}", agreement.mutate(module, rng))
    assert held.tally.disagreements == before


@needs_wabt
@needs_binaryen
def test_node_agrees_on_binaryens_modules(held: agreement.Agreement, tmp_path: Path) -> None:
    rng = random.Random(5)
    for number, (source, module) in enumerate(agreement.modules(rng, tmp_path, 4)):
        held.compare(source, module)
        if number == 200:
            break
    assert held.tally.disagreements == 0


@needs_wabt
def test_the_piece_was_not_empty(held: agreement.Agreement) -> None:
    """Valid ones, others, calls, traps and memories must all have been there."""
    held.tally = agreement.Tally()
    rng = random.Random(3)
    for seed in range(40):
        module = rewrite.with_getters(generate.Module(seed, size=80).bytes)
        held.compare("", module)
        for _ in range(5):
            held.compare("", agreement.mutate(module, rng))
    counts = {
        name: held.tally.total(name) for name in ("valid", "not valid", "run", "calls", "traps", "memories")
    }
    assert held.tally.disagreements == 0
    assert counts["valid"] == counts["run"] > 30
    assert counts["not valid"] > 120
    assert counts["calls"] > 300 and counts["traps"] > 10 and counts["memories"] > 30


@needs_wabt
def test_agreement_sees_a_wrong_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Yes(Validator):
        def __call__(self, module: bytes) -> agreement.Verdict:
            return agreement.Verdict(None)

    held = agreement.Agreement(tmp_path, tmp_path / "kept", built_tests() / core_suite.RUNNER)
    held._validate = Yes()
    held.compare("", b"\0asm\1\0\0\0\1")
    held.end()
    assert held.tally.disagreements == 2  # with wabt and with wasmtime
    assert "wasmtime says" in capsys.readouterr().out
    assert (tmp_path / "kept" / "1.wasm").read_bytes() == b"\0asm\1\0\0\0\1"


# Each pair is one module for our engine and another for wasmtime: what differs must be seen.
PAIRS = {
    "result": ("(i32.const 1)", "(i32.const 2)", "gives return [1], in wasmtime return [2]"),
    "trap": (
        "(unreachable)",
        "(i32.div_u (i32.const 1) (i32.const 0))",
        "gives trap unreachable, in wasmtime trap",
    ),
    "one traps": ("(unreachable)", "(i32.const 2)", "gives trap unreachable, in wasmtime return [2]"),
    "global": ("(global.set 0 (i32.const 1)) (i32.const 0)", "(i32.const 0)", "get 0[] gives return [1]"),
    "memory": (
        "(i32.store8 (i32.const 7) (i32.const 1)) (i32.const 0)",
        "(i32.const 0)",
        "memory differs at 7",
    ),
}


@needs_wabt
@pytest.mark.parametrize("kind", PAIRS)
def test_comparer_sees_a_difference(kind: str, tmp_path: Path) -> None:
    ours, theirs, said = PAIRS[kind]
    text = '(module (memory (export "m") 1) (global (mut i32) (i32.const 0)) (func (export "f") (result i32) BODY))'
    first, second = (
        rewrite.with_getters(report.assemble(text.replace("BODY", body), tmp_path)) for body in (ours, theirs)
    )
    comparer = execution.Comparer(built_tests() / core_suite.RUNNER, tmp_path, SANITIZER_OPTIONS)
    assert comparer.run(first).difference is None
    compared = comparer.ours.open
    comparer.ours.open = lambda _module: compared(first)  # type: ignore[method-assign]
    difference = comparer.run(second).difference
    comparer.ours.end()
    assert difference is not None and said in difference


def test_comparer_sees_a_crash(tmp_path: Path) -> None:
    runner = tmp_path / "runner"
    runner.write_text("#!/bin/sh\nread line\necho open\nread line\necho found by a sanitizer >&2\nexit 1\n")
    runner.chmod(0o755)
    comparer = execution.Comparer(runner, tmp_path, {})
    with pytest.raises(execution.Crash, match=r"ended with 1 at 'call 0 .*found by a sanitizer"):
        comparer.run(generate.Module(1).bytes)
    comparer.ours.end()


def test_generated_modules_are_valid() -> None:
    validate = Validator("chip")
    verdicts = [validate(generate.Module(seed).bytes) for seed in range(500)]
    assert [verdict for verdict in verdicts if not verdict.valid] == []
    assert sum(verdict.accepted for verdict in verdicts) > 250


@needs_wabt
def test_stubs_and_getters(tmp_path: Path) -> None:
    text = """(module
      (import "a" "log" (func $log (param i32)))
      (import "a" "log2" (func (param f64)))
      (global i64 (i64.const 7)) (global (mut f32) (f32.const 1))
      (func (export "f") (result i32) (call $log (i32.const 1)) (i32.const 2)))"""
    changed = rewrite.with_getters(rewrite.with_stubs(report.assemble(text, tmp_path)))
    module = parse_module(changed)
    assert module.imports == ()
    assert {name: str(kind) for name, kind in module.function_exports().items()} == {
        "f": "() -> i32",
        "get 0": "() -> i64",
        "get 1": "() -> f32",
    }
    comparer = execution.Comparer(built_tests() / core_suite.RUNNER, tmp_path, SANITIZER_OPTIONS)
    outcome = comparer.run(changed)
    comparer.ours.end()
    assert (outcome.difference, outcome.why, outcome.calls) == (None, "", 3)


def test_page_states_a_long_run() -> None:
    """docs/CONFORMANCE.md: what the issue asks for."""
    figures = report.PAGE.read_text().partition(agreement.HEADING)[2]
    row = next(line for line in figures.splitlines() if line.startswith("| **all** "))
    cells = dict(zip(agreement.COLUMNS, (int(cell) for cell in row.strip("|").split("|")[1:]), strict=True))
    assert cells["modules"] >= 100_000
    apart = cells["refused: limit"] + cells["refused: unsupported"] + cells["explained"]
    assert cells["valid"] + cells["not valid"] + apart == cells["modules"]
    assert "Disagreements: 0." in figures
