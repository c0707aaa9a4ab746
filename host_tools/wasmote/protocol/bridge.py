"""Many UDP clients share the one serial endpoint of a node. Sans-IO: datagrams and frames in, actions out.

To the node everything comes from one peer, so what clients choose for themselves would collide there:
coap-client's first token is always 01, and message IDs are picked at random. The bridge therefore gives each
request a message ID and a token of its own on the serial side, and maps what comes back:

    client (peer, MID m, token t)  <->  serial (MID M, token T)

* A client's retransmission has the same peer, MID and bytes: it becomes the same frame again, so that the
  node's deduplication works, or is answered from here once the node has answered.
* What the node starts (separate responses, notifications, requests) keeps the node's MID: it is unique there,
  and each client sees the bridge as a server of its own. The client's ACK or RST goes back under that MID.
* An observation keeps its token until the node ends it, the client cancels it, or room is needed.
* Request-Tags get the peer mixed in, or two clients that upload to one path would be one transfer to the
  node.
* Requests of the node itself go to `forward`, where one is configured, and its replies come back.

Frames wait here while `max_in_flight` requests or `max_in_flight_bytes` are unanswered: a chip that sends a reply of a
kilobyte does not read for as long as a kilobyte takes to arrive, and then its receive ring has to hold all of
them. Acknowledgements never wait. All tables are bounded; the entry unused for longest makes room.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.options import Options
from aiocoap.optiontypes import OpaqueOption

from wasmote.protocol import slipmux

Peer = Hashable

CON, NON, ACK, RST = 0, 1, 2, 3
_POST, _PUT, _FETCH, _PATCH, _IPATCH = 2, 3, 5, 6, 7

MAX_IN_FLIGHT = 4
MAX_IN_FLIGHT_BYTES = 960  # WM_SERIAL_RING_BYTES is 1024; the rest is for acknowledgements
EXCHANGE_LIFETIME_S = 247.0  # RFC 7252, 4.8.2: how long a message ID means the same message


@dataclass(frozen=True, slots=True)
class ToPeer:
    """Send a datagram to a UDP peer."""

    peer: Peer
    datagram: bytes


@dataclass(frozen=True, slots=True)
class ToNode:
    """Send a CoAP message to the node, in a slipmux frame."""

    message: bytes


Action = ToPeer | ToNode


@dataclass(slots=True)
class BridgeStats:
    """What a person who looks for a fault wants to know."""

    requests: int = 0
    repeated: int = 0
    replayed: int = 0
    malformed: int = 0
    unmatched: int = 0
    overflowed: int = 0
    notifications: int = 0
    from_node: int = 0


@dataclass(slots=True)
class _Header:
    type: int
    code: int
    mid: int
    token: bytes
    rest: bytes  # options and payload, untouched

    @property
    def is_request(self) -> bool:
        return 0 < self.code < 32

    @property
    def is_response(self) -> bool:
        return self.code >= 64

    def encode(self) -> bytes:
        first = bytes([0x40 | self.type << 4 | len(self.token), self.code])
        return first + self.mid.to_bytes(2, "big") + self.token + self.rest


def _parse(data: bytes) -> _Header | None:
    """The fixed part of a message; None if it is none. Options stay as they came: they are the node's
    affair."""
    if len(data) < 4 or data[0] >> 6 != 1:
        return None
    length = data[0] & 15
    if length > 8 or len(data) < 4 + length or (data[1] == 0 and len(data) > 4):
        return None
    return _Header(
        data[0] >> 4 & 3, data[1], int.from_bytes(data[2:4], "big"), data[4 : 4 + length], data[4 + length :]
    )


def _empty(kind: int, mid: int) -> bytes:
    return bytes([0x40 | kind << 4, 0]) + mid.to_bytes(2, "big")


@dataclass(slots=True)
class _Exchange:
    """A message of a client that the node is to see under a message ID of its own."""

    peer: Peer
    mid: int
    digest: bytes
    serial_mid: int
    frame: bytes
    line_bytes: int  # of the frame as it goes over the line
    token: _Token | None
    at_s: float
    sent_at_s: float | None = None  # None: still waits for its turn
    open: bool = True  # counts as unanswered
    answer: bytes | None = None  # the ACK or RST that the peer got


@dataclass(slots=True)
class _Token:
    """A client's token and the one that stands for it on the serial side."""

    peer: Peer
    token: bytes
    serial: bytes
    at_s: float
    exchange: _Exchange | None = None
    observe: bool = False  # asked for
    observing: bool = False  # granted


