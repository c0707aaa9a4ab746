"""Reads and writes the tests of this project's own, which need no suite from elsewhere. A line each:

    file NAME
    module BYTES                        a module that must open; the calls below are for it
    valid BYTES                         one that no rule of the validator refuses
    invalid|malformed|unsupported BYTES TEXT
    return EXPORT TYPE:BITS ... = TYPE:BITS ...
    trap EXPORT TYPE:BITS ... = KIND
    call EXPORT TYPE:BITS ...           whatever it gives

BYTES is told by the module before: COUNT:HEX:COUNT:HEX..., COUNT bytes as they are there at the same place, then the
bytes in HEX, and so on. KIND is one of docs/PROTOCOL.md 6. TYPE:BITS is as in wast2json's output. An empty line, or one
that starts with #, says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from wasmote.protocol.conformance.judge import TRAPS
from wasmote.protocol.conformance.suite import Command, File

MODULES = {
    "module": "module",
    "valid": "assert_valid",
    "invalid": "assert_invalid",
    "malformed": "assert_malformed",
    "unsupported": "assert_unsupported",
}
_WORTH_A_COUNT = 4  # bytes
CALLS = {"return": "assert_return", "trap": "assert_trap", "call": "action"}


def parse(text: str) -> list[File]:
    """The files. Raises ValueError, with the line."""
    files: list[tuple[str, list[Command]]] = []
    before = b""
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.partition(" ")
        try:
            if word in MODULES:
                told, _, said = rest.partition(" ")
                before = _module(told, before)
                files[-1][1].append(Command(MODULES[word], number, before, {"text": said or "valid"}))
            elif word in CALLS:
                files[-1][1].append(Command(CALLS[word], number, None, _call(word, rest)))
            elif word == "file":
                files.append((rest, []))
            elif word and word != "#":
                raise ValueError(f"what is '{word}'?")
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"line {number}: {error}") from error
    return [File(name, tuple(commands)) for name, commands in files]


def module_line(word: str, module: bytes, before: bytes, text: str = "") -> str:
    """The line of a module; before: the module of the line before it, or b""."""
    told: list[str] = []
    at = 0
    while at < len(module):
        count = _equal(module, before, at)
        end = at + count
        while end < len(module) and _equal(module, before, end) < _WORTH_A_COUNT:
            end += 1
        told += [str(count), module[at + count : end].hex()]
        at = end
    return f"{word} {':'.join(told) or '0'} {text}".rstrip()


def call_line(word: str, export: str, args: Sequence[tuple[str, int]], result: str = "") -> str:
    """The line of a call. result: what is behind the equals sign, for return and trap."""
    words = [word, export, *(f"{kind}:{bits}" for kind, bits in args)]
    return " ".join([*words, *([] if word == "call" else ["=", result])]).rstrip()


def _equal(module: bytes, before: bytes, at: int) -> int:
    """How many bytes from at on are the same in both."""
    end = at
    while end < min(len(module), len(before)) and module[end] == before[end]:
        end += 1
    return end - at


def _module(told: str, before: bytes) -> bytes:
    module = b""
    for index, word in enumerate(told.split(":")):
        if index % 2:
            module += bytes.fromhex(word)
        elif len(module) + int(word) > len(before):
            raise ValueError(f"the module before has only {len(before)} bytes")
        else:
            module += before[len(module) : len(module) + int(word)]
    return module


def _call(word: str, rest: str) -> dict[str, Any]:
    asked, _, gives = rest.partition(" =")
    export, *args = asked.split(" ")
    action = {"type": "invoke", "field": export, "args": list(_values(args))}
    if word == "trap":
        return {"action": action, "text": TRAPS[gives.strip()]}
    return {"action": action, "expected": list(_values(gives.split()))}


def _values(words: Sequence[str]) -> Iterator[dict[str, str]]:
    for word in words:
        kind, bits = word.split(":", 1)
        yield {"type": kind, "value": bits}
