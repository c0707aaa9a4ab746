"""What the engine's methods raise. The first sentence of each class says when."""

from __future__ import annotations

from wasmote.errors import ExitCode, WasmoteError


class EngineError(WasmoteError):
    """Any error of the engine."""

    exit_code = ExitCode.LOCAL

    def __init__(self, message: str, *, cause: str = "", next_step: str = "") -> None:
        super().__init__(message, cause=cause, next_step=next_step or "read the state again and decide anew")


class RevisionConflict(EngineError):
    """A key's revision is not the expected one: somebody else wrote it. Nothing was written."""


class RevisionTooOld(EngineError):
    """A watch cannot start at this revision: deletions since then were compacted away. Watch without one, which
    begins with a snapshot."""


class LeaseLost(EngineError):
    """A lease expired or was released, or a job's visibility timeout passed: somebody else may hold it by now."""


class NotFound(EngineError):
    """There is no blob of this digest."""


class DigestMismatch(EngineError):
    """The bytes are not those of the digest. A put stored nothing; a get found the stored bytes damaged."""


class TooLarge(EngineError):
    """A value is larger than MAX_VALUE_BYTES. Nothing was written; large data goes into a blob."""


class NoSuchService(EngineError):
    """Nobody serves calls of this name. Nothing ran."""


class Busy(EngineError):
    """The one who serves these calls has as many as it takes at a time. Nothing ran; try again later."""


class CallTimeout(EngineError):
    """No reply before the deadline. The call may have run, or still run."""


class CallFailed(EngineError):
    """The handler raised. The message is that of its exception."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached, or did not answer in time. A write may have happened: writes with an expected
    revision or an id may be repeated, others only where doing them twice does no harm."""

    exit_code = ExitCode.UNREACHABLE


class EngineClosed(EngineError):
    """The engine was closed. What was not acknowledged by then was not written."""


class DataInUse(EngineError):
    """Another process has the data file open. SQLite's driver is for one process."""


class DataUnusable(EngineError):
    """The data file or the server is of a version that this program cannot use."""


def conflict(key: str, expected: int, cause: str) -> RevisionConflict:
    """The RevisionConflict of a write that expected a revision."""
    return RevisionConflict(f"{key} is not at revision {expected}", cause=cause)


def too_old(after: int) -> RevisionTooOld:
    """The RevisionTooOld of a watch."""
    return RevisionTooOld(
        f"no watch from revision {after}",
        cause="deletions since then were compacted away, or the data is not that which had this revision",
        next_step="watch without a revision: it begins with a snapshot",
    )


def lease_lost(what: str) -> LeaseLost:
    """The LeaseLost of a job."""
    return LeaseLost(f"{what} is leased no longer", cause="its visibility timeout passed, or it was finished")
