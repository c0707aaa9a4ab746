"""Holds a node's answers against what a file of the suite says."""

from __future__ import annotations

from collections.abc import Sequence

from wasmote.protocol.conformance.results import FileResult
from wasmote.protocol.conformance.script import Answer, Script
from wasmote.protocol.conformance.suite import AFTER_TRAP, GROWTH, Command, File, matches

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

# A budget that ends a call which the suite expects to end by itself.
_BUDGETS = {
    "fuel": "a call takes more fuel than it gets",
    "stack-wasm": "a call takes more of the wasm stack than a module gets that does not ask",
    "stack-native": "a call takes more C stack than there is",
}

# Why a module does not link, in the words of the suite, and the reason for which the node refuses it.
UNLINKABLE = {
    "unknown import": "import",
    "incompatible import type": "import",
    "data segment does not fit": "memory",
    "elements segment does not fit": "memory",
}

# For which reasons a module may be refused. What the suite calls wrong may be part of a later feature.
REFUSALS = {"assert_invalid": ("invalid", "unsupported"), "assert_malformed": ("malformed", "unsupported")}

LIMIT = "limit: "
NO_IMPORT = "imports from a module that is not the node"
NO_TEXT = "a module as text"
NO_GLOBALS = "reads an exported global"
NO_REGISTER = "registers a module for others to import"
NO_STATE = "state that other modules, which import it, would have changed"
NO_GROWTH = "needs memory to grow: memory.grow always gives -1 on a node"

NO_TRAPPED_STATE = "state from before a trap: the next call gets a fresh instance"


class Wrong(Exception):
    """The node does otherwise than the suite says."""


class WrongAnswer(Wrong):
    """A call ended in order, with another result than the suite says."""


class Refused(Exception):
    """The module is beyond a documented limit, or needs what the node does not have."""


class Skipped(Exception):
    """A node has no way to do this."""


def judge(
    file: File,
    script: Script,
    answers: Sequence[Answer],
    last_words: str = "",
    *,
    fresh_after_trap: bool = False,
) -> FileResult:
    """What came of a file. fresh_after_trap: the call after a trap gets a fresh instance, as on a node. Fewer answers
    than steps: whoever answers came to its end before, with last_words."""
    result = FileResult(file.title)
    shared = _shared(file.commands, script, answers)
    known = dict.fromkeys(GROWTH.get(file.name, ()), NO_GROWTH)
    if fresh_after_trap:
        known |= dict.fromkeys(AFTER_TRAP.get(file.name, ()), NO_TRAPPED_STATE)
    for command, step in zip(file.commands, script.step_of, strict=True):
        try:
            if step is not None and step >= len(answers):
                raise Wrong(last_words)
            column = _judge_command(script, answers, command, step, shared)
            if command.line in known:
                raise Wrong(f"passes, but is listed: {known[command.line]}")
        except WrongAnswer as wrong:
            if command.line in known:
                result.skipped[known[command.line]] += 1
            else:
                result.wrong.append(f"{file.name}.wast:{command.line}: {command.kind}: {wrong}")
        except Wrong as wrong:
            result.wrong.append(f"{file.name}.wast:{command.line}: {command.kind}: {wrong}")
        except Refused as refused:
            result.refused[str(refused)] += 1
        except Skipped as skipped:
            result.skipped[str(skipped)] += 1
        else:
            result.passed[column] += 1
    return result


def relieved(file: File, result: FileResult) -> bool:
    """Whether file.again is worth a try."""
    return bool(file.again) and any(reason.startswith(LIMIT) for reason in result.refused)


def _shared(commands: Sequence[Command], script: Script, answers: Sequence[Answer]) -> dict[int, int]:
    """Modules, by their opening step, whose state may not be what the suite expects, and from which step on: they are
    registered, and then a module that imports something is not loaded."""
    registered: set[int] = set()
    shared: dict[int, int] = {}
    named: dict[str, int] = {}
    current = -1
    for command, step in zip(commands, script.step_of, strict=True):
        if command.kind == "register":
            registered.add(named[command.fields["name"]] if "name" in command.fields else current)
        if step is None or step >= len(answers) or command.module is None:
            continue
        if command.kind == "module":
            current = step
            if "name" in command.fields:
                named[command.fields["name"]] = step
        if _imports(answers[step]):
            for module in registered:
                shared.setdefault(module, step)
    return shared


