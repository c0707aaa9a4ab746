"""One step: a function called at one of its places. Another one is tried where nothing was sent, or the export may be
repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from wasmote.errors import (
    ApplicationError,
    InputError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.engine import Busy, EngineError, NoSuchService
from wasmote_fleet.gateway.errors import DeadlinePassed, Overloaded
from wasmote_fleet.registry import UnknownNode
from wasmote_fleet.requests.errors import MayHaveRun, NoAnswer, NoPlace, TooLate
from wasmote_fleet.requests.places import Caller, Place, Presence
from wasmote_fleet.requests.records import Body, step_text

LOOK_S = 0.25  # at whether the node is still there while it works
_BUSY_CODES = ("4.29", "5.03")
_NOT_THERE = "4.04"  # the function, at this place


@dataclass(frozen=True, slots=True)
class Step:
    """What is called, and where. export: as it should be. places: in this order, with the export as it is there: while
    a new version goes through the fleet, some places have the one before."""

    deployment: str | None
    function: str
    export: Export
    places: Sequence[tuple[Place, Export]]

    @property
    def text(self) -> str:
        return step_text(self.function, self.export.ref)


class GoneAway(UnansweredError):
    """The node left, rebooted or fell silent while it worked."""


# Called before something is sent to a place, and when that ended: outcome and cause as a Hop has them.
Began = Callable[[Place, Export], Awaitable[None]]
Ended = Callable[[str, str], Awaitable[None]]


async def nothing(*_args: object) -> None:
    pass


class Failover:
    """now: the engine's clock."""

    def __init__(self, caller: Caller, presence: Presence, now: Callable[[], float]) -> None:
        self._caller = caller
        self._presence = presence
        self._now = now

    async def call(
        self,
        step: Step,
        body: Body,
        *,
        until: float,
        context: str,
        began: Began = nothing,
        ended: Ended = nothing,
    ) -> CallResult:
        """Each place once, until one answers. Raises what the function said (TrapError, ApplicationError) or the node
        refused (RefusedError, InputError), MayHaveRun, NoPlace if nothing ran anywhere, TooLate. began() is awaited
        before something is sent, ended() after each attempt but the one that gave a result."""
        causes: list[str] = []
        busy = unanswered = False
        for place, export in step.places:
            if not self._presence.look(place.node_id).there:
                causes.append(f"{place.node_id} is not there")
                continue
            if self._now() >= until:
                break
            await began(place, export)
            try:
                return await self._at(place, export, step, body, until, context)
            except WasmoteError as error:
                outcome, error = _verdict(step, place, export, error)
                await ended(outcome, str(error))
                if outcome == "failed" or (outcome == "no answer" and not export.repeatable):
                    raise error from None
                busy = busy or outcome == "busy"
                unanswered = unanswered or outcome == "no answer"
                causes.append(f"{place.node_id}: {error}")
        raise self._nowhere(step, until, causes, busy, unanswered)

    async def _at(
        self, place: Place, export: Export, step: Step, body: Body, until: float, context: str
    ) -> CallResult:
        """Raises GoneAway as soon as the node is known to be gone: an answer will not come then."""
        seen = self._presence.look(place.node_id)
        call = asyncio.ensure_future(
            self._caller.call(
                place.node_id,
                place.name_on_node,
                export.ref,
                body,
                deadline_s=max(until - self._now(), 0.01),
                context=context,
            )
        )
        try:
            while True:
                done, _ = await asyncio.wait({call}, timeout=LOOK_S)
                if done:
                    return call.result()
                if not seen.still(self._presence.look(place.node_id)):
                    raise GoneAway(
                        f"{step.text} on '{place.node_id}' was not answered: it may have run",
                        cause="the node went away or rebooted meanwhile",
                        next_step="look at the node before you repeat it",
                    )
        finally:
            if not call.done():
                call.cancel()
                await asyncio.gather(call, return_exceptions=True)

    def _nowhere(
        self, step: Step, until: float, causes: list[str], busy: bool, unanswered: bool
    ) -> WasmoteError:
        cause = "; ".join(causes[:5])
        if unanswered:
            return NoAnswer(
                f"{step.text} gave no result, and may have run",
                cause=cause,
                next_step="it is declared so that it may be repeated: try again, or give it more time",
            )
        if self._now() >= until:
            return TooLate(
                f"{step.text} was not called: the deadline passed",
                cause=cause or "it waited too long",
                next_step="give it more time",
            )
        return NoPlace(
            f"{step.text} was not called",
            cause=cause or "no node has it now",
            next_step="`wasmote fleet nodes` shows which nodes are there; try again in a moment",
            busy=busy,
        )


def _verdict(step: Step, place: Place, export: Export, error: WasmoteError) -> tuple[str, WasmoteError]:
    """A hop's outcome, and the error to raise if it is the last word."""
    if isinstance(error, TrapError | ApplicationError):
        return "failed", error
    if isinstance(error, Overloaded | Busy):
        return "busy", error
    if isinstance(error, DeadlinePassed):
        return ("no answer", _may_have_run(step, place, export, error)) if error.began else ("busy", error)
    if isinstance(error, UnknownNode | UnreachableError | NoSuchService):
        return "unreachable", error
    if isinstance(error, RefusedError):
        code = str(error.details.get("code", ""))
        if code in _BUSY_CODES:
            return "busy", error
        return ("unreachable" if code == _NOT_THERE else "failed"), error
    if isinstance(error, InputError):
        return "failed", error
    if isinstance(error, UnansweredError | EngineError):
        return "no answer", _may_have_run(step, place, export, error)
    return "failed", error


def _may_have_run(step: Step, place: Place, export: Export, error: WasmoteError) -> WasmoteError:
    if export.repeatable:
        return error
    return MayHaveRun(
        f"{step.text} on '{place.node_id}' gave no answer: it may have run",
        cause=str(error),
        next_step="look at the node before you repeat it; exports that are declared pure or idempotent are repeated",
    )
