"""What aiocoap keeps for clients, bounded. It puts requests together from blocks, whatever comes, and keeps answers of
several blocks for minutes, one for each client and query: one datagram would cost as much as the answer has bytes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

import aiocoap
import cbor2
from aiocoap import resource
from aiocoap.blockwise import Block1Spool, Block2Cache, IncompleteException
from aiocoap.error import UnparsableMessage
from aiocoap.optiontypes import StringOption
from aiocoap.util.asyncio.timeoutdict import TimeoutDict

from wasmote.protocol.messages import FORMAT_PROBLEM

MAX_BYTES = 64 * 1024  # of a request; nothing that comes by CoAP is larger
LOG_S, LOG_LINES = 60.0, 10
TRANSFERS = 256  # of a resource, each way; beyond it the oldest one begins again


class _Latest(TimeoutDict):  # type: ignore[misc]
    """The oldest goes when there is no more room."""

    def __setitem__(self, key: Any, value: Any) -> None:
        self._items.pop(key, None)
        while len(self._items) >= TRANSFERS:
            del self._items[next(iter(self._items))]
        super().__setitem__(key, value)


class _Spool(Block1Spool):  # type: ignore[misc]
    def feed_and_take(self, request: aiocoap.Message) -> aiocoap.Message:
        try:
            return super().feed_and_take(request)
        except ValueError:  # a block that does not follow the last one
            raise IncompleteException from None


class Few(logging.Filter):
    """Lets a few errors through a minute, and no warnings, which are about what clients send: a stranger's datagrams
    shall not fill a disk."""

    def __init__(self) -> None:
        super().__init__()
        self._since, self._said = -LOG_S, 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.ERROR:
            return False
        now = time.monotonic()
        if now - self._since >= LOG_S:
            self._since, self._said = now, 0
        self._said += 1
        return self._said <= LOG_LINES


def _decode_text(option: StringOption, raw: bytes) -> None:
    try:
        option.value = raw.decode()
    except UnicodeDecodeError:
        raise UnparsableMessage("an option is no UTF-8") from None


@contextlib.contextmanager
def text_refused() -> Iterator[None]:
    """Meanwhile aiocoap drops a message whose text is no UTF-8 as one that cannot be parsed. Its own decoding raises
    what its transports do not expect: a traceback for each such datagram."""
    before, StringOption.decode = StringOption.decode, _decode_text
    try:
        yield
    finally:
        StringOption.decode = before


class BoundedSite(resource.Site):  # type: ignore[misc]
    """A site whose resources keep no more than that."""

    def add_resource(self, path: Sequence[str], added: Any) -> None:
        added._block1, added._block2 = _Spool(), Block2Cache()
        added._block1._assemblies = _Latest(added._block1._assemblies.timeout)
        added._block2._completes = _Latest(added._block2._completes.timeout)
        super().add_resource(path, added)

    async def render_to_pipe(self, pipe: Any) -> None:
        request = pipe.request
        start = 0 if request.opt.block1 is None else request.opt.block1.start
        if start + len(request.payload) > MAX_BYTES:
            details = {-1: f"the data have more than {MAX_BYTES} bytes", -2: "send less"}
            answer = aiocoap.Message(
                code=aiocoap.REQUEST_ENTITY_TOO_LARGE,
                payload=cbor2.dumps(details),
                content_format=FORMAT_PROBLEM,
            )
            pipe.add_response(answer, is_last=True)
            return
        await super().render_to_pipe(pipe)
