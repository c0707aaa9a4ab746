"""Holds a node against one file of the core test suite: the validator's verdict on every module, then every call.

The engine runs in a process of its own (runner.c), built with sanitizers. It answers a script line by line, so what it
crashed on is known.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core_suite import AGAIN_WITHOUT, Command, converted_without
from native_validator import Validator, Verdict
from results import FileResult

# A trap of the engine (docs/PROTOCOL.md 6) in the words of the suite, which may give only the first of them.
TRAPS = {
    "div-zero": "integer divide by zero",
    "int-overflow": "integer overflow",
    "int-convert": "invalid conversion to integer",
    "memory": "out of bounds memory access",
    "table": "undefined element",
    "null-call": "uninitialized element",
    "signature": "indirect call type mismatch",
    "unreachable": "unreachable",
    "stack-wasm": "call stack exhausted",
    "stack-native": "call stack exhausted",
}

# Why a module does not link, in the words of the suite, and the reason for which the node refuses it.
UNLINKABLE = {
    "unknown import": "import",
    "incompatible import type": "import",
    "data segment does not fit": "memory",
    "elements segment does not fit": "memory",
}

NO_IMPORT = "imports from a module that is not the node"
NO_TEXT = "a module as text"
NO_GLOBALS = "reads an exported global"
NO_REGISTER = "registers a module for others to import"
NO_STATE = "state that other modules, which import it, would have changed"
NO_GROWTH = "needs memory to grow: memory.grow always gives -1 on a node"

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

# What the runner says of a module that imports anything.
IMPORTING = ("refused import ", "refused unsupported imported ")

# What each kind of command says of its module: is it valid?
VALIDITY = {
    "module": True,
    "assert_unlinkable": True,
    "assert_uninstantiable": True,
    "assert_invalid": False,
    "assert_malformed": False,
}

_BITS = {"i32": 32, "f32": 32, "i64": 64, "f64": 64}
_QUIET = {"f32": 0x7FC00000, "f64": 0x7FF8000000000000}
_TIMEOUT_S = 120


class Wrong(Exception):
    """The node does otherwise than the suite says."""


class WrongAnswer(Wrong):
    """A call ended in order, with another result than the suite says."""


class Refused(Exception):
    """The module is beyond a documented limit, or needs what the node does not have."""


class Skipped(Exception):
    """A node has no way to do this."""


# ---- numbers ----


def cell(value: dict[str, str]) -> int:
    """An argument as the engine takes it."""
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


# ---- the script ----

_SLOTS = 64  # of runner.c
_SCRATCH_SLOT = _SLOTS - 1  # of modules that must not open


@dataclasses.dataclass
class Step:
    """A line for the runner, and which of them opened the module that it calls."""

    text: str
    module: int | None = None


class Script:
    """Lines for the runner. Only the modules that a later command can name stay open."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._named: dict[str, tuple[int, int]] = {}  # name -> (slot, step that opens it)
        self._current: tuple[int, int] | None = None
        self._current_is_named = False

    def _line(self, text: str, module: int | None = None) -> int:
        self.steps.append(Step(text, module))
        return len(self.steps) - 1

    def open(self, path: Path, name: str | None) -> int:
        if self._current is not None and not self._current_is_named:
            self._line(f"close {self._current[0]}")
        taken = {slot for slot, _ in self._named.values()}
        slot = next(slot for slot in range(_SCRATCH_SLOT) if slot not in taken)
        step = self._line(f"open {slot} {path}")
        self._current, self._current_is_named = (slot, step), name is not None
        if name is not None:
            if name in self._named:
                self._line(f"close {self._named[name][0]}")
            self._named[name] = self._current
        return step

    def try_open(self, path: Path) -> int:
        step = self._line(f"open {_SCRATCH_SLOT} {path}")
        self._line(f"close {_SCRATCH_SLOT}")
        return step

    def target(self, action: dict[str, Any]) -> tuple[int, int]:
        """Slot and opening step of the module of an action."""
        found = self._named[action["module"]] if "module" in action else self._current
        if found is None:
            raise ValueError("an action before the first module")
        return found

    def call(self, action: dict[str, Any]) -> int:
        slot, module = self.target(action)
        cells = "".join(f" {cell(value):016x}" for value in action["args"])
        return self._line(f"call {slot} x{action['field'].encode().hex()}{cells}", module)


