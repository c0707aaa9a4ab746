"""The public Python API: one node, its functions, its jobs.

    async with Node("coap://192.0.2.7") as node:
        await node.push(module, name="fib")
        result = await node.call("fib", [20])
        print(result.value)

Every error is a WasmoteError that says what failed, why, and the next step. Times are seconds, sizes bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cbor2

from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.coap import CoapClient, Delay, Progress, Silence, Traffic, Tuning
from wasmote.adapters.validator import Validator
from wasmote.errors import InputError, RefusedError, TrapError, UnansweredError, UnreachableError
from wasmote.protocol import answers, fit, links, messages, problem, values
from wasmote.protocol.answers import CallResult, Export, FunctionInfo, FunctionLink, Job, LogLine
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.push import PushRejected
from wasmote.protocol.refusal import error_from_problem, error_from_reply
from wasmote.protocol.section import NAME_MAX_BYTES, is_function_name
from wasmote.protocol.senml import Measurement
from wasmote.protocol.target import Target, parse_target

_JOB_STEPS = {
    messages.NOT_FOUND: "`wasmote jobs` lists the node's jobs; it forgets finished ones when it needs their place",
    messages.PRECONDITION_FAILED: "choose another id (--id), or look at the job that has it with `wasmote jobs ID`",
}
_FOLLOW_S = 20.0  # without news for so long, an observation is asked for again


@dataclass(frozen=True)
class Pushed:
    """A push that has been done. resumed: how often it went on after a silence; restarted: how often from the
    start."""

    name: str
    created: bool
    size_bytes: int
    sha256: str
    etag: bytes | None
    elapsed_s: float
    resumed: int = 0
    restarted: int = 0
    delayed_s: float = 0.0


class Node:
    """One node. `async with`, or open() and close(). A serial target gets a bridge of its own inside this
    process.

    on_delay(seconds, why): called before each wait for a busy node. on_silence(text): called while an answer is long in
    coming. on_text(line): diagnostics of a serial node. ready_timeout_s: how long a serial node may take to answer.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        tuning: Tuning | None = None,
        on_delay: Delay | None = None,
        on_silence: Silence | None = None,
        on_text: Callable[[str], None] | None = None,
        ready_timeout_s: float = 10.0,
    ) -> None:
        self.target = parse_target(target) if isinstance(target, str) else target
        self._tuning = tuning or Tuning()
        self._on_delay = on_delay
        self._on_silence = on_silence
        self._on_text = on_text
        self._ready_timeout_s = ready_timeout_s
        self._bridge: SerialBridge | None = None
        self._coap: CoapClient | None = None
        self._known: dict[str, FunctionInfo] = {}
        self._device: dict[str, Any] | None = None  # `/d` as it was read last

    async def open(self) -> None:
        """Open what the target needs. A UDP node is not contacted yet; a serial one has answered. Raises
        LocalError, UnreachableError."""
        host, port = self.target.host, self.target.port
        if self.target.kind == "serial":
            self._bridge = SerialBridge(
                self.target.device,
                baud=self.target.baud,
                on_text=self._on_text,
                on_silence=self._on_silence,
                ready_timeout_s=self._ready_timeout_s,
            )
            await self._bridge.start()
            host, port = self._bridge.address
        self._coap = CoapClient(
            host, port, tuning=self._tuning, on_delay=self._on_delay, on_silence=self._on_silence
        )
        await self._coap.start()

    async def close(self) -> None:
        if self._coap is not None:
            await self._coap.close()
        if self._bridge is not None:
            await self._bridge.close()

    async def wait_closed(self) -> None:
        """Until the link of a serial node ends; raises LocalError then. A UDP node has none, so it never does."""
        if self._bridge is None:
            await asyncio.Event().wait()
        else:
            await self._bridge.wait_closed()

    async def __aenter__(self) -> Node:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def traffic(self) -> Traffic:
        """What the client of this node has met: requests, repeats, delays."""
        return self.client.traffic

    @property
    def client(self) -> CoapClient:
        """For requests that no method here makes."""
        if self._coap is None:
            raise RuntimeError("the node has not been opened: use `async with Node(...)`")
        return self._coap

    # ---- functions ----

    async def push(
        self,
        module: bytes,
        *,
        name: str,
        if_match: bytes | None = None,
        if_new: bool = False,
        progress: Progress | None = None,
        validator: Validator | None = None,
    ) -> Pushed:
        """Install or replace a function. if_match: only if what is there has this ETag; if_new: only if
        nothing is there. progress(acknowledged, total) is called before each block. validator: looks at the module
        before anything of it is sent, as validate() does. Raises RefusedError with the node's reason."""
        check_name(name)
        began_s = time.monotonic()
        if validator is not None:
            await self.validate(module, name=name, validator=validator)
        before = self._counters()
        request = Request(
            messages.PUT,
            ("f", name),
            module,
            content_format=messages.FORMAT_BYTES,
            if_match=() if if_match is None else (if_match,),
            if_none_match=if_new,
        )
        what = f"'{name}' was not installed"
        try:
            reply = await self.client.request(request, repeatable=True, progress=progress)
        except PushRejected as refused:
            reply = refused.reply
            if reply.ok:
                raise RefusedError(
                    what, cause=str(refused), next_step="this node does not follow RFC 7959"
                ) from None
        self._known.pop(name, None)
        digest = hashlib.sha256(module)
        if reply.code == messages.PRECONDITION_FAILED and self._counters()[0] > before[0]:
            # Its first reply may have been lost: then the condition fails because of this very push.
            there = await self.info(name)
            if there.sha256 == digest.digest():
                reply = Reply(messages.CREATED if if_new else messages.CHANGED, etag=there.etag)
        if not reply.ok:
            raise error_from_reply(reply, what, module=module, device=self._device)
        after = self._counters()
        return Pushed(
            name=name,
            created=reply.code == messages.CREATED,
            size_bytes=len(module),
            sha256=digest.hexdigest(),
            etag=reply.etag,
            elapsed_s=time.monotonic() - began_s,
            resumed=after[1] - before[1],
            restarted=after[2] - before[2],
            delayed_s=after[3] - before[3],
        )

    async def validate(self, module: bytes, *, name: str, validator: Validator) -> None:
        """Ask this machine what the node would say of the module: its validator, then what `/d` says for certain of
        imports, quotas and memory (protocol/fit.py). Only `/d` is asked of the node, once, and again before a refusal,
        for the node may have been flashed meanwhile. Raises RefusedError as push() does."""
        known = self._device
        device = known or await self.device()
        refused = _foretold(module, device, validator)
        if refused is not None and known is not None:
            device = await self.device()
            refused = _foretold(module, device, validator)
        if refused is not None:
            raise error_from_problem(refused, f"'{name}' was not installed", module=module, device=device)

    @property
    def described(self) -> Mapping[str, Any]:
        """`/d` as it was read last; empty if it was not."""
        return self._device or {}

    async def ls(self) -> list[FunctionLink]:
        """The functions on the node, in its order."""
        return answers.function_links(await self._get(("f",), "the list of functions"))

    async def device(self) -> dict[str, Any]:
        """`/d`: identity, limits and memory of the node (docs/PROTOCOL.md, 3.1)."""
        self._device = answers.cbor_map(await self._get(("d",), "the node's description"))
        return self._device

    async def info(self, name: str) -> FunctionInfo:
        """What the node knows about a function. Raises RefusedError if there is none."""
        check_name(name)
        reply = await self._get(("f", name), f"function '{name}'", accept=messages.FORMAT_CBOR)
        info = answers.function_info(name, reply)
        self._known[name] = info
        return info

    async def fetch_module(self, name: str) -> bytes:
        """The bytes of a function's module, as they were pushed."""
        check_name(name)
        return (await self._get(("f", name), f"function '{name}'", accept=messages.FORMAT_BYTES)).payload

    async def rm(self, name: str, *, if_match: bytes | None = None) -> None:
        """Remove a function. That there is none is no error, except with if_match."""
        check_name(name)
        request = Request(messages.DELETE, ("f", name), if_match=() if if_match is None else (if_match,))
        reply = await self.client.request(request, repeatable=if_match is None)
        self._known.pop(name, None)
        if not reply.ok:
            raise error_from_reply(reply, f"'{name}' was not removed")

    # ---- calls ----

    async def call(
        self,
        function: str,
        args: Sequence[values.Argument] = (),
        *,
        input: bytes | None = None,
        fetch: bool = False,
        context: str | None = None,
    ) -> CallResult:
        """Call NAME, NAME/EXPORT or NAME/:N (the export's index) and wait for its result.

        args are for exports of numbers, input is for exports of bytes. fetch: run a pure export on a fresh instance.
        context: travels with calls that the function asks for (docs/PROTOCOL.md, 4). A call is repeated only where its
        export is declared pure or idempotent. Raises InputError before anything is sent, TrapError, ApplicationError,
        RefusedError, UnansweredError (it may have run), UnreachableError."""
        name, export = await self.find_export(function)
        payload, content_format = _call_body(function, export, args, input)
        method = messages.FETCH if fetch else messages.POST
        # The plain path calls the default export; it is named here so that what was checked is what runs.
        query = () if context is None else (f"x={context}",)
        request = Request(
            method, ("f", name, export.ref), payload, query=query, content_format=content_format
        )
        began_s = time.monotonic()
        try:
            reply = await self.client.request(request, repeatable=fetch or export.repeatable)
        except PushRejected as refused:
            reply = refused.reply
        if not reply.ok:
            self._known.pop(name, None)  # another version may be there by now
            ran = reply.code >> 5 == 5 or problem.decode(reply).status is not None
            raise error_from_reply(reply, f"{function} {'failed' if ran else 'was refused'}")
        return _call_result(function, export, reply.payload, time.monotonic() - began_s)

    async def find_export(self, function: str) -> tuple[str, Export]:
        """The function and the export that NAME, NAME/EXPORT or NAME/:N means; asks the node for those that it was not
        asked for before. Raises InputError for an export that is not there, RefusedError for a function."""
        name, _, wanted = function.partition("/")
        check_name(name)
        info = self._known.get(name) or await self.info(name)
        refs = [export.ref for export in info.exports]
        listed = f"its exports: {', '.join(refs) or 'none'}"
        if not wanted and info.default is None:
            step = f"name one: {name}/{refs[0]}" if refs else "push a module that exports a function"
            raise InputError(f"'{name}' has no default export", cause=listed, next_step=step)
        export = info.find(wanted or info.default or "")
        if export is not None:
            return name, export
        self._known.pop(name, None)
        raise InputError(
            f"'{name}' has no export '{wanted}'",
            cause=listed,
            next_step=f"check the spelling, or look with `wasmote info {name}`",
        )

    async def start(
        self,
        function: str,
        args: Sequence[values.Argument] = (),
        *,
        input: bytes | None = None,
        job_id: str | None = None,
    ) -> str:
        """Start a call in the background and give the job's id. Asking twice with one job_id never runs it
        twice."""
        name, export = await self.find_export(function)
        payload, content_format = _call_body(function, export, args, input)
        chosen = job_id or f"j{secrets.token_hex(4)}"
        check_name(chosen, "job id")
        request = Request(
            messages.PUT,
            ("j", chosen),
            payload,
            query=(f"f={name}/{export.ref}",),
            content_format=content_format,
            if_none_match=True,
        )
        unanswered = self.traffic.unanswered
        try:
            reply = await self.client.request(request, repeatable=True)
        except PushRejected as refused:
            reply = refused.reply
        lost = (
            reply.code == messages.PRECONDITION_FAILED
            and self.traffic.unanswered > unanswered
            and job_id is None
        )
        if not reply.ok and not lost:
            taken = {messages.PRECONDITION_FAILED: _JOB_STEPS[messages.PRECONDITION_FAILED]}
            raise error_from_reply(reply, f"job '{chosen}' was not started", steps=taken)
        return chosen

    async def jobs(self) -> list[Job]:
        """The jobs that the node remembers, without their results."""
        return answers.jobs(await self._get(("j",), "the list of jobs"))

    async def job(self, job_id: str) -> Job:
        """One job, with its result once it is finished. A call that somebody waits for has an id that begins with a
        dot, until it has run."""
        _check_job(job_id)
        reply = await self._get(("j", job_id), f"job '{job_id}'", steps=_JOB_STEPS)
        return answers.job(answers.cbor_map(reply))

    async def cancel_job(self, job_id: str) -> None:
        """Cancel a job that has not finished, or forget one that has."""
        _check_job(job_id)
        reply = await self.client.request(Request(messages.DELETE, ("j", job_id)), repeatable=True)
        if not reply.ok:
            raise error_from_reply(reply, f"job '{job_id}' was not cancelled", steps=_JOB_STEPS)

    async def wait_job(self, job_id: str, *, timeout_s: float | None = None) -> Job:
        """Wait until a job has finished. Raises UnansweredError after timeout_s; the job runs on then."""
        loop = asyncio.get_running_loop()
        deadline = None if timeout_s is None else loop.time() + timeout_s
        pause_s = 0.02
        while not (job := await self.job(job_id)).finished:
            if deadline is not None and loop.time() + pause_s > deadline:
                raise UnansweredError(
                    f"job '{job_id}' has not finished in {timeout_s:g} s",
                    cause=f"it is {job.state}",
                    next_step=f"look with `wasmote jobs {job_id}`, or stop it with `wasmote jobs {job_id} --cancel`",
                )
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, pause_s * 1.5)
        return job

    async def job_result(self, job_id: str, *, timeout_s: float | None = None) -> CallResult:
        """Wait for a job and give what its call gave. Raises what call() raises."""
        job = await self.wait_job(job_id, timeout_s=timeout_s)
        if job.state == "cancelled":
            raise TrapError(
                f"job '{job_id}' was cancelled", next_step="start it again if its result is still wanted"
            )
        if job.state == "failed":
            code = int(job.raw.get("code", messages.SERVER_ERROR))
            raise error_from_problem(
                problem.decode_entry(code, job.raw.get("problem")), f"job '{job_id}' failed"
            )
        payload = bytes(job.raw.get("result", b""))
        elapsed_s = float(job.raw.get("ms", 0)) / 1000
        if job.raw.get("ct") != messages.FORMAT_CBOR:
            return CallResult("bytes", (), (), payload, elapsed_s)
        decoded = cbor2.loads(payload)
        numbers = tuple(decoded) if isinstance(decoded, list) else (decoded,)
        results = tuple("f64" if isinstance(value, float) else "i64" for value in numbers)
        return CallResult("numbers", results, numbers, b"", elapsed_s)

    # ---- watching ----

    async def log(self, from_number: int = 0) -> tuple[list[LogLine], int]:
        """Log lines from a number on, and the number that the next line will get."""
        return answers.log_lines(await self._get(("d", "log"), "the log", query=(f"from={from_number}",)))

    async def logs(self, from_number: int = 0, *, follow: bool = False) -> AsyncGenerator[LogLine, None]:
        """The log's lines in order, each once. follow: goes on with new lines for ever, over lost
        notifications and over a restart of the node (its numbers begin again)."""
        lines, following = await self.log(from_number)
        for line in lines:
            yield line
        while follow:
            news = self.client.observe(Request(messages.GET, ("d", "log"), query=(f"from={following}",)))
            try:
                while True:
                    try:
                        await asyncio.wait_for(anext(news), _FOLLOW_S)
                    except (TimeoutError, StopAsyncIteration):
                        break
                    # A notification says that there is something; what it is, the numbers tell.
                    lines, latest = await self.log(following)
                    if latest < following:
                        lines, latest = await self.log(0)
                    following = latest
                    for line in lines:
                        yield line
            finally:
                await news.aclose()
            lines, latest = await self.log(following)
            if latest < following:
                lines, latest = await self.log(0)
            following = latest
            for line in lines:
                yield line

    async def metrics(self) -> list[Measurement]:
        """`/d/m`: memory, calls, traps and the rest (docs/PROTOCOL.md, 3.2)."""
        return answers.measurements(await self._get(("d", "m"), "the measurements"))

    async def watch_metrics(self) -> AsyncGenerator[list[Measurement], None]:
        """The measurements now and after each change that was heard of."""
        async for reply in self.client.observe(Request(messages.GET, ("d", "m"))):
            if not reply.ok:
                raise error_from_reply(reply, "the measurements cannot be observed")
            yield answers.measurements(reply)

    async def resources(self, query: str = "") -> list[links.Link]:
        """`/.well-known/core`, with one filter such as `rt=wm.f`."""
        return answers.resource_links(
            await self._get((".well-known", "core"), "the list of resources", query=(query,) if query else ())
        )

    # ---- below ----

    async def _get(
        self,
        path: tuple[str, ...],
        what: str,
        *,
        query: tuple[str, ...] = (),
        accept: int | None = None,
        steps: Mapping[int, str] | None = None,
    ) -> Reply:
        reply = await self.client.request(
            Request(messages.GET, path, query=query, accept=accept), repeatable=True
        )
        if not reply.ok:
            raise error_from_reply(reply, f"cannot read {what}", steps=steps)
        return reply

    def _counters(self) -> tuple[int, int, int, float]:
        traffic = self.traffic
        return traffic.unanswered, traffic.resumed, traffic.restarted, traffic.delayed_s


