"""Callers of `wasmote fleet demo`: several at a time, each answer held against what Python says it must be."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
import zlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from wasmote.errors import WasmoteError
from wasmote_fleet.cli.client import Client

CALLERS = 6
_DEADLINE_S = 60  # of a call, for the server
BYTES = "application/octet-stream"


@dataclass
class Load:
    """right: calls that were answered, as they must be. slowest_s: of them."""

    right: int = 0
    slowest_s: float = 0.0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def more(self, calls: int) -> None:
        """Until so many more were answered."""
        end = self.right + calls
        while self.right < end:
            self._news.clear()
            await self._news.wait()

    def answered(self, elapsed_s: float) -> None:
        self.right += 1
        self.slowest_s = max(self.slowest_s, elapsed_s)
        self._news.set()


def expected(text: bytes) -> str:
    """What the chain must give, by Python alone: a text's counts, their SHA-256, and of that the CRC-32."""
    counts = f"{text.count(10)} {len(text.split())} {len(text)}\n"
    digest = hashlib.sha256(counts.encode()).hexdigest()
    return f"{zlib.crc32(digest.encode()):08x}"


def call_chain(client: Client, path: tuple[str, ...], text: bytes) -> tuple[str, str]:
    """The answer, and the id of the request in the server's history."""
    response = client.request(
        "POST", *path, query={"timeout_s": str(_DEADLINE_S)}, data=text, content_type=BYTES
    )
    return response.content.decode(), response.headers["Location"].rpartition("/")[2]


@contextlib.asynccontextmanager
async def load(client: Callable[[], Client], path: tuple[str, ...]) -> AsyncIterator[Load]:
    """CALLERS that call without a pause while the block runs; at its end each finishes the call that it is at. A call
    that fails, or has a wrong answer, ends the block and raises WasmoteError."""
    made, stop = Load(), asyncio.Event()
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(CALLERS)

    async def caller(number: int) -> None:
        own, count = client(), 0
        while not stop.is_set():
            text = b"caller %d calls\n" % number + b"again\n" * count
            count += 1
            began_s = time.monotonic()
            answer, rid = await loop.run_in_executor(pool, call_chain, own, path, text)
            if answer != expected(text):
                raise WasmoteError(
                    f"request {rid} had a wrong answer",
                    cause=f"expected {expected(text)}, got {answer}",
                    next_step="report it, with what the demo printed",
                )
            made.answered(time.monotonic() - began_s)

    try:
        async with asyncio.TaskGroup() as tasks:
            for number in range(CALLERS):
                tasks.create_task(caller(number))
            yield made
            stop.set()
    except BaseExceptionGroup as group:
        # Several callers may fail of the same: the first says it.
        raise group.exceptions[0] from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