def write_script(commands: Sequence[Command]) -> tuple[Script, list[int | None]]:
    """The script of a file, and for each command its step. None: nothing to run."""
    script = Script()
    steps: list[int | None] = []
    for command in commands:
        step = None
        if command.kind == "module" and command.path is not None:
            step = script.open(command.path, command.fields.get("name"))
        elif command.kind in ("assert_unlinkable", "assert_uninstantiable") and command.path is not None:
            step = script.try_open(command.path)
        elif command.fields.get("action", {}).get("type") == "invoke":
            step = script.call(command.fields["action"])
        steps.append(step)
    return script, steps


def run_script(runner: Path, script: Script, environment: dict[str, str]) -> tuple[list[str], str]:
    """The runner's answers, one a step, as far as it came; and its last words if it did not come to the end."""
    done = subprocess.run(
        [runner],
        input="".join(f"{step.text}\n" for step in script.steps),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        env={**os.environ, **environment},
        check=False,
    )
    answers = done.stdout.splitlines()
    if done.returncode == 0 and len(answers) == len(script.steps):
        return answers, ""
    return answers, f"the runner ended with {done.returncode} {done.stderr[:4000]}"


# ---- the judgement ----


@dataclasses.dataclass(frozen=True)
class Node:
    """What is judged. environment: the sanitizers' options for the runner."""

    runner: Path
    environment: dict[str, str]
    host: Validator
    chip: Validator


def judge_again(node: Node, wast: Path) -> FileResult:
    """Run what is left of a file in AGAIN_WITHOUT. None of it may be refused for a limit."""
    without = AGAIN_WITHOUT[wast.stem]
    with converted_without(wast, without) as commands:
        result = judge(node, wast.stem, commands)
    result.name = f"{wast.stem}, without {len(without)} functions"
    result.wrong += [f"{result.name}: {n} {reason}" for reason, n in result.refused.items()]
    return result


def judge(node: Node, name: str, commands: Sequence[Command]) -> FileResult:
    """Run a file."""
    result = FileResult(name)
    script, steps = write_script(commands)
    answers, last_words = run_script(node.runner, script, node.environment)
    shared = _shared(commands, steps, answers)
    for command, step in zip(commands, steps, strict=True):
        try:
            if step is not None and step >= len(answers):
                raise Wrong(last_words)
            _judge_modules_verdicts(node, result, command)
            column = _judge_command(script, answers, command, step, shared)
            if command.line in GROWTH.get(name, ()):
                raise Wrong("listed in GROWTH, but passes")
        except WrongAnswer as wrong:
            if command.line in GROWTH.get(name, ()):
                result.skipped[NO_GROWTH] += 1
            else:
                result.wrong.append(f"{name}.wast:{command.line}: {command.kind}: {wrong}")
        except Wrong as wrong:
            result.wrong.append(f"{name}.wast:{command.line}: {command.kind}: {wrong}")
        except Refused as refused:
            result.refused[str(refused)] += 1
        except Skipped as skipped:
            result.skipped[str(skipped)] += 1
        else:
            result.passed[column] += 1
    if last_words and len(answers) == len(script.steps):  # a leak, found at the end
        result.wrong.append(f"{name}.wast: {last_words}")
    return result


def _shared(commands: Sequence[Command], steps: list[int | None], answers: list[str]) -> dict[int, int]:
    """Modules, by their opening step, whose state may not be what the suite expects, and from which step on: they are
    registered, and then a module that imports something is not loaded."""
    registered: set[int] = set()
    shared: dict[int, int] = {}
    named: dict[str, int] = {}
    current = -1
    for command, step in zip(commands, steps, strict=True):
        if command.kind == "register":
            registered.add(named[command.fields["name"]] if "name" in command.fields else current)
        if step is None or step >= len(answers) or command.path is None:
            continue
        if command.kind == "module":
            current = step
            if "name" in command.fields:
                named[command.fields["name"]] = step
        if answers[step].startswith(IMPORTING):
            for module in registered:
                shared.setdefault(module, step)
    return shared


