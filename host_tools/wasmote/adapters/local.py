"""Runs a function on this machine, with the node's engine (pywasm3 is the same wasm3) and the node's host imports.

What differs from a node: the instance has all of its declared memory, there is a time limit instead of fuel, sensors
say what they are told to say, and a request for a call of another function is only logged.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cbor2

from wasmote.adapters.apps import Compiled
from wasmote.errors import InputError, TrapError, WasmoteError
from wasmote.protocol.app import Expect, Number
from wasmote.protocol.imports import MODULES, SENSORS, letters

STACK_BYTES = 2048
OUTPUT_BYTES = 16384


@dataclass(frozen=True)
class Call:
    """args: numbers of the export's parameter types; input: the request of an export that reads a stream; sensors: what
    they say from this call on."""

    export: str
    args: Sequence[Number] = ()
    input: bytes = b""
    sensors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one call ended: results and output, or a trap (its kind as in docs/PROTOCOL.md, 6; "time": stopped by the
    time limit; "crash": the engine itself died). log: (level, text). seconds: of the call alone."""

    results: tuple[Number, ...] = ()
    output: bytes = b""
    trap: str | None = None
    detail: str = ""
    log: tuple[tuple[int, str], ...] = ()
    seconds: float = field(default=0.0, compare=False)


def run_calls(compiled: Compiled, calls: Sequence[Call], *, timeout_s: float = 60.0) -> list[Outcome]:
    """The outcomes of calls that are made one after the other on one instance. A call that is stopped by the time limit
    or that crashes the engine is the last one. Raises InputError (unknown export or import), TrapError (the module does
    not load)."""
    module, section = compiled.module, compiled.section
    exports = module.function_exports()
    for call in calls:
        if call.export not in exports:
            raise InputError(
                f"{compiled.name} has no export '{call.export}'",
                cause=f"it exports {', '.join(f'{name}{kind}' for name, kind in exports.items()) or 'no function'}",
                next_step="name one of these",
            )
    imports: list[tuple[str, str, str]] = []
    for entry in module.imports:
        known = MODULES.get(entry.module, {}).get(entry.name) if entry.kind == "func" else None
        if known is None or entry.type_index is None:
            raise InputError(
                f"{compiled.name} imports {entry.module}.{entry.name}, which is not there when it runs locally",
                next_step="push it to a node that has it",
            )
        kind = module.types[entry.type_index]
        if kind != known:
            raise InputError(
                f"{compiled.name} imports {entry.module}.{entry.name} as {kind}, but it is {known}",
                next_step="declare it as docs/PROTOCOL.md, 7, has it; wasm_apps/sdk has headers",
            )
        signature = letters(entry.module, entry.name)
        imports.append((entry.module, entry.name, signature if signature[0] != "(" else f"v{signature}"))
    request = {
        "module": compiled.data,
        "stack": (section.stack if section else None) or STACK_BYTES,
        "output": (section.output if section else None) or OUTPUT_BYTES,
        "imports": imports,
        "sensors": SENSORS,
        "calls": [
            {
                "export": call.export,
                "args": [
                    _cell(kind, arg) for kind, arg in zip(exports[call.export].params, call.args, strict=True)
                ],
                "input": call.input,
                "sensors": dict(call.sensors),
            }
            for call in calls
        ],
    }
    worker = subprocess.Popen(
        [sys.executable, "-m", "wasmote.adapters.wasm3_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with worker:
        late = False
        try:
            stdout, stderr = worker.communicate(cbor2.dumps(request), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            late = True
            worker.kill()
            stdout, stderr = worker.communicate()
        except BaseException:
            worker.kill()
            raise
    outcomes = _outcomes(compiled, stdout)
    if len(outcomes) < len(calls):
        if late:
            outcomes.append(Outcome(trap="time", detail=f"stopped after {timeout_s:g} s", seconds=timeout_s))
        elif worker.returncode < 0:
            outcomes.append(Outcome(trap="crash", detail=f"the engine died of signal {-worker.returncode}"))
        else:
            raise WasmoteError(
                "the local engine failed",
                cause=stderr.decode("utf-8", "replace").strip(),
                next_step="report it, with the module",
            )
    return outcomes


def _cell(kind: str, value: Number) -> Number:
    """value as pywasm3 takes it: integers signed."""
    if kind not in ("i32", "i64"):
        return float(value)
    bits = int(kind[1:])
    integer = int(value) & ((1 << bits) - 1)
    return integer - (1 << bits) if integer >> (bits - 1) else integer


def _outcomes(compiled: Compiled, stdout: bytes) -> list[Outcome]:
    found: list[Outcome] = []
    stream = io.BytesIO(stdout)
    while stream.tell() < len(stdout):
        try:
            raw = cbor2.CBORDecoder(stream, read_size=1).decode()
        except cbor2.CBORDecodeError:
            break  # killed while it wrote
        if "refused" in raw:
            raise TrapError(
                f"{compiled.name} does not load",
                cause=raw["refused"],
                next_step="wasm3 runs the MVP with sign extension, saturating conversions, multi-value and bulk "
                "memory; `wasmote compile` sets the flags for that.",
            )
        found.append(
            Outcome(
                results=tuple(raw.get("results", ())),
                output=raw["output"],
                trap=raw.get("trap"),
                detail=raw.get("detail", ""),
                log=tuple((level, text) for level, text in raw["log"]),
                seconds=raw["seconds"],
            )
        )
    return found


def expected_call(compiled: Compiled, expect: Expect) -> Call:
    """The call that an [[expect]] describes. Raises InputError if its input file is missing."""
    data = expect.input or b""
    if expect.input_file is not None:
        data = _beside(compiled, expect.input_file)
    return Call(expect.export, expect.args, data, expect.sensors)


def difference(compiled: Compiled, expect: Expect, outcome: Outcome) -> str | None:
    """What is not as expected, for a person; None if all is."""
    if outcome.trap != expect.trap:
        return (
            f"trap is {outcome.trap or 'none'} {outcome.detail}".rstrip()
            + f", expected {expect.trap or 'none'}"
        )
    if expect.trap is not None:
        return None
    if expect.results is not None and list(outcome.results) != list(expect.results):
        return f"results are {list(outcome.results)}, expected {list(expect.results)}"
    if compiled.module.function_exports()[expect.export].is_bytes:
        status = int(outcome.results[0]) if outcome.results else 0
        if status != expect.status:
            return f"status is {status}, expected {expect.status}"
    wanted = expect.output
    if expect.output_file is not None:
        wanted = _beside(compiled, expect.output_file)
    if wanted is not None and outcome.output != wanted:
        return f"output is {outcome.output!r}, expected {wanted!r}"
    return None


def _beside(compiled: Compiled, name: str) -> bytes:
    try:
        return (compiled.folder / name).read_bytes()
    except OSError as err:
        raise InputError(
            f"cannot read {name}, which app.toml of {compiled.name} names",
            cause=str(err),
            next_step="put the file beside app.toml",
        ) from err
