"""Makes the tests that come with the tools (host_tools/wasmote/data/conformance.txt).

    python tests/conformance/own_cases.py

`validator` is every module that tests/unit/test_validate.c asks a verdict on, but for those about limits and the large
ones. `operations` is each numeric and each memory instruction alone, `behaviour` modules of generate.py: both are
called, with the results and traps of wasmtime. The output is the same each time, and a test holds the file against it.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import execution
import generate
import rewrite
import wasmtime
from core_suite import RUNNER
from native_validator import ROOT, Validator

sys.path.append(str(ROOT / "tests"))
from support import SANITIZER_OPTIONS, built_tests

from wasmote.protocol.conformance.own import call_line, module_line
from wasmote.protocol.module import parse_module

FILE = ROOT / "host_tools" / "wasmote" / "data" / "conformance.txt"
HEAD = "# Written by tests/conformance/own_cases.py. The format: wasmote/protocol/conformance/own.py\n"
WORDS = {-1: "valid", 0: "malformed", 1: "invalid", 3: "unsupported"}  # by enum wm_refusal; 2 is a limit
MODULE_MAX_BYTES = 400
MODULES = 40  # of the generator
CALLS = 6  # of each export
OPERATIONS = 64  # in one module
CHIP_STACK_BYTES = 2048  # WM_WASM_STACK_DEFAULT_BYTES


def validator_lines(folder: Path) -> list[str]:
    cases = folder / "cases"
    program = built_tests() / "tests" / "test_validate"
    environment = {**os.environ, "WASMOTE_CASES": str(cases)}
    subprocess.run([program], env=environment, check=True, capture_output=True)
    lines, seen, before = ["file validator"], set(), b""
    chip = Validator("chip")
    for case in cases.read_text().splitlines():
        digits, reason, text = case.split(" ", 2)
        module = bytes.fromhex(digits)
        if int(reason) not in WORDS or len(module) > MODULE_MAX_BYTES or module in seen:
            continue
        if int(reason) == -1 and not chip(module).accepted:
            continue
        seen.add(module)
        lines.append(module_line(WORDS[int(reason)], module, before, "" if int(reason) == -1 else text))
        before = module
    return lines


def operations_lines() -> list[str]:
    """A function for each instruction, `oOPCODE`."""
    functions: list[tuple[bytes, generate.Types, generate.Types]] = []
    for (operands, result), opcodes in generate.OPERATIONS.items():
        functions += [(opcode, operands, (result,)) for opcode in opcodes]
    for kind in generate.TYPES:
        functions += [(bytes([op, 0, 3]), (generate.I32, kind), ()) for op in generate.STORES[kind]]
        functions += [(bytes([op, 0, 1]), (generate.I32,), (kind,)) for op in generate.LOADS[kind]]
    three = (generate.I32,) * 3
    functions += [(b"\xfc\x0a\0\0", three, ()), (b"\xfc\x0b\0", three, ()), (b"\x3f\0", (), (generate.I32,))]
    # Stores and what reads them back share a module; a module may have 128 exports on a chip.
    lines, before = ["file operations"], b""
    for start in range(0, len(functions), OPERATIONS):
        module = _one_each(functions[start : start + OPERATIONS])
        lines += [module_line("module", module, before), *_calls(module, random.Random(start))]
        before = module
    return lines


def _one_each(functions: list[tuple[bytes, generate.Types, generate.Types]]) -> bytes:
    u, vec, section = generate.u, generate.vec, generate.section
    types = sorted({(params, results) for _code, params, results in functions})
    bodies, names = [], []
    for code, params, _results in functions:
        body = b"\0" + b"".join(b"\x20" + u(i) for i in range(len(params))) + code + b"\x0b"
        bodies.append(u(len(body)) + body)
        names.append(f"o{code[: 2 if code[0] == 0xFC else 1].hex()}".encode())
    return b"\0asm\1\0\0\0" + b"".join(
        (
            section(1, vec([generate.signature(*kind) for kind in types])),
            section(3, vec([u(types.index((params, results))) for _code, params, results in functions])),
            section(5, b"\x01\x01\x01\x01"),
            section(7, vec([u(len(name)) + name + b"\0" + u(i) for i, name in enumerate(names)])),
            section(10, vec(bodies)),
        )
    )


def behaviour_lines(folder: Path) -> list[str]:
    """Only modules that every node can run: with the wasm stack of a chip, too."""
    lines, before, chip = ["file behaviour"], b"", Validator("chip")
    ours = execution.OurEngine(built_tests() / RUNNER, folder, SANITIZER_OPTIONS)
    ours.ask(f"stack 0 {CHIP_STACK_BYTES}")
    seed = made = 0
    while made < MODULES:
        seed += 1
        module = rewrite.with_getters(generate.Module(seed, size=150).bytes, "get")
        if not chip(module).accepted or not _fits(ours, module, random.Random(seed)):
            continue
        lines += [module_line("module", module, before), *_calls(module, random.Random(seed))]
        before, made = module, made + 1
    ours.end()
    return lines


def _fits(ours: execution.OurEngine, module: bytes, rng: random.Random) -> bool:
    if ours.open(module) != "open":
        ours.close()
        return False
    answers = []
    for name, args in _planned(module, rng):
        answers.append(ours.call(name, [execution.cell(kind, value) for kind, value in args]))
        if answers[-1].startswith("trap"):
            ours.close()
            ours.open(module)
    ours.close()
    return not any(answer.startswith("trap stack") for answer in answers)


def _planned(module: bytes, rng: random.Random) -> list[tuple[str, list[tuple[str, Any]]]]:
    """The calls of a module: each export some times, and at last the values of the globals."""
    found = []
    for turn in range(CALLS):
        for name, kind in parse_module(module).function_exports().items():
            if turn == CALLS - 1 or not name.startswith("get"):
                found.append((name, [(one, execution.argument(one, rng, nan=True)) for one in kind.params]))
    return found


def _calls(module: bytes, rng: random.Random) -> list[str]:
    """A trap is followed by the module again, because a node gives the next call a fresh instance."""
    running = _Running(module)
    lines = []
    for name, args in _planned(module, rng):
        lines.append(running.call(name, args))
        if lines[-1].startswith("trap "):
            lines.append(module_line("module", module, module))
            running = _Running(module)
    return lines


class _Running:
    """A fresh instance in wasmtime."""

    def __init__(self, module: bytes) -> None:
        engine = execution.engine_for_runs()
        self._store = wasmtime.Store(engine)
        self._store.set_fuel(execution.THEIR_FUEL)
        self._instance = wasmtime.Instance(self._store, wasmtime.Module(engine, module), [])

    def call(self, name: str, args: list[tuple[str, Any]]) -> str:
        """The line of a call and what it gives."""
        given = [(kind, execution.cell(kind, value)) for kind, value in args]
        function = self._instance.exports(self._store)[name]
        assert isinstance(function, wasmtime.Func)
        results = [str(one) for one in function.type(self._store).results]
        try:
            values = function(self._store, *(value for _kind, value in args))
        except wasmtime.Trap as trap:
            reason = execution.trap_kind(trap)
            if reason == "budget":
                raise ValueError("a call of this module has no end") from trap
            return call_line("trap", name, given, reason)
        got = values if len(results) > 1 else [] if not results else [values]
        if any(value != value for value in got):  # Python does not give the bits of a NaN
            return call_line("call", name, given)
        cells = [f"{one}:{execution.cell(one, value)}" for one, value in zip(results, got, strict=True)]
        return call_line("return", name, given, " ".join(cells))


def text() -> str:
    """The whole file."""
    with tempfile.TemporaryDirectory() as folder:
        return (
            HEAD
            + "\n".join([*validator_lines(Path(folder)), *operations_lines(), *behaviour_lines(Path(folder))])
            + "\n"
        )


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
