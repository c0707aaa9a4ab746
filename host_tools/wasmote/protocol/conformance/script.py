"""What a file asks for as steps, and what they were answered. A node answers them over CoAP (node.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wasmote.protocol.conformance.suite import Command, cell

SLOTS = 16  # modules that are open at a time
_SCRATCH = SLOTS - 1  # of modules in which nothing is called

# Nothing is called in these.
_ONLY_OPENED = (
    "assert_unlinkable",
    "assert_uninstantiable",
    "assert_invalid",
    "assert_malformed",
    "assert_unsupported",
    "assert_valid",
)


@dataclass(frozen=True)
class Step:
    """slot: which of the open modules. opened: the step that opened the module of a call. command: its index."""

    verb: Literal["open", "call", "close"]
    slot: int
    command: int | None = None
    module: bytes = b""
    opened: int | None = None
    export: str = ""
    cells: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a step gave. `open`, `closed`; `return` with cells; `trap` with its kind as reason; `refused` with a reason
    of docs/PROTOCOL.md 6 and a text; `other` with a text: nothing that a step can give."""

    verb: Literal["open", "closed", "return", "trap", "refused", "other"]
    reason: str = ""
    text: str = ""
    cells: tuple[int, ...] = ()

    def __str__(self) -> str:
        words = [self.verb, self.reason, self.text, " ".join(f"{value:#x}" for value in self.cells)]
        return " ".join(word for word in words if word)


class Script:
    """The steps of a file. Only the modules that a later command can name stay open."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self.steps: list[Step] = []
        self.step_of: list[int | None] = []  # of each command; None: nothing to do
        self._named: dict[str, tuple[int, int]] = {}  # name -> (slot, step that opens it)
        self._current: tuple[int, int] | None = None
        self._current_is_named = False
        for index, command in enumerate(commands):
            self.step_of.append(self._add(index, command))
        for slot in sorted({slot for slot, _ in self._open()}):
            self._put(Step("close", slot))

    def _open(self) -> list[tuple[int, int]]:
        return [*self._named.values(), *([self._current] if self._current is not None else [])]

    def _put(self, step: Step) -> int:
        self.steps.append(step)
        return len(self.steps) - 1

    def _add(self, index: int, command: Command) -> int | None:
        if command.kind == "module" and command.module is not None:
            return self._add_module(index, command.module, command.fields.get("name"))
        if command.kind in _ONLY_OPENED and command.module is not None:
            step = self._put(Step("open", _SCRATCH, index, command.module))
            self._put(Step("close", _SCRATCH))
            return step
        if command.fields.get("action", {}).get("type") == "invoke":
            return self._add_call(index, command.fields["action"])
        return None

    def _add_module(self, index: int, module: bytes, name: str | None) -> int:
        if self._current is not None and not self._current_is_named:
            self._put(Step("close", self._current[0]))
        if name is not None and name in self._named:
            self._put(Step("close", self._named.pop(name)[0]))
        taken = {slot for slot, _ in self._named.values()}
        slot = next((slot for slot in range(_SCRATCH) if slot not in taken), None)
        if slot is None:
            raise ValueError(f"more than {_SCRATCH} modules have names")
        step = self._put(Step("open", slot, index, module))
        self._current, self._current_is_named = (slot, step), name is not None
        if name is not None:
            self._named[name] = self._current
        return step

    def _add_call(self, index: int, action: dict[str, Any]) -> int:
        found = self._named[action["module"]] if "module" in action else self._current
        if found is None:
            raise ValueError("an action before the first module")
        slot, opened = found
        cells = tuple(cell(value) for value in action["args"])
        return self._put(Step("call", slot, index, self.steps[opened].module, opened, action["field"], cells))
