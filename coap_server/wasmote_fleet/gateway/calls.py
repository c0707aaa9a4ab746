"""The gateway: functions of nodes, called and pushed by the names of the fleet. Bounded in time and in number.

    async with Gateway(registry, repository, validator, engine) as gateway:
        result = await gateway.call("kitchen", "fib", "fib", [20], deadline_s=5.0)

Whichever server of a fleet is asked, the one that holds the node's lease does it: by engine.calls, service `node`,
instance: that server. Errors are those of wasmote.node, and errors.py's, wherever they happened. A deadline is counted
from when a method is called.

A call is sent to its node once, unless its export is declared pure or idempotent. When the server that does it dies,
who asked it sees the lease go; a call that may be repeated then goes to the successor, another one ends as 'may have
run'. What certainly was not begun is asked for again in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Any, cast

import cbor2

from wasmote.adapters.validator import Validator
from wasmote.errors import UnansweredError, UnreachableError, WasmoteError
from wasmote.node import Pushed
from wasmote.protocol.answers import CallResult, FunctionInfo, FunctionLink
from wasmote_fleet.engine import (
    MAX_VALUE_BYTES,
    Busy,
    Call,
    CallFailed,
    CallTimeout,
    Engine,
    EngineUnavailable,
    NoSuchService,
)
from wasmote_fleet.engine.tasks import end
from wasmote_fleet.gateway.errors import DeadlinePassed, Lost, Overloaded
from wasmote_fleet.gateway.local import AT_A_NODE as AT_A_NODE
from wasmote_fleet.gateway.local import WAITING_AT_A_NODE as WAITING_AT_A_NODE
from wasmote_fleet.gateway.local import Local
from wasmote_fleet.gateway.work import (
    Body,
    NodeLog,
    Result,
    Work,
    decode,
    decode_work,
    encode_error,
    encode_result,
    encode_work,
)
from wasmote_fleet.registry import NotHere, Registry, State
from wasmote_fleet.repository import Repository

IN_ALL = 512  # requests that run or wait in this gateway
SERVICE = "node"
GRACE_S = 1.0  # for a reply on its way: another server counts the deadline itself
STOPPING_S = 310.0  # for what other servers asked for, when this one stops
_LOOK_S = 1.0  # at who speaks with a node, in case news of it was missed
_AGAIN_S = 0.1  # before something is asked for again
_LARGE_BYTES = MAX_VALUE_BYTES // 2


class Gateway:
    """`async with`. validator: looks at what is pushed before it is sent."""

    def __init__(
        self, registry: Registry, repository: Repository, validator: Validator, engine: Engine
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._local = Local(registry, repository, validator)
        self._total = 0
        self._at: Counter[str] = Counter()  # requests that run or wait, by node
        self._asked = 0  # by other servers
        self._closing = False
        self._idle = asyncio.Event()
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Gateway:
        serving = self._engine.calls.serve(SERVICE, self._serve, instance=self._registry.holder, limit=IN_ALL)
        await self._stack.enter_async_context(serving)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._closing = True
        try:
            if self._asked:
                self._idle.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STOPPING_S):
                        await self._idle.wait()
        finally:
            await self._stack.aclose()

    @property
    def busy(self) -> int:
        """Requests that run or wait now."""
        return self._total

    def busy_at(self, node_id: str) -> int:
        """Requests that run or wait at a node, as far as this server asked for them."""
        return self._at[node_id]

    async def call(
        self,
        node_id: str,
        function: str,
        export: str | None,
        body: Body,
        *,
        deadline_s: float,
        context: str | None = None,
    ) -> CallResult:
        """Call an export (None: the default) with numbers or bytes; None: no arguments, or no input. Never repeated
        unless the export is declared pure or idempotent. context: as Node.call has it. Raises UnknownNode,
        UnknownExport, WrongBody, InputError, Overloaded, DeadlinePassed, and what Node.call() raises."""
        work = Work("call", node_id, function, export, body, context=context)
        return cast(CallResult, await self._do(work, deadline_s))

    async def push(self, node_id: str, name: str, digest: str, *, deadline_s: float) -> Pushed:
        """Install the repository's module of this digest as name on the node, or replace what is there. Raises
        UnknownNode, UnknownFunction, RefusedError with the node's reason, Overloaded, DeadlinePassed,
        UnreachableError, UnansweredError."""
        return cast(Pushed, await self._do(Work("push", node_id, name, digest=digest), deadline_s))

    async def functions(self, node_id: str, *, deadline_s: float) -> list[FunctionLink]:
        """What is on the node."""
        return cast(list[FunctionLink], await self._do(Work("functions", node_id), deadline_s))

    async def function(self, node_id: str, name: str, *, deadline_s: float) -> FunctionInfo:
        """What the node knows about a function."""
        return cast(FunctionInfo, await self._do(Work("function", node_id, name), deadline_s))

    async def remove(self, node_id: str, name: str, *, deadline_s: float) -> None:
        """Remove a function from the node; that there is none is no error."""
        await self._do(Work("remove", node_id, name), deadline_s)

    async def log(self, node_id: str, number: int, *, deadline_s: float) -> NodeLog:
        """The node's log from a line on."""
        return cast(NodeLog, await self._do(Work("log", node_id, number=number), deadline_s))

    async def device(self, node_id: str, *, deadline_s: float) -> dict[str, Any]:
        """The node's `/d` as it is now (docs/PROTOCOL.md, 3.1)."""
        return cast(dict[str, Any], await self._do(Work("device", node_id), deadline_s))

    # ---- where it is done ----

    async def _do(self, work: Work, deadline_s: float) -> Result:
        await self._registry.find(work.node)  # first of all, whether there is such a node
        with self._counted(work):
            return await self._wherever(work, deadline_s)

    async def _wherever(self, work: Work, deadline_s: float) -> Result:
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        maybe_ran = False

        def left_s() -> float:
            left = end - loop.time()
            if left <= 0:
                raise DeadlinePassed(f"{work.text} on '{work.node}'", deadline_s=deadline_s, began=maybe_ran)
            return left

        while True:
            server = await self._who(work, left_s(), maybe_ran)
            try:
                if server == self._registry.holder:
                    return await self._local.do(work, left_s())
                return await self._ask(server, work, left_s())
            except NotHere:
                # Nothing ran. What this server knows is about to change.
                await self._news(min(left_s(), _LOOK_S))
            except Lost:
                maybe_ran = True
                if not (work.repeatable or await self._may_be_repeated(work, left_s())):
                    raise
                await asyncio.sleep(min(left_s(), _AGAIN_S))

    async def _news(self, wait_s: float) -> None:
        """Until the registry has news, or wait_s have passed. Not by wait_for: who is cancelled at the moment when news
        comes is cancelled."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._registry.news()

    async def _who(self, work: Work, wait_s: float, maybe_ran: bool) -> str:
        """The server that speaks with the node. Raises UnreachableError, or UnansweredError, if there is none in
        time."""
        own = self._registry.holder
        try:
            async with asyncio.timeout(wait_s):
                while True:
                    view = await self._registry.find(work.node)
                    if view.state is State.LEFT:
                        raise _nobody(work, "it left the fleet", maybe_ran)
                    if view.server and (view.server != own or self._registry.speaks_with(work.node)):
                        return view.server
                    await self._news(_LOOK_S)
        except TimeoutError:
            raise _nobody(work, f"no server speaks with it for {wait_s:.1f} s", maybe_ran) from None

    async def _may_be_repeated(self, work: Work, deadline_s: float) -> bool:
        """Whether the export of a call is declared so, asked of the server that speaks with the node now."""
        asked = Work("function", work.node, work.function)
        try:
            info = cast(FunctionInfo, await self._wherever(asked, deadline_s))
        except WasmoteError:
            return False
        export = info.find(work.export or info.default or "")
        return export is not None and export.repeatable

    # ---- between servers ----

    async def _ask(self, server: str, work: Work, deadline_s: float) -> Result:
        """Raises NotHere if nothing ran there, Lost if it may have, and what it raised there."""
        data = await self._packed(encode_work(work, deadline_s))
        asking = asyncio.create_task(
            self._engine.calls.request(SERVICE, data, instance=server, timeout_s=deadline_s + GRACE_S)
        )
        losing = asyncio.create_task(self._gone(server, work.node))
        try:
            await asyncio.wait({asking, losing}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                # It may have handed the node over in order, and be about to say how this ended.
                await asyncio.wait({asking}, timeout=GRACE_S)
            if not asking.done():
                raise _lost(work, f"{server}, which spoke with '{work.node}', is gone")
            reply = asking.result()
        except NoSuchService:
            raise NotHere(
                f"{server} is gone", cause="nothing was sent", next_step="ask its successor"
            ) from None
        except Busy as error:
            raise Overloaded(f"{work.text} was not begun", cause=error.cause, whole=True) from None
        except CallTimeout:
            raise DeadlinePassed(f"{work.text} on '{work.node}'", deadline_s=deadline_s, began=True) from None
        except EngineUnavailable as error:
            if work.repeatable:
                raise
            raise _lost(work, str(error)) from None
        except CallFailed as error:
            raise _lost(work, str(error)) from None
        finally:
            await end(asking, losing)
        return decode(await self._unpacked(reply))

    async def _gone(self, server: str, node_id: str) -> None:
        """Until this server speaks with the node no longer."""
        while (view := self._registry.get(node_id)) is None or view.server == server:
            await self._registry.news()

    async def _serve(self, call: Call) -> bytes:
        """What another server asks for."""
        self._asked += 1
        try:
            work, deadline_s = decode_work(await self._unpacked(call.data))
            if self._closing:
                raise NotHere("this server stops", next_step="ask its successor")
            with self._counted(work):
                return await self._packed(encode_result(await self._local.do(work, deadline_s)))
        except WasmoteError as error:
            return encode_error(error)
        finally:
            self._asked -= 1
            if not self._asked:
                self._idle.set()

    async def _packed(self, data: bytes) -> bytes:
        """As it is, or, if that is more than a message holds, where it is."""
        if len(data) <= _LARGE_BYTES:
            return data
        return cbor2.dumps({"blob": (await self._engine.blobs.put(data)).digest})

    async def _unpacked(self, data: bytes) -> bytes:
        members = cbor2.loads(data)
        return await self._engine.blobs.read(members["blob"]) if "blob" in members else data

    @contextlib.contextmanager
    def _counted(self, work: Work) -> Iterator[None]:
        if self._total >= IN_ALL:
            raise Overloaded(
                f"{work.text} was not begun",
                cause=f"{IN_ALL} requests run or wait at this server",
                whole=True,
            )
        self._total += 1
        self._at[work.node] += 1
        try:
            yield
        finally:
            self._total -= 1
            self._at[work.node] -= 1
            if not self._at[work.node]:
                del self._at[work.node]


def _lost(work: Work, cause: str) -> Lost:
    return Lost(
        f"{work.text} on '{work.node}' was not answered: it may have run",
        cause=cause,
        next_step="look at the node before you repeat it; exports that are declared pure or idempotent are repeated",
    )


def _nobody(work: Work, cause: str, maybe_ran: bool) -> WasmoteError:
    kind = UnansweredError if maybe_ran else UnreachableError
    return kind(
        f"{work.text} on '{work.node}' {'may have run' if maybe_ran else 'was not begun'}",
        cause=cause,
        next_step="`wasmote fleet nodes` shows which nodes are there; try again when this one is",
    )
