"""A UDP relay that loses, doubles and reorders datagrams: the network between a client and a node under test.

    async with LossyRelay(("127.0.0.1", 5683), Weather(loss=0.3, seed=1)) as relay:
        ...  # a client talks to relay.address

Chance depends on the seed and on what a datagram is (which client's, which way, which message of this client, which
copy of it), not on when it comes: the same exchange meets the same losses on a slow machine and on a fast one.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Any

Address = tuple[str, int]

CON, NON, ACK, RST = 0, 1, 2, 3


@dataclass(frozen=True)
class Weather:
    """Probabilities from 0 to 1, each way; delays in seconds.

    Every datagram takes up to `delay_s`; a share of `late` takes up to `late_s` more, so that others overtake it; a
    share of `double` comes twice, the second time late.
    """

    loss: float = 0.0
    double: float = 0.1
    late: float = 0.1
    delay_s: float = 0.004
    late_s: float = 0.12
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Header:
    """What a test wants to know of a CoAP message. block1: (number, more), None without the option."""

    type: int
    code: int
    mid: int
    token: bytes
    block1: tuple[int, bool] | None = None

    @property
    def is_request(self) -> bool:
        return 0 < self.code < 32


def parse_header(datagram: bytes) -> Header:
    """Fixed header and Block1 of a well-formed message (RFC 7252, 3)."""
    token_end = 4 + (datagram[0] & 15)
    at, number, block1 = token_end, 0, None
    while at < len(datagram) and datagram[at] != 0xFF:
        delta, length = datagram[at] >> 4, datagram[at] & 15
        at += 1
        extended = []
        for nibble in (delta, length):
            more = {13: 1, 14: 2}.get(nibble, 0)
            base = {13: 13, 14: 269}.get(nibble, nibble)
            extended.append(base + int.from_bytes(datagram[at : at + more], "big"))
            at += more
        number += extended[0]
        if number == 27:
            value = int.from_bytes(datagram[at : at + extended[1]], "big")
            block1 = (value >> 4, bool(value & 8))
        at += extended[1]
    mid = int.from_bytes(datagram[2:4], "big")
    return Header(datagram[0] >> 4 & 3, datagram[1], mid, datagram[4:token_end], block1)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Any) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._on_datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        """A client that has gone does not want its late replies."""


class _Client:
    """One client of the relay, and its own port towards the node."""

    def __init__(self, number: int, address: Address) -> None:
        self.number = number
        self.address = address
        self.transport: asyncio.DatagramTransport | None = None
        self.early: list[bytes] = []
        # Who chose the message ID ("up": the client, "down": the node) and the ID -> which of its messages that is.
        self.numbers: dict[str, dict[int, int]] = {"up": {}, "down": {}}
        # Method code of a request by its message ID and by its token: a separate reply has only that.
        self.methods: dict[int | bytes, int] = {}
        self.copies: Counter[tuple[str, str, int]] = Counter()


class LossyRelay:
    """Between any number of clients and one node. What it saw is kept for a test to look at.

    requests: every request datagram from a client, lost ones too, as (client, header). replies: for each message ID
    of a client the distinct replies that the node gave under it (acknowledgements with a response). lost, doubled,
    passed: datagrams. deaf_to: method codes; nothing that answers such a request comes through.
    """

    def __init__(self, node: Address, weather: Weather) -> None:
        self.weather = weather
        self.deaf_to: frozenset[int] = frozenset()
        self.requests: list[tuple[int, Header]] = []
        self.replies: dict[tuple[int, int], set[bytes]] = {}
        self.lost = self.doubled = self.passed = 0
        self._node = node
        self._clients: dict[Address, _Client] = {}
        self._front: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> Address:
        assert self._front is not None
        host, port = self._front.get_extra_info("sockname")[:2]
        return str(host), int(port)

    @property
    def uri(self) -> str:
        return "coap://{}:{}".format(*self.address)

    def messages(self, code: int) -> list[tuple[int, Header]]:
        """The distinct requests with this method code: retransmissions count once."""
        seen: dict[tuple[int, int, bytes], tuple[int, Header]] = {}
        for client, header in self.requests:
            if header.code == code:
                seen.setdefault((client, header.mid, header.token), (client, header))
        return list(seen.values())

    async def __aenter__(self) -> LossyRelay:
        loop = asyncio.get_running_loop()
        self._front, _ = await loop.create_datagram_endpoint(
            lambda: _Side(self._from_client), local_addr=("127.0.0.1", 0)
        )
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for task in list(self._tasks):
            await task
        assert self._front is not None
        self._front.close()
        for client in self._clients.values():
            if client.transport is not None:
                client.transport.close()
        await asyncio.sleep(0)  # lets the transports close their sockets

    # ---- datagrams ----

    def _from_client(self, data: bytes, address: Address) -> None:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = _Client(len(self._clients), address)
            task = asyncio.get_running_loop().create_task(self._connect(client))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        header = parse_header(data)
        if header.is_request:
            self.requests.append((client.number, header))
            client.methods[header.mid] = client.methods[header.token] = header.code
        self._pass("up", client, header, data)

    async def _connect(self, client: _Client) -> None:
        loop = asyncio.get_running_loop()
        client.transport, _ = await loop.create_datagram_endpoint(
            lambda: _Side(lambda data, _address: self._from_node(client, data)), remote_addr=self._node
        )
        for data in client.early:
            client.transport.sendto(data)
        client.early.clear()

    def _from_node(self, client: _Client, data: bytes) -> None:
        header = parse_header(data)
        if header.type == ACK and header.code:
            self.replies.setdefault((client.number, header.mid), set()).add(data)
        key = header.mid if header.type in (ACK, RST) else header.token
        if client.methods.get(key) in self.deaf_to:
            self.lost += 1
            return
        self._pass("down", client, header, data)

    def _pass(self, way: str, client: _Client, header: Header, data: bytes) -> None:
        # An acknowledgement bears the ID of the message that it acknowledges.
        owner = way if header.type in (CON, NON) else {"up": "down", "down": "up"}[way]
        numbers = client.numbers[owner]
        number = numbers.setdefault(header.mid, len(numbers))
        copy = client.copies[way, owner, number]
        client.copies[way, owner, number] += 1
        dice = random.Random(f"{self.weather.seed} {client.number} {way} {owner} {number} {copy}")
        if dice.random() < self.weather.loss:
            self.lost += 1
            return
        self._later(way, client, data, dice.random() < self.weather.late, dice)
        if dice.random() < self.weather.double:
            self.doubled += 1
            self._later(way, client, data, True, dice)

    def _later(self, way: str, client: _Client, data: bytes, late: bool, dice: random.Random) -> None:
        delay_s = dice.random() * self.weather.delay_s + (dice.random() * self.weather.late_s if late else 0)
        asyncio.get_running_loop().call_later(delay_s, self._deliver, way, client, data)

    def _deliver(self, way: str, client: _Client, data: bytes) -> None:
        assert self._front is not None
        if self._front.is_closing():
            return
        self.passed += 1
        if way == "down":
            self._front.sendto(data, client.address)
        elif client.transport is None:
            client.early.append(data)
        else:
            client.transport.sendto(data)
