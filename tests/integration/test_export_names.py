"""Exports whose names do not fit a path are called by their index: the tools do it, and plain CoAP can."""

from __future__ import annotations

import asyncio

import cbor2
import pytest
from nodes import HOST, STM32, host_port, module, running

from wasmote.adapters.coap import CoapClient
from wasmote.errors import InputError
from wasmote.node import Node
from wasmote.protocol.messages import CHANGED, FORMAT_CBOR, POST, Request

LONG = "n" + "2345678901234567890123456789012345678901234567890123456789012345"[:63]
# How a person names it -> what it gives, in the module's order.
EXPORTS = {":0": 10, ":1": 11, "a/b": 12, ":3": 13, ":4": 14, "ä %?": 15, "twice": 42}


@pytest.mark.parametrize("board", [HOST, pytest.param(STM32, marks=pytest.mark.slow)])
async def test_exports_of_any_name_can_be_called(board: str) -> None:
    async with running(board) as uri, asyncio.timeout(60), Node(uri) as node:
        await node.push(module("odd_names"), name="odd")
        info = await node.info("odd")
        assert [export.name for export in info.exports] == ["", ":0", "a/b", "..", LONG, "ä %?", "twice"]
        assert [export.index for export in info.exports] == [0, 1, 2, 3, 4, 5, 7]  # 6 is the memory
        assert [export.ref for export in info.exports] == list(EXPORTS)
        for ref, expected in EXPORTS.items():
            args = [21] if ref == "twice" else []
            assert (await node.call(f"odd/{ref}", args)).value == expected
            job = await node.start(f"odd/{ref}", args)
            assert (await node.job_result(job, timeout_s=10)).value == expected
        assert (await node.call(f"odd/{LONG}")).value == 14  # by its whole name, too
        assert (await node.call("odd/:7", [21])).value == 42
        for nobody in (":6", ":99", ":x", "none"):
            with pytest.raises(InputError, match="has no export") as caught:
                await node.call(f"odd/{nobody}")
            assert ":4, ä %?, twice" in caught.value.cause
        (listed,) = await node.ls()
        assert listed.exports == tuple(EXPORTS)


async def test_exports_by_index_in_plain_coap() -> None:
    async with running(HOST) as uri, CoapClient(*host_port(uri)) as client, Node(uri) as node:
        await node.push(module("odd_names"), name="odd")
        request = Request(POST, ("f", "odd", ":7"), cbor2.dumps([4]), content_format=FORMAT_CBOR)
        reply = await client.request(request, repeatable=False)
        assert (reply.code, cbor2.loads(reply.payload)) == (CHANGED, 8)
