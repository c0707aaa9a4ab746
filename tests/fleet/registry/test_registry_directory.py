"""The resource directory: what it refuses and finds, as resources of a CoAP server, and with nodes that register."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiocoap
import pytest
from aiocoap.resource import Site, WKCResource
from fleet_world import BEAT_S, LEASE_S, Watcher, eventually, kill, node, sqlite

from wasmote.adapters.coap import CoapClient
from wasmote.node import Node
from wasmote.protocol import links, messages
from wasmote.protocol.links import Link
from wasmote.protocol.messages import Reply, Request
from wasmote_fleet.engine import Engine
from wasmote_fleet.registry import Change, Directory, Registry, State, add_directory
from wasmote_fleet.registry.asking import PATIENCE_S as PATIENCE_ASKING_S
from wasmote_fleet.registry.asking import answers_as
from wasmote_fleet.registry.directory import (
    MAX_ASKED,
    BadRequest,
    Full,
    Registration,
    Taken,
    new_registration,
    parse_query,
    updated,
)

PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def server(engine: Engine) -> AsyncIterator[int]:
    """A CoAP server with our directory; its port."""
    site = Site()
    site.add_resource((".well-known", "core"), WKCResource(site.get_resources_as_linkheader))
    add_directory(site, Directory(engine.kv))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    # No TCP, whose port of this number somebody else may have.
    context = await aiocoap.Context.create_server_context(site, bind=("127.0.0.1", port), transports=["udp6"])
    try:
        yield port
    finally:
        await context.shutdown()


@contextlib.asynccontextmanager
async def directory(folder: Path) -> AsyncIterator[CoapClient]:
    async with sqlite(folder) as engine, server(engine) as port, CoapClient("127.0.0.1", port) as client:
        yield client


async def register(client: CoapClient, query: str, payload: str = "") -> Reply:
    request = Request(
        messages.POST,
        ("rd",),
        payload.encode(),
        query=tuple(query.split("&")),
        content_format=messages.FORMAT_LINKS,
    )
    return await client.request(request, repeatable=True)


async def ask(client: CoapClient, method: int, path: str, query: str = "") -> Reply:
    request = Request(method, tuple(path.split("/")), query=tuple(query.split("&")) if query else ())
    return await client.request(request, repeatable=True)


async def look(client: CoapClient, what: str, query: str = "") -> list[Link]:
    reply = await ask(client, messages.GET, f"rd-lookup/{what}", query)
    assert (reply.code, reply.content_format) == (messages.CONTENT, messages.FORMAT_LINKS)
    return links.parse(reply.payload.decode())


async def test_directory_a_registration_s_life(tmp_path: Path) -> None:
    async with directory(tmp_path) as client:
        query = "ep=node1&d=hall&lt=600&base=coap://192.0.2.1&et=tag:example.org,2026:lamp"
        payload = '</sensors/temp>;rt="temperature-c x";ct="41",</l>;anchor="/sensors/temp";rel="alternate"'
        assert (await register(client, query, payload)).code == messages.CREATED
        assert await look(client, "ep") == [
            Link(
                "/rd/node1@hall",
                {
                    "ep": "node1",
                    "d": "hall",
                    "base": "coap://192.0.2.1",
                    "et": "tag:example.org,2026:lamp",
                    "rt": "core.rd-ep",
                },
            )
        ]
        assert await look(client, "res") == [
            Link("coap://192.0.2.1/sensors/temp", {"rt": "temperature-c x", "ct": "41"}),
            Link("coap://192.0.2.1/l", {"anchor": "coap://192.0.2.1/sensors/temp", "rel": "alternate"}),
        ]
        # Again: the same place (RFC 9176, 5), other links.
        assert (await register(client, query, "</b>")).code == messages.CREATED
        assert [link.target for link in await look(client, "res")] == ["coap://192.0.2.1/b"]

        update = await ask(client, messages.POST, "rd/node1@hall", "base=coap://192.0.2.2:61616&lt=60")
        assert update.code == messages.CHANGED
        assert [link.target for link in await look(client, "res")] == ["coap://192.0.2.2:61616/b"]
        assert (await ask(client, messages.POST, "rd/node1@hall", "ep=other")).code == messages.BAD_REQUEST
        assert (await ask(client, messages.DELETE, "rd/node1@hall")).code == messages.DELETED
        assert await look(client, "ep") == []
        for path in ("rd/node1@hall", "rd/nobody", "rd/a/b", "rd/\n"):
            assert (await ask(client, messages.POST, path)).code == messages.NOT_FOUND
            assert (await ask(client, messages.DELETE, path)).code == messages.NOT_FOUND


async def test_directory_lookups_filter_and_turn_pages(tmp_path: Path) -> None:
    async with directory(tmp_path) as client:
        for n in range(5):
            query = f"ep=n{n}&base=coap://192.0.2.{n + 1}&et={'lamp' if n % 2 else 'switch'}"
            payload = f'</t>;rt="core.s temp{n}";if="sensor",</d>;rt="wm.d";ct="60"'
            assert (await register(client, query, payload)).code == messages.CREATED
        cases = {
            ("ep", "ep=n3"): ["/rd/n3"],
            ("ep", "ep=n*"): [f"/rd/n{n}" for n in range(5)],
            ("ep", "et=lamp"): ["/rd/n1", "/rd/n3"],
            ("ep", "rt=temp2"): ["/rd/n2"],
            ("ep", "rt=temp"): [],
            ("ep", "rt=temp*&et=lamp"): ["/rd/n1", "/rd/n3"],
            ("ep", "href=/rd/n4"): ["/rd/n4"],
            ("ep", "count=2"): ["/rd/n0", "/rd/n1"],
            ("ep", "page=2&count=2"): ["/rd/n4"],
            ("ep", "page=9&count=2"): [],
            ("res", "ep=n1"): ["coap://192.0.2.2/t", "coap://192.0.2.2/d"],
            ("res", "rt=temp0"): ["coap://192.0.2.1/t"],
            ("res", "rt=wm.d&et=lamp"): ["coap://192.0.2.2/d", "coap://192.0.2.4/d"],
            ("res", "href=coap://192.0.2.5/*"): ["coap://192.0.2.5/t", "coap://192.0.2.5/d"],
            ("res", "if=sensor&count=1&page=1"): ["coap://192.0.2.2/t"],
        }
        for (what, query), expected in cases.items():
            assert [link.target for link in await look(client, what, query)] == expected, (what, query)
        for query in ("page=1", "count=-1", "count=x", "count=1&count=1"):
            assert (await ask(client, messages.GET, "rd-lookup/ep", query)).code == messages.BAD_REQUEST, (
                query
            )


async def test_directory_refuses_what_is_wrong(tmp_path: Path) -> None:
    async with directory(tmp_path) as client:
        for query, payload in (
            ("lt=60", ""),
            ("ep=", ""),
            (f"ep={'x' * 64}", ""),
            ("ep=a\x01", ""),
            ("ep=a&ep=b", ""),
            ("ep=a&lt=0", ""),
            ("ep=a&lt=4294967296", ""),
            ("ep=a&lt=soon", ""),
            ("ep=a&base=192.0.2.1", ""),
            ("ep=a&base=coap://192.0.2.1/path", ""),
            ("ep=a&base=coap://[::1", ""),
            ("ep=a&base=coap://h:99999", ""),
            ("ep=a&page=1", ""),
            ("ep=a&rt=x", ""),
            ("ep=a", "no links"),
            ("ep=a", "</a>;rt="),
            ("ep=a", "<http://[>"),
        ):
            reply = await register(client, query, payload)
            wrong = reply.code == messages.BAD_REQUEST or payload == "</a>;rt="  # an attribute may be empty
            assert wrong, (query, payload, reply.code_text)
        assert {link.attributes["ep"] for link in await look(client, "ep")} <= {"a"}
        assert (
            await ask(client, messages.POST, ".well-known/rd", "ep=a&base=coap://h")
        ).code == messages.BAD_REQUEST
        assert (await ask(client, messages.GET, "rd")).code == messages.METHOD_NOT_ALLOWED
        # Who registers simply must answer; this client serves nothing.
        reply = await ask(client, messages.POST, ".well-known/rd", "ep=mute")
        assert reply.code >> 5 in (4, 5)
        assert await look(client, "ep", "ep=mute") == []


async def test_directory_is_found_by_its_resource_types(tmp_path: Path) -> None:
    async with directory(tmp_path) as client:
        reply = await ask(client, messages.GET, ".well-known/core", "rt=core.rd*")
        found = {link.attributes["rt"]: link.target for link in links.parse(reply.payload.decode())}
        assert found == {
            "core.rd": "/rd",
            "core.rd-lookup-ep": "/rd-lookup/ep",
            "core.rd-lookup-res": "/rd-lookup/res",
        }


def test_directory_names_become_keys_and_paths() -> None:
    for ep, d in (("a", ""), ("a", "b"), ("a@b", ""), ("a/b", "c/d"), ("%41", ""), ("ü" * 31, "ü" * 31)):
        registration = new_registration(parse_query([f"ep={ep}", f"d={d}"]), "", "coap://h")
        assert "/" not in registration.id
        assert (registration.ep, registration.d) == (ep, d)
    ids = {
        new_registration(parse_query([f"ep={ep}", f"d={d}"]), "", "coap://h").id
        for ep, d in (("a", "b"), ("a@b", ""), ("a%40b", ""), ("a", "b@"), ("a@", "b"))
    }
    assert len(ids) == 5
    with pytest.raises(BadRequest, match="base is needed"):
        new_registration(parse_query(["ep=a"]), "", None)


async def until_logged(uri: str, text: str) -> None:
    """Until the node's log has this line."""
    async with asyncio.timeout(PATIENCE_S), Node(uri) as client:
        while True:
            if text in [line.text for line in (await client.log())[0]]:
                return
            await asyncio.sleep(0.1)


