"""Something that calls itself a node, and answers as it likes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
import pytest
from aiocoap import resource
from fleet_world import eventually, sqlite

from wasmote.adapters import coap
from wasmote.adapters.coap import CoapClient
from wasmote.errors import RefusedError, WasmoteError
from wasmote.protocol import messages
from wasmote.protocol.messages import Request
from wasmote_fleet.registry import Registry

Answer = Callable[[], aiocoap.Message]


class _Says(resource.Resource):  # type: ignore[misc]
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer
        self.asked = 0

    async def needs_blockwise_assembly(self, _request: aiocoap.Message) -> bool:
        return False

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        self.asked += 1
        answer = self.answer()
        if answer.opt.block2 is not None and request.opt.block2 is not None:
            answer.opt.block2 = (request.opt.block2.block_number, True, 6)
        return answer


@contextlib.asynccontextmanager
async def node(answer: Answer) -> AsyncIterator[tuple[int, _Says]]:
    """What /d answers; its port."""
    site, says = resource.Site(), _Says(answer)
    site.add_resource(["d"], says)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    context = await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port), transports=["simplesocketserver"]
    )
    try:
        yield port, says
    finally:
        await context.shutdown()


def device(**more: Any) -> Answer:
    found = {"ep": "evil", "boot": 1, "up_ms": 1000, **more}
    return lambda: aiocoap.Message(payload=cbor2.dumps(found), content_format=60)


@pytest.mark.parametrize("payload", [b"", bytes(1024)])
async def test_an_answer_without_an_end_is_refused(payload: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coap, "_MAX_REPLY_BYTES", 20_000)
    async with (
        node(lambda: aiocoap.Message(payload=payload, block2=(0, True, 6))) as (port, says),
        CoapClient("127.0.0.1", port) as client,
    ):
        with pytest.raises(RefusedError):
            await client.request(Request(messages.GET, ("d",)), repeatable=True)
        assert says.asked <= 22


@pytest.mark.parametrize(
    "more",
    [
        {"boot": float("inf")},
        {"boot": "x"},
        {"up_ms": float("nan")},
        {"board": b"\xff"},
        {"engine": 7},
        {"engine": {"features": 7}},
        {"imports": [b"x", {"y": 1}, float("nan")]},
        {"limits": [[[[[[[[1]]]]]]]]},
        {"ram": {"total": 2**63}},
        {"ep": "evil\x1b[2J"},
        {"ep": 7},
    ],
    ids=str,
)
async def test_a_description_that_is_none_harms_nobody(
    more: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Adopted while it was sound; then it says this."""
    async with (
        node(device()) as (port, says),
        sqlite(tmp_path) as engine,
        Registry(engine, beat_s=0.2) as registry,
    ):
        with caplog.at_level(logging.ERROR):
            await registry.adopt(f"coap://127.0.0.1:{port}")
            says.answer = device(**more)
            asked = says.asked
            await eventually(lambda: says.asked >= asked + 2, "it was asked again")
            await asyncio.sleep(0.3)
            assert says.asked < asked + 40  # not as fast as it can
            for view in registry.nodes():
                assert view.record.encode() and isinstance(view.record.features, tuple)
            with contextlib.suppress(WasmoteError):
                await registry.adopt(f"coap://127.0.0.1:{port}")
        assert not [record for record in caplog.records if record.exc_info], caplog.text
