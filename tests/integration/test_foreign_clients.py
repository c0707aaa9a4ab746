"""CoAP clients that nobody here wrote use a node: the host's and an emulated chip's with Ethernet over UDP, and the
emulated STM32's through the bridge."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

import cbor2
import pytest
from foreign import LIBCOAP, Client, LibcoapClient, NodeCoapClient, install_node_coap
from nodes import HOST, MPS2, STM32, app, padded, running

from wasmote.adapters.project import Project
from wasmote.protocol import links, senml

MODULE_BYTES = 3000  # three blocks of 1024, and a rest at every size
NODES = [HOST, *(pytest.param(board, marks=pytest.mark.slow) for board in (STM32, MPS2))]
CLIENTS = ["libcoap", "node-coap"]


@pytest.fixture(params=NODES)
async def uri(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with running(request.param) as address, asyncio.timeout(60):
        yield address


@pytest.fixture(params=CLIENTS)
async def client(request: pytest.FixtureRequest, uri: str, project: Project) -> AsyncIterator[Client]:
    if request.param == "libcoap":
        if shutil.which(LIBCOAP) is None:
            pytest.skip(f"{LIBCOAP} is not installed (Debian's libcoap3-bin)")
        yield LibcoapClient(uri)
        return
    async with NodeCoapClient(uri, install_node_coap(project)) as node_coap:
        yield node_coap


@pytest.mark.parametrize("block", [64, 256, 1024])
async def test_foreign_client_pushes_calls_and_reads_back(client: Client, block: int) -> None:
    module = padded(app("fib"), MODULE_BYTES)
    blocks = -(-MODULE_BYTES // block)

    put = await client.request("PUT", "/f/guest", module, format=42, block=block)
    assert put.code == "2.01"
    assert put.blocks in (blocks, None)
    called = await client.request("POST", "/f/guest/fib", cbor2.dumps([20]), format=60)
    assert (called.code, cbor2.loads(called.payload)) == ("2.04", 6765)
    by_default = await client.request("POST", "/f/guest", cbor2.dumps([10]), format=60)
    assert (by_default.code, cbor2.loads(by_default.payload)) == ("2.04", 55)

    got = await client.request("GET", "/f/guest", accept=42, block=block)
    assert got.code == "2.05"
    assert got.payload == module
    assert got.blocks in (blocks, None)
    described = await client.request("GET", "/f/guest", accept=60)
    assert described.code == "2.05"
    assert cbor2.loads(described.payload)["size"] == MODULE_BYTES

    again = await client.request("PUT", "/f/guest", module, format=42, block=block)
    assert again.code == "2.04"
    assert (await client.request("DELETE", "/f/guest")).code == "2.02"
    gone = await client.request("GET", "/f/guest", accept=42)
    assert gone.code == "4.04"
    assert cbor2.loads(gone.payload)[-1] == "not found"


async def test_foreign_client_discovers(client: Client) -> None:
    assert (await client.request("PUT", "/f/guest", app("fib"), format=42)).code == "2.01"
    core = await client.request("GET", "/.well-known/core")
    assert core.code == "2.05"
    found = {link.target: link.attributes for link in links.parse(core.payload.decode())}
    assert {"/d", "/d/m", "/d/log", "/f", "/j", "/f/guest"} <= set(found)
    assert "obs" in found["/d/m"]
    listed = await client.request("GET", "/f")
    functions = {link.target for link in links.parse(listed.payload.decode())}
    assert {"/f/guest", "/f/guest/fib", "/f/guest/fib64"} <= functions


async def test_foreign_client_sends_and_gets_bytes_in_blocks(client: Client) -> None:
    """A call whose input comes in blocks."""
    assert (await client.request("PUT", "/f/words", app("wordcount"), format=42)).code == "2.01"
    text = b"twelve words in this line, or so it seems to the reader\n" * 40
    counted = await client.request("POST", "/f/words", text, format=42, block=256)
    assert (counted.code, counted.payload) == ("2.04", b"40 480 2240\n")


async def test_foreign_client_observes(client: Client) -> None:
    assert (await client.request("PUT", "/f/guest", app("fib"), format=42)).code == "2.01"

    def calls(payload: bytes) -> int:
        return next(int(entry.value) for entry in senml.decode(payload) if entry.name == "calls")

    async with client.observe("/d/m") as notifications:
        first = await asyncio.wait_for(notifications.get(), 10)
        assert (first.code, calls(first.payload)) == ("2.05", 0)
        assert first.observe is not None
        before = first.observe
        for round_number in (1, 2, 3):
            called = await client.request("POST", "/f/guest/fib", cbor2.dumps([round_number]), format=60)
            assert called.code == "2.04"
            with contextlib.suppress(TimeoutError):
                while True:
                    news = await asyncio.wait_for(notifications.get(), 5)
                    assert news.code == "2.05"
                    if calls(news.payload) == round_number:
                        break
            assert calls(news.payload) == round_number
            assert news.observe is not None
            assert news.observe > before
            before = news.observe
    # The observation has ended: what changes now is not heard of.
    await client.request("POST", "/f/guest/fib", cbor2.dumps([9]), format=60)
    await asyncio.sleep(0.6)
    assert notifications.empty()
