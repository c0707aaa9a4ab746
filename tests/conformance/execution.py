"""Runs one module in the node's engine and in wasmtime, and compares what can be seen: whether it opens, each call's
results or trap, and the memory afterwards. Globals are compared through the functions that rewrite.py adds.

Any NaN equals any other here. Both engines have fuel, but each its own unit of it, so the comparison of a module ends
with the first call that runs out of fuel or of stack in one of them.
"""

from __future__ import annotations

import dataclasses
import os
import random
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path
from typing import Any

import wasmtime

OUR_FUEL = 20_000  # turns of loops and calls
THEIR_FUEL = 2_000_000  # instructions
CALLS = 24  # of one module at most
PAGE_BYTES = 65536
# What the engine cannot compile or hold though it is valid: a node says `limit` (functions/image.c).
NODE_LIMITS = (
    "refused invalid",
    "refused unsupported",
    "refused limit",
    "refused memory more",
    "refused memory error",
)

# wasmtime's traps in the words of docs/PROTOCOL.md 6.
TRAPS = {
    wasmtime.TrapCode.MEMORY_OUT_OF_BOUNDS: "memory",
    wasmtime.TrapCode.TABLE_OUT_OF_BOUNDS: "table",
    wasmtime.TrapCode.INDIRECT_CALL_TO_NULL: "null-call",
    wasmtime.TrapCode.BAD_SIGNATURE: "signature",
    wasmtime.TrapCode.INTEGER_DIVISION_BY_ZERO: "div-zero",
    wasmtime.TrapCode.INTEGER_OVERFLOW: "int-overflow",
    wasmtime.TrapCode.BAD_CONVERSION_TO_INTEGER: "int-convert",
    wasmtime.TrapCode.UNREACHABLE: "unreachable",
    wasmtime.TrapCode.OUT_OF_FUEL: "budget",
    wasmtime.TrapCode.STACK_OVERFLOW: "budget",
}
BUDGETS = ("fuel", "stack-wasm", "stack-native")
_BITS = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}
_INFINITY = {"f32": 0x7F800000, "f64": 0x7FF0000000000000}


def engine_for_runs() -> wasmtime.Engine:
    config = wasmtime.Config()
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = 512 * 1024
    config.wasm_memory64 = config.wasm_threads = config.wasm_multi_memory = False
    return wasmtime.Engine(config)


@dataclasses.dataclass
class Outcome:
    """difference: what differs, or None. why: why the comparison ended before all was seen, or ""."""

    difference: str | None = None
    why: str = ""
    calls: int = 0
    traps: int = 0
    memory: bool = False


class Budget(Exception):
    """A call ended for want of fuel or stack in one of the two."""


class Crash(Exception):
    """The runner ended."""


class OurEngine:
    """runner.c, which stays for many modules. ask() sends any other line of its script."""

    def __init__(self, runner: Path, folder: Path, environment: dict[str, str]) -> None:
        self._command = [str(runner), str(OUR_FUEL)]
        self._environment = {**os.environ, **environment}
        self._module, self._memory = folder / "run.wasm", folder / "memory"
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (end() closes it)
        self._process: subprocess.Popen[str] | None = None

    def ask(self, line: str) -> str:
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env=self._environment,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self._process.stdout.readline().rstrip("\n")
        if not answer:
            self._process.communicate()
            status = self._process.returncode
            self._process = None
            self._log.seek(0)
            raise Crash(f"the runner ended with {status} at {line!r}: {self._log.read()[-4000:].decode()}")
        return answer

    def open(self, module: bytes) -> str:
        self._module.write_bytes(module)
        return self.ask(f"open 0 {self._module}")

    def call(self, name: str, cells: list[int]) -> str:
        return self.ask(f"call 0 x{name.encode().hex()}" + "".join(f" {value:016x}" for value in cells))

    def memory(self) -> bytes:
        self.ask(f"memory 0 {self._memory}")
        return self._memory.read_bytes()

    def close(self) -> None:
        self.ask("close 0")

    def end(self) -> None:
        """Raises Crash if it does not end in order, as when it has lost memory."""
        process, self._process = self._process, None
        with self._log:
            if process is None:
                return
            process.communicate()
            if process.returncode != 0:
                self._log.seek(0)
                raise Crash(
                    f"the runner ended with {process.returncode}: {self._log.read()[-4000:].decode()}"
                )


def _canonical(kind: str, bits: int) -> int | str:
    bits &= (1 << _BITS[kind]) - 1
    if kind in _INFINITY and bits & ((1 << _BITS[kind] - 1) - 1) > _INFINITY[kind]:
        return "NaN"
    return bits


def cell(kind: str, value: Any) -> int:
    """A value as the engine takes it."""
    if kind == "f32":
        return int.from_bytes(struct.pack("<f", value), "little")
    if kind == "f64":
        return int.from_bytes(struct.pack("<d", value), "little")
    return int(value) & ((1 << _BITS[kind]) - 1)


