"""uvicorn as this server wants it: it leaves signals alone, and it does not wait for ever for a slow client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

# So long a client may be silent in the middle of a request's headers, or before it takes more of a response; twice as
# long at most. Bodies have a time of their own (gateway/http/body.py).
PATIENCE_S = 10.0
# Requests that run when the server is told to stop may go on for so long: the longest deadline, and a little.
STOPPING_S = 310
HEADER_BYTES = 16 * 1024
CONNECTIONS = 1024


class HttpServer(uvicorn.Server):
    """tell: called once it answers. Signals are handled by who runs it."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell = tell

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._tell()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class PatientProtocol(H11Protocol):
    """A connection that is dropped where, from one look to the next, no request began and none runs, or a response was
    waiting and nothing of it was taken."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # For who must not answer at all: request.state.drop() ends the connection.
        self.app_state = {**self.app_state, "drop": transport.abort}
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def _look_later(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._timer = self.loop.call_later(PATIENCE_S, self._look, self.cycle, waiting)

    def _look(self, cycle: object, waiting: int) -> None:
        running = self.cycle is not None and not self.cycle.response_complete
        stuck = waiting > 0 and self.transport.get_write_buffer_size() == waiting
        if stuck or (self.cycle is cycle and not running):
            self.transport.abort()
        else:
            self._look_later()


def configured(app: ASGIApp) -> uvicorn.Config:
    """How uvicorn serves an application here."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOPPING_S,
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
