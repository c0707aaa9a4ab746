"""Two CoAP clients that are not ours, behind one small interface: libcoap's coap-client and npm's `coap`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock
import pytest
from nodes import host_port

from wasmote.adapters.project import Project

LIBCOAP = "coap-client-notls"  # Debian's libcoap3-bin
NODE_COAP = Path(__file__).parent / "node_coap"
TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """A reply: code as "2.05", observe None where the option is absent. blocks: messages that carried the request's
    body or the reply's, where the client tells."""

    code: str
    payload: bytes
    observe: int | None = None
    blocks: int | None = None


class Client(Protocol):
    """What the tests ask for. Formats are content-format numbers; block is a size in bytes."""

    async def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        format: int | None = None,
        accept: int | None = None,
        block: int | None = None,
    ) -> Answer: ...

    def observe(self, path: str) -> contextlib.AbstractAsyncContextManager[asyncio.Queue[Answer]]:
        """Notifications as they come; the first is the reply to the registration. Deregisters in the end."""
        ...


# ---- libcoap ----

_PDU = re.compile(
    r"(?P<way>sent|received) \d+ bytes\n"
    r"v:1 t:(?P<type>\w+) c:(?P<code>[\w.]+) i:\w+ \{\w*\} \[(?P<options>[^\]]*)\](?P<rest>[^\n]*)\n"
    r"(?:<<(?P<hex>[0-9a-f]*)>>\n)?"
)


class LibcoapClient:
    """Runs coap-client once a request. Its exit status says nothing, so its account of the messages is read."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        format: int | None = None,
        accept: int | None = None,
        block: int | None = None,
    ) -> Answer:
        with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
            body, out = Path(folder) / "in", Path(folder) / "out"
            options = ["-o", str(out)]
            if payload:
                body.write_bytes(payload)
                options += ["-f", str(body)]
            for option, value in (("-t", format), ("-A", accept), ("-b", block)):
                options += [] if value is None else [option, str(value)]
            said = await self._run("-m", method.lower(), *options, self._uri + path)
            received = [
                pdu for pdu in _PDU.finditer(said) if pdu["way"] == "received" and pdu["code"] != "0.00"
            ]
            assert received, said
            blocks = sum("Block" in pdu["options"] for pdu in received)
            # The whole body of a success is in the file, the body of an error only in the account.
            whole = out.read_bytes() if out.exists() else bytes.fromhex(received[-1]["hex"] or "")
            return Answer(received[-1]["code"], whole, blocks=blocks)

    @contextlib.asynccontextmanager
    async def observe(self, path: str) -> AsyncIterator[asyncio.Queue[Answer]]:
        queue: asyncio.Queue[Answer] = asyncio.Queue()
        process = await self._start("-s", str(int(TIMEOUT_S)), self._uri + path)
        reader = asyncio.create_task(self._read_notifications(process, queue))
        try:
            yield queue
        finally:
            process.terminate()  # it deregisters, and ends
            await process.wait()
            await reader

    async def _run(self, *arguments: str) -> str:
        process = await self._start("-B", str(int(TIMEOUT_S)), *arguments)
        out, _ = await process.communicate()
        return out.decode("utf-8", "replace")

    async def _start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("stdbuf", "-oL", LIBCOAP, "-v", "7", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    @staticmethod
    async def _read_notifications(process: asyncio.subprocess.Process, queue: asyncio.Queue[Answer]) -> None:
        assert process.stdout is not None
        said = ""
        while data := await process.stdout.read(4096):
            said += data.decode("utf-8", "replace")
            last = 0
            for pdu in _PDU.finditer(said):
                # The bytes follow in a line of their own, which may not be there yet.
                if "binary data" in pdu["rest"] and pdu["hex"] is None:
                    break
                last = pdu.end()
                found = re.search(r"Observe:(\d+)", pdu["options"])
                if pdu["way"] == "received" and pdu["code"] != "0.00":
                    payload = bytes.fromhex(pdu["hex"] or "")
                    await queue.put(Answer(pdu["code"], payload, int(found[1]) if found else None))
            said = said[last:]


# ---- npm's coap ----


def install_node_coap(project: Project) -> Path:
    """The folder node_modules with `coap`, installed once from the versions and digests in package-lock.json."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    folder = project.build / "node_coap"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        files = ("package.json", "package-lock.json", ".npmrc")
        stamp = b"".join((NODE_COAP / name).read_bytes() for name in files)
        done = folder / ".installed"
        if not done.is_file() or done.read_bytes() != stamp:
            for name in files:
                shutil.copy(NODE_COAP / name, folder / name)
            result = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False)
            if result.returncode != 0:
                pytest.fail(f"npm ci failed:\n{result.stderr}", pytrace=False)
            done.write_bytes(stamp)
    return folder / "node_modules"


class NodeCoapClient:
    """node_coap/client.js, running. `async with`."""

    def __init__(self, uri: str, modules: Path) -> None:
        self._address = host_port(uri)
        self._modules = modules
        self._ids = itertools.count(1)
        self._queues: dict[int, asyncio.Queue[Answer]] = {}

    async def __aenter__(self) -> NodeCoapClient:
        host, port = self._address
        self._process = await asyncio.create_subprocess_exec(
            *("node", str(NODE_COAP / "client.js"), host, str(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "NODE_PATH": str(self._modules)},
            limit=1 << 20,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = await self._process.wait()
        await self._reader
        assert status == 0

    async def request(
        self,
        method: str,
        path: str,
        payload: bytes = b"",
        *,
        format: int | None = None,
        accept: int | None = None,
        block: int | None = None,
    ) -> Answer:
        order: dict[str, Any] = {"method": method, "path": path, "payload": payload.hex()}
        for key, value in (("format", format), ("accept", accept), ("block", block)):
            if value is not None:
                order[key] = value
        _, queue = await self._send(order)
        return await asyncio.wait_for(queue.get(), TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def observe(self, path: str) -> AsyncIterator[asyncio.Queue[Answer]]:
        number, queue = await self._send({"method": "GET", "path": path, "observe": True})
        yield queue
        await self._send({"close": True}, number)

    async def _send(
        self, order: dict[str, Any], number: int | None = None
    ) -> tuple[int, asyncio.Queue[Answer]]:
        number = next(self._ids) if number is None else number
        queue = self._queues.setdefault(number, asyncio.Queue())
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, **order}).encode() + b"\n")
        await self._process.stdin.drain()
        return number, queue

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if "code" in said:
                answer = Answer(said["code"], bytes.fromhex(said["payload"]), said["observe"])
                await self._queues[said["id"]].put(answer)
            elif "error" in said:
                await self._queues[said["id"]].put(Answer(f"error: {said['error']}", b""))
