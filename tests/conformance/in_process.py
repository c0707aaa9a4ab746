"""Runs a file of a test suite in the validator and the engine alone, built for this machine with sanitizers.

The engine runs in a process of its own (runner.c). It answers a script line by line, so what it crashed on is known.
The validator's verdict on every module is also asked for with the limits of a chip.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from pathlib import Path

from native_validator import Validator, Verdict

from wasmote.protocol.conformance.judge import LIMIT, judge, relieved
from wasmote.protocol.conformance.results import FileResult
from wasmote.protocol.conformance.script import Answer, Script, Step
from wasmote.protocol.conformance.suite import Command, File

# What each kind of command says of its module: is it valid?
VALIDITY = {
    "module": True,
    "assert_unlinkable": True,
    "assert_uninstantiable": True,
    "assert_invalid": False,
    "assert_malformed": False,
}
_TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Node:
    """What is judged. environment: the sanitizers' options for the runner."""

    runner: Path
    environment: dict[str, str]
    host: Validator
    chip: Validator

    def run(self, file: File) -> list[FileResult]:
        """The file, and then once more without some functions if it is refused for a limit."""
        results = [self.run_once(file)]
        for again in file.again:
            if not relieved(file, results[-1]):
                break
            results.append(self.run_once(again))
            left = [reason for reason in results[-1].refused if reason.startswith(LIMIT)]
            results[-1].wrong += [f"{again.title}: still refused: {reason}" for reason in left]
        return results

    def run_once(self, file: File) -> FileResult:
        script = Script(file.commands)
        answers, last_words = self._answers(script)
        result = judge(file, script, answers, last_words)
        if last_words and len(answers) == len(script.steps):  # a leak, found at the end
            result.wrong.append(f"{file.name}.wast: {last_words}")
        for command in file.commands:
            self._verdicts(file, result, command)
        return result

    def _answers(self, script: Script) -> tuple[list[Answer], str]:
        """The runner's answers, one a step, as far as it came; and its last words if it did not come to the end."""
        with tempfile.TemporaryDirectory() as folder:
            lines = [_line(step, Path(folder, f"{number}.wasm")) for number, step in enumerate(script.steps)]
            done = subprocess.run(
                [self.runner],
                input="".join(f"{line}\n" for line in lines),
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
                env={**os.environ, **self.environment},
                check=False,
            )
        answers = [_answer(line) for line in done.stdout.splitlines()]
        if done.returncode == 0 and len(answers) == len(script.steps):
            return answers, ""
        return answers, f"the runner ended with {done.returncode} {done.stderr[:4000]}"

    def _verdicts(self, file: File, result: FileResult, command: Command) -> None:
        """What the validator says with the limits of a process and of a chip."""
        if command.module is None or command.kind not in VALIDITY:
            return
        host, chip = self.host(command.module), self.chip(command.module)
        for limits, verdict in (("host", host), ("chip", chip)):
            right = verdict.valid if VALIDITY[command.kind] else not verdict.accepted
            if not right:
                said = f"{_shown(verdict)} with the limits of a {limits} (the suite says: {command.said})"
                result.wrong.append(f"{file.name}.wast:{command.line}: {command.kind}: {said}")
        if host.accepted and not chip.accepted:
            result.chip[_shown(chip)] += 1


def _shown(verdict: Verdict) -> str:
    return f"{verdict.reason}: {verdict.text}" if verdict.reason else "accepted"


def _line(step: Step, path: Path) -> str:
    """A step for runner.c; the module goes into the file."""
    if step.verb == "open":
        path.write_bytes(step.module)
        return f"open {step.slot} {path}"
    if step.verb == "call":
        cells = "".join(f" {value:016x}" for value in step.cells)
        return f"call {step.slot} x{step.export.encode().hex()}{cells}"
    return f"close {step.slot}"


def _answer(line: str) -> Answer:
    verb, *words = line.split(" ")
    if verb == "open":
        return Answer("open")
    if verb == "close":
        return Answer("closed")
    if verb == "return":
        return Answer("return", cells=tuple(int(word, 16) for word in words))
    if verb == "trap":
        return Answer("trap", words[0])
    if verb == "refused":
        return Answer("refused", words[0], " ".join(words[1:]))
    return Answer("other", text=line)
