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
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import cbor2

from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.coap import CoapClient, Delay, Progress, Traffic, Tuning
from wasmote.errors import (
    ApplicationError,
    InputError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)
from wasmote.protocol import links, messages, problem, senml, values
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.push import PushRejected
from wasmote.protocol.senml import Measurement
from wasmote.protocol.target import Target, parse_target

_NAME_BYTES = 31
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_FOLLOW_S = 20.0  # without news for so long, an observation is asked for again
_FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Export:
    """An export that can be called. kind: "numbers" or "bytes"."""

    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    kind: str
    pure: bool = False
    idempotent: bool = False

    @property
    def signature(self) -> str:
        return values.signature_text(self.params, self.results)

    @property
    def repeatable(self) -> bool:
        """Declared so that calling it twice is as good as once."""
        return self.pure or self.idempotent


@dataclass(frozen=True)
class FunctionInfo:
    """What a node says about a function (docs/PROTOCOL.md, 3.5). raw: all of it."""

    name: str
    version: str
    size_bytes: int
    sha256: bytes
    default: str | None
    exports: tuple[Export, ...]
    raw: Mapping[str, Any] = field(repr=False)
    etag: bytes | None = None


@dataclass(frozen=True)
class FunctionLink:
    """A line of the function list."""

    name: str
    size_bytes: int
    exports: tuple[str, ...]


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


@dataclass(frozen=True)
class CallResult:
    """What a call gave: numbers (results names their types) or bytes (output)."""

    kind: str
    results: tuple[str, ...]
    numbers: tuple[int | float, ...]
    output: bytes
    elapsed_s: float

    @property
    def value(self) -> int | float | bytes | tuple[int | float, ...] | None:
        """bytes; or the number, None for none, a tuple for several."""
        if self.kind == "bytes":
            return self.output
        if len(self.numbers) == 1:
            return self.numbers[0]
        return self.numbers or None


@dataclass(frozen=True)
class LogLine:
    """A line of the node's log. level: 0 error, 1 warning, 2 info, 3 debug; source: a function, or "" for the
    node."""

    number: int
    at_ms: int
    level: int
    source: str
    text: str

    @property
    def level_name(self) -> str:
        names = ("error", "warning", "info", "debug")
        return names[self.level] if 0 <= self.level < len(names) else str(self.level)


@dataclass(frozen=True)
class Job:
    """A job. state: queued, running, done, failed or cancelled. raw: all that the node says."""

    id: str
    function: str
    export: str
    state: str
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def finished(self) -> bool:
        return self.state in _FINISHED


