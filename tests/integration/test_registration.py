"""Nodes that make themselves known to aiocoap-rd, a resource directory that is not ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator

import pytest
from nodes import HOST, STM32, running, started
from support import built

from wasmote.adapters import boards
from wasmote.adapters.coap import CoapClient
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.errors import WasmoteError
from wasmote.node import Node
from wasmote.protocol import links, messages
from wasmote.protocol.messages import Request

PATIENCE_S = 30.0
GRACE_S = 5.0  # how long the directory keeps an endpoint beyond its lifetime; by itself aiocoap-rd takes 15 s
# Its command, with that.
DIRECTORY = f"""
import aiocoap.cli.rd as rd
rd.CommonRD.Registration.grace_period = {GRACE_S}
rd.sync_main()
"""
LOOKUP = ("endpoint-lookup", "")  # where aiocoap-rd has it, as its /.well-known/core says


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.asynccontextmanager
async def directory(port: int) -> AsyncIterator[CoapClient]:
    """aiocoap-rd at this port; a client of it."""
    command = [sys.executable, "-c", DIRECTORY, "--bind", f"127.0.0.1:{port}"]
    # By itself it listens by TCP as well, where the port may be somebody else's.
    variables = {**os.environ, "AIOCOAP_SERVER_TRANSPORT": "udp6"}
    process = await asyncio.create_subprocess_exec(*command, env=variables)
    try:
        async with CoapClient("127.0.0.1", port) as client:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    with contextlib.suppress(WasmoteError):
                        await client.request(Request(messages.GET, (".well-known", "core")), repeatable=True)
                        break
                    await asyncio.sleep(0.1)
            yield client
    finally:
        process.terminate()
        await process.wait()


async def endpoints(client: CoapClient, ep: str) -> list[links.Link]:
    query = (f"ep={ep}",)
    reply = await client.request(Request(messages.GET, LOOKUP, query=query), repeatable=True)
    return links.parse(reply.payload.decode())


async def until_known(client: CoapClient, ep: str) -> links.Link:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if found := await endpoints(client, ep):
                return found[0]
            await asyncio.sleep(0.1)


async def test_registration_at_aiocoap_rd() -> None:
    port = free_port()
    async with (
        directory(port) as client,
        running(HOST, "--ep", "n1", "--register", f"coap://127.0.0.1:{port}") as uri,
    ):
        found = await until_known(client, "n1")
        assert found.attributes["base"] == uri
        # What the node can do, as the directory read it from the node itself.
        reply = await client.request(
            Request(messages.GET, ("resource-lookup", ""), query=("ep=n1", "rt=wm.d")), repeatable=True
        )
        assert [link.target for link in links.parse(reply.payload.decode())] == [f"{uri}/d"]


@pytest.mark.slow
async def test_registration_is_renewed_and_ends_with_the_node() -> None:
    port = free_port()
    options = ("--ep", "n2", "--register", f"coap://127.0.0.1:{port}", "--lifetime", "2")
    async with directory(port) as client:
        async with running(HOST, *options):
            await until_known(client, "n2")
            # One that does not renew would be gone by then.
            await asyncio.sleep(2 + GRACE_S + 2)
            assert await endpoints(client, "n2")
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if not await endpoints(client, "n2"):
                    break
                await asyncio.sleep(0.5)


async def test_registration_waits_for_a_directory_that_is_away() -> None:
    port = free_port()
    options = ("--ep", "n3", "--register", f"coap://127.0.0.1:{port}", "--ack-timeout-ms", "200")
    async with running(HOST, *options) as uri:
        await asyncio.sleep(1.0)
        async with Node(uri) as node:
            assert (await node.device())["ep"] == "n3"  # and answers meanwhile
        async with directory(port) as client:
            await until_known(client, "n3")
            async with Node(uri) as node:
                assert "registered" in [line.text for line in (await node.log())[0]]


@pytest.mark.slow
async def test_registration_of_a_chip_goes_through_its_bridge() -> None:
    port = free_port()
    async with directory(port) as client, started(STM32, forward=("127.0.0.1", port)) as emulator:
        found = await until_known(client, "netduinoplus2-emulated")
        assert found.attributes["base"] == emulator.uri


@pytest.mark.parametrize(
    "uri", ["127.0.0.1", "coap://", "coap://[::1", "coap://[::1]x", "coap://h/path", "http://h"]
)
async def test_registration_refuses_what_is_no_directory(uri: str) -> None:
    image, board = built(HOST), boards.find_board(Project.find(), HOST)
    with pytest.raises(WasmoteError, match="expected coap://HOST") as error:
        async with Emulator(board, image, arguments=["--register", uri]):
            pass
    assert "--register" in str(error.value)
