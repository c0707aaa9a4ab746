"""An output of several blocks: its rest belongs to the client that asked, also where several share an address."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from aiocoap import CON, POST, Message
from aiocoap.optiontypes import BlockOption
from nodes import HOST, host_port, module, running

from wasmote.node import Node


class _Client(asyncio.DatagramProtocol):
    """One socket; requests one after the other."""

    def __init__(self) -> None:
        self.replies: asyncio.Queue[bytes] = asyncio.Queue()
        self._mid = 100

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.replies.put_nowait(data)

    async def post(self, payload: bytes, tag: bytes | None, **blocks: tuple[int, bool, int]) -> Message:
        self._mid += 1
        made = Message(code=POST, _mid=self._mid, _token=b"t", _mtype=CON, payload=payload)
        made.opt.uri_path = ("f", "echo", "echo")
        if tag is not None:
            made.opt.request_tag = [tag]
        for name, (num, more, szx) in blocks.items():
            setattr(made.opt, name, BlockOption.BlockwiseTuple(num, more, szx))
        self.transport.sendto(made.encode())
        return Message.decode(await asyncio.wait_for(self.replies.get(), 5))

    async def echo(self, body: bytes, tag: bytes | None) -> Message:
        """The whole request; the reply with the first block of the output."""
        reply: Message | None = None
        for num in range((len(body) + 1023) // 1024):
            part = body[num * 1024 : num * 1024 + 1024]
            reply = await self.post(part, tag, block1=(num, (num + 1) * 1024 < len(body), 6))
        assert reply is not None
        return reply


BODIES = {b"A": b"a" * 3000, b"B": b"b" * 3000}


@pytest.mark.parametrize("order", [(b"A", b"B"), (b"B", b"A")])
async def test_rest_of_an_output_goes_by_request_tag(order: tuple[bytes, bytes]) -> None:
    async with running(HOST) as uri:
        async with Node(uri) as node:
            await node.push(module("echo"), name="echo")
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(_Client, remote_addr=host_port(uri))
        try:
            for tag, body in BODIES.items():
                first = await client.echo(body, tag)
                assert first.opt.block2.more
                assert first.payload == body[:1024]
            for tag in order:
                rest = await client.post(b"", tag, block2=(1, False, 6))
                assert rest.payload == BODIES[tag][1024:2048]
            latest = await client.post(b"", None, block2=(2, False, 6))
            assert latest.payload == BODIES[b"B"][2048:]
            nobody = await client.post(b"", b"C", block2=(1, False, 6))
            assert str(nobody.code) == "4.08 Request Entity Incomplete"
        finally:
            transport.close()


async def test_final_block_again_is_answered_from_memory() -> None:
    async with running(HOST) as uri, Node(uri) as node:
        await node.push(module("echo"), name="echo")
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_datagram_endpoint(_Client, remote_addr=host_port(uri))
        try:
            body = b"x" * 1500
            first = await client.echo(body, b"T")
            again = await client.post(body[1024:], b"T", block1=(1, False, 6))
            assert again.payload == first.payload == body[:1024]
            calls = {m.name: m.value for m in await node.metrics()}["f/echo/calls"]
            assert calls == 1
        finally:
            transport.close()