class Node:
    """One node. `async with`, or open() and close(). A serial target gets a bridge of its own inside this
    process.

    on_delay(seconds, why): called before each wait for a busy node. on_text(line): diagnostics of a serial
    node.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        tuning: Tuning | None = None,
        on_delay: Delay | None = None,
        on_text: Callable[[str], None] | None = None,
        ready_timeout_s: float = 10.0,
    ) -> None:
        self.target = parse_target(target) if isinstance(target, str) else target
        self._tuning = tuning or Tuning()
        self._on_delay = on_delay
        self._on_text = on_text
        self._ready_timeout_s = ready_timeout_s
        self._bridge: SerialBridge | None = None
        self._coap: CoapClient | None = None
        self._known: dict[str, FunctionInfo] = {}

    async def open(self) -> None:
        """Open what the target needs. A UDP node is not contacted yet; a serial one has answered. Raises
        LocalError, UnreachableError."""
        host, port = self.target.host, self.target.port
        if self.target.kind == "serial":
            self._bridge = SerialBridge(
                self.target.device,
                baud=self.target.baud,
                on_text=self._on_text,
                ready_timeout_s=self._ready_timeout_s,
            )
            await self._bridge.start()
            host, port = self._bridge.address
        self._coap = CoapClient(host, port, tuning=self._tuning, on_delay=self._on_delay)
        await self._coap.start()

    async def close(self) -> None:
        if self._coap is not None:
            await self._coap.close()
        if self._bridge is not None:
            await self._bridge.close()

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
        return self._client.traffic

    @property
    def _client(self) -> CoapClient:
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
    ) -> Pushed:
        """Install or replace a function. if_match: only if what is there has this ETag; if_new: only if
        nothing is there. progress(acknowledged, total) is called before each block. Raises RefusedError with
        the node's reason."""
        check_name(name)
        began_s = time.monotonic()
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
            reply = await self._client.request(request, repeatable=True, progress=progress)
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
            raise error_from_reply(reply, what, size_bytes=len(module))
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

    async def ls(self) -> list[FunctionLink]:
        """The functions on the node, in its order."""
        reply = await self._get(("f",), "the list of functions")
        sizes: dict[str, int] = {}
        exports: dict[str, list[str]] = {}
        for link in self._links(reply):
            path = link.target.strip("/").split("/", 2)
            if len(path) < 2 or path[0] != "f":
                continue
            if len(path) == 2:
                sizes[path[1]] = int(link.attributes["sz"]) if link.attributes.get("sz", "").isdigit() else 0
                exports.setdefault(path[1], [])
            else:
                exports.setdefault(path[1], []).append(path[2])
        return [FunctionLink(name, size, tuple(exports[name])) for name, size in sizes.items()]

    async def device(self) -> dict[str, Any]:
        """`/d`: identity, limits and memory of the node (docs/PROTOCOL.md, 3.1)."""
        return _map(await self._get(("d",), "the node's description"))

    async def info(self, name: str) -> FunctionInfo:
        """What the node knows about a function. Raises RefusedError if there is none."""
        check_name(name)
        reply = await self._get(("f", name), f"function '{name}'", accept=messages.FORMAT_CBOR)
        raw = _map(reply)
        info = FunctionInfo(
            name=str(raw.get("name", name)),
            version=str(raw.get("version", "")),
            size_bytes=int(raw.get("size", 0)),
            sha256=bytes(raw.get("sha256", b"")),
            default=raw.get("default"),
            exports=tuple(_export(entry) for entry in raw.get("exports", ())),
            raw=raw,
            etag=reply.etag,
        )
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
        reply = await self._client.request(request, repeatable=if_match is None)
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
    ) -> CallResult:
        """Call NAME or NAME/EXPORT and wait for its result.

        args are for exports of numbers, input is for exports of bytes. fetch: run a pure export on a fresh
        instance. A call is repeated only where its export is declared pure or idempotent. Raises InputError
        before anything is sent, TrapError, ApplicationError, RefusedError, UnansweredError (it may have run),
        UnreachableError.
        """
        name, export = await self._export(function)
        payload, content_format = _call_body(function, export, args, input)
        method = messages.FETCH if fetch else messages.POST
        # The plain path calls the default export; it is named here so that what was checked is what runs.
        request = Request(method, ("f", name, export.name), payload, content_format=content_format)
        began_s = time.monotonic()
        try:
            reply = await self._client.request(request, repeatable=fetch or export.repeatable)
        except PushRejected as refused:
            reply = refused.reply
        if not reply.ok:
            self._known.pop(name, None)  # another version may be there by now
            raise error_from_reply(
                reply, f"{function} failed" if reply.code >> 5 == 5 else f"{function} was refused"
            )
        return _call_result(function, export, reply.payload, time.monotonic() - began_s)

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
        name, export = await self._export(function)
        payload, content_format = _call_body(function, export, args, input)
        chosen = job_id or f"j{secrets.token_hex(4)}"
        check_name(chosen, "job id")
        request = Request(
            messages.PUT,
            ("j", chosen),
            payload,
            query=(f"f={name}/{export.name}",),
            content_format=content_format,
            if_none_match=True,
        )
        unanswered = self.traffic.unanswered
        try:
            reply = await self._client.request(request, repeatable=True)
        except PushRejected as refused:
            reply = refused.reply
        lost = (
            reply.code == messages.PRECONDITION_FAILED
            and self.traffic.unanswered > unanswered
            and job_id is None
        )
        if not reply.ok and not lost:
            raise error_from_reply(reply, f"job '{chosen}' was not started")
        return chosen

    async def jobs(self) -> list[Job]:
        """The jobs that the node remembers, without their results."""
        decoded = _cbor(await self._get(("j",), "the list of jobs"))
        entries = decoded.get("jobs", ()) if isinstance(decoded, dict) else decoded
        if not isinstance(entries, list | tuple):
            raise RefusedError("the node's list of jobs cannot be read", cause="it is not an array")
        return [_job(entry) for entry in entries if isinstance(entry, dict)]

    async def job(self, job_id: str) -> Job:
        """One job, with its result once it is finished."""
        check_name(job_id, "job id")
        return _job(_map(await self._get(("j", job_id), f"job '{job_id}'")))

    async def cancel_job(self, job_id: str) -> None:
        """Cancel a job that has not finished, or forget one that has."""
        check_name(job_id, "job id")
        reply = await self._client.request(Request(messages.DELETE, ("j", job_id)), repeatable=True)
        if not reply.ok:
            raise error_from_reply(reply, f"job '{job_id}' was not cancelled")

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
        raw = _map(await self._get(("d", "log"), "the log", query=(f"from={from_number}",)))
        lines = [
            LogLine(int(n), int(ms), int(level), str(source), str(text))
            for n, ms, level, source, text in raw["lines"]
        ]
        return lines, int(raw["next"])

    async def logs(self, from_number: int = 0, *, follow: bool = False) -> AsyncGenerator[LogLine, None]:
        """The log's lines in order, each once. follow: goes on with new lines for ever, over lost
        notifications and over a restart of the node (its numbers begin again)."""
        lines, following = await self.log(from_number)
        for line in lines:
            yield line
        while follow:
            news = self._client.observe(Request(messages.GET, ("d", "log"), query=(f"from={following}",)))
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
        return _senml(await self._get(("d", "m"), "the measurements"))

    async def watch_metrics(self) -> AsyncGenerator[list[Measurement], None]:
        """The measurements now and after each change that was heard of."""
        async for reply in self._client.observe(Request(messages.GET, ("d", "m"))):
            if not reply.ok:
                raise error_from_reply(reply, "the measurements cannot be observed")
            yield _senml(reply)

    async def resources(self, query: str = "") -> list[links.Link]:
        """`/.well-known/core`, with one filter such as `rt=wm.f`."""
        return self._links(
            await self._get((".well-known", "core"), "the list of resources", query=(query,) if query else ())
        )

    # ---- below ----

    async def _get(
        self, path: tuple[str, ...], what: str, *, query: tuple[str, ...] = (), accept: int | None = None
    ) -> Reply:
        reply = await self._client.request(
            Request(messages.GET, path, query=query, accept=accept), repeatable=True
        )
        if not reply.ok:
            raise error_from_reply(reply, f"cannot read {what}")
        return reply

    @staticmethod
    def _links(reply: Reply) -> list[links.Link]:
        try:
            return links.parse(reply.payload.decode("utf-8"))
        except ValueError as error:
            raise RefusedError("the node's links cannot be read", cause=str(error)) from error

    async def _export(self, function: str) -> tuple[str, Export]:
        name, _, wanted = function.partition("/")
        check_name(name)
        info = self._known.get(name) or await self.info(name)
        names = [export.name for export in info.exports]
        if not wanted:
            wanted = info.default or ""
            if not wanted:
                raise InputError(
                    f"'{name}' has no default export",
                    cause=f"its exports: {', '.join(names) or 'none'}",
                    next_step=f"name one: {name}/{names[0] if names else 'EXPORT'}",
                )
        for export in info.exports:
            if export.name == wanted:
                return name, export
        self._known.pop(name, None)
        raise InputError(
            f"'{name}' has no export '{wanted}'",
            cause=f"its exports: {', '.join(names) or 'none'}",
            next_step="check the spelling, or look with `wasmote info " + name + "`",
        )

    def _counters(self) -> tuple[int, int, int, float]:
        traffic = self.traffic
        return traffic.unanswered, traffic.resumed, traffic.restarted, traffic.delayed_s


