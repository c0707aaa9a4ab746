"""What strangers may take of the server's memory by CoAP, and of each other's registrations in its directory."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import aiocoap
import pytest
from aiocoap import resource
from worlds import SqliteWorld

from wasmote.adapters.coap import CoapClient
from wasmote.protocol import messages
from wasmote.protocol.messages import Request
from wasmote_fleet.gateway.coap.bounds import MAX_BYTES, TRANSFERS, BoundedSite, text_refused
from wasmote_fleet.registry import Directory, add_directory, rd
from wasmote_fleet.registry.directory import (
    MAX_LINKS_BYTES,
    MAX_PARAMETERS,
    BadRequest,
    Taken,
    new_registration,
    parse_query,
    updated,
)
from wasmote_fleet.registry.presence import State
from wasmote_fleet.registry.records import Record

HERS, HIS = "coap://192.0.2.7:5683", "coap://192.0.2.66:40000"


class _Long(resource.Resource):  # type: ignore[misc]
    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=bytes(4096))

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(payload=str(len(request.payload)).encode())


async def test_transfers_of_strangers_are_bounded() -> None:
    site, long = BoundedSite(), _Long()
    site.add_resource(["long"], long)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    context = await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port), transports=["simplesocketserver"]
    )
    client = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:

        async def send(
            code: aiocoap.Code, query: int, payload: bytes = b"", **options: object
        ) -> aiocoap.Message:
            uri = f"coap://127.0.0.1:{port}/long?{query}"
            message = aiocoap.Message(code=code, uri=uri, payload=payload, **options)
            return await client.request(message, handle_blockwise=False).response

        for query in range(TRANSFERS + 20):
            begun = await send(aiocoap.GET, query)
            assert begun.code == aiocoap.CONTENT and begun.opt.block2.more
            begun = await send(aiocoap.POST, query, bytes(1024), block1=(0, True, 6))
            assert begun.code == aiocoap.CONTINUE
        assert len(long._block1._assemblies._items) == len(long._block2._completes._items) == TRANSFERS
        # The oldest ones have to begin again, the latest ones go on.
        for query, code in ((0, aiocoap.REQUEST_ENTITY_INCOMPLETE), (TRANSFERS + 19, aiocoap.CONTINUE)):
            assert (await send(aiocoap.POST, query, bytes(1024), block1=(1, True, 6))).code == code
        beyond = MAX_BYTES // 1024
        refused = await send(aiocoap.POST, TRANSFERS + 19, bytes(1024), block1=(beyond, True, 6))
        assert refused.code == aiocoap.REQUEST_ENTITY_TOO_LARGE
        whole = await client.request(
            aiocoap.Message(code=aiocoap.POST, uri=f"coap://127.0.0.1:{port}/long", payload=bytes(MAX_BYTES))
        ).response
        assert whole.payload == str(MAX_BYTES).encode()
    finally:
        await client.shutdown()
        await context.shutdown()


async def test_directory_only_the_same_address_changes_a_registration(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    engine = await world.open()
    try:
        directory = Directory(engine.kv)
        hers = new_registration(parse_query(["ep=a"]), "", HERS)
        await directory.put(hers, HERS)
        with pytest.raises(Taken, match="another address"):
            await directory.remove(hers.id, HIS)
        with pytest.raises(Taken, match="another address"):
            await directory.change(hers, updated(hers, [("lt", "1")], HIS), HIS)
        # Who registers an address makes the server ask it: so only its own.
        for base in (
            "coap://127.0.0.1:22",
            "coap://10.0.0.1",
            "coap://[ff02::fd]",
            "coap://192.0.2.7",
            "coap://x.example",
        ):
            with pytest.raises(Taken, match="base is another"):
                await directory.put(new_registration(parse_query(["ep=b", f"base={base}"]), "", HIS), HIS)
        # While the fleet's node of this name answers, nobody takes the name.
        for state in (State.UP, State.SILENT, State.DOWN, State.LEFT):
            await engine.kv.put("nodes/a", Record("a", "a", HERS, registered=True, state=state).encode())
            his = new_registration(parse_query(["ep=a"]), "", HIS)
            if state in (State.UP, State.SILENT):
                with pytest.raises(Taken, match="is there"):
                    await directory.put(his, HIS)
                await directory.put(hers, HERS.replace("5683", "61616"))  # she may
            else:
                await directory.put(his, HIS)
        # This machine may do all of that.
        await directory.put(
            new_registration(parse_query(["ep=a", "base=coap://10.0.0.1"]), "", HIS), "coap://127.0.0.1:9"
        )
        assert await directory.remove("a", "coap://[::ffff:127.0.0.1]:9")
    finally:
        await world.end()


async def test_text_that_is_no_utf8_is_dropped_without_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    site, unreadable = BoundedSite(), bytes.fromhex("40010001b2ff80")  # GET, Uri-Path of two bytes
    site.add_resource(["long"], _Long())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    with text_refused():
        context = await aiocoap.Context.create_server_context(
            site, bind=("127.0.0.1", port), transports=["simplesocketserver"]
        )
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(unreadable, ("127.0.0.1", port))
            async with CoapClient("127.0.0.1", port) as client:
                asked = Request(messages.GET, ("long",))
                assert (await client.request(asked, repeatable=True)).code == messages.CONTENT
        finally:
            await context.shutdown()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]
    with pytest.raises(UnicodeDecodeError):  # whoever else uses aiocoap in this process finds it as it was
        aiocoap.Message.decode(unreadable)


async def test_directory_answers_strangers_4_03(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = SqliteWorld(tmp_path)
    engine = await world.open()
    site = BoundedSite()
    add_directory(site, Directory(engine.kv))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    context = await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port), transports=["simplesocketserver"]
    )
    try:
        async with CoapClient("127.0.0.1", port) as client:

            async def ask(method: int, path: str, *query: str) -> int:
                request = Request(method, tuple(path.split("/")), query=query)
                return (await client.request(request, repeatable=True)).code

            monkeypatch.setattr(rd, "_source", lambda _request: HERS)
            assert await ask(messages.POST, "rd", "ep=a") == messages.CREATED
            monkeypatch.setattr(rd, "_source", lambda _request: HIS)
            forbidden = int(aiocoap.FORBIDDEN)
            assert await ask(messages.DELETE, "rd/a") == forbidden
            assert await ask(messages.POST, "rd/a", "lt=1") == forbidden
            assert await ask(messages.POST, "rd", "ep=b", "base=coap://10.0.0.1") == forbidden
            monkeypatch.setattr(rd, "_source", lambda _request: HERS)
            assert await ask(messages.DELETE, "rd/a") == messages.DELETED
    finally:
        await context.shutdown()
        await world.end()


def test_directory_registrations_are_bounded() -> None:
    many = [f"p{n}=1" for n in range(MAX_PARAMETERS)]
    with pytest.raises(BadRequest, match="parameters"):
        new_registration(parse_query(["ep=a", *many]), "", HERS)
    with pytest.raises(BadRequest, match="links"):
        new_registration(parse_query(["ep=a"]), "</" + "a" * MAX_LINKS_BYTES + ">", HERS)
