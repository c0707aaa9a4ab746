"""Modules that crash wasm3 0.5.0, made here from what is publicly known of each report: its function, its stack trace,
its cause. None is a reporter's file.

Each is WebAssembly text, for wat2wasm without its checks, or bytes where text cannot say it. What a node does with it,
and what plain wasm3 does, is part of the table: test_known_crashes.py holds both against it, and docs/KNOWN_CRASHES.md
is made of it.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from wasmote.adapters.tools import need_tool

I32, I64, F32, F64 = b"\x7f", b"\x7e", b"\x7d", b"\x7c"
HEADER = b"\0asm\1\0\0\0"


# ---- bytes ----


def leb(value: int) -> bytes:
    """LEB128 without a sign."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def vec(items: list[bytes]) -> bytes:
    return leb(len(items)) + b"".join(items)


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + leb(len(content)) + content


def func_type(params: bytes, results: bytes) -> bytes:
    return b"\x60" + leb(len(params)) + params + leb(len(results)) + results


def module(
    types: list[bytes], functions: list[tuple[int, bytes]], *, between: bytes = b"", after: bytes = b""
) -> bytes:
    """Functions are (type, code without the final end); all are exported, as f0, f1, ... between: sections before the
    exports; after: behind the code."""
    bodies = [b"\0" + code + b"\x0b" for _type, code in functions]
    names = [f"f{n}".encode() for n in range(len(functions))]
    return (
        HEADER
        + section(1, vec(types))
        + section(3, vec([leb(kind) for kind, _code in functions]))
        + between
        + section(7, vec([leb(len(name)) + name + b"\0" + leb(n) for n, name in enumerate(names)]))
        + section(10, vec([leb(len(body)) + body for body in bodies]))
        + after
    )


