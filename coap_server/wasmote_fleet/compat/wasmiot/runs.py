"""Runs calls and the chains that follow from them, and keeps how they ended.

A GET is run at once. A POST is a queued request of the fleet; where a chain follows, a job in the queue `wasmiot` waits
for it and makes the next call. Before that is sent, the record says so: whoever leases the job again and finds
`began` does not send it a second time.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

from wasmote.errors import RefusedError, UnansweredError, WasmoteError
from wasmote.protocol.answers import CallResult
from wasmote_fleet.compat.fetch import Limits, Reach, exchange
from wasmote_fleet.compat.wasmiot import records, values
from wasmote_fleet.compat.wasmiot.bodies import Endpoint, Function
from wasmote_fleet.compat.wasmiot.errors import Failed, HopLimit
from wasmote_fleet.compat.wasmiot.records import Call, Deployed
from wasmote_fleet.compat.wasmiot.values import Output
from wasmote_fleet.engine import (
    Engine,
    EngineClosed,
    EngineError,
    Job,
    LeaseLost,
    QueuePolicy,
    RevisionConflict,
)
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.gateway.errors import Overloaded
from wasmote_fleet.repository import ModuleInfo
from wasmote_fleet.repository.modules import ExportInfo
from wasmote_fleet.requests import Requests, Target, UnknownRequest
from wasmote_fleet.requests.context import Context
from wasmote_fleet.requests.records import Body

log = logging.getLogger("wasmote.fleet.wasmiot")

QUEUE = "wasmiot"
POLICY = QueuePolicy(visibility_s=10.0, max_deliveries=1_000_000, remember_s=600.0)
WORKERS = 32
MAX_HOPS = 16
AT_ONCE = 32  # chain calls of one function that wait for the next device: a circle through others ends here
CHAIN_S = 30.0  # for the next device's answer, as wasmiot waits
MAX_ANSWER_BYTES = 64 * 1024
CONTEXT = "Wasmote-Context"
TIDY_S = 60.0
_LOOK_S = 0.2

ReachOf = Callable[[str, str], Awaitable[Reach]]
ModuleOf = Callable[[str], Awaitable[ModuleInfo]]


class Runs:
    """reach_of: where a device's chains may go, if this address deployed them. module_of: what is known of a module, by
    its digest."""

    def __init__(self, engine: Engine, requests: Requests, reach_of: ReachOf, module_of: ModuleOf) -> None:
        self._engine = engine
        self._module_of = module_of
        self._requests = requests
        self._reach_of = reach_of
        self._waiting: Counter[tuple[str, str, str, str]] = Counter()
        self._jobs: set[asyncio.Task[None]] = set()
        self._revisions: dict[str, int] = {}  # of the records of calls whose jobs are in hand
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._queue = await self._engine.queue(QUEUE, POLICY)
        self._tasks = [asyncio.create_task(self._lease()), asyncio.create_task(self._tidy())]

    async def close(self) -> None:
        """What runs is left to the next server."""
        await end(*self._tasks, *self._jobs)

    # ---- at once ----

    async def now(
        self, deployed: Deployed, function: Function, export: ExportInfo, made: Call, body: Body
    ) -> Call:
        """Raises Failed; the history has it, too."""
        try:
            self._admit(function, made)
            try:
                result = await self._requests.call(
                    deployed.fleet_id,
                    deployed.names[function.module],
                    export.name,
                    body,
                    deadline_s=max(made.until - self._now(), 0.1),
                )
                given = values.output(function, export, result)
            except WasmoteError as error:
                status = values.status_output(function, export, error)
                if status is None:
                    raise
                given = status
            return await self._done(
                deployed, made, given, await self._follow(deployed, made, function, given)
            )
        except Overloaded:
            raise  # nothing ran, and the history must not grow by it
        except WasmoteError as error:
            if isinstance(error, EngineError):
                raise
            raise Failed(error, await self._failed(made, error)) from None

    # ---- queued ----

    async def later(
        self, deployed: Deployed, function: Function, export: ExportInfo, made: Call, body: Body
    ) -> Call:
        """Raises Overloaded, HopLimit; then nothing is kept."""
        self._admit(function, made)
        await self._put(made)
        try:
            await self._requests.submit(
                Target(
                    deployment=deployed.fleet_id, function=deployed.names[function.module], export=export.name
                ),
                body,
                deadline_s=max(made.until - self._now(), 0.1),
                id=made.id,
            )
        except WasmoteError:
            await self._engine.kv.delete(made.key)
            raise
        await self._queue.enqueue(json.dumps([made.device, made.id]).encode(), id=made.id)
        return made

    async def get(self, device: str, id: str, *, wait_s: float = 0.0) -> Call | None:
        """A call; waits so long for its end."""
        end = asyncio.get_running_loop().time() + wait_s
        while True:
            entry = await self._engine.kv.get(records.call_key(device, id)) if records.is_key(id) else None
            made = None if entry is None else Call.decode(entry.value)
            if made is None or made.done or asyncio.get_running_loop().time() >= end:
                return made
            await asyncio.sleep(_LOOK_S)

    async def _lease(self) -> None:
        while True:
            if len(self._jobs) >= WORKERS:
                await asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                jobs = await self._queue.lease(min(4, WORKERS - len(self._jobs)), wait_s=10.0)
            except EngineClosed:
                return
            except EngineError as error:
                log.warning("jobs cannot be leased: %s", error)
                await asyncio.sleep(1.0)
                continue
            for job in jobs:
                task = asyncio.create_task(self._work(job))
                self._jobs.add(task)
                task.add_done_callback(self._jobs.discard)

    async def _tidy(self) -> None:
        while True:
            await self._engine.clock.sleep(TIDY_S)
            try:
                await records.trim_history(self._engine)
            except EngineError as error:
                log.warning("the history was not trimmed: %s", error)

    async def _work(self, job: Job) -> None:
        if job.id in self._revisions:
            return  # its lease was lost for a moment; it comes back
        self._revisions[job.id] = 0
        alive = asyncio.create_task(self._extend(job))
        try:
            device, id = json.loads(job.data)
            entry = await self._engine.kv.get(records.call_key(device, id))
            if entry is not None and not (made := Call.decode(entry.value)).done:
                self._revisions[id] = entry.revision
                await self._continue(made)
            await self._queue.ack(job)
        except (LeaseLost, RevisionConflict):
            pass  # another server has taken it over
        except EngineError as error:
            log.warning("call %s: %s", job.id, error)
        except Exception:
            log.exception("call %s", job.id)
        finally:
            del self._revisions[job.id]
            await end(alive)

    async def _extend(self, job: Job) -> None:
        while True:
            await asyncio.sleep(POLICY.visibility_s / 3)
            with suppress(EngineError):
                await self._queue.extend(job)

    async def _continue(self, made: Call) -> None:
        """A queued call: wait for its function, then go on."""
        try:
            entry = await self._engine.kv.get(records.deployment_key(made.device, made.deployment))
            if entry is None:
                raise RefusedError(
                    "deployment does not exist",
                    cause="it was removed while the call waited",
                    next_step="deploy it again",
                )
            deployed = Deployed.decode(entry.value)
            function = deployed.plan.functions[made.module, made.function]
            given = await self._result(made, deployed, function)
            if made.began and function.to is not None:
                raise UnansweredError(
                    f"the call of {function.to.url}{function.to.path} may have run",
                    cause="the server that sent it ended before it had an answer",
                    next_step="look at that device before you repeat it",
                )
            await self._done(deployed, made, given, await self._follow(deployed, made, function, given))
        except WasmoteError as error:
            if isinstance(error, EngineError):
                raise
            await self._failed(made, error)

    async def _result(self, made: Call, deployed: Deployed, function: Function) -> Output:
        try:
            while not (await self._requests.wait(made.id, 10.0)).state.finished:
                pass
            result: CallResult = await self._requests.result(made.id)
        except UnknownRequest:
            raise RefusedError(
                "the call was not accepted",
                cause="the server that took it ended before it was queued",
                next_step="send it again",
            ) from None
        except WasmoteError as error:
            export = await self._export(deployed, function)
            status = values.status_output(function, export, error)
            if status is None:
                raise
            return status
        return values.output(function, await self._export(deployed, function), result)

    async def _export(self, deployed: Deployed, function: Function) -> ExportInfo:
        return values.check(function, await self._module_of(deployed.digests[function.module]))

    # ---- what follows ----

    def _admit(self, function: Function, made: Call) -> None:
        if made.hops >= MAX_HOPS:
            raise HopLimit(
                f"{made.module}/{made.function} was not called",
                cause=f"{made.hops} calls led to it",
                next_step="see which deployments call each other",
            )
        if function.to is not None and self._waiting[self._chain_of(made)] >= AT_ONCE:
            raise Overloaded(
                f"{made.module}/{made.function} was not called",
                cause=f"{AT_ONCE} calls of it wait for the next device of the chain",
            )

    @staticmethod
    def _chain_of(made: Call) -> tuple[str, str, str, str]:
        return made.device, made.deployment, made.module, made.function

    async def _follow(self, deployed: Deployed, made: Call, function: Function, given: Output) -> str | None:
        """Call what comes next with the output; where its result will be. None: nothing comes next."""
        if function.to is None:
            return None
        await self._put(made.changed(began=True))
        chain = self._chain_of(made)
        self._waiting[chain] += 1
        try:
            return await self._send(made, function.to, given, deployed.caller)
        finally:
            self._waiting[chain] -= 1
            if not self._waiting[chain]:
                del self._waiting[chain]

    async def _send(self, made: Call, to: Endpoint, given: Output, caller: str) -> str:
        following = values.next_call(to, given)
        left_s = made.until - self._now()
        if left_s <= 0:
            raise UnansweredError(
                f"{following.url} was not called: the deadline passed",
                cause="what came before took too long",
                next_step="call it again; what came before runs again, too",
            )
        context = Context(made.hops + 1, made.until, made.id)
        answer = await exchange(
            following.method,
            following.url,
            reach=await self._reach_of(made.device, caller),
            limits=Limits(max_bytes=MAX_ANSWER_BYTES, timeout_s=min(left_s, CHAIN_S), redirects=0),
            headers={**following.headers, CONTEXT: context.text},
            body=following.body,
        )
        return values.result_url(answer.status, answer.body)

    async def _done(self, deployed: Deployed, made: Call, given: Output, url: str | None) -> Call:
        if given.file is not None:
            digest = (await self._engine.blobs.put(given.data)).digest
            key = records.file_key(made.device, made.module, given.file)
            await self._engine.kv.put(key, digest.encode(), ttl_s=records.HISTORY_S)
        result = given.result(readme=deployed.plan.readme) if url is None else url
        ended = made.changed(done=True, success=True, result=result)
        await self._put(ended)
        return ended

    async def _failed(self, made: Call, error: WasmoteError) -> Call:
        ended = made.changed(done=True, success=False, result=str(error))
        await self._put(ended)
        return ended

    async def _put(self, made: Call) -> None:
        """Raises RevisionConflict if another server works on the same queued call."""
        expected = self._revisions.get(made.id)
        revision = await self._engine.kv.put(
            made.key, made.encode(), ttl_s=records.HISTORY_S, expected=expected or None
        )
        if expected is not None:
            self._revisions[made.id] = revision

    def _now(self) -> float:
        return self._engine.clock.time()
