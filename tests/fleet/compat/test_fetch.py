"""Requests that go out: what they reach, and where they end. Against raw servers on this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from wasmote.errors import InputError, UnansweredError, UnreachableError
from wasmote_fleet.compat.fetch import (
    FetchFailed,
    Limits,
    Reach,
    UrlRefused,
    exchange,
    fetch,
    is_public,
)

LOOPBACK = Reach(["127.0.0.0/8"])
QUICK = Limits(max_bytes=1000, timeout_s=5.0)
Talk = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(talk: Talk, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Reads a request's headers, then does what it is told. Gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(await reader.readuntil(b"\r\n\r\n"), writer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    made = await asyncio.start_server(serve, host, 0)
    async with made:
        yield f"http://{host}:{made.sockets[0].getsockname()[1]}"


def says(answer: bytes) -> Talk:
    async def talk(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    return talk


OK = b"HTTP/1.1 200 OK\r\nContent-Type: Application/Wasm; x=y\r\nContent-Length: 4\r\n\r\n\x00asm"


async def test_fetch_gets_a_body_and_sends_nothing_of_this_machine() -> None:
    heard = b""

    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = request
        writer.write(OK)

    async with server(talk) as url:
        answer = await fetch(f"{url}/a%20b%20c?q=1", reach=LOOPBACK, limits=QUICK)
    assert (answer.status, answer.body, answer.media_type) == (200, b"\x00asm", "application/wasm")
    assert heard.startswith(b"GET /a%20b%20c?q=1 HTTP/1.1\r\n")
    assert b"cookie" not in heard.lower() and b"authorization" not in heard.lower()


async def test_exchange_posts_and_gives_errors_as_answers() -> None:
    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        assert b"Content-Length: 2\r\n" in request and b"X-A: b\r\n" in request
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")

    async with server(talk) as url:
        answer = await exchange("POST", url, reach=LOOPBACK, limits=QUICK, headers={"X-A": "b"}, body=b"hi")
        assert (answer.status, answer.body) == (404, b"no")

    async with server(says(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")) as url:
        with pytest.raises(FetchFailed, match="404") as failed:
            await fetch(url, reach=LOOPBACK, limits=QUICK)
        assert failed.value.status == 404


@pytest.mark.parametrize(
    "url",
    [
        "ftp://192.0.2.1/x",
        "file:///etc/passwd",
        "http:///x",
        "http://user:pw@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1/a\r\nX: y",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/" + "a" * 9000,
        "//127.0.0.1/",
        "http://[",
        "http://[::1",
        "http://a..b/",
        "http://\ud800/",
        "http://" + "a" * 64 + ".example/",
        "",
    ],
)
async def test_urls_that_are_none_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        await fetch(url, reach=LOOPBACK, limits=QUICK)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fe80::1]",
        "[fd00::1]",
        "224.0.0.1",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[::127.0.0.1]",
        "[2001:0:1::]",
        "[fec0::1]",
        "192.0.0.192",
        "168.63.129.16",
        "017700000001",
        "\u2460\u2461\u2466.0.0.1",
        "127\u30020\u30020\u30021",
        "[2002:7f00:1::]",
    ],
)
async def test_private_addresses_are_refused_unless_allowed(host: str) -> None:
    with pytest.raises(UrlRefused, match="must not be reached"):
        await fetch(f"http://{host}:9/", reach=Reach(), limits=QUICK)


def test_public_addresses_are_public() -> None:
    assert all(
        is_public(ipaddress.ip_address(a)) for a in ("8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8")
    )
    assert not any(is_public(ipaddress.ip_address(a)) for a in ("240.0.0.1", "255.255.255.255", "::"))


def test_reach_takes_addresses_networks_and_names() -> None:
    reach = Reach(["10.0.0.0/8"]).also("192.168.1.1", hosts=["Orchestrator"])
    address = ipaddress.ip_address
    assert reach.allows("x", address("10.9.9.9")) and reach.allows("x", address("::ffff:192.168.1.1"))
    assert reach.allows("orchestrator", address("172.16.0.1"))
    assert not reach.allows("x", address("192.168.1.2"))
    assert not Reach(public=False).allows("x", address("8.8.8.8"))
    with pytest.raises(InputError):
        Reach(["nonsense"])


async def test_a_name_is_resolved_once_and_the_judged_address_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that turns to another address between the check and the connection changes nothing."""
    asked = 0

    def resolve(host: str, port: int, **_options: object) -> list[tuple[object, ...]]:
        nonlocal asked
        assert host == "rebind.example"
        asked += 1
        ip = "127.0.0.1" if asked == 1 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    async with server(says(OK)) as url:
        monkeypatch.setattr("wasmote_fleet.compat.fetch.socket.getaddrinfo", resolve)
        where = url.replace("127.0.0.1", "rebind.example")
        answer = await fetch(where, reach=Reach(["127.0.0.1"]), limits=QUICK)
        assert answer.body == b"\x00asm" and asked == 1
        with pytest.raises(UrlRefused):
            await fetch(where, reach=Reach(["127.0.0.1"]), limits=QUICK)


