"""Calls that are answered at once, with failover, and calls that are queued, with their history.

    async with Requests(engine, repository, gateway, places, presence) as requests:
        result = await requests.call("flood", "predict", None, [1.5], deadline_s=5.0)
        made = await requests.submit(Target(deployment="flood", chain="alarm"), b"...", deadline_s=60.0)
        done = await requests.wait(made.id, 10.0)

A queued call is a record `requests/<id>` and a job in the queue `calls` for each of its steps. Whichever server leases
the job runs the step. Before a call is sent, the record says so; who leases the job again and finds a call that began,
did not end, and may not be repeated, ends the request as 'may have run'.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from wasmote.errors import InputError
from wasmote.node import check_name
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.engine import Engine, NotFound, QueuePolicy, RevisionConflict
from wasmote_fleet.engine.tasks import sleep_or_bell
from wasmote_fleet.gateway.errors import Overloaded, WrongBody
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import context, joints, records
from wasmote_fleet.requests.errors import (
    Cancelled,
    HopLimit,
    NotFinished,
    RequestExists,
    UnknownRequest,
)
from wasmote_fleet.requests.failover import Began, Failover, nothing
from wasmote_fleet.requests.history import History
from wasmote_fleet.requests.places import Caller, Places, Presence
from wasmote_fleet.requests.records import Body, Request, State, Target
from wasmote_fleet.requests.resolve import Resolver
from wasmote_fleet.requests.runner import Runner

QUEUE = "calls"
# A job may come back as often as its deadline lets it: what happened to it stands in its record.
POLICY = QueuePolicy(visibility_s=10.0, max_deliveries=1_000_000, remember_s=600.0)
MAX_WAITING = 2048  # jobs that wait or run, in the whole fleet
MAX_HOPS = 16  # calls that led to a call; a chain is one
MAX_DEADLINE_S = 3600.0
DEADLINE_S = 60.0
_COUNT_EACH_S = 0.5
_LOOK_S = 0.5  # at a request that another server may have finished


class Requests:
    """`async with`: runs queued calls meanwhile. workers: jobs at a time at this server; 0: it only takes them."""

    def __init__(
        self,
        engine: Engine,
        repository: Repository,
        caller: Caller,
        places: Places,
        presence: Presence,
        *,
        workers: int = 256,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._engine = engine
        self._places = places
        self._max_waiting = max_waiting
        self._counted_at = float("-inf")
        self._waiting = 0
        self._resolver = Resolver(places, repository, caller)
        self._failover = Failover(caller, presence, engine.clock.time)
        self.history = History(engine)
        self._runner = Runner(engine, self._resolver, self._failover, self.history, workers)

    async def __aenter__(self) -> Requests:
        self._queue = await self._engine.queue(QUEUE, POLICY)
        await self._runner.start(self._queue)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._runner.close()

    # ---- at once ----

    async def call(
        self,
        deployment: str,
        function: str,
        export: str | None,
        body: Body,
        *,
        deadline_s: float,
        began: Began = nothing,
    ) -> CallResult:
        """Call a deployment's function at the first of its places that takes it. Another place is tried when nothing
        was sent, or the export is declared pure or idempotent. Not in the history. began() is awaited before
        something is sent to a place. Raises UnknownTarget, InputError,
        WrongBody, what the function said (TrapError, ApplicationError), RefusedError, NoPlace (nothing ran),
        MayHaveRun, NoAnswer, TooLate."""
        until = self._engine.clock.time() + deadline_s
        target = Target(deployment=deployment, function=function, export=export)
        step = await self._resolver.step(target, function, export, within_s=deadline_s)
        _check_body(step.text, body, step.export)
        told = context.Context(1, until, records.new_id(self._engine.clock.time()))
        return await self._failover.call(step, body, until=until, context=told.text, began=began)

    # ---- queued ----

    async def submit(
        self,
        target: Target,
        body: Body,
        *,
        deadline_s: float = DEADLINE_S,
        id: str | None = None,
        convert: bool = False,
        hops: int = 0,
        parent: str | None = None,
        until: float | None = None,
    ) -> Request:
        """Accept a call: once this returns, it will be done, or its record says why not. id: chosen by the caller, so
        that asking twice is asking once. convert: body may be of the other kind, as between the steps of a chain.
        hops: how many calls led to this one; parent: the request that one of its functions made it for; until: its
        deadline, instead of deadline_s from now. Raises UnknownTarget, InputError, WrongBody, Overloaded (nothing was
        kept), RequestExists, HopLimit."""
        if not 0 < deadline_s <= MAX_DEADLINE_S:
            raise InputError(
                f"no deadline: {deadline_s:g} s", next_step=f"give it up to {MAX_DEADLINE_S:g} seconds"
            )
        if hops > MAX_HOPS:
            raise HopLimit(
                f"{target} was not called",
                cause=f"{hops} calls led to it, which is more than {MAX_HOPS}",
                next_step="see with `wasmote fleet history` which functions call each other",
            )
        steps = await self._resolver.steps(target)
        body = await self._checked(target, steps, body, convert)
        now = self._engine.clock.time()
        request = Request(
            records.new_id(now) if id is None else records.check_id(id),
            target,
            steps,
            records.Stored(None),
            now,
            now + deadline_s if until is None else until,
            hops,
            parent,
            asked=records.digest(body),
        )
        await self._admit()
        request = request.changed(input=await records.store(self._engine, body))
        try:
            await self._engine.kv.put(request.key, request.encode(), ttl_s=records.KEEP_S, expected=0)
        except RevisionConflict:
            there = await self.get(request.id)
            if there.target != target or there.asked != request.asked:
                raise RequestExists(
                    f"there is a request '{request.id}'",
                    cause=f"it is of {there.target}"
                    + (", with another input" if there.target == target else ""),
                    next_step="choose another id",
                ) from None
            request = there
        if not request.state.finished:
            await self._queue.enqueue(request.id.encode(), id=f"{request.id}.{request.step}")
        return request

    async def get(self, rid: str) -> Request:
        """A request. Raises UnknownRequest, InputError."""
        return (await self.history.get(rid))[0]

    async def list(
        self,
        *,
        limit: int = 50,
        before: str | None = None,
        deployment: str | None = None,
        state: State | None = None,
    ) -> list[Request]:
        """Requests, the newest first; before: only those that are older than this id."""
        return await self.history.newest(limit=limit, before=before, deployment=deployment, state=state)

    async def wait(self, rid: str, timeout_s: float) -> Request:
        """The request when it has ended, or as it is after timeout_s. Raises UnknownRequest, InputError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        with self.history.listening(rid) as ended:
            while True:
                request = await self.get(rid)
                left = end - loop.time()
                if request.state.finished or left <= 0:
                    return request
                await sleep_or_bell(min(left, _LOOK_S), ended, self._engine.clock)
                ended.clear()

    async def result(self, rid: str) -> CallResult:
        """What the request gave. Raises NotFinished, the error that it ended with, UnknownRequest, InputError."""
        request = await self.get(rid)
        if not request.state.finished:
            raise NotFinished(
                f"request '{rid}' has no result yet",
                cause=f"it is {request.state}",
                next_step="ask again, or wait for it with ?wait_s=",
            )
        if request.error is not None:
            raise request.error
        try:
            return await records.load_result(self._engine, request.result)
        except NotFound:
            raise UnknownRequest(rid) from None

    async def queued(self) -> int:
        """How many queued calls wait or run, in the whole fleet."""
        stats = await self._queue.stats()
        return stats.waiting + stats.leased

    async def cancel(self, rid: str) -> Request:
        """End a request; one that has ended stays as it is. A function that runs already is not stopped on its node,
        but what it gives is thrown away, and no further step begins. Raises UnknownRequest, InputError."""
        while True:
            request, revision = await self.history.get(rid)
            if request.state.finished:
                return request
            now = self._engine.clock.time()
            hop = request.open_hop
            error = Cancelled(
                f"request '{rid}' was cancelled",
                cause="a call of it was sent before, and may have run" if hop else "",
                next_step="send it again if its result is still wanted",
            )
            changed = records.close_hop(request, now, "cancelled", "").changed(
                state=State.CANCELLED, ended_at=now, error=error
            )
            try:
                await self.history.put(changed, revision)
            except RevisionConflict:
                continue
            self._runner.stop(rid)
            return changed

    async def forget(self, rid: str) -> None:
        """Cancel a request if it runs, and remove it from the history. Raises UnknownRequest, InputError."""
        await self.cancel(rid)
        await self.history.remove(rid)

    # ---- asked for by nodes ----

    async def submit_from_node(
        self, node_id: str, caller: str | None, told: str | None, name: str, export: str | None, body: Body
    ) -> Request:
        """Accept a call that a function on a node asks for (docs/PROTOCOL.md, 3.8). caller: that function's name
        there; told: its context. Raises InputError (UnknownTarget), TooLate, HopLimit, Overloaded."""
        return await context.submit(self, self._places, node_id, caller, told, name, export, body)

    @property
    def now(self) -> float:
        """By the engine's clock."""
        return self._engine.clock.time()

    # ---- before a request is kept ----

    async def _checked(
        self, target: Target, steps: tuple[tuple[str, str | None], ...], body: Body, convert: bool
    ) -> Body:
        """The first step's input. What can be known is checked now, so that who asks hears it."""
        exports = []
        for function, export in steps:
            if target.node is not None:
                check_name(function)
            found = await self._resolver.export(target, function, export)
            if found is None:
                return body  # only the node knows
            exports.append((records.step_text(function, export), found))
        joints.check_chain(exports)
        name, first = exports[0]
        if convert:
            return joints.fitted(name, body, first)
        _check_body(name, body, first)
        return body

    async def _admit(self) -> None:
        """Raises Overloaded if too many jobs wait."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at > _COUNT_EACH_S:
            self._counted_at = now
            self._waiting = await self.queued()
        if self._waiting >= self._max_waiting:
            raise Overloaded(
                "the request was not accepted",
                cause=f"{self._waiting} requests wait or run",
                retry_after_s=2,
                whole=True,
            )
        self._waiting += 1


def _check_body(name: str, body: Body, export: Export) -> None:
    """Raises WrongBody, InputError."""
    given = "bytes" if isinstance(body, bytes) else "numbers"
    if export.kind == "bytes":
        if body is not None and given != "bytes":
            raise WrongBody(
                f"{name} takes bytes, not arguments",
                cause=f"its signature is {export.signature}",
                next_step="send its input as application/octet-stream",
            )
        return
    if isinstance(body, bytes):
        raise WrongBody(
            f"{name} takes numbers, not an input stream",
            cause=f"its signature is {export.signature}",
            next_step="send its arguments as application/json: an array",
        )
    joints.check_numbers(name, body, export)
