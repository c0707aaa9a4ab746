"""Calls within one process: with one SQLite file there is one server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from wasmote_fleet.engine.checks import check_name, check_value
from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import (
    Busy,
    CallFailed,
    CallTimeout,
    EngineClosed,
    NoSuchService,
)
from wasmote_fleet.engine.interface import Call, Handler
from wasmote_fleet.engine.tasks import end


@dataclass(eq=False)
class _Server:
    handler: Handler
    instance: str
    limit: int
    running: set[asyncio.Task[bytes]] = field(default_factory=set)


class LocalCalls:
    """Calls. A request goes to the servers of a service in turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._servers: dict[str, list[_Server]] = {}
        self._turns = itertools.count()
        self._closed = False

    @asynccontextmanager
    async def serve(
        self, service: str, handler: Handler, *, instance: str = "", limit: int = 64
    ) -> AsyncIterator[None]:
        check_name(service, "service")
        if instance:
            check_name(instance, "instance")
        self._check_open()
        server = _Server(handler, instance, limit)
        self._servers.setdefault(service, []).append(server)
        try:
            yield
        finally:
            self._servers[service].remove(server)
            await _cancel(server)

    async def request(
        self, service: str, data: bytes, *, instance: str | None = None, timeout_s: float = 10.0
    ) -> bytes:
        check_name(service, "service")
        if instance:
            check_name(instance, "instance")
        check_value(data)
        self._check_open()
        servers = [s for s in self._servers.get(service, ()) if not instance or s.instance == instance]
        if not servers:
            raise NoSuchService(f"nobody serves {service}{f' as {instance}' if instance else ''}")
        server = servers[next(self._turns) % len(servers)]
        if len(server.running) >= server.limit:
            raise Busy(
                f"{service} is busy", cause=f"{server.limit} calls are running", next_step="try again later"
            )

        async def run() -> bytes:
            reply = await server.handler(Call(data, self._clock.time() + timeout_s))
            check_value(reply)
            return reply

        # A task of its own: it goes on when the caller is cancelled or waits no longer, as it would elsewhere.
        task = asyncio.create_task(run())
        server.running.add(task)
        task.add_done_callback(server.running.discard)
        task.add_done_callback(_retrieve)
        sleep = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait((task, sleep), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
        if not task.done():
            raise CallTimeout(f"{service} did not answer in {timeout_s} s", cause="the call may have run")
        if task.cancelled():
            raise CallFailed(f"{service} stopped while it ran the call")
        error = task.exception()
        if error is not None:
            raise CallFailed(f"{service}: {error}") from error
        return task.result()

    async def close(self) -> None:
        """Cancel what runs."""
        self._closed = True
        for server in [server for servers in self._servers.values() for server in servers]:
            await _cancel(server)

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosed("the engine was closed", next_step="open it again")


async def _cancel(server: _Server) -> None:
    await end(*server.running)


def _retrieve(task: asyncio.Task[bytes]) -> None:
    # Nobody may be waiting any longer: an exception that nobody asks for is none that nobody sees.
    if not task.cancelled():
        task.exception()