async def test_a_name_stays_with_the_node_that_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        sqlite(tmp_path) as engine,
        server(engine) as port,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
    ):
        events = Watcher(registry)
        options = ("--register", f"coap://127.0.0.1:{port}")
        async with node("a", *options) as first:
            await events.until("a", Change.UP)
            async with node("a", *options) as second:
                assert second.uri is not None
                refused = "not registered: the directory answers 4.03, the name is another node's"
                await until_logged(second.uri, refused)
                view = registry.get("a")
                assert view is not None
                assert (view.record.uri, view.state) == (first.uri, State.UP)
                assert await events.kinds("a") == [Change.JOINED, Change.UP]
                kill(first)
                # Its port is closed now: the other one gets the name when it asks again.
                await eventually(
                    lambda: (
                        (seen := registry.get("a")) is not None
                        and (seen.record.uri, seen.state) == (second.uri, State.UP)
                    ),
                    "the second one has the name",
                )
    told = [record.getMessage() for record in caplog.records if "is refused" in record.getMessage()]
    assert len(told) == 1, told
    assert f"'a' from {second.uri} is refused: another node called 'a' answers at {first.uri}" in told[0]


async def test_directory_asks_before_a_name_moves(tmp_path: Path) -> None:
    def at(base: str, ep: str = "a") -> Registration:
        return new_registration(parse_query([f"ep={ep}"]), '</d>;rt="wm.d"', base)

    async with sqlite(tmp_path) as engine, node("a") as one, node("a") as two:
        assert one.uri is not None and two.uri is not None
        # Two servers, each with one of two nodes that begin at the same time.
        here, there = Directory(engine.kv), Directory(engine.kv)
        results = await asyncio.gather(
            here.put(at(one.uri), one.uri), there.put(at(two.uri), two.uri), return_exceptions=True
        )
        assert [type(result) for result in results if result is not None] == [Taken], results
        kept = await here.get("a")
        assert kept is not None
        other = two.uri if kept.base == one.uri else one.uri
        with pytest.raises(Taken, match=f"answers at {kept.base}"):
            await here.change(kept, updated(kept, [], other), other)
        # The same place, as another socket of the server writes it.
        port = kept.base.rpartition(":")[2]
        await here.put(at(f"coap://[::ffff:127.0.0.1]:{port}"), kept.base)
        # Another node has that port since, or what was there is none.
        await here.put(at(one.uri, "b"), one.uri)
        await here.put(at("coap://127.0.0.1:9", "b"), "coap://127.0.0.1:9")
        plain = new_registration(parse_query(["ep=c"]), "</t>", one.uri)
        await here.put(plain, one.uri)
        await here.put(at(two.uri, "c"), two.uri)


