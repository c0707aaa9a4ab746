"""A small HTTP/1.1 client for load: one connection, one request at a time. What it costs of the machine is not measured
as the server's."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

IDLE_S = 2.0  # a server closes what was idle for some seconds, which may cross with a request


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    kind: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Connection:
    """One to a server at http://host:port; opened when it is needed, and anew after an error or a pause."""

    def __init__(self, base: str) -> None:
        parts = urlsplit(base)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._used_at = 0.0

    async def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        kind: str = "application/json",
        *,
        timeout_s: float = 60.0,
    ) -> Response:
        """Raises OSError, EOFError, TimeoutError."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._request(method, path, body, kind)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
        self._reader = self._writer = None

    async def _request(self, method: str, path: str, body: bytes, kind: str) -> Response:
        idle_s = asyncio.get_running_loop().time() - self._used_at
        if self._reader is None or self._reader.at_eof() or idle_s > IDLE_S:
            await self.close()
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port)
        assert self._writer is not None
        head = f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n"
        if body:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        elif method != "GET":
            head += "Content-Length: 0\r\n"
        self._writer.write(head.encode() + b"\r\n" + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
        }
        data = await self._reader.readexactly(int(fields["content-length"]))
        self._used_at = asyncio.get_running_loop().time()
        if fields.get("connection", "").lower() == "close":
            await self.close()
        return Response(int(lines[0].split()[1]), fields.get("content-type", ""), data)
