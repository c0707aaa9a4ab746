"""The commands of a .wast file, as wabt's wast2json lists them, and what of the core test suite of 2020-09-28 a node
does otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# What the suite of that day takes as given.
FEATURES = ("--disable-reference-types", "--disable-bulk-memory", "--disable-simd")

# Modules that are refused for a few of their functions: they run again without these, by name or export, and if that is
# not enough without the next ones too. What else the file has is not looked at again.
AGAIN_WITHOUT = {
    "block": (('"deep"',),),
    "br_table": (('"large"',),),
    "call": (("$return-from-long-argument-list-helper", '"return-from-long-argument-list"'),),
    "loop": (('"break-value"', '"break-multi-value"'), ('"deep"',)),
}
CALLS = ("module", "action", "assert_return", "assert_trap", "assert_exhaustion")

# Lines whose result needs memory.grow to succeed, which the specification does not promise. That each fails is checked.
GROWTH = {
    "block": {384},
    "call": {359},
    "call_indirect": {603},
    "global": {226},
    "if": {593},
    "local_tee": {345},
    "loop": {457},
    "memory_grow": {*range(19, 24), *range(26, 34), *range(42, 46), 48, *range(56, 61), *range(88, 98), 309},
    "memory_size": {9, 11, 13, 23, 25, 27, 39, 41, 43, 45, 55, 57, 59, 61, 63},
    "nop": {381, 382},
    "select": {256, 257},
}

# Lines whose result needs what a call left in the instance before a later one trapped. A node gives the next call a
# fresh instance (docs/PROTOCOL.md 4). That each fails is checked there.
AFTER_TRAP = {"global": {223, 225, 228, 230, 232, 234, 235, 236, 239}}

# Files for slow links and small memories, a few seconds each over a serial line: numbers of all four types, control
# flow, memory, tables, globals, traps, several values, start functions, and modules that must be refused.
SUBSET = (
    "address", "align", "binary", "block", "br", "br_if", "br_table", "call", "call_indirect", "conversions", "custom",
    "data", "elem", "endianness", "exports", "f32_bitwise", "f64_bitwise", "fac", "float_exprs", "forward", "func",
    "func_ptrs", "global", "i32", "i64", "if", "int_exprs", "labels", "left-to-right", "load", "local_tee", "loop",
    "memory", "memory_redundancy", "memory_trap", "nop", "return", "select", "stack", "start", "store",
    "switch", "traps", "type", "unreachable", "unreached-invalid", "unwind",
)  # fmt: skip

_BITS = {"i32": 32, "f32": 32, "i64": 64, "f64": 64}
_QUIET = {"f32": 0x7FC00000, "f64": 0x7FF8000000000000}


@dataclass(frozen=True)
class Command:
    """One command of a .wast file. kind is wast2json's; module is set where the command has a binary one."""

    kind: str
    line: int
    module: bytes | None
    fields: dict[str, Any]

    @property
    def said(self) -> str:
        """What the suite says of it."""
        return str(self.fields.get("text", "valid"))


@dataclass(frozen=True)
class File:
    """The commands of one file. less: of how many functions it has been relieved; again: the same with still less of
    them, for nodes that refuse it for a limit."""

    name: str
    commands: tuple[Command, ...]
    less: int = 0
    again: tuple[File, ...] = ()

    @property
    def title(self) -> str:
        if self.less == 0:
            return self.name
        return f"{self.name}, without {self.less} function{'s' if self.less > 1 else ''}"

    @property
    def modules(self) -> int:
        """How many there are to be sent."""
        return sum(command.module is not None for command in self.commands)


def read_listing(listing: str, read: Callable[[str], bytes]) -> list[Command]:
    """The commands of wast2json's output; read gives the content of a file that it names. Modules as text, in
    assert_malformed, have no binary. Raises ValueError, KeyError."""
    found = []
    for fields in json.loads(listing)["commands"]:
        binary = "filename" in fields and fields.get("module_type", "binary") == "binary"
        module = read(fields["filename"]) if binary else None
        found.append(Command(fields["type"], fields["line"], module, fields))
    return found


def without(text: str, names: Iterable[str]) -> str:
    """A .wast file without these functions and what calls them. Line numbers stay."""
    for name in names:
        text = _blanked(
            text, re.compile(rf"\((func (\(export )?|assert_\w+ \(invoke ){re.escape(name)}(?=[\s)])")
        )
    return text


def _blanked(text: str, start: re.Pattern[str]) -> str:
    """text with spaces in place of each list that begins so."""
    while found := start.search(text):
        depth, at = 0, found.start()
        while True:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break
        text = text[: found.start()] + re.sub(r"[^\n]", " ", text[found.start() : at]) + text[at:]
    return text


# ---- numbers ----


def cell(value: dict[str, str]) -> int:
    """An argument as its bits."""
    return int(value["value"]) & ((1 << _BITS[value["type"]]) - 1)


def matches(expected: dict[str, str], got: int) -> bool:
    """Bit by bit, but for a NaN that the suite leaves open: the canonical one of either sign, or any quiet one."""
    kind, value = expected["type"], expected["value"]
    if not value.startswith("nan:"):
        return got == cell(expected)
    if got >> _BITS[kind]:
        return False
    without_sign = got & ((1 << _BITS[kind] - 1) - 1)
    quiet = _QUIET[kind]
    return without_sign == quiet if value == "nan:canonical" else without_sign & quiet == quiet
