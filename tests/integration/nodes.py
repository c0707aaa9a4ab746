"""Nodes for the tests of this folder: built when they are needed, each test starts its own.

async with running("host", "--pool", "64k") as uri:
    async with Node(uri) as node: ...
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import HOST, MPS2, STM32, built

from wasmote.adapters import apps
from wasmote.adapters.boards import find_board
from wasmote.adapters.build import Variant
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.node import Node
from wasmote.protocol.module import encode_unsigned

__all__ = [
    "HOST",
    "MPS2",
    "STM32",
    "app",
    "free_bytes",
    "host_port",
    "metrics",
    "module",
    "padded",
    "running",
    "started",
]

MODULES = Path(__file__).parent / "modules"


@contextlib.asynccontextmanager
async def running(board_name: str, *arguments: str, sanitize: bool = True) -> AsyncIterator[str]:
    """The coap:// address of a node on this machine, as of started()."""
    async with started(board_name, *arguments, sanitize=sanitize) as emulator:
        assert emulator.uri is not None
        yield emulator.uri


@contextlib.asynccontextmanager
async def started(
    board_name: str, *arguments: str, sanitize: bool = True, forward: tuple[str, int] | None = None
) -> AsyncIterator[Emulator]:
    """A node on this machine, with its pid and its uri; a chip runs in its emulator, behind a bridge in this process.

    The host's node has sanitizers unless the test says otherwise. forward: where a chip's own requests go. Fails
    if it ends with anything but 0, as it does when a sanitizer has found something."""
    board = find_board(Project.find(), board_name)
    if not board.is_host and find_tool(board.emulate["command"][0]) is None:
        pytest.skip(f"{board.emulate['command'][0]} is not installed")
    said: list[str] = []
    emulator = Emulator(
        board,
        built(board_name, Variant(sanitize=sanitize and board.is_host)),
        arguments=arguments,
        forward=forward,
        on_text=said.append,
    )
    async with emulator:
        yield emulator
    if board.is_host:
        assert await emulator.wait() == 0, "\n".join(said)


@functools.cache
def app(name: str) -> bytes:
    """An app of wasm_apps, compiled."""
    return apps.load(name).data


@functools.cache
def module(name: str) -> bytes:
    """A module of this folder's modules/, assembled. It has no `wasmote` section unless the test adds one."""
    return apps.load(str(MODULES / f"{name}.wat")).data


def padded(data: bytes, size_bytes: int) -> bytes:
    """The module with a custom section at its end that makes it exactly this long."""
    name = b"\x07padding"
    for length_bytes in (1, 2, 3, 4):
        room = size_bytes - len(data) - 1 - length_bytes
        if room >= len(name) and len(encode_unsigned(room)) == length_bytes:
            filling = bytes(n * 7 & 0xFF for n in range(room - len(name)))
            return data + b"\0" + encode_unsigned(room) + name + filling
    raise ValueError(f"no section makes {len(data)} bytes {size_bytes}")


async def free_bytes(node: Node) -> int:
    """ram/free of /d/m."""
    return int((await metrics(node))["ram/free"])


async def metrics(node: Node) -> dict[str, float]:
    """/d/m as a dictionary."""
    return {entry.name: float(entry.value) for entry in await node.metrics()}


def host_port(uri: str) -> tuple[str, int]:
    """Of a coap:// address of this machine."""
    host, _, port = uri.removeprefix("coap://").partition(":")
    return host, int(port)