async def test_directory_asks_few_at_a_time(tmp_path: Path) -> None:
    asked: list[str] = []
    over = asyncio.Event()

    async def still_there(base: str, _ep: str) -> bool:
        asked.append(base)
        await over.wait()
        return False

    async with sqlite(tmp_path) as engine:
        directory = Directory(engine.kv, still_there)
        old, new = "coap://192.0.2.7:1000", "coap://192.0.2.7:1001"
        for n in range(MAX_ASKED + 1):
            query = parse_query([f"ep=n{n}"])
            await directory.put(new_registration(query, '</d>;rt="wm.d"', old), old)
        moves = [
            asyncio.create_task(
                directory.put(new_registration(parse_query([f"ep=n{n}"]), '</d>;rt="wm.d"', new), new)
            )
            for n in range(MAX_ASKED)
        ]
        await eventually(lambda: len(asked) == MAX_ASKED, "all are asked for")
        beyond = new_registration(parse_query([f"ep=n{MAX_ASKED}"]), '</d>;rt="wm.d"', new)
        with pytest.raises(Full):
            await directory.put(beyond, new)
        over.set()
        await asyncio.gather(*moves)
        await directory.put(beyond, new)
    assert set(asked) == {old}  # where the record says, never where the request comes from


async def test_asking_is_short(tmp_path: Path) -> None:
    async with node("a") as emulator:
        assert emulator.uri is not None
        assert await answers_as(emulator.uri, "a")
        assert not await answers_as(emulator.uri, "b")
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        base = f"coap://127.0.0.1:{sock.getsockname()[1]}"
        assert not await answers_as(base, "a")
        sock.setblocking(False)
        datagrams = 0
        with contextlib.suppress(BlockingIOError):
            while sock.recv(64):
                datagrams += 1
        assert 2 <= datagrams <= 3
    began_s = loop.time()
    assert not await answers_as(base, "a")  # closed: the system says so
    assert loop.time() - began_s < PATIENCE_ASKING_S