def check_name(name: str, what: str = "function name") -> None:
    """Raises InputError unless name is 1 to 31 of `a-z A-Z 0-9 _ - .`, not starting with a dot."""
    good = 1 <= len(name) <= _NAME_BYTES and not name.startswith(".") and _NAME_CHARS.issuperset(name)
    if not good:
        raise InputError(
            f"'{name}' is no {what}",
            cause="it has 1 to 31 of the characters a-z A-Z 0-9 _ - . and does not start with a dot",
            next_step="choose another name (--name)" if what == "function name" else "choose another id",
        )


def error_from_reply(reply: Reply, what: str, *, size_bytes: int | None = None) -> WasmoteError:
    """The error that an error reply stands for. what: what did not happen, in a few words."""
    found = problem.decode(reply)
    if reply.code == messages.TOO_LARGE and size_bytes is not None:
        fits = f", {reply.size1_bytes} would fit" if reply.size1_bytes is not None else ""
        found = problem.Problem(
            found.code, found.title, found.detail or f"{size_bytes} bytes{fits}", found.members
        )
        if fits and fits not in found.detail:
            found = problem.Problem(
                found.code, found.title, f"{found.detail} ({size_bytes} bytes{fits})", found.members
            )
    return error_from_problem(found, what)


def error_from_problem(found: problem.Problem, what: str) -> WasmoteError:
    """The error that a problem document stands for: the application's, a trap, or a refusal."""
    step = problem.next_step(found)
    details = {"code": found.code_text, "title": found.title, "detail": found.detail, **found.members}
    cause = f"{found.text} ({found.code_text})"
    if found.import_name is not None:
        cause += f": {found.import_name}"
    if found.status is not None and found.code >> 5 == 4:
        said = found.output.decode("utf-8", errors="replace").strip()
        return ApplicationError(
            f"{what}: the function reported status {found.status}",
            status=found.status,
            cause=said or found.detail,
            next_step="this is the function's own answer to its input; its documentation says what it means",
            details=details,
        )
    if found.code == messages.SERVER_ERROR:
        function = found.members.get("function")
        where = f" in '{function}'" if function else ""
        quota = f", quota {found.members['quota']}" if "quota" in found.members else ""
        if found.trap:
            cause = f"trap '{found.trap}'{where}{quota}: {found.detail or found.title} (5.00)"
        return TrapError(what, cause=cause, next_step=step, details=details)
    if found.members.get("restarted"):
        cause += "; the old version had to be stopped meanwhile and runs again with fresh memory"
    return RefusedError(what, cause=cause, next_step=step, details=details)


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


