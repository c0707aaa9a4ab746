"""Invocations: actions and sequences, blocking and not, and the activations that they leave.

What was accepted with 202 is a job of the queue `openwhisk`, so that it outlives the server. Before such a job calls a
function, its activation says that it began; who leases the job again and finds that, runs only an export that is
declared repeatable, and otherwise records that it may have run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.openwhisk import inputs, jsons
from wasmote_fleet.compat.openwhisk.actions import Action, Actions, Fleet
from wasmote_fleet.compat.openwhisk.activations import (
    APPLICATION_ERROR,
    WHISK_ERROR,
    Activation,
    Activations,
    Outcome,
    failed,
    lost,
)
from wasmote_fleet.compat.openwhisk.bodies import SEQUENCE, KeyValues, as_map
from wasmote_fleet.compat.openwhisk.errors import NOT_ALLOWED, Rejected, bad_request
from wasmote_fleet.compat.openwhisk.limits import (
    COLD_START_S,
    MAX_COMPONENTS,
    MAX_PARAMETERS_BYTES,
    MB,
    Throttle,
    check_size,
)
from wasmote_fleet.compat.openwhisk.names import Name, derived_id
from wasmote_fleet.compat.openwhisk.store import Doc, Entities, Vault
from wasmote_fleet.engine import Engine, EngineError, Job, LeaseLost, NotFound, Queue, QueuePolicy
from wasmote_fleet.engine.tasks import end

log = logging.getLogger("wasmote.fleet.openwhisk")

QUEUE = "openwhisk"
POLICY = QueuePolicy(visibility_s=10.0, max_deliveries=1000, remember_s=600.0)
PARALLEL = 32  # jobs at a time at this server
_EXTEND_S = 3.0
_LEASE_WAIT_S = 5.0
_RETRY_S = 2.0
_COUNT_EACH_S = 0.5

Args = dict[str, Any]
FireJob = Callable[[Doc], Awaitable[None]]


class Objects(Protocol):
    """What `url` may name."""

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """Raises WasmoteError."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """args: over the action's own parameters. by: a sequence that runs it. durable: it was accepted, and is a job."""

    id: str
    name: Name
    args: Args
    by: str | None = None
    durable: bool = False

    def encode(self) -> Doc:
        return {"kind": "invoke", "id": self.id, "name": list(_parts(self.name)), "args": self.args}

    @classmethod
    def decode(cls, doc: Doc) -> Invocation:
        return cls(doc["id"], Name(*doc["name"]), doc["args"], None, True)


def _parts(name: Name) -> tuple[str, str, str]:
    return name.namespace, name.package, name.name


def new_id() -> str:
    return secrets.token_hex(16)


