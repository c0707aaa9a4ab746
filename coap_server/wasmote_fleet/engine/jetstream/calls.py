"""Calls by NATS: a subject a service, a queue group that picks one of its servers, and a subject an instance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import nats.errors
from nats.aio.msg import Msg

from wasmote_fleet.engine.checks import check_name, check_value
from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import Busy, CallFailed, CallTimeout, EngineError, NoSuchService
from wasmote_fleet.engine.interface import Call, Handler
from wasmote_fleet.engine.jetstream.connection import Connection
from wasmote_fleet.engine.tasks import end

_TIMEOUT, _ERROR = "Wasmote-Timeout", "Wasmote-Error"


class NatsCalls:
    """Calls. The time that is left travels with a request, so clocks may differ."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    def _subject(self, service: str, instance: str | None) -> str:
        check_name(service, "service")
        subject = f"{self._connection.prefix}.call.{service}"
        return f"{subject}.{check_name(instance, 'instance')}" if instance else subject

    @asynccontextmanager
    async def serve(
        self, service: str, handler: Handler, *, instance: str = "", limit: int = 64
    ) -> AsyncIterator[None]:
        running: set[asyncio.Task[None]] = set()

        async def take(message: Msg) -> None:
            if len(running) >= limit:
                await self._reply(message, f"{limit} calls are running".encode(), "busy")
                return
            task = asyncio.create_task(self._run(message, handler))
            running.add(task)
            task.add_done_callback(running.discard)

        subjects = [self._subject(service, None)]
        if instance:
            subjects.append(self._subject(service, instance))
        nc = self._connection.nc
        subscriptions = []
        try:
            for subject in subjects:
                subscriptions.append(await nc.subscribe(subject, queue="servers", cb=take))
            await nc.flush()
        except (nats.errors.Error, TimeoutError) as err:
            raise self._connection.error(err) from None
        try:
            yield
        finally:
            for subscription in subscriptions:
                with suppress(nats.errors.Error):
                    await subscription.unsubscribe()
            await end(*running)

    async def _run(self, message: Msg, handler: Handler) -> None:
        timeout_s = float((message.headers or {}).get(_TIMEOUT, "10"))
        try:
            reply = await handler(Call(message.data, self._clock.time() + timeout_s))
            check_value(reply)
        except asyncio.CancelledError:
            await self._reply(message, b"it stopped while it ran the call", "failed")
            raise
        except Exception as err:
            await self._reply(message, (str(err) or type(err).__name__).encode(), "failed")
        else:
            await self._reply(message, reply, None)

    async def _reply(self, message: Msg, data: bytes, error: str | None) -> None:
        headers = None if error is None else {_ERROR: error}
        # Who asked waits for its deadline, whatever happens to the reply.
        with suppress(nats.errors.Error, OSError):
            await self._connection.nc.publish(message.reply, data, headers=headers)

    async def request(
        self, service: str, data: bytes, *, instance: str | None = None, timeout_s: float = 10.0
    ) -> bytes:
        check_value(data)
        subject = self._subject(service, instance)
        if self._connection.closing:
            raise self._connection.error(Exception())
        try:
            reply = await self._connection.nc.request(
                subject, data, timeout=timeout_s, headers={_TIMEOUT: str(timeout_s)}
            )
        except nats.errors.NoRespondersError:
            raise NoSuchService(f"nobody serves {service}{f' as {instance}' if instance else ''}") from None
        except (nats.errors.TimeoutError, TimeoutError):
            raise CallTimeout(
                f"{service} did not answer in {timeout_s} s", cause="the call may have run"
            ) from None
        except (nats.errors.Error, OSError) as err:
            raise self._connection.error(err) from None
        raise_error(service, reply)
        return reply.data


def raise_error(service: str, reply: Msg) -> None:
    """Raise the error that a reply carries, if it does."""
    error = (reply.headers or {}).get(_ERROR)
    if error is None:
        return
    text = reply.data.decode(errors="replace")
    found: EngineError = CallFailed(f"{service}: {text}")
    if error == "busy":
        found = Busy(f"{service} is busy", cause=text, next_step="try again later")
    raise found
