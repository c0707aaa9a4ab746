"""Where a fleet server listens: what is an address, and how its sockets are."""

from __future__ import annotations

import asyncio
import socket

import pytest

from wasmote.errors import InputError, LocalError
from wasmote_fleet.server.addresses import Address, bind, parse_listen


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("127.8.0.1:0", "127.8.0.1", 0, True),
        ("localhost:81", "127.0.0.1", 81, True),
        (":81", "127.0.0.1", 81, True),
        ("0.0.0.0", "0.0.0.0", 80, False),
        ("192.0.2.1:65535", "192.0.2.1", 65535, False),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:81", "::1", 81, True),
        ("[::]:81", "::", 81, False),
    ],
)
def test_addresses(text: str, host: str, port: int, loopback: bool) -> None:
    address = parse_listen(text, 80)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert parse_listen(str(address), 1) == address


@pytest.mark.parametrize(
    "text", ["", "example.org", "127.0.0.1:65536", "127.0.0.1:x", "1.2.3", "127.0.0.1:-1"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(InputError, match="no address to listen at"):
        parse_listen(text, 80)


def test_a_place_that_is_taken() -> None:
    with bind(Address("127.0.0.1", 0), socket.SOCK_STREAM, "HTTP", "--http") as there:
        there.listen()
        taken = Address("127.0.0.1", there.getsockname()[1])
        with pytest.raises(LocalError, match=f"HTTP cannot listen at {taken}"):
            bind(taken, socket.SOCK_STREAM, "HTTP", "--http")


async def test_answers_do_not_wait_for_acknowledgements() -> None:
    """With Nagle's delay the body of an answer goes 40 ms after its head."""
    without_delay: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        without_delay.set_result(found)
        writer.close()

    made = bind(Address("127.0.0.1", 0), socket.SOCK_STREAM, "HTTP", "--http")
    async with await asyncio.start_server(connected, sock=made):
        _reader, writer = await asyncio.open_connection(*made.getsockname())
        assert await without_delay
        writer.close()
        await writer.wait_closed()