class Invoker:
    """start() and close(). on_fire: what to do with jobs of triggers."""

    def __init__(
        self,
        engine: Engine,
        actions: Actions,
        packages: Entities,
        activations: Activations,
        fleet: Fleet,
        objects: Objects,
        throttle: Throttle,
    ) -> None:
        self._engine = engine
        self._actions = actions
        self._packages = packages
        self._activations = activations
        self._fleet = fleet
        self._objects = objects
        self._throttle = throttle
        self._vault = Vault(engine)
        self._running: set[asyncio.Task[Any]] = set()
        self._jobs: set[asyncio.Task[Any]] = set()
        self._worker: asyncio.Task[None] | None = None
        self._counted_at = float("-inf")
        self._waiting = 0
        self.on_fire: FireJob | None = None

    async def start(self) -> None:
        self._queue: Queue = await self._engine.queue(QUEUE, POLICY)
        self._worker = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Begin no more jobs; what runs ends, within its time limits."""
        try:
            if self._worker is not None:
                await end(self._worker)
            while running := self._running | self._jobs:
                await asyncio.wait(running)
        finally:
            for task in self._running | self._jobs:
                task.cancel()

    # ---- what clients ask for ----

    async def admit(self, name: Name, args: Args, *, system: bool = False) -> Action:
        """The action, if it may be invoked so, now. system: args are the gateway's own, and may name what a client may
        not. Raises Rejected: 400, 404, 413, 429."""
        action = await self._actions.get(name)
        merged, final = await self._merge(action, args)
        if not system and final & args.keys():
            raise bad_request(NOT_ALLOWED)
        check_size("Request", jsons.size_of(merged), MAX_PARAMETERS_BYTES)
        self._throttle.invoked()
        await self._check_room()
        return action

    async def final(self, action: Action) -> set[str]:
        """The parameters that an invocation of it may not give."""
        return (await self._merge(action, {}))[1]

    async def blocking(self, name: Name, args: Args, wait_s: float) -> Activation | str:
        """Invoke an action that was admitted; its activation, or only its id if it does not end within wait_s."""
        call = Invocation(new_id(), name, args)
        task = asyncio.create_task(self._counted(call))
        self._running.add(task)
        task.add_done_callback(self._ended)
        done, _ = await asyncio.wait({task}, timeout=wait_s)
        if done:
            return task.result()
        with contextlib.suppress(Rejected):
            action = await self._actions.get(name)
            await self._begin(call, action)
        return call.id

    async def enqueue(self, name: Name, args: Args, *, id: str | None = None) -> str:
        """Accept an invocation that was admitted; its activation's id. With the same id it is accepted once."""
        call = Invocation(id or new_id(), name, args)
        await self.enqueue_job(call.encode(), call.id)
        return call.id

    async def enqueue_job(self, doc: Doc, id: str) -> None:
        self._waiting += 1
        await self._queue.enqueue(await self._vault.pack(doc), id=id)

    async def _check_room(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._counted_at > _COUNT_EACH_S:
            self._counted_at = now
            stats = await self._queue.stats()
            self._waiting = stats.waiting + stats.leased
        self._throttle.check_room(self._waiting)

    # ---- running ----

    async def _counted(self, call: Invocation) -> Activation:
        with self._throttle.one_more():
            return await self._run(call)

    async def _run(self, call: Invocation, *, room: int = MAX_COMPONENTS) -> Activation:
        """Run an action or a sequence, unless that has been done; its activation, which is kept."""
        done = await self._activations.peek(call.id) if call.durable else None
        if done is not None and done.until_ms is None:
            return done
        try:
            action = await self._actions.get(call.name)
        except Rejected:
            return await self._keep(
                call, None, failed(WHISK_ERROR, "Action could not be found or may have been deleted.")
            )
        if action.kind == SEQUENCE:
            return (await self._sequence(call, action, room))[0]
        return await self._primitive(call, action, done)

    async def _primitive(self, call: Invocation, action: Action, begun: Activation | None) -> Activation:
        start_ms = self._now_ms()
        if call.durable:
            if begun is not None and not action.export.repeatable:
                ended = lost(begun)
                await self._activations.put(ended)
                return ended
            await self._begin(call, action, again=begun is not None)
        args, _final = await self._merge(action, call.args)
        outcome, lines = await self._call(action, args)
        return await self._keep(call, action, outcome, start_ms, lines)

    async def _call(self, action: Action, args: Args) -> tuple[Outcome, list[str]]:
        """What the function gives within the action's time limit, and what it logs meanwhile."""
        limit_s = action.limits.timeout_ms / 1000
        listens = action.export.logs and action.limits.logs_mb > 0
        tap = self._fleet.tap() if listens else None
        try:
            await self._fleet.ready(action.deployment)
            async with asyncio.timeout(limit_s):
                body = await self._input(action, args)
                result = await self._fleet.call(
                    action.deployment, action.export.name, body, deadline_s=limit_s, tap=tap
                )
                outcome = inputs.outcome_of(action, result)
        except TimeoutError:
            outcome = inputs.timed_out(action)
        except WasmoteError as error:
            outcome = inputs.outcome_of_error(action, error)
        lines = [] if tap is None else await tap.lines()
        return outcome, _bounded(lines, action.limits.logs_mb * MB)

    async def _input(self, action: Action, args: Args) -> list[Any] | bytes:
        url = inputs.url_of(action, args)
        if url is None:
            return inputs.input_of(action, args)
        try:
            data = await self._objects.fetch(url, MAX_PARAMETERS_BYTES)
        except WasmoteError as error:
            raise inputs.UnreadableObject(
                error.message, cause=error.cause, next_step=error.next_step
            ) from None
        return inputs.with_object(action, args, data)

    async def _sequence(self, call: Invocation, action: Action, room: int) -> tuple[Activation, int]:
        """Each component gets what the one before gave; one that fails ends it. room: actions that may still run."""
        start_ms = self._now_ms()
        args, _final = await self._merge(action, call.args)
        args.pop("_actions", None)
        outcome = Outcome(0, args)
        ids: list[str] = []
        for index, name in enumerate(action.components):
            step = Invocation(
                derived_id(call.id, str(index)), name, outcome.result, by=call.id, durable=call.durable
            )
            if room <= 0:
                outcome = failed(APPLICATION_ERROR, "Too many actions in the sequence.")
                break
            try:
                inner = await self._actions.get(name)
            except Rejected:
                outcome = failed(APPLICATION_ERROR, "Sequence component does not exist.")
                break
            if inner.kind == SEQUENCE:
                ended, room = await self._sequence(step, inner, room)
            else:
                ended, room = await self._run(step), room - 1
            ids.append(ended.id)
            outcome = ended.outcome or outcome
            if not outcome.ok:
                break
        return await self._keep(call, action, outcome, start_ms, ids), room

    async def _merge(self, action: Action, args: Args) -> tuple[Args, set[str]]:
        """All parameters, and the names of those that an invocation may not give."""
        own = action.parameters
        if action.name.package:
            package = await self._packages.find(action.name.package)
            if package is not None:
                own = [*package.doc["parameters"], *own]
        bound = as_map(own)
        final = {key for key, value in bound.items() if value is not None} if action.says("final") else set()
        return {**bound, **args}, final

    # ---- records ----

    async def _begin(self, call: Invocation, action: Action, *, again: bool = False) -> None:
        """Say that it runs, before it does."""
        each_ms = action.limits.timeout_ms + int(COLD_START_S * 1000)
        limit_ms = each_ms * (MAX_COMPONENTS if action.kind == SEQUENCE else 1)
        begun = Activation(
            call.id,
            call.name,
            action.version,
            self._now_ms(),
            None,
            None,
            _annotations(call, action),
            (),
            call.by,
            self._now_ms() + limit_ms,
        )
        await self._activations.begin(begun, again=again)

    async def _keep(
        self,
        call: Invocation,
        action: Action | None,
        outcome: Outcome,
        start_ms: int | None = None,
        lines: list[str] | None = None,
    ) -> Activation:
        now = self._now_ms()
        ended = Activation(
            call.id,
            call.name,
            "0.0.1" if action is None else action.version,
            now if start_ms is None else start_ms,
            now,
            outcome,
            _annotations(call, action),
            tuple(lines or ()),
            call.by,
        )
        await self._activations.put(ended)
        return ended

    def _now_ms(self) -> int:
        return int(self._engine.clock.time() * 1000)

    # ---- jobs ----

    async def _work(self) -> None:
        while True:
            try:
                while len(self._jobs) >= PARALLEL:
                    await asyncio.wait(set(self._jobs), return_when=asyncio.FIRST_COMPLETED)
                for job in await self._queue.lease(PARALLEL - len(self._jobs), wait_s=_LEASE_WAIT_S):
                    task = asyncio.create_task(self._job(job))
                    self._jobs.add(task)
                    task.add_done_callback(self._ended)
            except EngineError as error:
                log.warning("queue %s: %s", QUEUE, error)
                await self._engine.clock.sleep(_RETRY_S)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._jobs.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an activation was not recorded", exc_info=error)

    async def _job(self, job: Job) -> None:
        """Do a leased job, and keep it leased meanwhile."""
        doing = asyncio.create_task(self._do(job))
        extending = asyncio.create_task(self._extend(job))
        try:
            await asyncio.wait({doing, extending}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():  # the lease is lost: somebody else does it now
                return
            error = doing.exception()
            if error is None:
                await self._queue.ack(job)
            else:
                log.warning("job %s: %s", job.id, error)
                await self._queue.nack(job, delay_s=_RETRY_S)
        except EngineError as error:
            log.warning("job %s: %s", job.id, error)  # it comes back, and finds what was done
        finally:
            await end(doing, extending)

    async def _extend(self, job: Job) -> None:
        while True:
            await self._engine.clock.sleep(_EXTEND_S)
            try:
                await self._queue.extend(job)
            except LeaseLost:
                return
            except EngineError as error:
                log.warning("job %s: %s", job.id, error)

    async def _do(self, job: Job) -> None:
        try:
            doc = await self._vault.unpack(job.data)
        except NotFound:
            log.warning("job %s: its parameters are gone", job.id)
            return
        if doc["kind"] == "invoke":
            await self._run(Invocation.decode(doc))
        elif self.on_fire is not None:
            await self.on_fire(doc)


def _annotations(call: Invocation, action: Action | None) -> KeyValues:
    found: KeyValues = [{"key": "path", "value": call.name.text}]
    if action is not None:
        found += [
            {"key": "kind", "value": action.kind},
            {"key": "limits", "value": action.limits.as_json()},
        ]
        if action.kind == SEQUENCE:
            found.append({"key": "topmost", "value": call.by is None})
    if call.by is not None:
        found.append({"key": "causedBy", "value": SEQUENCE})
    return found


def _bounded(lines: list[str], most_bytes: int) -> list[str]:
    """As many as the limit on logs lets in."""
    kept, size = [], 0
    for line in lines:
        size += len(line.encode())
        if size > most_bytes:
            kept.append(
                f"Logs were truncated because the total bytes size exceeds the limit of {most_bytes} bytes."
            )
            break
        kept.append(line)
    return kept
