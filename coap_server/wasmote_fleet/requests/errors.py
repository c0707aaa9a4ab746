"""What a request can end with, beside what a call of a node raises, and how a record keeps it."""

from __future__ import annotations

from typing import Any

from wasmote.errors import (
    ApplicationError,
    ExitCode,
    InputError,
    LocalError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)


class UnknownRequest(InputError):
    """There is no request of this id."""

    def __init__(self, rid: str) -> None:
        super().__init__(
            f"there is no request '{rid}'",
            cause="it never was, or it ended long ago and was forgotten",
            next_step="`wasmote fleet history` lists those that are known",
        )


class UnknownTarget(InputError):
    """There is no such deployment, or it has no such function, export or chain."""


class RequestExists(InputError):
    """Another request has this id."""


class NotFinished(RefusedError):
    """The request has no result yet."""


class Cancelled(RefusedError):
    """Somebody cancelled the request."""


class HopLimit(RefusedError):
    """Too many calls led to this one: functions that call each other for ever end here."""


class TooLate(WasmoteError):
    """The deadline passed before anything was sent for this call."""

    exit_code = ExitCode.UNREACHABLE


class MayHaveRun(UnansweredError):
    """A call was sent, no answer came, and its export may not be repeated."""


class NoAnswer(UnansweredError):
    """Calls were sent and no answer came. The export may be repeated, so it may be worth asking again."""


class NoPlace(UnreachableError):
    """Nothing ran: no node that has the function can be reached now, or all are busy. busy: some were."""

    def __init__(self, message: str, *, cause: str, next_step: str, busy: bool = False, **more: Any) -> None:
        super().__init__(message, cause=cause, next_step=next_step, **more)
        self.busy = busy


# The first that fits is what a record keeps; subclasses come first.
_KEPT: list[type[WasmoteError]] = [
    ApplicationError, TrapError, MayHaveRun, NoAnswer, UnansweredError, NoPlace, UnreachableError, TooLate, Cancelled,
    HopLimit, RefusedError, UnknownTarget, InputError, LocalError,
]  # fmt: skip


def to_json(error: WasmoteError) -> dict[str, Any]:
    """What a record keeps of an error."""
    kind = next((kind for kind in _KEPT if isinstance(error, kind)), WasmoteError)
    kept: dict[str, Any] = {
        "kind": kind.__name__,
        "message": error.message,
        "cause": error.cause,
        "next_step": error.next_step,
        "details": {name: _plain(value) for name, value in error.details.items()},
    }
    if isinstance(error, ApplicationError):
        kept["status"] = error.status
    return kept


def from_json(kept: dict[str, Any]) -> WasmoteError:
    """The error that to_json() kept."""
    more = {name: kept[name] for name in ("cause", "next_step", "details")}
    if "status" in kept:
        more["status"] = kept["status"]
    kind = next((kind for kind in _KEPT if kind.__name__ == kept["kind"]), WasmoteError)
    return kind(kept["message"], **more)


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