def check_name(name: str, what: str = "function name") -> None:
    """Raises InputError unless name is 1 to 31 of `a-z A-Z 0-9 _ - .`, not starting with a dot."""
    if is_function_name(name):
        return
    step = "check its spelling; `wasmote push --name` gives a file another one"
    raise InputError(
        f"'{name}' is no {what}",
        cause=f"it has 1 to {NAME_MAX_BYTES} of the characters a-z A-Z 0-9 _ - . and does not start with a dot",
        next_step=step if what == "function name" else "choose another id",
    )


def _check_job(job_id: str) -> None:
    """Raises InputError unless a job may have this id: a client's, or the node's own for a call by POST."""
    check_name(job_id.removeprefix("."), "job id")


def _foretold(module: bytes, device: Mapping[str, Any], validator: Validator) -> problem.Problem | None:
    """What a node that describes itself so answers to a module that it cannot take."""
    limits = device.get("validate")
    limits = limits if isinstance(limits, Mapping) else {}
    most = limits.get("bytes")
    if isinstance(most, int) and len(module) > most:
        return None  # the node says at the first block how much would fit
    return validator.check(module, limits) or fit.misfit(module, device)


def _call_body(
    function: str, export: Export, args: Sequence[values.Argument], input_bytes: bytes | None
) -> tuple[bytes, int | None]:
    if export.kind == "bytes":
        if args:
            raise InputError(
                f"{function} takes bytes, not arguments",
                cause=f"its signature is {export.signature}",
                next_step="give its input with --in FILE, or --in - for standard input",
            )
        return input_bytes or b"", messages.FORMAT_BYTES
    if input_bytes is not None:
        raise InputError(
            f"{function} takes numbers, not an input stream",
            cause=f"its signature is {export.signature}",
            next_step="give its arguments behind its name",
        )
    try:
        return values.encode_arguments(export.params, args), messages.FORMAT_CBOR
    except values.ArgumentError as error:
        raise InputError(
            f"{function} {error}" if error.index is None else f"{function}: {error}",
            cause=f"its signature is {export.signature}",
            next_step=f"give {len(export.params)} argument{'' if len(export.params) == 1 else 's'} of these types"
            if error.index is None
            else "give a number that the type can hold",
            details={} if error.index is None else {"arg": error.index},
        ) from error


def _call_result(function: str, export: Export, payload: bytes, elapsed_s: float) -> CallResult:
    if export.kind == "bytes":
        return CallResult("bytes", (), (), payload, elapsed_s)
    try:
        numbers = values.decode_results(export.results, payload)
    except values.ResultError as error:
        raise RefusedError(
            f"the result of {function} cannot be read",
            cause=str(error),
            next_step="another version may have replaced it during the call: call it again",
        ) from error
    return CallResult("numbers", export.results, tuple(numbers), b"", elapsed_s)


__all__ = [
    "CallResult",
    "Export",
    "FunctionInfo",
    "FunctionLink",
    "Job",
    "LogLine",
    "Measurement",
    "Node",
    "Pushed",
    "Target",
    "Traffic",
    "Tuning",
    "UnreachableError",
    "Validator",
]