@pytest.mark.slow
async def test_nodes_register_join_renew_and_leave(tmp_path: Path) -> None:
    async with (
        sqlite(tmp_path) as engine,
        server(engine) as port,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
    ):
        events = Watcher(registry)
        options = ("--register", f"coap://127.0.0.1:{port}", "--lifetime", "3")
        async with node("a", *options) as emulator:
            await events.until("a", Change.UP)
            view = registry.get("a")
            assert view is not None
            assert (view.record.uri, view.record.registered, view.record.adopted) == (
                emulator.uri,
                True,
                False,
            )
            await asyncio.sleep(8)  # more than two lifetimes
            assert await events.kinds("a") == [Change.JOINED, Change.UP]
            kill(emulator)
            await events.until("a", Change.LEFT)
            view = registry.get("a")
            assert view is not None
            assert view.state is State.LEFT
        async with node("a", *options):  # at another address: it joins again
            await events.until("a", Change.UP, after=events.seen[-1].offset)
            kinds = await events.kinds("a")
            assert kinds[:2] == [Change.JOINED, Change.UP]
            assert kinds[kinds.index(Change.LEFT) :][1] is Change.JOINED
            assert registry.get("a") is not None
            # An adopted node stays when its registration ends.
            view = registry.get("a")
            assert view is not None
            await registry.adopt(view.record.uri)
            assert await engine.kv.delete("rd/a")
        await eventually(
            lambda: (seen := registry.get("a")) is not None and seen.state is State.DOWN,
            "adopted, so it is down",
        )


async def test_what_is_no_node_may_register_too(tmp_path: Path) -> None:
    async with (
        sqlite(tmp_path) as engine,
        server(engine) as port,
        CoapClient("127.0.0.1", port) as client,
        Registry(engine, beat_s=BEAT_S, lease_s=LEASE_S) as registry,
    ):
        assert (await register(client, "ep=lamp&base=coap://192.0.2.9", "</on>")).code == messages.CREATED
        await asyncio.sleep(0.5)
        assert registry.nodes() == []
