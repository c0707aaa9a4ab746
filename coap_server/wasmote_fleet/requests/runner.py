"""Works on the jobs of the queue: a job is one step of one request.

Nothing here waits for another request: a step that is done enqueues the next one, and a step that no node can take now
goes back into the queue.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from dataclasses import dataclass

from wasmote.errors import InputError, WasmoteError
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.engine import (
    Engine,
    EngineClosed,
    EngineError,
    Job,
    LeaseLost,
    NotFound,
    Queue,
    RevisionConflict,
)
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.requests import joints, records
from wasmote_fleet.requests.context import Context
from wasmote_fleet.requests.errors import MayHaveRun, NoAnswer, NoPlace, TooLate, UnknownRequest
from wasmote_fleet.requests.failover import Failover
from wasmote_fleet.requests.history import History
from wasmote_fleet.requests.places import Place
from wasmote_fleet.requests.records import Hop, Request, State
from wasmote_fleet.requests.resolve import Resolver

log = logging.getLogger("wasmote.fleet.requests")

AT_ONCE = 16  # jobs that one lease takes
_LEASE_WAIT_S = 10.0
_HEARTBEAT_S = 3.0  # a third of the queue's visibility
_TIDY_S = 60.0
_STOPPING_S = 10.0  # for calls that run when the server stops
# Before a step that no node could take is tried again, more or less. A node that is only busy will soon have room.
_PAUSES_S = (0.2, 0.5, 1.0, 2.0, 3.0)
_MAX_LOST = 5  # servers that ended while they worked on a request


class _Moved(Exception):
    """Somebody else wrote the record meanwhile: it was cancelled, or another server took it over."""


class _Stopping(Exception):
    """This server stops: nothing more is begun here."""


@dataclass
class _Work:
    """A job in hand. revision: of its record as this server last saw it."""

    job: Job
    request: Request
    revision: int


class Runner:
    def __init__(
        self, engine: Engine, resolver: Resolver, failover: Failover, history: History, workers: int
    ) -> None:
        self._engine = engine
        self._resolver = resolver
        self._failover = failover
        self._history = history
        self._workers = workers
        self._running: dict[str, tuple[Job, asyncio.Task[None]]] = {}  # by the job's id
        self._freed = asyncio.Event()
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, queue: Queue) -> None:
        self._queue = queue
        if self._workers:
            self._tasks = [asyncio.create_task(work()) for work in (self._lease, self._heartbeat, self._tidy)]

    async def close(self) -> None:
        """Take no more jobs, and let others have those that did not begin. What runs may end within a while, then it
        is left to the next server."""
        self._closing = True
        if self._tasks:
            self._tasks[0].cancel()
            running = [task for _, task in self._running.values()]
            if running:
                await asyncio.wait(running, timeout=_STOPPING_S)
        await end(*self._tasks, *(task for _, task in self._running.values()))

    def stop(self, rid: str) -> None:
        """A request was cancelled: what runs of it here ends."""
        for job, task in self._running.values():
            if job.data.decode() == rid:
                task.cancel()

    # ---- jobs ----

    async def _lease(self) -> None:
        while True:
            self._freed.clear()
            free = self._workers - len(self._running)
            if free <= 0:
                await self._freed.wait()
                continue
            try:
                jobs = await self._queue.lease(min(free, AT_ONCE), wait_s=_LEASE_WAIT_S)
            except EngineClosed:
                return
            except EngineError as error:
                log.warning("jobs cannot be leased: %s", error)
                await asyncio.sleep(1.0)
                continue
            for job in jobs:
                if job.id in self._running:
                    continue  # its lease was lost for a moment; it comes back
                task = asyncio.create_task(self._do(job.data.decode(), job))
                self._running[job.id] = job, task
                task.add_done_callback(functools.partial(self._done, job.id))

    def _done(self, job_id: str, task: asyncio.Task[None]) -> None:
        del self._running[job_id]
        self._freed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("request %s: %r", job_id, error, exc_info=error)

    async def _heartbeat(self) -> None:
        while True:
            await self._engine.clock.sleep(_HEARTBEAT_S)
            # At once, so that many jobs take one commit.
            await asyncio.gather(*(self._keep(job, task) for job, task in list(self._running.values())))

    async def _keep(self, job: Job, task: asyncio.Task[None]) -> None:
        """Hold a job for another while; end what was cancelled through another server."""
        try:
            await self._queue.extend(job)
            if (await self._history.get(job.data.decode()))[0].state.finished:
                task.cancel()
        except (LeaseLost, UnknownRequest):
            task.cancel()
        except EngineError as error:
            log.warning("job %s was not extended: %s", job.id, error)

    async def _tidy(self) -> None:
        while True:
            try:
                for request in await self._history.tidy():
                    await self._abandon(request)
            except EngineError as error:
                log.warning("the history was not tidied: %s", error)
            await self._engine.clock.sleep(_TIDY_S)

    async def _abandon(self, request: Request) -> None:
        """End a request whose job is lost: it was never enqueued, because a server ended in between."""
        try:
            current, revision = await self._history.get(request.id)
            if not current.state.finished:
                await self._history.put(self._lost(current, again=False), revision)
        except (RevisionConflict, UnknownRequest):
            pass

    async def _do(self, rid: str, job: Job) -> None:
        """One job. What ends it otherwise leaves it leased: it comes back."""
        try:
            try:
                request, revision = await self._history.get(rid)
            except UnknownRequest:
                await self._queue.ack(job)
                return
            work = _Work(job, request, revision)
            pause_s = await self._step(work)
            if pause_s is None:
                await self._queue.ack(job)
            else:
                await self._queue.nack(job, delay_s=pause_s)
        except _Stopping:
            await self._let_go(job)
        except (_Moved, LeaseLost):
            return
        except asyncio.CancelledError:
            raise
        except EngineError as error:
            log.warning("request %s: %s", rid, error)

    async def _let_go(self, job: Job) -> None:
        try:
            await self._queue.nack(job)
        except EngineError as error:
            log.warning("job %s was not let go, and comes back later: %s", job.id, error)

    async def _step(self, work: _Work) -> float | None:
        """Do what the request needs next; after how many seconds the job should come again, None for never."""
        request = work.request
        step = int(work.job.id.rpartition(".")[2])
        if request.state.finished:
            return None
        if request.step != step:
            await self._enqueue(request)  # the step was done, and its server ended before it said so
            return None
        if request.open_hop is not None:
            await self._write(work, self._lost(request, again=True))
            if work.request.state.finished:
                return None
        try:
            result = await self._call(work)
        except (NoPlace, NoAnswer) as error:
            busy = isinstance(error, NoPlace) and error.busy
            pause_s = random.uniform(0.5, 1.5) * _PAUSES_S[min(work.request.retries, 2 if busy else 4)]
            now = self._now()
            if now + pause_s < request.deadline_at:
                await self._write(
                    work, work.request.changed(state=State.QUEUED, retries=work.request.retries + 1)
                )
                return pause_s
            await self._end(work, error)
            return None
        except WasmoteError as error:
            if isinstance(error, EngineError):
                raise
            await self._end(work, error)
            return None
        await self._next(work, result)
        return None

    async def _call(self, work: _Work) -> CallResult:
        request = work.request
        if self._closing:
            raise _Stopping
        left = request.deadline_at - self._now()
        function, export = request.steps[request.step]
        if left <= 0:
            raise TooLate(
                f"{records.step_text(function, export)} was not called: the deadline passed",
                cause="it waited too long",
                next_step="give it more time",
            )
        node = request.target.node
        if node is not None and self._failover.full(node):
            raise NoPlace(f"{node} has enough calls to do", cause="", next_step="wait", busy=True)
        step = await self._resolver.step(request.target, function, export, within_s=left)
        try:
            kept = await records.load(self._engine, request.input)
        except NotFound:
            raise InputError(
                f"{step.text} was not called",
                cause="its input is gone",
                next_step="send it again",
            ) from None
        body = joints.fitted(step.text, kept, step.export) if request.step else kept

        async def began(place: Place, at_place: Export) -> None:
            if self._closing:
                raise _Stopping
            now = self._now()
            hop = Hop(
                request.step,
                request.target.deployment,
                function,
                at_place.ref,
                place.node_id,
                at_place.repeatable,
                now,
            )
            started = now if work.request.started_at is None else work.request.started_at
            await self._write(
                work,
                records.open_hop(work.request, hop).changed(state=State.RUNNING, started_at=started),
            )

        async def ended(outcome: str, cause: str) -> None:
            # Written with what follows: nobody may do this step again but who holds its job.
            work.request = records.close_hop(work.request, self._now(), outcome, cause)

        told = Context(request.hops_before + 1, request.deadline_at, request.id)
        return await self._failover.call(
            step,
            body,
            until=request.deadline_at,
            context=told.text,
            lined=True,
            began=began,
            ended=ended,
        )

    # ---- what became of it ----

    async def _next(self, work: _Work, result: CallResult) -> None:
        """The step is done: the next one, or the end."""
        now = self._now()
        request = records.close_hop(work.request, now, "done", "")
        if request.step + 1 == len(request.steps):
            kept = await records.store_result(self._engine, result)
            await self._write(work, request.changed(state=State.DONE, ended_at=now, result=kept))
            return
        function, export = request.steps[request.step + 1]
        try:
            taker = await self._resolver.export(request.target, function, export)
            assert taker is not None  # chains are deployments' only
            name = records.step_text(function, export)
            body = joints.fitted(name, joints.output_of(result, taker), taker)
        except WasmoteError as error:
            work.request = request
            await self._end(work, error)
            return
        kept = await records.store(self._engine, body)
        await self._write(
            work, request.changed(state=State.QUEUED, step=request.step + 1, retries=0, input=kept)
        )
        await self._enqueue(work.request)

    async def _end(self, work: _Work, error: WasmoteError) -> None:
        state = State.MAY_HAVE_RUN if isinstance(error, MayHaveRun) else State.FAILED
        await self._write(work, work.request.changed(state=state, ended_at=self._now(), error=error))

    def _lost(self, request: Request, *, again: bool) -> Request:
        """A request that a server left in the middle: a call began, and nobody knows how it ended. again: somebody is
        there to go on with it."""
        now = self._now()
        hop = request.open_hop
        closed = records.close_hop(request, now, "server ended", "the server that waited for it ended")
        lost = sum(each.outcome == "server ended" for each in closed.hops)
        if again and hop is not None and hop.repeatable and lost < _MAX_LOST:
            return closed.changed(state=State.QUEUED)
        error: WasmoteError
        if hop is not None and not hop.repeatable:
            error = MayHaveRun(
                f"{records.step_text(hop.function, hop.export)} on '{hop.node}' may have run",
                cause="the server that waited for its answer ended, and it may not be repeated",
                next_step="look at the node before you repeat it; pure and idempotent exports are repeated",
            )
            return closed.changed(state=State.MAY_HAVE_RUN, ended_at=now, error=error)
        error = TooLate(
            f"{request.target} was not finished",
            cause=f"{lost} servers ended while they worked on it"
            if lost
            else "the server that took it ended",
            next_step="send it again",
        )
        return closed.changed(state=State.FAILED, ended_at=now, error=error)

    async def _enqueue(self, request: Request) -> None:
        await self._queue.enqueue(request.id.encode(), id=f"{request.id}.{request.step}")

    async def _write(self, work: _Work, request: Request) -> None:
        """Raises _Moved if somebody else wrote it: then the job, if it still is one, belongs to them."""
        try:
            work.revision = await self._history.put(request, work.revision)
        except RevisionConflict:
            raise _Moved from None
        work.request = request

    def _now(self) -> float:
        return self._engine.clock.time()