def _imports(answer: Answer) -> bool:
    """It was refused because it imports anything."""
    imported = answer.reason == "unsupported" and answer.text.startswith("imported ")
    return answer.verb == "refused" and (answer.reason == "import" or imported)


def _judge_command(
    script: Script,
    answers: Sequence[Answer],
    command: Command,
    step: int | None,
    shared: dict[int, int],
) -> str:
    """The column in which the command passed."""
    kind = command.kind
    if kind in REFUSALS:
        if command.module is None:
            raise Skipped(NO_TEXT)
        assert step is not None
        _judge_refusal(command, answers[step])
        return kind.removeprefix("assert_")
    if kind in VERDICTS:
        assert step is not None
        VERDICTS[kind](answers[step])
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
        module = script.steps[step].opened
        assert module is not None
        _need_open(answers[module])
        if step > shared.get(module, step):
            raise Skipped(NO_STATE)
        return _judge_call(command, answer)
    return "module"


def _judge_refusal(command: Command, answer: Answer) -> None:
    if answer.verb == "refused" and answer.reason in REFUSALS[command.kind]:
        return
    # A module larger than a node takes is not looked at.
    if answer.verb == "refused" and answer.reason == "limit":
        raise Refused(f"{answer.reason}: {answer.text}")
    raise Wrong(f"{answer} (the suite says: {command.said})")


def _judge_valid(answer: Answer) -> None:
    """The validator has nothing against it; that it cannot be linked or started here is another matter."""
    if answer.verb == "refused" and answer.reason == "limit":
        raise Refused(f"{answer.reason}: {answer.text}")
    if answer.verb != "open" and answer.reason not in ("import", "memory", "start"):
        raise Wrong(f"{answer} (it is valid)")


def _judge_unsupported(answer: Answer) -> None:
    if answer.verb != "refused" or answer.reason != "unsupported":
        raise Wrong(f"{answer} (it needs a feature that no node has)")


# Kinds of our own tests, which wast2json does not have.
VERDICTS = {"assert_valid": _judge_valid, "assert_unsupported": _judge_unsupported}


def _need_open(answer: Answer) -> None:
    """The module is an instance. Raises Refused or Skipped for a reason that the node may have, else Wrong."""
    if answer.verb == "open":
        return
    if answer.verb == "refused" and answer.reason in ("limit", "unsupported"):
        raise Refused(f"{answer.reason}: {answer.text}")
    if answer.verb == "refused" and answer.reason == "import":
        raise Skipped(NO_IMPORT)
    raise Wrong(str(answer))


def _judge_not_instantiated(command: Command, answer: Answer) -> None:
    text = command.said
    if answer.verb != "refused":
        raise Wrong(f"{answer} (the suite says: {text})")
    if answer.reason in ("limit", "unsupported"):
        raise Refused(f"{answer.reason}: {answer.text}")
    if command.kind == "assert_uninstantiable":
        if answer.reason == "import":
            raise Skipped(NO_IMPORT)
        right = answer.reason == "start" and TRAPS.get(answer.text, "").startswith(text)
    else:
        right = answer.reason == UNLINKABLE[text]
        if answer.reason == "import" and not right:
            raise Skipped(NO_IMPORT)
    if not right:
        raise Wrong(f"{answer} (the suite says: {text})")


def _judge_call(command: Command, answer: Answer) -> str:
    if answer.verb == "refused" and answer.reason == "limit":
        raise Refused(f"{answer.reason}: {answer.text}")
    if command.kind in ("assert_trap", "assert_exhaustion"):
        text = command.said
        if answer.verb != "trap" or not TRAPS.get(answer.reason, "").startswith(text):
            raise WrongAnswer(f"{answer} (the suite says: trap {text})")
        return "trap"
    if answer.verb == "trap" and answer.reason in _BUDGETS:
        raise Refused(f"{LIMIT}{_BUDGETS[answer.reason]}")
    expected = command.fields["expected"] if command.kind == "assert_return" else None
    if answer.verb != "return":
        raise WrongAnswer(f"{answer} (the suite says: {expected})")
    if expected is not None and not (
        len(answer.cells) == len(expected)
        and all(matches(wanted, got) for wanted, got in zip(expected, answer.cells, strict=True))
    ):
        raise WrongAnswer(f"{answer} (the suite says: {expected})")
    return "return"
