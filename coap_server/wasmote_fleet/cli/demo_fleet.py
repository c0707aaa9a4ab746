"""What `wasmote fleet demo` runs: a server and nodes, as processes of their own with their data in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wasmote.adapters.boards import Board
from wasmote.adapters.coap import parse_address
from wasmote.adapters.emulator import Emulator, die_with_parent
from wasmote.errors import WasmoteError
from wasmote.node import Node
from wasmote.protocol.target import COAP_PORT
from wasmote_fleet.cli.client import Client

PATIENCE_S = 60.0
_STOP_S = 5.0
_LOOK_S = 0.1


@dataclass
class Server:
    """`wasmote fleet serve`, at free ports of loopback."""

    http: str
    coap: str

    def client(self) -> Client:
        return Client(self.http, None)

    async def ask(self, *path: str) -> Any:
        """The JSON there."""
        return await asyncio.to_thread(self.client().get, *path)

    async def nodes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.ask("nodes"))["nodes"]
        return found


@contextlib.asynccontextmanager
async def server(folder: Path, *options: str) -> AsyncIterator[Server]:
    """A server with its data in folder. It ends with this process, however that ends. Raises WasmoteError with what it
    said, if it does not start."""
    said = folder / "server.log"
    command = [
        sys.executable,
        "-m",
        "wasmote",
        "--json",
        "fleet",
        "serve",
        "--data",
        str(folder / "fleet.db"),
    ]
    command += ["--http", "127.0.0.1:0", "--coap", "127.0.0.1:0", *options]
    with said.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
            start_new_session=True,  # Ctrl-C is for us: we stop it in order
        )
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            raise _not_started(said.read_text(errors="replace"))
        at = json.loads(line)
        yield Server(at["http"], at["coap"])
    finally:
        await _stop(process)


def _not_started(said: str) -> WasmoteError:
    """The error that the server ended with."""
    try:
        error = json.loads(said)
        cause = f"{error['error']}: {error['cause']}" if error["cause"] else error["error"]
        return WasmoteError("the server did not start", cause=cause, next_step=error["next_step"])
    except (ValueError, KeyError, TypeError):
        step = "see what `wasmote fleet serve` says by itself"
        return WasmoteError("the server did not start", cause=said.strip()[-2000:], next_step=step)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """In order; once more, which drops the requests that run; and if need be by force."""
    for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _STOP_S)


class HostNode:
    """A node of this machine that registers itself, and may be killed and started again."""

    def __init__(self, board: Board, image: Path, ep: str, directory: str) -> None:
        self.ep = ep
        self._board, self._image, self._directory = board, image, directory
        self._emulator: Emulator | None = None

    async def start(self) -> None:
        arguments = ["--ep", self.ep, "--register", self._directory]
        self._emulator = Emulator(self._board, self._image, arguments=arguments)
        await self._emulator.start()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        assert self._emulator is not None and self._emulator.pid is not None
        os.kill(self._emulator.pid, signal.SIGKILL)
        await self._emulator.stop()

    async def functions(self) -> list[str]:
        """What is on it, as it says itself."""
        assert self._emulator is not None and self._emulator.uri is not None
        async with Node(self._emulator.uri) as node:
            return sorted(link.name for link in await node.ls())

    async def __aenter__(self) -> HostNode:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._emulator is not None:
            await self._emulator.stop()


@contextlib.asynccontextmanager
async def chip(board: Board, image: Path, directory: str) -> AsyncIterator[str]:
    """An emulated chip with a serial port, behind a bridge that hands its registration on; its name."""
    emulator = Emulator(board, image, forward=parse_address(directory, COAP_PORT))
    async with emulator:
        assert emulator.uri is not None
        async with Node(emulator.uri) as node:
            ep = str((await node.device())["ep"])
        yield ep


async def until(what: str, true: Callable[[], Any], *, patience_s: float = PATIENCE_S) -> None:
    """Wait for it; true is awaited. Raises WasmoteError."""
    try:
        async with asyncio.timeout(patience_s):
            while True:
                if await true():
                    return
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise WasmoteError(
            f"{what}: not in {patience_s:g} s",
            cause="this machine may be too busy for it",
            next_step="try again, and report it if it happens again, with what the demo printed",
        ) from None


def states(nodes: list[dict[str, Any]]) -> Mapping[str, str]:
    """By name."""
    return {str(node["id"]): str(node["state"]) for node in nodes}
