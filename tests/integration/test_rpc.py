"""Calls that functions ask for (docs/PROTOCOL.md, 3.8), at a server of aiocoap, which is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiocoap
import aiocoap.resource
import pytest
from nodes import HOST, metrics, running, started

from wasmote.adapters import apps
from wasmote.adapters.coap import CoapClient
from wasmote.node import Node
from wasmote.protocol import messages
from wasmote.protocol.messages import Request

PATIENCE_S = 20.0
ASKS = """(module
  (import "communication" "rpcCall" (func $rpc (param i32 i32 i32 i32)))
  (import "wasmote" "input" (func $input (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "pre/run")
  (func (export "ask") i32.const 0 i32.const 7 i32.const 100 i32.const 100 i32.const 60000 call $input call $rpc)
  (func (export "many") (param $n i32)
    loop $again
      i32.const 0 i32.const 3 i32.const 0 i32.const 7 call $rpc
      local.get $n i32.const 1 i32.sub local.tee $n br_if $again
    end))"""


@dataclass
class Server(aiocoap.resource.Resource):
    """Registers everybody, and keeps what is asked for."""

    port: int
    asked: list[tuple[str, tuple[str, ...], int | None, bytes]] = field(default_factory=list)
    code: aiocoap.numbers.codes.Code = aiocoap.CREATED
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        super().__init__()
        self.open.set()

    async def render(self, request: aiocoap.Message) -> aiocoap.Message:
        path = "/".join(request.opt.uri_path)
        if path.startswith("rpc/"):
            self.asked.append((path, request.opt.uri_query, request.opt.content_format, request.payload))
            await self.open.wait()
            return aiocoap.Message(code=self.code, payload=b"id")
        return aiocoap.Message(code=aiocoap.CHANGED)

    async def needs_blockwise_assembly(self, request: aiocoap.Message) -> bool:
        return True


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        server = Server(int(sock.getsockname()[1]))
    site = _All(server)
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", server.port))
    try:
        yield server
    finally:
        server.open.set()
        await context.shutdown()


class _All(aiocoap.resource.Site):  # type: ignore[misc]
    """One resource for every path."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    def _find_child_and_pathstripped_message(
        self, request: aiocoap.Message
    ) -> tuple[Server, aiocoap.Message]:
        return self.server, request


def asking(folder: Path) -> bytes:
    path = folder / "asking.wat"
    path.write_text(ASKS)
    return apps.load(str(path)).data


async def until(node: Node, name: str, value: float) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if (await metrics(node))[name] == value:
                return
            await asyncio.sleep(0.05)


async def warnings(node: Node) -> list[str]:
    return [line.text for line in (await node.log())[0] if line.text.startswith("rpcCall")]


def register(server: Server) -> tuple[str, ...]:
    return ("--register", f"coap://127.0.0.1:{server.port}", "--ep", "n1", "--ack-timeout-ms", "500")


async def test_rpc_reaches_the_server_with_its_context(tmp_path: Path) -> None:
    async with serving() as server, running(HOST, *register(server)) as uri, Node(uri) as node:
        await node.push(asking(tmp_path), name="a")
        await node.call("a/ask", input=b"hello")
        await until(node, "rpc", 1)
        large = bytes(range(256)) * 40
        await node.call("a/ask", input=large)  # in blocks
        await until(node, "rpc", 2)
        host, port = uri.removeprefix("coap://").split(":")
        async with CoapClient(host, int(port)) as client:
            post = Request(messages.POST, ("f", "a", "ask"), query=("x=r.7-1",), payload=b"with context")
            await client.request(post, repeatable=False)
            # A background job keeps its input, and so its context, until it runs.
            await until(node, "rpc", 3)
            put = Request(
                messages.PUT,
                ("j", "j1"),
                query=("f=a/ask", f"x={'c' * 64}"),
                payload=b"job",
                if_none_match=True,
            )
            await client.request(put, repeatable=False)
            await until(node, "rpc", 4)
            too_long = Request(messages.POST, ("f", "a", "ask"), query=(f"x={'c' * 65}",), payload=b"ignored")
            await client.request(too_long, repeatable=False)
        await until(node, "rpc", 5)
        plain = ("from=n1", "f=a")
        assert server.asked == [
            ("rpc/pre/run", plain, 42, b"hello"),
            ("rpc/pre/run", plain, 42, large),
            ("rpc/pre/run", (*plain, "x=r.7-1"), 42, b"with context"),
            ("rpc/pre/run", (*plain, f"x={'c' * 64}"), 42, b"job"),
            ("rpc/pre/run", plain, 42, b"ignored"),
        ]
        assert await warnings(node) == []


async def test_rpc_never_holds_the_function(tmp_path: Path) -> None:
    """A server that takes its time, and a function that asks for more than the node keeps."""
    async with serving() as server, running(HOST, *register(server)) as uri, Node(uri) as node:
        await node.push(asking(tmp_path), name="a")
        server.open.clear()
        await node.call("a/many", [1000])
        await node.call("a/many", [1])
        found = await metrics(node)
        assert found["rpc"] == found["rpc/failed"] == 0
        taken = 1001 - int(found["rpc/dropped"])
        assert 16 <= taken <= 17
        assert await warnings(node) == ["rpcCall 'pre': too many wait for the server"]
        server.open.set()
        await until(node, "rpc", taken)
        assert len(server.asked) == taken
        server.code = aiocoap.NOT_FOUND
        await asyncio.sleep(1)  # a warning a second
        await node.call("a/many", [1])
        await until(node, "rpc/failed", 1)
        assert (await warnings(node))[-1] == "rpcCall 'pre': the server says 4.04"


async def test_rpc_without_a_server(tmp_path: Path) -> None:
    async with running(HOST) as uri, Node(uri) as node:
        await node.push(asking(tmp_path), name="a")
        await node.call("a/ask", input=b"x")
        assert (await metrics(node))["rpc/dropped"] == 1
        assert await warnings(node) == ["rpcCall 'pre/run': this node was not told of a server"]


@pytest.mark.slow
async def test_rpc_of_a_chip_goes_through_its_bridge(tmp_path: Path) -> None:
    """In small blocks: a chip's messages are short."""
    async with (
        serving() as server,
        started("qemu_virt_rv32", forward=("127.0.0.1", server.port)) as emulator,
        Node(str(emulator.uri)) as node,
    ):
        await node.push(asking(tmp_path), name="a")
        data = bytes(range(200)) * 3
        await node.call("a/ask", input=data)
        await until(node, "rpc", 1)
        assert server.asked == [("rpc/pre/run", ("from=qemu_virt_rv32", "f=a"), 42, data)]
