"""What a wasmiot client is told when something cannot be done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wasmote.errors import InputError, RefusedError, WasmoteError

if TYPE_CHECKING:
    from wasmote_fleet.compat.wasmiot.records import Call


class BadBody(InputError):
    """A body that wasmiot would not take, or would take and then fail with."""


class CannotRun(RefusedError):
    """The deployment was understood, and this fleet cannot run it."""


class Forgotten(CannotRun):
    """A device that took a deployment knows nothing of it any more."""


class NotReady(RefusedError):
    """The deployment was accepted, and its nodes are not done with it."""


class NotThere(InputError):
    """No such deployment, module, function, request, file, device or manifest."""


class BadCall(InputError):
    """The arguments or files of a call do not fit the function."""


class HopLimit(RefusedError):
    """Too many calls led to this one."""


class Failed(WasmoteError):
    """A call that ran, or was tried, and failed. made: as the history has it."""

    def __init__(self, error: WasmoteError, made: Call) -> None:
        super().__init__(
            error.message, cause=error.cause, next_step=error.next_step, exit_code=error.exit_code
        )
        self.error = error
        self.made = made


class DeployFailed(RefusedError):
    """A device did not take its part. responses: what each answered."""

    def __init__(self, message: str, *, cause: str, next_step: str, responses: Mapping[str, Any]) -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.responses = dict(responses)
