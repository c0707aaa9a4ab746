"""What the gateway raises beside what `wasmote.node` raises."""

from __future__ import annotations

from wasmote.errors import ExitCode, InputError, RefusedError, UnansweredError, WasmoteError
from wasmote_fleet.registry import NodeExists as NodeExists
from wasmote_fleet.registry import UnknownNode as UnknownNode


class UnknownExport(InputError):
    """The function on the node has no such export."""


class WrongBody(InputError):
    """The export takes another kind of body: numbers as JSON, or bytes."""


class Lost(UnansweredError):
    """The server that spoke with the node stopped doing so in the middle of it: it may have run."""


class Overloaded(RefusedError):
    """Nothing ran: there is too much to do already. retry_after_s: when it may be worth asking again; whole: the whole
    server is, not only one node."""

    def __init__(self, what: str, *, cause: str, retry_after_s: int = 1, whole: bool = False) -> None:
        super().__init__(what, cause=cause, next_step=f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s
        self.whole = whole


class DeadlinePassed(WasmoteError):
    """Time is up. began: something was sent to the node, so it may have run."""

    def __init__(self, what: str, *, deadline_s: float, began: bool) -> None:
        super().__init__(
            f"{what}: no result within {round(deadline_s, 2):g} s",
            cause="it may have run, or still run"
            if began
            else "it waited for its turn, or for a server that speaks with the node; nothing was sent",
            next_step="look at the node before you repeat it, or give it more time"
            if began
            else "try again, or give it more time",
            exit_code=ExitCode.UNANSWERED if began else ExitCode.UNREACHABLE,
        )
        self.began = began