def _judge_modules_verdicts(node: Node, result: FileResult, command: Command) -> None:
    """What the validator says with the limits of a chip and of a process."""
    if command.module is None or command.kind not in VALIDITY:
        return
    host, chip = node.host(command.module), node.chip(command.module)
    for limits, verdict in (("host", host), ("chip", chip)):
        right = verdict.valid if VALIDITY[command.kind] else not verdict.accepted
        if not right:
            raise Wrong(f"{_shown(verdict)} with the limits of a {limits} (the suite says: {_said(command)})")
    if host.accepted and not chip.accepted:
        result.chip[_shown(chip)] += 1


def _shown(verdict: Verdict) -> str:
    return f"{verdict.reason}: {verdict.text}" if verdict.reason else "accepted"


def _said(command: Command) -> str:
    return str(command.fields.get("text", "valid"))


def _judge_command(
    script: Script, answers: list[str], command: Command, step: int | None, shared: dict[int, int]
) -> str:
    """The column in which the command passed."""
    kind = command.kind
    if kind in ("assert_invalid", "assert_malformed"):
        if command.module is None:
            raise Skipped(NO_TEXT)
        return kind.removeprefix("assert_")
    if kind == "register":
        raise Skipped(NO_REGISTER)
    if step is None:
        if command.fields.get("action", {}).get("type") == "get":
            raise Skipped(NO_GLOBALS)
        raise Wrong("an unknown command")
    answer = answers[step]
    if kind == "module":
        _need_open(answer)
    elif kind in ("assert_unlinkable", "assert_uninstantiable"):
        _judge_not_instantiated(command, answer)
    else:
        module = script.steps[step].module
        assert module is not None
        _need_open(answers[module])
        if step > shared.get(module, step):
            raise Skipped(NO_STATE)
        return _judge_call(command, answer)
    return "module"


def _need_open(answer: str) -> None:
    """The module is an instance. Raises Refused or Skipped for a reason that the node may have, else Wrong."""
    words = answer.split(" ", 2)
    if words[0] == "open":
        return
    _refused, reason, text = words
    if reason in ("limit", "unsupported"):
        raise Refused(f"{reason}: {text}")
    if reason == "import":
        raise Skipped(NO_IMPORT)
    raise Wrong(answer)


def _judge_not_instantiated(command: Command, answer: str) -> None:
    text = _said(command)
    words = answer.split(" ", 2)
    if words[0] == "open":
        raise Wrong(f"opened (the suite says: {text})")
    _refused, reason, why = words
    if reason in ("limit", "unsupported"):
        raise Refused(f"{reason}: {why}")
    if command.kind == "assert_uninstantiable":
        if reason == "import":
            raise Skipped(NO_IMPORT)
        right = reason == "start" and TRAPS.get(why, "").startswith(text)
    else:
        right = reason == UNLINKABLE[text]
        if reason == "import" and not right:
            raise Skipped(NO_IMPORT)
    if not right:
        raise Wrong(f"{answer} (the suite says: {text})")


def _judge_call(command: Command, answer: str) -> str:
    verb, *words = answer.split(" ")
    if command.kind in ("assert_trap", "assert_exhaustion"):
        text = _said(command)
        if verb != "trap" or not TRAPS.get(words[0], "").startswith(text):
            raise WrongAnswer(f"{answer} (the suite says: trap {text})")
        return "trap"
    expected = command.fields["expected"] if command.kind == "assert_return" else None
    if verb != "return":
        raise WrongAnswer(f"{answer} (the suite says: {expected})")
    got = [int(word, 16) for word in words]
    if expected is not None and not (
        len(got) == len(expected) and all(matches(e, g) for e, g in zip(expected, got, strict=True))
    ):
        raise WrongAnswer(f"{answer} (the suite says: {expected})")
    return "return"