@dataclass(slots=True)
class _Tables:
    by_client_mid: OrderedDict[tuple[Peer, int], _Exchange] = field(default_factory=OrderedDict)
    by_serial_mid: dict[int, _Exchange] = field(default_factory=dict)
    by_serial_token: OrderedDict[bytes, _Token] = field(default_factory=OrderedDict)
    by_client_token: dict[tuple[Peer, bytes], _Token] = field(default_factory=dict)
    observations: OrderedDict[bytes, _Token] = field(default_factory=OrderedDict)
    node_mids: OrderedDict[int, tuple[Peer, bytes, float]] = field(default_factory=OrderedDict)


class Bridge:
    """The state of one bridge. Times are seconds of any monotonic clock.

    seed: unpredictable 32 bits, where message IDs and tokens begin, so that a node does not take a new bridge
    for the one before it. max_in_flight_bytes: with framing and escapes; a larger frame goes alone.
    slot_timeout_s: how long an unanswered frame holds others back. exchanges: message IDs and tokens remembered,
    at most 32768.
    """

    def __init__(
        self,
        *,
        seed: int,
        forward: Peer | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        max_in_flight_bytes: int = MAX_IN_FLIGHT_BYTES,
        slot_timeout_s: float = 1.0,
        max_waiting: int = 256,
        exchanges: int = 4096,
        observations: int = 256,
    ) -> None:
        if not 1 <= exchanges <= 32768:
            raise ValueError("exchanges is 1 to 32768: message IDs have 16 bits")
        self.stats = BridgeStats()
        self._forward = forward
        self._max_in_flight = max(1, max_in_flight)
        self._max_in_flight_bytes = max_in_flight_bytes
        self._slot_timeout_s = slot_timeout_s
        self._max_waiting = max_waiting
        self._max_exchanges = exchanges
        self._max_observations = observations
        self._next_mid = seed & 0xFFFF
        self._next_token = seed & 0xFFFFFFFF
        self._tables = _Tables()
        self._in_flight: OrderedDict[int, _Exchange] = OrderedDict()  # by serial MID
        self._in_flight_bytes = 0
        self._waiting: deque[_Exchange] = deque()

    # ---- in ----

    def from_peer(self, peer: Peer, datagram: bytes, now_s: float) -> list[Action]:
        """Take a datagram from a UDP peer."""
        header = _parse(datagram)
        if header is None:
            self.stats.malformed += 1
            return []
        if header.type in (ACK, RST):
            return self._answer_from_peer(peer, header, now_s)
        if header.is_request or (header.type == CON and header.code == 0):
            return self._request_from_peer(peer, header, datagram, now_s)
        if header.is_response and peer == self._forward:
            return self._enqueue_from_peer(peer, header, datagram, None, header.token, now_s)
        self.stats.unmatched += 1
        return [ToPeer(peer, _empty(RST, header.mid))] if header.type == CON else []

    def from_node(self, message: bytes, now_s: float) -> list[Action]:
        """Take a CoAP message that the node sent."""
        header = _parse(message)
        if header is None:
            self.stats.malformed += 1
            return []
        if header.type in (ACK, RST):
            actions = self._answer_from_node(header, now_s)
        elif header.is_response:
            actions = self._response_from_node(header, now_s)
        elif header.is_request:
            actions = self._request_from_node(header, now_s)
        elif header.type == CON:
            actions = [ToNode(_empty(RST, header.mid))]  # a ping of the link: it is alive
        else:
            actions = []
        return actions + self._send_waiting(now_s)

    def poll(self, now_s: float) -> list[Action]:
        """Give up on frames that hold others back for too long, and forget what is out of date."""
        while self._in_flight:
            oldest = next(iter(self._in_flight.values()))
            if oldest.sent_at_s is None or now_s - oldest.sent_at_s < self._slot_timeout_s:
                break
            self._close(oldest)
        exchanges = self._tables.by_client_mid
        while exchanges and now_s - next(iter(exchanges.values())).at_s > EXCHANGE_LIFETIME_S:
            self._forget_exchange(next(iter(exchanges.values())))
        tokens = self._tables.by_serial_token
        while tokens and now_s - next(iter(tokens.values())).at_s > EXCHANGE_LIFETIME_S:
            self._forget_token(next(iter(tokens.values())))
        mids = self._tables.node_mids
        while mids and now_s - next(iter(mids.values()))[2] > EXCHANGE_LIFETIME_S:
            mids.popitem(last=False)
        return self._send_waiting(now_s)

    def next_poll_s(self, now_s: float) -> float | None:
        """Seconds until poll() has something to do; None: only messages matter."""
        if not self._in_flight:
            return None
        oldest = next(iter(self._in_flight.values()))
        sent_at_s = now_s if oldest.sent_at_s is None else oldest.sent_at_s
        return max(0.0, sent_at_s + self._slot_timeout_s - now_s)

    # ---- from a client ----

    def _request_from_peer(self, peer: Peer, header: _Header, datagram: bytes, now_s: float) -> list[Action]:
        repeated = self._repeated(peer, header, datagram, now_s)
        if repeated is not None:
            return repeated
        self.stats.requests += 1
        if header.code == 0:  # a ping reaches through to the node, whose RST comes back
            return self._enqueue_from_peer(peer, header, datagram, None, b"", now_s)
        observe, rest = self._look_at_options(peer, header)
        header.rest = rest
        token = self._tables.by_client_token.get((peer, header.token))
        if token is not None and token.observing and observe is not None:
            # Renews or ends the observation: to the node it must be the same token (RFC 7641, 3.6 and 4.1).
            token.at_s = now_s
        else:
            if token is not None:
                self._forget_token(token)
            token = self._new_token(peer, header.token, now_s)
        token.observe = observe == 0
        return self._enqueue_from_peer(peer, header, datagram, token, token.serial, now_s)

    def _repeated(self, peer: Peer, header: _Header, datagram: bytes, now_s: float) -> list[Action] | None:
        """What a retransmission leads to; None: the message is new."""
        known = self._tables.by_client_mid.get((peer, header.mid))
        if known is None:
            return None
        if known.digest != _digest(datagram) or now_s - known.at_s > EXCHANGE_LIFETIME_S:
            self._forget_exchange(known)
            return None
        self.stats.repeated += 1
        if known.answer is not None:
            self.stats.replayed += 1
            return [ToPeer(peer, known.answer)]
        if known.sent_at_s is None:
            return []
        return [ToNode(known.frame)]

    def _look_at_options(self, peer: Peer, header: _Header) -> tuple[int | None, bytes]:
        """The Observe option, and options and payload with the peer mixed into the Request-Tag."""
        options = Options()
        try:
            payload = options.decode(header.rest)
            observe = options.observe
        except Exception:  # malformed options: the node refuses them better than a bridge could
            return None, header.rest
        if header.code not in (_POST, _PUT, _FETCH, _PATCH, _IPATCH):
            return observe, header.rest
        tags = [bytes(option.value) for option in options.get_option(OptionNumber.REQUEST_TAG)]
        mixed = hashlib.sha256(repr((peer, tags)).encode()).digest()[:6]
        options.delete_option(OptionNumber.REQUEST_TAG)
        options.add_option(OpaqueOption(OptionNumber.REQUEST_TAG, mixed))
        # Only the options are encoded again: an aiocoap Message would also check what the node should judge.
        return observe, options.encode() + (b"\xff" + payload if payload else b"")

    def _enqueue_from_peer(
        self,
        peer: Peer,
        header: _Header,
        datagram: bytes,
        token: _Token | None,
        serial_token: bytes,
        now_s: float,
    ) -> list[Action]:
        known = self._repeated(peer, header, datagram, now_s) if token is None else None
        if known is not None:
            return known
        serial_mid = self._free_mid()
        frame = _Header(header.type, header.code, serial_mid, serial_token, header.rest).encode()
        line_bytes = len(slipmux.encode(slipmux.COAP, frame))
        exchange = _Exchange(peer, header.mid, _digest(datagram), serial_mid, frame, line_bytes, token, now_s)
        if len(self._waiting) >= self._max_waiting:
            self.stats.overflowed += 1  # the client repeats it
            return []
        if token is not None:
            token.exchange = exchange
        self._tables.by_client_mid[peer, header.mid] = exchange
        self._tables.by_serial_mid[serial_mid] = exchange
        while len(self._tables.by_client_mid) > self._max_exchanges:
            self._forget_exchange(next(iter(self._tables.by_client_mid.values())))
        self._waiting.append(exchange)
        return self._send_waiting(now_s)

    def _answer_from_peer(self, peer: Peer, header: _Header, now_s: float) -> list[Action]:
        known = self._tables.node_mids.get(header.mid)
        if known is None or known[0] != peer:
            self.stats.unmatched += 1
            return []
        if header.type == RST:
            token = self._tables.by_serial_token.get(known[1]) or self._tables.observations.get(known[1])
            if token is not None:
                self._forget_token(token)
        # A response that the server piggybacks on its ACK carries the node's own token.
        return [ToNode(header.encode())]

    # ---- from the node ----

    def _answer_from_node(self, header: _Header, now_s: float) -> list[Action]:
        exchange = self._tables.by_serial_mid.get(header.mid)
        if exchange is None:
            self.stats.unmatched += 1
            return []
        token = exchange.token
        if header.code != 0:
            if token is None or token.serial != header.token:
                self.stats.unmatched += 1
                return []
            self._note_response(token, header, now_s)
            header.token = token.token
        self._close(exchange)
        header.mid = exchange.mid
        # An empty ACK must not stand for a piggybacked response that was seen before it.
        if exchange.answer is None or header.code != 0:
            exchange.answer = header.encode()
        return [ToPeer(exchange.peer, header.encode())]

    def _response_from_node(self, header: _Header, now_s: float) -> list[Action]:
        token = self._tables.by_serial_token.get(header.token) or self._tables.observations.get(header.token)
        if token is None:
            # An observation or a request of a client that is gone: the node should forget it (RFC 7641, 3.6).
            self.stats.unmatched += 1
            return [ToNode(_empty(RST, header.mid))]
        if token.exchange is not None:
            self._close(token.exchange)
        self._remember_node_mid(header.mid, token.peer, header.token, now_s)
        self._note_response(token, header, now_s)
        header.token = token.token
        return [ToPeer(token.peer, header.encode())]

    def _request_from_node(self, header: _Header, now_s: float) -> list[Action]:
        self.stats.from_node += 1
        if self._forward is None:
            return [ToNode(_empty(RST, header.mid))] if header.type == CON else []
        self._remember_node_mid(header.mid, self._forward, b"", now_s)
        return [ToPeer(self._forward, header.encode())]

    def _note_response(self, token: _Token, header: _Header, now_s: float) -> None:
        """Follow the life of an observation."""
        token.at_s = now_s
        try:
            options = Options()
            options.decode(header.rest)
            notification = options.observe is not None and header.code >> 5 == 2
        except Exception:
            notification = False
        tables = self._tables
        if notification and (token.observe or token.observing):
            self.stats.notifications += 1
            token.observing = True
            tables.by_serial_token.pop(token.serial, None)
            tables.observations[token.serial] = token
            tables.observations.move_to_end(token.serial)
            while len(tables.observations) > self._max_observations:
                self._forget_token(next(iter(tables.observations.values())))
        else:
            # Kept for a while: the node repeats a confirmable response until it is acknowledged.
            token.observing = False
            if tables.observations.pop(token.serial, None) is not None:
                tables.by_serial_token[token.serial] = token
            if token.serial in tables.by_serial_token:
                tables.by_serial_token.move_to_end(token.serial)

    def _remember_node_mid(self, mid: int, peer: Peer, serial_token: bytes, now_s: float) -> None:
        mids = self._tables.node_mids
        mids[mid] = (peer, serial_token, now_s)
        mids.move_to_end(mid)
        while len(mids) > self._max_exchanges:
            mids.popitem(last=False)

    # ---- pacing ----

    def _send_waiting(self, now_s: float) -> list[Action]:
        actions: list[Action] = []
        while self._waiting:
            exchange = self._waiting[0]
            size = exchange.line_bytes
            full = len(self._in_flight) >= self._max_in_flight
            if self._in_flight and (full or self._in_flight_bytes + size > self._max_in_flight_bytes):
                break
            self._waiting.popleft()
            if not exchange.open:
                continue  # forgotten while it waited
            exchange.sent_at_s = now_s
            self._in_flight[exchange.serial_mid] = exchange
            self._in_flight_bytes += size
            actions.append(ToNode(exchange.frame))
        return actions

    def _close(self, exchange: _Exchange) -> None:
        """The node has read it, or it is lost: others may go."""
        if self._in_flight.pop(exchange.serial_mid, None) is not None:
            self._in_flight_bytes -= exchange.line_bytes
        if exchange.sent_at_s is not None:
            exchange.open = False

    # ---- tables ----

    def _free_mid(self) -> int:
        # At most half of all message IDs are in the table, so this ends.
        while True:
            self._next_mid = (self._next_mid + 1) & 0xFFFF
            if self._next_mid not in self._tables.by_serial_mid:
                return self._next_mid

    def _new_token(self, peer: Peer, client_token: bytes, now_s: float) -> _Token:
        tables = self._tables
        while True:
            self._next_token = (self._next_token + 1) & 0xFFFFFFFF
            serial = self._next_token.to_bytes(4, "big")
            if serial not in tables.by_serial_token and serial not in tables.observations:
                break
        token = _Token(peer, client_token, serial, now_s)
        tables.by_serial_token[serial] = token
        tables.by_client_token[peer, client_token] = token
        while len(tables.by_serial_token) > self._max_exchanges:
            self._forget_token(next(iter(tables.by_serial_token.values())))
        return token

    def _forget_token(self, token: _Token) -> None:
        tables = self._tables
        tables.by_serial_token.pop(token.serial, None)
        tables.observations.pop(token.serial, None)
        if tables.by_client_token.get((token.peer, token.token)) is token:
            del tables.by_client_token[token.peer, token.token]

    def _forget_exchange(self, exchange: _Exchange) -> None:
        self._close(exchange)
        exchange.open = False
        if self._tables.by_client_mid.get((exchange.peer, exchange.mid)) is exchange:
            del self._tables.by_client_mid[exchange.peer, exchange.mid]
        if self._tables.by_serial_mid.get(exchange.serial_mid) is exchange:
            del self._tables.by_serial_mid[exchange.serial_mid]


def _digest(datagram: bytes) -> bytes:
    return hashlib.blake2b(datagram, digest_size=8).digest()


def ping(mid: int) -> bytes:
    """An empty confirmable message: the node answers with RST (RFC 7252, 4.3)."""
    return _empty(CON, mid)


def is_pong(message: bytes, mid: int) -> bool:
    """The answer to ping(mid)."""
    return message == _empty(RST, mid)
