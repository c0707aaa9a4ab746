"""CoAP over UDP to one node, on aiocoap's message layer.

aiocoap sends, retransmits and matches single messages here; blocks, retries and waiting are ours, because the
tools must know what was acknowledged: an upload goes on where it stopped, a call that may have run is never
sent twice, and a busy node is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Any

import aiocoap
from aiocoap import error as aiocoap_error
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import Type

from wasmote.errors import InputError, RefusedError, UnansweredError, UnreachableError, WasmoteError
from wasmote.protocol import messages, problem
from wasmote.protocol.messages import Block, Reply, Request
from wasmote.protocol.push import Block1, PushSession

LOGGER = "wasmote.coap"
DEFAULT_MAX_AGE_S = 1  # of a busy reply without Max-Age
_REPRESENTATION_RESTARTS = 3
_MAX_REPLY_BYTES = 4 << 20  # the largest, a module, has 1 MB
_BUSY_RESTART = 3  # busy replies to one block before the whole transfer is begun again
_BUSY = (messages.UNAVAILABLE, messages.TOO_MANY_REQUESTS)
SILENCE_S = 5.0  # without an answer for so long, a person is told; again after twice as long, and so on

Delay = Callable[[float, str], None]
Silence = Callable[[str], None]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Tuning:
    """How patient a client is.

    ack_timeout_s and max_retransmit: RFC 7252, 4.8. reply_timeout_s: how long an acknowledged request may
    take; None: as long as the retransmissions may, and a minute. attempts: how often a request that may be
    repeated is sent as a new message after it stayed unanswered. busy_wait_s: how long all waiting for a busy
    node may take. block_bytes: 16 to 1024.
    """

    ack_timeout_s: float = 2.0
    max_retransmit: int = 4
    reply_timeout_s: float | None = None
    attempts: int = 3
    busy_wait_s: float = 60.0
    block_bytes: int = 1024

    @property
    def transmit_wait_s(self) -> float:
        """MAX_TRANSMIT_WAIT: the longest that all retransmissions of one message take."""
        return self.ack_timeout_s * (2.0 ** (self.max_retransmit + 1) - 1) * 1.5

    @property
    def whole_wait_s(self) -> float:
        return self.transmit_wait_s + 60.0 if self.reply_timeout_s is None else self.reply_timeout_s


@dataclass
class Traffic:
    """What a client has met so far. delayed_s: waiting because the node was busy."""

    requests: int = 0
    unanswered: int = 0
    resumed: int = 0
    restarted: int = 0
    busy: int = 0
    delayed_s: float = 0.0


class NoAnswer(Exception):
    """One message stayed unanswered: it may have arrived or not."""


class CoapClient:
    """A client of one node. `async with`, or start() and close().

    on_delay(seconds, why): called before each wait for a busy node. on_silence(text): called while an answer is long
    in coming; text says what is waited for, and how long it will be.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tuning: Tuning | None = None,
        on_delay: Delay | None = None,
        on_silence: Silence | None = None,
    ) -> None:
        self.tuning = tuning or Tuning()
        self.traffic = Traffic()
        self._host = host
        self._port = port
        self._on_delay = on_delay or (lambda _seconds, _why: None)
        self._on_silence = on_silence or (lambda _text: None)
        self._context: aiocoap.Context | None = None
        self._block_szx = self.tuning.block_bytes.bit_length() - 5

    @property
    def uri(self) -> str:
        """coap://host:port"""
        return f"coap://{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}"

    async def start(self) -> None:
        _quiet_aiocoap()
        # simple6: a connected socket for each peer, so that the system reports an unreachable port at once.
        self._context = await aiocoap.Context.create_client_context(loggername=LOGGER, transports=["simple6"])

    async def close(self) -> None:
        if self._context is not None:
            context, self._context = self._context, None
            with _late_datagrams_ignored():
                await context.shutdown()

    async def __aenter__(self) -> CoapClient:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # ---- requests ----

    async def request(self, request: Request, *, repeatable: bool, progress: Progress | None = None) -> Reply:
        """Send a request of any size and give the whole reply, whatever its code.

        repeatable: running it twice is as good as once, so it is sent again when no answer comes. Waits for a
        busy node (5.03, 4.29) as it says. Raises UnreachableError (nothing ran), UnansweredError (it may have
        run).
        """
        waited_s = 0.0
        while True:
            reply, tag = await self._send(request, repeatable=repeatable, progress=progress)
            pause_s = _pause_s(reply)
            if not _is_busy(reply) or waited_s + pause_s > self.tuning.busy_wait_s:
                return await self._complete(request, reply, tag)
            await self._wait_busy(request, reply, pause_s)
            waited_s += pause_s

    async def observe(self, request: Request) -> AsyncGenerator[Reply, None]:
        """Replies to an observed GET: the first, then one for each change that was heard of (states may be
        skipped). Ends when the node ends the observation. Close the iterator to deregister. Raises
        UnreachableError."""
        message = self._message(request)
        message.opt.observe = 0
        assert self._context is not None, "the client has not been started"
        exchange = self._context.request(message, handle_blockwise=False)
        try:
            try:
                with self._telling(request, 0):
                    first = await self._response(exchange)
            except TimeoutError:
                raise self._silent(request) from None
            except aiocoap_error.Error as error:
                raise self._unreachable(request, error, 0.0) from error
            reply = _reply(first)
            yield await self._complete(request, reply, b"")
            if reply.observe is None:
                return
            with contextlib.suppress(aiocoap_error.NotObservable, aiocoap_error.ObservationCancelled):
                async for notification in exchange.observation:
                    yield await self._complete(request, _reply(notification), b"")
        except aiocoap_error.Error as error:
            raise self._unreachable(request, error, 0.0) from error
        finally:
            self._deregister(request, message)
            if exchange.observation is not None and not exchange.observation.cancelled:
                exchange.observation.cancel()

    async def _wait_busy(self, request: Request, reply: Reply, pause_s: float) -> None:
        self.traffic.busy += 1
        self.traffic.delayed_s += pause_s
        self._on_delay(pause_s, f"{request.text}: the node is busy ({reply.code_text})")
        await asyncio.sleep(pause_s)

    # ---- one body, one message ----

    async def _send(
        self, request: Request, *, repeatable: bool, progress: Progress | None
    ) -> tuple[Reply, bytes]:
        """The first reply to a whole request body, and the Request-Tag under which it was sent."""
        if request.method != messages.PUT and len(request.payload) <= 16 << self._block_szx:
            return await self._repeat(request, repeatable, lambda: self._message(request)), b""
        return await self._upload(request, repeatable, progress)

    async def _repeat(self, request: Request, repeatable: bool, make: Callable[[], aiocoap.Message]) -> Reply:
        for attempt in range(1, self.tuning.attempts + 1):
            try:
                return await self._exchange(request, make(), repeatable, self.tuning.attempts - attempt)
            except NoAnswer:
                self.traffic.unanswered += 1
                if not repeatable:
                    raise self._may_have_run(request) from None
                if attempt == self.tuning.attempts:
                    safe = request.method in (messages.GET, messages.FETCH)
                    raise (self._silent(request) if safe else self._unanswered(request)) from None
        raise AssertionError("at least one attempt")

    async def _upload(
        self, request: Request, repeatable: bool, progress: Progress | None
    ) -> tuple[Reply, bytes]:
        session = PushSession(request.payload, tag=secrets.token_bytes(4), block_bytes=16 << self._block_szx)
        silent = 0
        maybe_ran = False
        busy, busy_s = 0, 0.0
        while (block := session.next_block()) is not None:
            if progress is not None:
                progress(session.acked_bytes, session.size1_bytes)
            restarts = session.restarts
            try:
                reply = await self._exchange(
                    request,
                    self._block_message(request, session, block),
                    repeatable or block.more,
                    self.tuning.attempts - silent - 1,
                )
            except NoAnswer:
                # A block that comes again is acknowledged again and changes nothing, so the transfer goes on here. That
                # holds for the last one, too, as long as the node remembers the transfer.
                self.traffic.unanswered += 1
                silent += 1
                maybe_ran = maybe_ran or not block.more
                if silent >= self.tuning.attempts:
                    raise self._lost_upload(request, session, block, repeatable) from None
                self.traffic.resumed += 1
                continue
            silent = 0
            if _is_busy(reply):
                pause_s = _pause_s(reply)
                busy_s += pause_s
                if busy_s > self.tuning.busy_wait_s:
                    if maybe_ran and not repeatable:
                        raise self._may_have_run(request)
                    return reply, session.tag
                await self._wait_busy(request, reply, pause_s)
                # The transfer stays open, so the block comes again; a last block that was taken gets the same reply
                # again, and only a new transfer gets another one.
                busy += 1
                if busy % _BUSY_RESTART == 0 and not (maybe_ran and not repeatable):
                    session.restart()
                    self.traffic.restarted += 1
                continue
            busy = 0
            if reply.code == messages.INCOMPLETE and maybe_ran and not repeatable:
                raise self._may_have_run(request)
            session.on_reply(block, reply)
            self.traffic.restarted += session.restarts - restarts
            self._block_szx = min(self._block_szx, session.block_bytes.bit_length() - 5)
        if progress is not None:
            progress(session.acked_bytes, session.size1_bytes)
        assert session.reply is not None
        return session.reply, session.tag

    async def _complete(self, request: Request, first: Reply, tag: bytes) -> Reply:
        """The rest of a reply that came as the first of several blocks (RFC 7959, 2.4 and 3.3)."""
        for _ in range(_REPRESENTATION_RESTARTS):
            whole = await self._collect(request, first, tag)
            if whole is not None:
                return whole
            # The representation changed under way. Only a GET may be asked from the start again.
            first = await self._repeat(request, True, lambda: self._message(request))
        raise RefusedError(
            f"{request.text} changes faster than it can be read",
            cause=f"it changed during each of {_REPRESENTATION_RESTARTS} transfers",
            next_step="try again when the node is less busy",
        )

    async def _collect(self, request: Request, first: Reply, tag: bytes) -> Reply | None:
        body, last = first.payload, first
        while last.block2 is not None and last.block2.more:
            szx = last.block2.szx
            if len(body) > _MAX_REPLY_BYTES:
                raise RefusedError(
                    f"{request.text}: the node's answer does not end",
                    cause=f"it has more than {_MAX_REPLY_BYTES} bytes",
                    next_step="check that a wasmote node is there",
                )
            if not last.payload or len(body) % (16 << szx):
                raise RefusedError(
                    f"{request.text}: the node sent a block of a wrong size",
                    next_step="this node does not follow RFC 7959: update its firmware",
                )
            block = Block(len(body) >> (szx + 4), False, szx)
            last = await self._repeat(request, True, partial(self._rest_message, request, block, tag))
            changed = last.etag != first.etag or last.code != first.code
            misplaced = last.block2 is None or last.block2.offset_bytes != len(body)
            if (changed or misplaced) and request.method == messages.GET:
                return None
            if changed or misplaced:
                raise UnansweredError(
                    f"the reply to {request.text} was lost",
                    cause=f"the node no longer has its rest ({last.code_text}); the request itself ran",
                    next_step="start it as a job (--background) and fetch its result with `wasmote jobs`",
                )
            body += last.payload
        return replace(first, payload=body, block2=None)

    async def _exchange(
        self, request: Request, message: aiocoap.Message, repeatable: bool, tries_left: int
    ) -> Reply:
        """One message and its reply. tries_left: how many more would follow if this one stays unanswered. Raises
        NoAnswer, UnreachableError."""
        if self._context is None:
            raise self._closed(request)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        self.traffic.requests += 1
        exchange = self._context.request(message, handle_blockwise=False)
        try:
            with self._telling(request, tries_left if repeatable else 0):
                reply = _reply(await self._response(exchange))
        except (TimeoutError, aiocoap_error.TimeoutError):
            raise NoAnswer from None
        except aiocoap_error.LibraryShutdown:
            raise NoAnswer from None  # somebody closed this client in the middle of it
        except aiocoap_error.Error as error:
            elapsed_s = loop.time() - began_s
            # After a retransmission the first message may have been taken by a node that has since stopped.
            if not repeatable and elapsed_s >= self.tuning.ack_timeout_s:
                raise NoAnswer from error
            raise self._unreachable(request, error, elapsed_s) from error
        if reply.code == messages.SERVER_ERROR and problem.decode(reply).reply_forgotten:
            raise NoAnswer  # it was carried out, but what it gave is lost: no better than silence
        return reply

    async def _response(self, exchange: Any) -> aiocoap.Message:
        """The response to a request. Behind a shield: aiocoap cannot take it that its future is cancelled (Ctrl-C)
        in the very turn of the loop in which the response comes in. And not by wait_for, which in that turn would
        swallow the cancellation. Raises TimeoutError, aiocoap's errors."""

        def seen(future: asyncio.Future[aiocoap.Message]) -> None:
            if not future.cancelled():
                future.exception()  # or asyncio would complain that nobody asked

        exchange.response.add_done_callback(seen)
        async with asyncio.timeout(self.tuning.whole_wait_s):
            response: aiocoap.Message = await asyncio.shield(exchange.response)
        return response

    @contextlib.contextmanager
    def _telling(self, request: Request, tries_left: int) -> Iterator[None]:
        """Meanwhile, on_silence hears of a wait that gets long."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle | None = None
        then = f", then {tries_left} more tr{'y' if tries_left == 1 else 'ies'}" if tries_left else ""

        def tell(waited_s: float) -> None:
            nonlocal timer
            left_s = self.tuning.whole_wait_s - waited_s
            self._on_silence(
                f"no answer yet to {request.text} from {self.uri} after {waited_s:g} s:"
                f" waiting up to {left_s:.0f} s more{then} (Ctrl-C stops)"
            )
            timer = loop.call_later(waited_s, tell, 2 * waited_s)

        timer = loop.call_later(SILENCE_S, tell, SILENCE_S)
        try:
            yield
        finally:
            timer.cancel()

    # ---- messages ----

    def _message(self, request: Request) -> aiocoap.Message:
        tuning = TransportTuning()
        tuning.ACK_TIMEOUT = self.tuning.ack_timeout_s
        tuning.MAX_RETRANSMIT = self.tuning.max_retransmit
        tuning.reliability = True
        message = aiocoap.Message(
            code=aiocoap.Code(request.method), payload=request.payload, transport_tuning=tuning
        )
        message.set_request_uri(self.uri, set_uri_host=False)
        message.opt.uri_path = request.path
        message.opt.uri_query = request.query
        message.opt.content_format = request.content_format
        message.opt.accept = request.accept
        message.opt.if_match = request.if_match
        message.opt.if_none_match = request.if_none_match
        return message

    def _block_message(self, request: Request, session: PushSession, block: Block1) -> aiocoap.Message:
        # Also a body of one block goes as a transfer: the node then gives the same reply to it when it comes again.
        message = self._message(replace(request, payload=block.payload))
        message.opt.block1 = (block.num, block.more, block.szx)
        message.opt.request_tag = [session.tag]
        if block.num == 0:
            message.opt.size1 = session.size1_bytes
        return message

    def _rest_message(self, request: Request, block: Block, tag: bytes) -> aiocoap.Message:
        # A FETCH is known by its body (RFC 8132, 2.4); for a POST the node keeps the reply under the path and the tag.
        keep_body = request.method == messages.FETCH and len(request.payload) <= 1024
        message = self._message(request if keep_body else replace(request, payload=b""))
        message.opt.block2 = (block.num, block.more, block.szx)
        if tag:
            message.opt.request_tag = [tag]
        return message

    def _deregister(self, request: Request, registered: aiocoap.Message) -> None:
        """Say that an observation has ended. aiocoap would only reset the next notification, which may be
        long in coming while a node has room for few observers. One message without an answer is enough: it is
        a courtesy."""
        remote = registered.remote
        if self._context is None or not registered.token or not hasattr(remote, "send"):
            return
        message = self._message(request)
        message.opt.observe = 1
        message.token = registered.token
        message.mtype = Type.NON
        message.mid = secrets.randbelow(0x10000)
        with contextlib.suppress(OSError, AttributeError):
            remote.send(message.encode())

    # ---- errors ----

    def _unreachable(self, request: Request, error: aiocoap_error.Error, elapsed_s: float) -> WasmoteError:
        cause = error.__cause__
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(error, aiocoap_error.ResolutionError):
            return InputError(
                f"unknown host '{self._host}'",
                cause="the name has no address",
                next_step="check its spelling, or give the node's IP address",
            )
        if number == errno.ECONNREFUSED:
            return UnreachableError(
                f"no node at {self.uri}",
                cause="the host is there, but nothing listens on this port (connection refused)",
                next_step="start a node (`wasmote emulate host`) or check the port; `wasmote discover` looks for nodes",
            )
        if isinstance(error, aiocoap_error.MessageError):
            return UnreachableError(
                f"{self.uri} rejected {request.text}",
                cause="it answered with a reset: it does not take CoAP requests",
                next_step="check that the address is a wasmote node's; `wasmote discover` looks for nodes",
            )
        if isinstance(error, aiocoap_error.TimeoutError):
            return self._silent(request)
        return UnreachableError(
            f"{self.uri} cannot be reached",
            cause=str(cause or error),
            next_step="check the address and the network; `wasmote discover` looks for nodes",
        )

    def _closed(self, request: Request) -> UnreachableError:
        return UnreachableError(
            f"{request.text}: nothing is sent to {self.uri} any longer",
            cause="its client was closed",
            next_step="open it, and ask again",
        )

    def _silent(self, request: Request) -> UnreachableError:
        return UnreachableError(
            f"no answer from {self.uri}",
            cause=f"{request.text} was sent {self.tuning.attempts * (self.tuning.max_retransmit + 1)} times",
            next_step="check that the node runs and that UDP reaches it; `wasmote discover` looks for nodes",
        )

    def _unanswered(self, request: Request) -> UnansweredError:
        """For what may be repeated."""
        return UnansweredError(
            f"{request.text} was not answered: it may have run",
            cause=self._silent(request).cause,
            next_step="repeat it: once or twice is the same. `wasmote info` tells whether the node answers",
        )

    def _may_have_run(self, request: Request) -> UnansweredError:
        return UnansweredError(
            f"{request.text} was not answered: it may have run",
            cause=f"no answer from {self.uri}; it is not sent again, because running it twice may do harm",
            next_step="look at the node before you repeat it (`wasmote info --metrics` counts calls, `wasmote logs`). "
            "Start it with --background to make a retry safe, or declare the export idempotent in app.toml",
        )

    def _lost_upload(
        self, request: Request, session: PushSession, block: Block1, repeatable: bool
    ) -> UnansweredError | UnreachableError:
        if not block.more and not repeatable:
            return self._may_have_run(request)
        if not block.more and block.num:
            return UnansweredError(
                f"{request.text}: the last block was not answered: it may be done",
                cause=f"no answer from {self.uri}",
                next_step="look with `wasmote info NAME`, or send it again: the same bytes twice do no harm",
            )
        if session.acked_bytes == 0:
            return self._silent(request)
        return UnreachableError(
            f"the connection to {self.uri} was lost",
            cause=f"{session.acked_bytes} of {session.size1_bytes} bytes had arrived; nothing has changed on the node",
            next_step="send it again when the node answers",
        )


def _reply(message: aiocoap.Message) -> Reply:
    opt = message.opt
    return Reply(
        code=int(message.code),
        payload=bytes(message.payload),
        content_format=None if opt.content_format is None else int(opt.content_format),
        etag=opt.etag,
        max_age_s=opt.max_age,
        size1_bytes=opt.size1,
        size2_bytes=opt.size2,
        block1=_block(opt.block1),
        block2=_block(opt.block2),
        observe=opt.observe,
    )


def _is_busy(reply: Reply) -> bool:
    """Nothing ran. A function that reports status 429 itself gives 4.29, too: asked again it would run again."""
    return reply.code in _BUSY and problem.decode(reply).status is None


def _pause_s(reply: Reply) -> float:
    """How long a busy node asks to wait, in seconds."""
    return max(0.05, float(DEFAULT_MAX_AGE_S if reply.max_age_s is None else reply.max_age_s))


def _block(option: Any) -> Block | None:
    if option is None:
        return None
    return Block(int(option.block_number), bool(option.more), int(option.size_exponent))


@contextlib.contextmanager
def _late_datagrams_ignored() -> Iterator[None]:
    """aiocoap closes a socket some turns of the loop after it has taken down what reads from it. A datagram that
    comes in between, such as the reply to the end of an observation, would print a traceback."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), AttributeError) and "_read_ready" in context["message"]:
            return
        if before is None:
            loop.default_exception_handler(context)
        else:
            before(loop, context)

    loop.set_exception_handler(handle)
    try:
        yield
    finally:
        loop.set_exception_handler(before)


def _quiet_aiocoap() -> None:
    """Everything that matters of what aiocoap logs comes back as an exception; the rest is for who asks for
    it."""
    logger = logging.getLogger(LOGGER)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def parse_address(text: str, default_port: int) -> tuple[str, int]:
    """HOST, HOST:PORT, [IPV6]:PORT or coap:// with one of these. Raises InputError."""
    rest = text.removeprefix("coap://").rstrip("/")
    with contextlib.suppress(ValueError):
        return str(ipaddress.IPv6Address(rest.strip("[]"))), default_port
    host, colon, port = rest.rpartition(":")
    if not colon:
        host, port = rest, str(default_port)
    if not host or not port.isdigit() or int(port) > 65535:
        raise InputError(f"no address: '{text}'", next_step="write HOST:PORT, for example 127.0.0.1:5683")
    return host.strip("[]"), int(port)
