"""What the gateway raises beside what `wasmote.node` raises."""

from __future__ import annotations

from wasmote.errors import ExitCode, InputError, RefusedError, WasmoteError


class UnknownNode(InputError):
    """There is no node of this name in the fleet."""

    def __init__(self, node_id: str) -> None:
        super().__init__(
            f"there is no node '{node_id}'",
            next_step="`wasmote fleet nodes` lists the fleet, `wasmote fleet adopt URI` adds a node",
        )


class UnknownExport(InputError):
    """The function on the node has no such export."""


class WrongBody(InputError):
    """The export takes another kind of body: numbers as JSON, or bytes."""


class NodeExists(InputError):
    """Another node has this name."""


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
            f"{what}: no result within {deadline_s:g} s",
            cause="it may have run, or still run" if began else "it waited for other calls; nothing was sent",
            next_step="look at the node before you repeat it, or give it more time"
            if began
            else "try again, or give it more time",
            exit_code=ExitCode.UNANSWERED if began else ExitCode.UNREACHABLE,
        )
        self.began = began