@functools.cache
def _assembled(text: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "m.wat"), Path(folder, "m.wasm")
        source.write_text(text)
        command = [need_tool("wat2wasm"), "--no-check", "-o", str(target), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ValueError(done.stderr)
        return target.read_bytes()


# ---- modules that text cannot say, or not shortly ----


def br_table(count: int, written: int) -> bytes:
    """A br_table that announces so many targets, and has these many."""
    code = b"\x02\x40\x41\x00\x0e" + leb(count) + b"\0" * written + b"\x0b"
    return module([func_type(b"", b"")], [(0, code)])


def results_upon_results(count: int, behind: bytes) -> bytes:
    """A function of so many results that calls another of so many twice: their slots, and its own, are more than
    wasm3's table has, though the stack of types is not yet full. behind: more code."""
    give = b"\x41\x01" * count
    return module([func_type(b"", I32 * count)], [(0, give), (0, b"\x10\x00\x10\x00" + behind)])


def nested(count: int, block: bytes, before: bytes, after: bytes) -> bytes:
    """Blocks in blocks. block: opcode and type, of which 1 is (i32) -> (i32)."""
    code = before + block * count + b"\x0b" * count + after
    return module([func_type(b"", b""), func_type(I32, I32)], [(0, code)])


def constants_in_a_global(count: int) -> bytes:
    """A global's initial value with so many constants: code without a function around it."""
    return HEADER + section(6, vec([I64 + b"\0" + b"\x42\x01" * count + b"\x0b"]))


def constants_in_a_data_offset(count: int) -> bytes:
    """The same for the offset of a data segment."""
    return HEADER + section(5, b"\1\0\1") + section(11, b"\1\0" + b"\x41\x01" * count + b"\x0b\1x")


def data_at(offset: bytes, size: int) -> bytes:
    """A data segment that announces so many bytes and has four. offset: an i32.const's LEB128."""
    return HEADER + section(5, b"\1\0\1") + section(11, b"\1\0\x41" + offset + b"\x0b" + leb(size) + b"abcd")


def name_subsection(size: int) -> bytes:
    """A name section of which a part announces so many bytes."""
    names = b"\4name\2" + leb(size) + b"a"
    return module([func_type(b"", b"")], [(0, b"")], after=section(0, names))


def recursive(params: int, frames: int) -> str:
    """Functions that call themselves with their parameters, each a place further. They differ in their locals, so that
    the last frame of one or the other ends just at the end of the stack, whatever its size."""
    passed = " ".join(f"(local.get {n % params})" for n in range(1, params + 1))
    functions = [
        f'(func $f{n} (export "f{n}") (param{" i32" * params}) (local{" i32" * n}) (call $f{n} {passed}))'
        for n in range(frames)
    ]
    return f"(module {' '.join(functions)})"


# Functions of one f32 and one i32 parameter; the sums are in wasm3's registers, one for floats, one for the rest.
_FLOAT = "(f32.add (local.get 0) (local.get 0))"
_INT = "(i32.add (local.get 1) (local.get 1))"
# Two values in the register for integers, which wasm3 takes for free after a conversion of the upper one.
_INT_TWICE = f"{_INT} {_FLOAT} (i32.const 1) (i32.const 1) select"


def code(body: str, before: str = "") -> str:
    return f'(module (memory 1) (table 1 funcref) {before} (func (export "f") (param f32 i32) {body}))'


# ---- the table ----


@dataclass(frozen=True)
class Case:
    """number: of the CVE or of wasm3's issue. node: what conformance_runner says of it with the limits of a chip; host:
    with those of a PC, where that differs. plain: the function in which wasm3 as published crashes, None where it does
    not; plain32: the same in 32 bits, where that differs. stack_bytes: the wasm stack that plain wasm3 has. thin: what
    the public text leaves open."""

    number: str
    what: str
    make: Callable[[], bytes] | str
    node: str
    plain: str | None
    plain32: str | None = ""
    host: str = ""
    stack_bytes: int = 64 * 1024
    thin: str = ""

    @property
    def data(self) -> bytes:
        return _assembled(self.make) if isinstance(self.make, str) else self.make()

    def plain_crash(self, bits: int) -> str | None:
        return self.plain if bits == 64 or self.plain32 == "" else self.plain32

    @property
    def node_stack_bytes(self) -> int:
        """What a function on a chip has by default; but where plain wasm3 crashes on a large stack, a large one."""
        return 2048 if self.stack_bytes <= 64 * 1024 else 1024 * 1024

    def verdict(self, limits: str) -> str:
        return self.host if limits == "host" and self.host else self.node


NO_TEXT = "no public text was found for this number; a neighbour of the same series"
_TYPES = "refused invalid type mismatch"  # what conformance_runner prints

CASES = (
    Case(
        "CVE-2021-38592",
        "constants in a global's initial value are counted nowhere, so the stack may be too small",
        lambda: constants_in_a_global(500),
        "refused unsupported a constant expression of more than one instruction",
        "op_Const64",
        stack_bytes=2048,
    ),
    Case(
        "CVE-2021-45929",
        "parameters of an `if` in code that cannot be reached: slot 65535 is marked",
        code("unreachable (i32.const 0) (if (param i32) (then drop) (else drop))"),
        "refused limit a block with parameters in code that cannot be reached",
        "MarkSlotAllocated",
    ),
    Case(
        "CVE-2021-45946",
        "the same with a `block`",
        code("unreachable (block (param i32) drop)"),
        "refused limit a block with parameters in code that cannot be reached",
        "MarkSlotAllocated",
    ),
    Case(
        "CVE-2021-45946, loop",
        "the same with a `loop`",
        code("unreachable (loop (param i32) drop)"),
        "refused limit a block with parameters in code that cannot be reached",
        "MarkSlotAllocated",
    ),
    Case(
        "CVE-2021-45947",
        "code in the offset of a data segment damages the runtime that it is compiled in",
        lambda: constants_in_a_data_offset(1500),
        "refused unsupported a constant expression of more than one instruction",
        "op_Const32",
        stack_bytes=2048,
        thin="the text names only functions (Runtime_Release, from EvaluateExpression and InitDataSegments)",
    ),
    Case(
        "CVE-2022-28966",
        "a br_table's count makes the size of a code page wrap to 0 (#320)",
        lambda: br_table(0x1FFFFFE0, 3),
        "refused malformed length out of bounds",
        "NewCodePage",
        plain32=None,
    ),
    Case(
        "CVE-2022-28966, 32 bits",
        "the count for which it wraps where pointers have 32 bits",
        lambda: br_table(0x3FFFFFE0, 3),
        "refused malformed length out of bounds",
        "NewCodePage",
    ),
    Case(
        "424",
        "a heap buffer is overrun while an invalid program runs",
        code("(i32.const 0) " + _FLOAT + " (i32.const 1) memory.copy"),
        _TYPES,
        "op_MemCopy",
        thin="the text shows no cause: a float as an address stands for it",
    ),
    Case(
        "465",
        "`br` leaves a surplus operand behind where the block's result is an f32: it goes to slot 60002",
        code("(block (result f32) f32.const 1 f32.const 2 br 0) drop"),
        "refused limit a branch that carries a float past other values or blocks with results",
        "op_CopySlot_32",
    ),
    Case(
        "471",
        "the same with an f64; a valid module",
        code("(block (result f64) f64.const 1 f64.const 2 br 0) drop"),
        "refused limit a branch that carries a float past other values or blocks with results",
        "op_CopySlot_64",
    ),
    Case(
        "472",
        "`select` of an f32 and an i32, both in registers: an operation that has too few slots",
        code(f"{_INT} {_FLOAT} (local.get 1) select drop"),
        _TYPES,
        "op_Select_f32_ssr",
    ),
    Case(
        "473",
        "the same, of an f32 and an i64",
        code(f"{_FLOAT} (i64.add (i64.const 1) (i64.const 2)) (local.get 1) select drop"),
        _TYPES,
        "op_Select_i64_ssr",
    ),
    Case(
        "474",
        "a read out of bounds",
        code(f"{_FLOAT} (i32.const 1) (i32.const 1) memory.fill"),
        _TYPES,
        "op_MemFill",
        thin=NO_TEXT,
    ),
    Case(
        "475",
        "`memory.copy` to an address that is a float in a register",
        code(f"{_FLOAT} (i32.const 1) (i32.const 1) memory.copy"),
        _TYPES,
        "op_MemCopy",
    ),
    Case(
        "476",
        "results of calls are marked beyond the table of slots; then code asks for another page",
        lambda: results_upon_results(660, b"\x1a" * 1320 + b"\x41\x01\x41\x02\x6a\x1a" * 800),
        "refused limit a type has too many results",
        "RemoveCodePageOfCapacity",
    ),
    Case(
        "477",
        "arguments are written beyond the stack, before the callee looks whether they fit",
        '(module (func $f (export "f") (param f64 f64 f64 f64 f64 f64 f64 f64)'
        " (call $f (f64.const 1) (f64.const 2) (f64.const 3) (f64.const 4) (f64.const 5) (f64.const 6)"
        " (f64.add (local.get 0) (local.get 1)) (f64.add (local.get 0) (local.get 1)))))",
        "survives trap:stack-wasm",
        "op_SetSlot_f64",
    ),
    Case(
        "478",
        "`select` of an f64 and an i32 by an i32, all three in registers",
        code(f"{_INT_TWICE} f64.convert_i32_s {_INT} select drop"),
        _TYPES,
        "op_Select_f64_rsr",
    ),
    Case(
        "479",
        "endless recursion runs out of C stack where the wasm stack is large; a valid module",
        '(module (func $f (export "f") (result i32) (call $f)))',
        "survives trap:stack-native",
        "op_Entry",
        stack_bytes=16 * 1024 * 1024,
    ),
    Case(
        "480",
        "`select` of i64s by an f32 in a register",
        code(f"(i64.const 1) (i64.add (i64.const 1) (i64.const 2)) {_FLOAT} select drop"),
        _TYPES,
        "op_Select_i64_srs",
    ),
    Case(
        "481",
        "as 478, with an f32",
        code(f"{_INT_TWICE} f32.convert_i32_s {_INT} select drop"),
        _TYPES,
        "op_Select_f32_rsr",
    ),
    Case(
        "482",
        "as 476, but compilation fails behind it, and the runtime is released",
        lambda: results_upon_results(670, b"\x10\x63"),
        "refused limit a type has too many results",
        "Environment_ReleaseCodePages",
    ),
    Case(
        "483",
        "loops nested beyond the stack of types",
        lambda: nested(4200, b"\x03\x7d", b"", b"\x1a"),
        "refused limit blocks are nested too deeply",
        "DeallocateSlot",
        thin="reported in PreserveRegisterIfOccupied; what is on the stack there is not told",
    ),
    Case(
        "484",
        "as 476, but an operand is missing behind it",
        lambda: results_upon_results(700, b"\x1a" * 1401),
        "refused limit a type has too many results",
        "ForEachModule",
    ),
    Case(
        "485",
        "blocks nested beyond the stack of types: what is popped is no slot",
        lambda: nested(4200, b"\x02\x7d", b"\x00", b"\x1a"),
        "refused limit blocks are nested too deeply",
        "DeallocateSlot",
    ),
    Case(
        "543",
        "a block's result is an f32, but its `br` carries an i32",
        code(f"(block (result f32) {_INT} br 0) drop"),
        _TYPES,
        "op_SetSlot_i32",
    ),
    Case(
        "544",
        "as 471: slot 60002 is written",
        code("(block (result f64) f64.const 1 (f64.add (f64.const 1) (f64.const 2)) br 0) drop"),
        "refused limit a branch that carries a float past other values or blocks with results",
        "op_CopySlot_64",
    ),
    Case(
        "545",
        "a read out of bounds",
        code(f"(block {_FLOAT} br_table 0 0)"),
        _TYPES,
        "op_BranchTable",
        thin=NO_TEXT + " (549)",
    ),
    Case(
        "546",
        "a read out of bounds",
        code(f"{_FLOAT} {_INT} (local.get 1) select drop"),
        _TYPES,
        "op_Select_i32_ssr",
        thin=NO_TEXT + " (548)",
    ),
    Case(
        "547",
        "`call_indirect` with an index that is a float in a register",
        code(f"(call_indirect {_FLOAT})", "(elem (i32.const 0) 0)"),
        _TYPES,
        "op_CallIndirect",
    ),
    Case(
        "562",
        "as 477, with i32s that are copied; a valid module",
        recursive(24, 40),
        "survives trap:stack-wasm",
        "op_CopySlot_32",
    ),
    Case(
        "563",
        "a br_table's count wraps where the lines of code are counted",
        lambda: br_table(0xFFFFFFFC, 5000),
        "refused malformed length out of bounds",
        "EmitWord_impl",
    ),
    Case(
        "570",
        "the same, with the largest count",
        lambda: br_table(0xFFFFFFFE, 6000),
        "refused malformed length out of bounds",
        "EmitWord_impl",
    ),
    Case(
        "data size",
        "a data segment's size wraps the arithmetic of pointers on 32 bits",
        lambda: data_at(b"\xc0\0", 0xFFFFFFD0),
        "refused malformed length out of bounds",
        None,
        plain32="InitDataSegments",
    ),
    Case(
        "name size",
        "a size in the name section does",
        lambda: name_subsection(0x80000000),
        "refused unsupported a broken name section",
        None,
        plain32="ReadLebUnsigned",
    ),
    Case(
        "900 results",
        "functions with 900 results that call each other: past the block of the heap",
        lambda: results_upon_results(900, b"\x00"),
        "refused limit a type has too many results",
        "MarkSlotAllocated",
    ),
    Case(
        "nested blocks",
        "deep nesting: C stack for each level",
        lambda: nested(15_000, b"\x02\x40", b"", b""),
        "refused limit a function's code is too large",
        "CompileBlock",
        host="refused limit blocks are nested too deeply",
    ),
)


# ---- the page ----

_PREAMBLE = """\
# Known crashes of wasm3 0.5.0

What is publicly known to crash the interpreter inside of a node, rebuilt by us: tests/conformance/known_crashes.py
makes a module for each number, none is a reporter's file. `./dev test tests/conformance/test_known_crashes.py` pushes
each through the node's way (validate, load, link, call every export with limited fuel) under address and
undefined-behaviour sanitizers, in 64 bits with the limits of a PC and in 32 bits with those of a chip. The same test
runs wasm3 as it was published, without anything of ours, in both widths under AddressSanitizer: it crashes in the
function that the last column names, which shows that the module is what it is there for.
`python tests/conformance/known_crashes.py --write` wrote this page.

| number | what it is | a node | wasm3 as published crashes in |
|---|---|---|---|
"""


def _node(case: Case) -> str:
    def words(verdict: str) -> str:
        what, reason, *text = verdict.split(" ", 2)
        return f"{what} ({reason}): {text[0]}" if text else f"{what} with {reason.replace(':', ' ')}"

    return (
        f"{words(case.node)}; with the limits of a PC: {words(case.host)}" if case.host else words(case.node)
    )


def _plain(case: Case) -> str:
    wide, narrow = case.plain_crash(64), case.plain_crash(32)
    if wide == narrow:
        return f"`{wide}`"
    return f"`{wide or narrow}`, {64 if wide else 32} bits only"


def page() -> str:
    """docs/KNOWN_CRASHES.md"""
    lines = [
        f"| {case.number} | {case.what}{f'. Thin: {case.thin}' if case.thin else ''} | {_node(case)} | {_plain(case)} |"
        for case in CASES
    ]
    return _PREAMBLE + "\n".join(lines) + "\n"


def main() -> None:
    if "--write" in sys.argv[1:]:
        (Path(__file__).resolve().parents[2] / "docs" / "KNOWN_CRASHES.md").write_text(page())
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