def redirect(where: str) -> Talk:
    return says(f"HTTP/1.1 302 Found\r\nLocation: {where}\r\nContent-Length: 0\r\n\r\n".encode())


async def test_redirects_are_followed_and_each_is_judged() -> None:
    async with server(says(OK)) as last:
        async with server(redirect(last + "/x")) as url:
            answer = await fetch(url, reach=LOOPBACK, limits=QUICK)
            assert (answer.url, answer.body) == (last + "/x", b"\x00asm")
        async with server(redirect(last.replace("127.0.0.1", "127.0.0.2"))) as url:
            with pytest.raises(UrlRefused, match="must not be reached"):
                await fetch(url, reach=Reach(["127.0.0.1"]), limits=QUICK)
            with pytest.raises(UrlRefused, match="is not fetched"):
                await fetch(url, reach=LOOPBACK, limits=Limits(elsewhere=False))
    async with server(redirect("/again")) as url:
        with pytest.raises(FetchFailed, match="redirects"):
            await fetch(url, reach=LOOPBACK, limits=QUICK)
    async with server(redirect("file:///etc/passwd")) as url:
        with pytest.raises(UrlRefused):
            await fetch(url, reach=LOOPBACK, limits=QUICK)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nxxxx",
    ],
)
async def test_large_and_compressed_bodies_are_refused(answer: bytes) -> None:
    async with server(says(answer)) as url:
        with pytest.raises(FetchFailed):
            await fetch(url, reach=LOOPBACK, limits=QUICK)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000 + b"\r\n\r\n",
    ],
)
async def test_broken_answers_are_unanswered(answer: bytes) -> None:
    async with server(says(answer)) as url:
        with pytest.raises(UnansweredError):
            await fetch(url, reach=LOOPBACK, limits=QUICK)


async def test_slow_answers_end_with_the_time_limit() -> None:
    async def drip(_request: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with server(drip) as url:
        with pytest.raises(UnansweredError, match=r"within 0\.3 s"):
            await fetch(url, reach=LOOPBACK, limits=Limits(timeout_s=0.3))


async def test_nobody_there_is_unreachable() -> None:
    async with server(says(OK)) as url:
        pass
    with pytest.raises(UnreachableError):
        await fetch(url, reach=LOOPBACK, limits=QUICK)
    with pytest.raises(UnreachableError, match="no host"):
        await fetch("http://no-such-host.invalid/", reach=LOOPBACK, limits=QUICK)


async def test_a_redirect_to_no_url_is_refused() -> None:
    async with server(says(b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n")) as url:
        with pytest.raises(UrlRefused):
            await fetch(url, reach=LOOPBACK, limits=QUICK)


async def test_a_long_name_with_a_port_is_asked_for_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = b""

    async def talk(request: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        heard = request
        writer.write(OK)

    name = "a" * 63
    async with server(talk) as url:
        port = int(url.rpartition(":")[2])
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda *_args, **_more: [(socket.AF_INET, 0, 0, "", ("127.0.0.1", port))]
        )
        await fetch(f"http://{name}:{port}/", reach=LOOPBACK, limits=QUICK)
    assert f"Host: {name}:{port}\r\n".encode() in heard


async def test_the_environments_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with server(says(OK)) as url:
        assert (await fetch(url, reach=LOOPBACK, limits=QUICK)).status == 200
