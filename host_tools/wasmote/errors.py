"""Every error that a person can meet: what failed, why, and the next step.

Raise the class that names what happened; the command line turns it into a text (or JSON) on stderr and into the exit
code of the class. Anything else that escapes is a bug in wasmote and exits with 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """Exit codes of the command line. `wasmote --help` prints this table."""

    OK = 0
    INTERNAL = 1
    USAGE = 2
    REFUSED = 3
    TRAP = 4
    APPLICATION = 5
    UNREACHABLE = 6
    UNANSWERED = 7
    MISSING = 8
    BUILD = 9
    LOCAL = 10
    UNFINISHED = 11
    FAILED = 12
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.INTERNAL: "a bug in wasmote",
    ExitCode.USAGE: "an option, a name or an input file is wrong",
    ExitCode.REFUSED: "the node refused, or would (4.xx, or 5.03 busy)",
    ExitCode.TRAP: "the function failed: a trap, or its budget ended (5.00)",
    ExitCode.APPLICATION: "the function ran and said no: its own status",
    ExitCode.UNREACHABLE: "the node cannot be reached; nothing ran",
    ExitCode.UNANSWERED: "no answer; the request may have run",
    ExitCode.MISSING: "a tool, package or source archive is missing",
    ExitCode.BUILD: "a build or a compilation failed, or an image is over its budget",
    ExitCode.LOCAL: "a port, device or file of this machine cannot be used",
    ExitCode.UNFINISHED: "flashing began and did not end well: the board has no whole image",
    ExitCode.FAILED: "a conformance test failed",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}


class WasmoteError(Exception):
    """What failed (message), why (cause), and what to do now (next_step); cause may be empty. details: what a
    program wants to know besides, such as the members of a node's problem document."""

    exit_code: ExitCode = ExitCode.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        cause: str = "",
        next_step: str,
        exit_code: ExitCode | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause
        self.next_step = next_step
        self.details = dict(details or {})
        if exit_code is not None:
            self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message}: {self.cause}" if self.cause else self.message

    def as_json(self) -> dict[str, Any]:
        """The members of the JSON object that `--json` prints on stderr."""
        return {
            **self.details,
            "error": self.message,
            "cause": self.cause,
            "next_step": self.next_step,
            "exit_code": int(self.exit_code),
        }


class InputError(WasmoteError):
    """An argument, a name or an input file is wrong."""

    exit_code = ExitCode.USAGE


class RefusedError(WasmoteError):
    """The node answered 4.xx or 5.03."""

    exit_code = ExitCode.REFUSED


class TrapError(WasmoteError):
    """The function trapped or ran out of a budget."""

    exit_code = ExitCode.TRAP


class ApplicationError(WasmoteError):
    """The function returned a status of its own; `status` is that number."""

    exit_code = ExitCode.APPLICATION

    def __init__(
        self,
        message: str,
        *,
        status: int,
        cause: str = "",
        next_step: str,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, cause=cause, next_step=next_step, details=details)
        self.status = status

    def as_json(self) -> dict[str, Any]:
        return {**super().as_json(), "status": self.status}


class UnreachableError(WasmoteError):
    """Nothing could be sent to the node, or it certainly ran nothing."""

    exit_code = ExitCode.UNREACHABLE


class UnansweredError(WasmoteError):
    """A request was sent and no answer came: it may have run."""

    exit_code = ExitCode.UNANSWERED


class MissingError(WasmoteError):
    """A tool, a package or a source archive is not there and could not be fetched."""

    exit_code = ExitCode.MISSING


class BuildError(WasmoteError):
    """A build or a compilation failed."""

    exit_code = ExitCode.BUILD


class LocalError(WasmoteError):
    """A port, a device or a file of this machine cannot be used."""

    exit_code = ExitCode.LOCAL


class UnfinishedError(WasmoteError):
    """Flashing began and did not end well: the board has no whole image now."""

    exit_code = ExitCode.UNFINISHED


class FailedError(WasmoteError):
    """A node does otherwise than a test says."""

    exit_code = ExitCode.FAILED