def _cbor(reply: Reply) -> Any:
    try:
        return cbor2.loads(reply.payload)
    except Exception as error:  # cbor2 raises many kinds on bytes from the wire
        raise RefusedError("the node's answer cannot be read", cause=f"it is not CBOR: {error}") from error


def _map(reply: Reply) -> dict[str, Any]:
    decoded = _cbor(reply)
    if not isinstance(decoded, dict):
        raise RefusedError("the node's answer cannot be read", cause="it is not a CBOR map")
    return decoded


def _export(entry: Mapping[str, Any]) -> Export:
    return Export(
        name=str(entry["name"]),
        params=tuple(entry.get("params", ())),
        results=tuple(entry.get("results", ())),
        kind=str(entry.get("kind", "numbers")),
        pure=bool(entry.get("pure", False)),
        idempotent=bool(entry.get("idempotent", False)),
    )


def _job(raw: Mapping[str, Any]) -> Job:
    return Job(
        str(raw["id"]), str(raw.get("f", "")), str(raw.get("export", "")), str(raw.get("state", "")), raw
    )


def _senml(reply: Reply) -> list[Measurement]:
    try:
        return senml.decode(reply.payload)
    except senml.SenmlError as error:
        raise RefusedError("the node's measurements cannot be read", cause=str(error)) from error


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
]
