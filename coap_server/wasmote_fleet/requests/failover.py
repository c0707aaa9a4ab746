"""One step: a function called at one of its places. Another one is tried where nothing was sent, or the export may be
repeated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

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
from wasmote_fleet.gateway.calls import AT_A_NODE
from wasmote_fleet.gateway.errors import DeadlinePassed, Overloaded
from wasmote_fleet.registry import UnknownNode
from wasmote_fleet.requests.errors import MayHaveRun, NoAnswer, NoPlace, TooLate
from wasmote_fleet.requests.places import Caller, Place, Presence
from wasmote_fleet.requests.records import Body, step_text

LOOK_S = 0.25  # at whether the node is still there while it works
# A node that is down may only be hard to hear. Where the call can go to no other place, there is time to see.
PATIENCE_S = 5.0
WAITING = 60  # queued calls that wait here for a node's turn; others go back into the queue
MAX_GATES = 1024
BUSY_CODES = ("4.29", "5.03")
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


@dataclass
class _Gate:
    """The queued calls that this server has for a node. users: those that run or wait."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_NODE))
    users: int = 0

    @property
    def full(self) -> bool:
        return self.users >= AT_A_NODE + WAITING


class Failover:
    """now: the engine's clock."""

    def __init__(self, caller: Caller, presence: Presence, now: Callable[[], float]) -> None:
        self._caller = caller
        self._presence = presence
        self._now = now
        self._gates: dict[str, _Gate] = {}

    async def call(
        self,
        step: Step,
        body: Body,
        *,
        until: float,
        context: str,
        lined: bool = False,
        began: Began = nothing,
        ended: Ended = nothing,
    ) -> CallResult:
        """Each place once, until one answers. Raises what the function said (TrapError, ApplicationError) or the node
        refused (RefusedError, InputError), MayHaveRun, NoPlace if nothing ran anywhere, TooLate. lined: calls
        wait here for a node's turn, not in the gateway, so that what began was sent; a place that is free comes before
        one that is not. began() is awaited before something is sent, ended() after each attempt but the one that gave a
        result."""
        causes: list[str] = []
        busy = unanswered = False
        places = self._order(step) if lined else step.places
        for index, (place, export) in enumerate(places):
            if not self._presence.look(place.node_id).there:
                causes.append(f"{place.node_id} is not there")
                continue
            gate = self._gate(place.node_id) if lined else None
            if gate is not None and gate.full:
                busy = True
                causes.append(f"{place.node_id} has {gate.users} calls to do")
                continue
            try:
                async with self._turn(gate, until):
                    if self._now() >= until or not self._presence.look(place.node_id).there:
                        continue
                    await began(place, export)
                    try:
                        patience_s = 0.0 if export.repeatable and index + 1 < len(places) else PATIENCE_S
                        return await self._at(place, export, step, body, until, context, patience_s)
                    except WasmoteError as raised:
                        outcome, error = _verdict(step, place, export, raised)
            except TimeoutError:
                break
            await ended(outcome, str(error))
            if outcome == "failed" or (outcome == "no answer" and not export.repeatable):
                raise error
            busy = busy or outcome == "busy"
            unanswered = unanswered or outcome == "no answer"
            causes.append(f"{place.node_id}: {error}")
        raise self._nowhere(step, until, causes, busy, unanswered)

    # ---- turns at a node, for what is queued ----

    def full(self, node_id: str) -> bool:
        """Whether no call more may wait for a node."""
        gate = self._gates.get(node_id)
        return gate is not None and gate.full

    def _gate(self, node_id: str) -> _Gate:
        if len(self._gates) > MAX_GATES:
            self._gates = {id: gate for id, gate in self._gates.items() if gate.users}
        return self._gates.setdefault(node_id, _Gate())

    def _order(self, step: Step) -> list[tuple[Place, Export]]:
        """Places that are free at once before those where others wait."""
        return sorted(step.places, key=lambda each: self._gate(each[0].node_id).turns.locked())

    @contextlib.asynccontextmanager
    async def _turn(self, gate: _Gate | None, until: float) -> AsyncIterator[None]:
        """Raises TimeoutError at the deadline."""
        if gate is None:
            yield
            return
        gate.users += 1
        try:
            async with asyncio.timeout(max(until - self._now(), 0.0)):
                await gate.turns.acquire()
            try:
                yield
            finally:
                gate.turns.release()
        finally:
            gate.users -= 1

    async def _at(
        self,
        place: Place,
        export: Export,
        step: Step,
        body: Body,
        until: float,
        context: str,
        patience_s: float,
    ) -> CallResult:
        """Raises GoneAway when the node has rebooted, or was down for patience_s: an answer will hardly come then."""
        seen = self._presence.look(place.node_id)
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
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
                now = self._presence.look(place.node_id)
                if seen.still(now):
                    heard_at = loop.time()
                elif now.there or loop.time() - heard_at >= patience_s:
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
        if code in BUSY_CODES:
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