def argument(kind: str, rng: random.Random, *, nan: bool = False) -> Any:
    """A value for a parameter, mostly one at an edge. nan: floats may be the canonical NaN, too."""
    if kind in ("i32", "i64"):
        small = rng.choice((0, 1, -1, 2, 7, 100, 65535, 65528, -(1 << 31), (1 << 31) - 1))
        wide = rng.getrandbits(_BITS[kind]) - (1 << _BITS[kind] - 1)
        return small if rng.random() < 0.7 else wide
    values = [0.0, -0.0, 1.0, -1.5, 2.0**31, -(2.0**63), 1e-40, float("inf")]
    value = rng.choice([*values, *([float("nan")] if nan else []), rng.uniform(-1e5, 1e5)])
    return struct.unpack("<f", struct.pack("<f", value))[0] if kind == "f32" else value


class Comparer:
    """Holds runner.c and wasmtime together."""

    def __init__(self, runner: Path, folder: Path, environment: dict[str, str]) -> None:
        self.ours = OurEngine(runner, folder, environment)
        self._engine = engine_for_runs()

    def run(self, module: bytes) -> Outcome:
        """The module is valid, and the node does not refuse it for a limit or a missing feature."""
        theirs = wasmtime.Module(self._engine, module)
        if theirs.imports:
            return Outcome(why="it imports something")
        store = wasmtime.Store(self._engine)
        pages = [e.type.limits.min for e in theirs.exports if isinstance(e.type, wasmtime.MemoryType)]
        if pages:
            store.set_limits(memory_size=pages[0] * PAGE_BYTES)  # memory.grow gives -1, as on a node
        outcome = Outcome()
        answer = self.ours.open(module)
        if answer.startswith(NODE_LIMITS):
            return Outcome(why=f"the engine refuses it: {answer.split(' ', 2)[2]}")
        try:
            self._run(store, theirs, answer, module, outcome)
        except Budget:
            outcome.why = "out of fuel or stack"
        if answer == "open":
            self.ours.close()
        return outcome

    def _run(
        self, store: wasmtime.Store, theirs: wasmtime.Module, answer: str, module: bytes, outcome: Outcome
    ) -> None:
        store.set_fuel(THEIR_FUEL)
        started = "open"
        instance = None
        try:
            instance = wasmtime.Instance(store, theirs, [])
        except wasmtime.Trap as trap:
            started = trap_kind(trap)
        if started == "budget" or answer.removeprefix("refused start ") in BUDGETS:
            raise Budget
        # Data or elements that do not fit are memory or table traps there, and here a refusal for its own reason.
        ours = {"refused memory": started}.get(" ".join(answer.split(" ")[:2]), answer.split(" ")[-1])
        if ours != started or (answer == "open") != (instance is not None):
            outcome.difference = f"opens with {answer!r}, wasmtime with {started!r}"
            return
        if instance is not None:
            self._calls(store, theirs, instance, random.Random(zlib.crc32(module)), outcome)
            if outcome.difference is None:
                self._memory(store, theirs, instance, outcome)

    def _calls(
        self,
        store: wasmtime.Store,
        theirs: wasmtime.Module,
        instance: wasmtime.Instance,
        rng: random.Random,
        outcome: Outcome,
    ) -> None:
        exports = [e for e in theirs.exports if isinstance(e.type, wasmtime.FuncType)]
        # The getters come last, and see what the others did.
        for export in exports[-CALLS:]:
            params = [str(kind) for kind in export.type.params]
            results = [str(kind) for kind in export.type.results]
            args = [argument(kind, rng) for kind in params]
            answer = self.ours.call(
                export.name, [cell(kind, value) for kind, value in zip(params, args, strict=True)]
            )
            store.set_fuel(THEIR_FUEL)
            function = instance.exports(store)[export.name]
            assert isinstance(function, wasmtime.Func)
            try:
                values = function(store, *args)
                got = values if len(results) > 1 else [] if not results else [values]
                said = [_canonical(kind, cell(kind, value)) for kind, value in zip(results, got, strict=True)]
                expected = f"return {said}"
            except wasmtime.Trap as trap:
                expected = f"trap {trap_kind(trap)}"
            ours = _readable(answer, results)
            outcome.calls += 1
            if expected == "trap budget" or answer.removeprefix("trap ") in BUDGETS:
                raise Budget
            if ours != expected:
                outcome.difference = f"{export.name}{args} gives {ours}, in wasmtime {expected}"
                return
            outcome.traps += expected.startswith("trap")

    def _memory(
        self,
        store: wasmtime.Store,
        theirs: wasmtime.Module,
        instance: wasmtime.Instance,
        outcome: Outcome,
    ) -> None:
        for export in theirs.exports:
            if isinstance(export.type, wasmtime.MemoryType):
                memory = instance.exports(store)[export.name]
                assert isinstance(memory, wasmtime.Memory)
                ours, expected = self.ours.memory(), bytes(memory.read(store))
                outcome.memory = True
                if ours != expected:
                    same = len(ours) == len(expected)
                    at = next((i for i in range(len(ours)) if ours[i] != expected[i]), 0) if same else -1
                    outcome.difference = f"memory differs at {at} ({len(ours)} and {len(expected)} bytes)"
                return


def trap_kind(trap: wasmtime.Trap) -> str:
    """In the words of docs/PROTOCOL.md 6; `budget` for fuel and stack."""
    code = trap.trap_code
    return TRAPS.get(code, str(code)) if code is not None else "other"


def _readable(answer: str, results: list[str]) -> str:
    verb, *words = answer.split(" ")
    if verb != "return" or len(words) != len(results):
        return answer
    return f"return {[_canonical(kind, int(word, 16)) for kind, word in zip(results, words, strict=True)]}"
