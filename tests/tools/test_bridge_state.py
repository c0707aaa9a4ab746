"""protocol/bridge.py: clients that choose the same message IDs and tokens, over links that lose and repeat messages."""

from __future__ import annotations

import random
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiocoap import Message
from aiocoap.message import Direction
from aiocoap.numbers.types import Type
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmote.protocol import slipmux
from wasmote.protocol.bridge import ACK, CON, NON, RST, Bridge, ToNode, ToPeer

GET, POST, PUT = 1, 2, 3
SERIAL_H = Path(__file__).parents[2] / "firmware" / "ports" / "common" / "serial.h"


def message(
    kind: int, code: int, mid: int, token: bytes = b"", payload: bytes = b"", **options: object
) -> bytes:
    made = Message(code=code, payload=payload, _mtype=Type(kind), _mid=mid, _token=token)
    for name, value in options.items():
        setattr(made.opt, name, value)
    made.direction = Direction.OUTGOING
    return bytes(made.encode())


def empty(kind: int, mid: int) -> bytes:
    return bytes([0x40 | kind << 4, 0]) + mid.to_bytes(2, "big")


def node_frames(actions: list[ToPeer | ToNode]) -> list[Message]:
    return [Message.decode(action.message) for action in actions if isinstance(action, ToNode)]


def datagrams(actions: list[ToPeer | ToNode]) -> list[tuple[object, Message]]:
    return [
        (action.peer, Message.decode(action.datagram)) for action in actions if isinstance(action, ToPeer)
    ]


def bridge(**settings: object) -> Bridge:
    return Bridge(seed=0x12345678, **{"max_in_flight": 100, "max_in_flight_bytes": 100_000, **settings})  # type: ignore[arg-type]


def ask(state: Bridge, peer: str, data: bytes, now_s: float = 0.0) -> Message:
    """The one frame that a client's datagram leads to."""
    (frame,) = node_frames(state.from_peer(peer, data, now_s))
    return frame


# ---- many clients over lossy links ----


@dataclass
class SimulatedNode:
    """Deduplicates by message ID and bytes, as docs/PROTOCOL.md 2 says, and answers at once or later."""

    rng: random.Random
    ran: list[bytes] = field(default_factory=list)
    seen: dict[tuple[int, bytes], bytes] = field(default_factory=dict)
    unacked: dict[int, bytes] = field(default_factory=dict)
    mid: int = 7

    def take(self, data: bytes) -> list[bytes]:
        got = Message.decode(data)
        if got.mtype in (Type.ACK, Type.RST):
            self.unacked.pop(got.mid, None)
            return []
        known = self.seen.get((got.mid, data))
        if known is not None:
            return [known]
        self.ran.append(bytes(got.payload))
        answer = b"re:" + bytes(got.payload)
        if self.rng.random() < 0.5:
            reply = message(ACK, 0x44, got.mid, got.token, answer)
            out = [reply]
        else:
            reply = empty(ACK, got.mid)
            self.mid = (self.mid + 1) & 0xFFFF
            self.unacked[self.mid] = message(CON, 0x44, self.mid, got.token, answer)
            out = [reply, self.unacked[self.mid]]
        self.seen[got.mid, data] = reply
        return out


@dataclass
class SimulatedClient:
    """Counts message IDs and tokens from 1, like every other; sends its next request when one is answered."""

    name: str
    total: int
    number: int = 1
    answers: list[bytes] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return self.number > self.total

    def request(self) -> bytes:
        payload = f"{self.name}/{self.number}".encode()
        return message(CON, POST, self.number, b"\x01", payload, uri_path=("f", "x"))

    def take(self, data: bytes) -> list[bytes]:
        got = Message.decode(data)
        out = [empty(ACK, got.mid)] if got.mtype == Type.CON else []
        if got.code != 0 and got.payload == f"re:{self.name}/{self.number}".encode():
            assert got.mtype == Type.CON or got.mid == self.number
            self.answers.append(bytes(got.payload))
            self.number += 1
        elif got.code != 0:
            # Only a repeated answer to an earlier request of this very client may come besides.
            assert bytes(got.payload) in self.answers
        assert got.code == 0 or got.token == b"\x01"
        return out


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8),
    st.integers(1, 12),
    st.sampled_from([0.0, 0.1, 0.3]),
    st.integers(1, 6),
    st.integers(0, 2**32),
)
def test_bridge_no_cross_talk_and_nothing_runs_twice(
    clients: int, requests: int, loss: float, in_flight: int, seed: int
) -> None:
    rng = random.Random(seed)
    node = SimulatedNode(rng)
    state = Bridge(seed=seed & 0xFFFFFFFF, max_in_flight=in_flight, slot_timeout_s=0.5)
    peers = {f"c{number}": SimulatedClient(f"c{number}", requests) for number in range(clients)}
    now_s = 0.0
    to_do: list[ToPeer | ToNode] = []
    for _ in range(20_000):
        if all(peer.done for peer in peers.values()):
            break
        now_s += 0.1
        for name, peer in peers.items():
            if not peer.done and rng.random() < 0.4:
                copies = 0 if rng.random() < loss else 2 if rng.random() < loss else 1
                for _ in range(copies):
                    to_do += state.from_peer(name, peer.request(), now_s)
        for frame in list(node.unacked.values()):
            to_do += [] if rng.random() < max(loss, 0.3) else state.from_node(frame, now_s)
        to_do += state.poll(now_s)
        while to_do:
            action = to_do.pop(rng.randrange(len(to_do)) if loss else 0)
            if rng.random() < loss:
                continue
            if isinstance(action, ToNode):
                for frame in node.take(action.message):
                    if rng.random() >= loss:
                        to_do += state.from_node(frame, now_s)
            else:
                name = str(action.peer)
                for datagram in peers[name].take(action.datagram):
                    to_do += state.from_peer(name, datagram, now_s)
    assert all(peer.done for peer in peers.values())
    assert len(node.ran) == len(set(node.ran)) == clients * requests


# ---- single rules ----


def test_bridge_gives_equal_ids_of_two_clients_different_ones() -> None:
    state = bridge()
    a = ask(state, "a", message(CON, GET, 1, b"\x01", uri_path=("d",)))
    b = ask(state, "b", message(CON, GET, 1, b"\x01", uri_path=("d",)))
    assert a.mid != b.mid and a.token != b.token
    assert a.opt.uri_path == ("d",)
    ((peer, got),) = datagrams(state.from_node(message(ACK, 0x45, b.mid, b.token, b"for b"), 0))
    assert (peer, got.mid, got.token, got.payload) == ("b", 1, b"\x01", b"for b")


def test_bridge_repeats_the_same_frame_until_it_is_answered_then_answers_itself() -> None:
    state = bridge()
    request = message(CON, POST, 9, b"t", b"x")
    first = state.from_peer("a", request, 0)
    assert state.from_peer("a", request, 2) == first
    frame = node_frames(first)[0]
    (answer,) = state.from_node(message(ACK, 0x44, frame.mid, frame.token, b"done"), 3)
    assert state.from_peer("a", request, 4) == [answer]
    assert state.stats.repeated == 2 and state.stats.replayed == 1
    # The same message ID with other bytes is another request.
    assert node_frames(state.from_peer("a", message(CON, POST, 9, b"t", b"y"), 5))[0].mid != frame.mid


def test_bridge_forgets_a_message_id_after_its_lifetime() -> None:
    state = bridge()
    request = message(CON, GET, 9, b"t")
    first = ask(state, "a", request, 0)
    assert ask(state, "a", request, 300).mid != first.mid


def test_bridge_an_empty_ack_does_not_hide_the_piggybacked_reply() -> None:
    state = bridge()
    frame = ask(state, "a", message(CON, POST, 9, b"t"))
    state.from_node(message(ACK, 0x44, frame.mid, frame.token, b"done"), 0)
    state.from_node(empty(ACK, frame.mid), 0)
    ((_, again),) = datagrams(state.from_peer("a", message(CON, POST, 9, b"t"), 1))
    assert again.payload == b"done"


def test_bridge_separate_response_is_acknowledged_under_the_nodes_id() -> None:
    state = bridge()
    frame = ask(state, "a", message(CON, POST, 9, b"t"))
    ((_, ack),) = datagrams(state.from_node(empty(ACK, frame.mid), 0))
    assert (ack.mtype, ack.mid, ack.code) == (Type.ACK, 9, 0)
    ((peer, response),) = datagrams(state.from_node(message(CON, 0x44, 500, frame.token, b"late"), 1))
    assert (peer, response.mid, response.token, response.payload) == ("a", 500, b"t", b"late")
    # Another client's acknowledgement of the same number is not this client's.
    assert state.from_peer("b", empty(ACK, 500), 1) == []
    assert state.from_peer("a", empty(ACK, 500), 1) == [ToNode(empty(ACK, 500))]


def test_bridge_observation_lives_until_the_client_resets_it() -> None:
    state = bridge()
    frame = ask(state, "a", message(CON, GET, 1, b"\x01", uri_path=("d", "m"), observe=0))
    state.from_node(message(ACK, 0x45, frame.mid, frame.token, b"0", observe=1), 0)
    for number in range(2, 2000, 400):
        now_s = number * 10.0  # far beyond the lifetime of an exchange
        state.poll(now_s)
        ((peer, got),) = datagrams(
            state.from_node(message(NON, 0x45, number, frame.token, b"n", observe=number), now_s)
        )
        assert (peer, got.token, got.opt.observe) == ("a", b"\x01", number)
    assert state.from_peer("a", empty(RST, number), now_s) == [ToNode(empty(RST, number))]
    # The mapping is gone: the node is told so if it goes on.
    assert state.from_node(message(NON, 0x45, 3000, frame.token, observe=9), now_s) == [
        ToNode(empty(RST, 3000))
    ]


def test_bridge_deregistration_uses_the_observations_token() -> None:
    state = bridge()
    first = ask(state, "a", message(CON, GET, 1, b"o", observe=0))
    state.from_node(message(ACK, 0x45, first.mid, first.token, observe=1), 0)
    assert ask(state, "a", message(CON, GET, 2, b"p")).token != first.token
    last = ask(state, "a", message(CON, GET, 3, b"o", observe=1))
    assert last.token == first.token and last.mid != first.mid
    ((_, got),) = datagrams(state.from_node(message(ACK, 0x45, last.mid, last.token, b"end"), 0))
    assert (got.mid, got.token) == (3, b"o")


def test_bridge_a_reused_token_does_not_get_the_earlier_reply() -> None:
    state = bridge()
    first = ask(state, "a", message(CON, GET, 1, b"\x01", b"", uri_path=("slow",)))
    state.from_node(empty(ACK, first.mid), 0)
    ask(state, "a", message(CON, GET, 2, b"\x01", b"", uri_path=("fast",)))
    assert state.from_node(message(CON, 0x45, 77, first.token, b"slow"), 1) == [ToNode(empty(RST, 77))]


def test_bridge_keeps_uploads_of_two_clients_apart() -> None:
    state = bridge()
    tags = []
    for peer in ("a", "b"):
        frames = [
            ask(
                state,
                peer,
                message(
                    CON, PUT, 10 + number, b"\x01", bytes(64), uri_path=("f", "x"), block1=(number, True, 2)
                ),
            )
            for number in range(3)
        ]
        assert len({frame.opt.request_tag for frame in frames}) == 1
        assert frames[1].opt.block1.block_number == 1 and frames[1].payload == bytes(64)
        tags.append(frames[0].opt.request_tag)
    assert tags[0] != tags[1] and len(tags[0]) == 1
    own = ask(state, "a", message(CON, PUT, 20, b"\x01", request_tag=[b"mine"], block1=(0, True, 2)))
    assert own.opt.request_tag not in tags


def test_bridge_ping_reaches_the_node() -> None:
    state = bridge()
    frame = ask(state, "a", empty(CON, 33))
    assert (frame.mtype, frame.code) == (Type.CON, 0)
    assert state.from_node(empty(RST, frame.mid), 0) == [ToPeer("a", empty(RST, 33))]


def test_bridge_forwards_requests_of_the_node() -> None:
    state = bridge(forward="server")
    request = message(CON, POST, 600, b"nt", b"register", uri_path=("rd",))
    assert state.from_node(request, 0) == [ToPeer("server", request)]
    reply = message(ACK, 0x41, 600, b"nt")
    assert state.from_peer("mallory", reply, 0) == []
    assert state.from_peer("server", reply, 0) == [ToNode(reply)]


def test_bridge_maps_the_servers_separate_response() -> None:
    state = bridge(forward="server")
    state.from_node(message(CON, POST, 600, b"nt", b"register"), 0)
    frame = ask(state, "server", message(CON, 0x41, 5, b"nt"))
    other = ask(state, "a", message(CON, GET, 5, b"nt"))
    assert frame.token == b"nt" and frame.mid != other.mid
    assert state.from_node(empty(ACK, frame.mid), 0) == [ToPeer("server", empty(ACK, 5))]


def test_bridge_without_a_server_resets_the_nodes_requests() -> None:
    state = bridge()
    assert state.from_node(message(CON, POST, 600, b"nt"), 0) == [ToNode(empty(RST, 600))]
    assert state.from_node(message(NON, POST, 601, b"nt"), 0) == []


def test_bridge_paces_frames_and_never_acknowledgements() -> None:
    state = Bridge(seed=1, max_in_flight=2, max_in_flight_bytes=10_000, slot_timeout_s=1.0)
    frames = []
    for number in range(5):
        frames += node_frames(state.from_peer("a", message(CON, GET, number, bytes([number])), 0.0))
    assert len(frames) == 2
    # A message that waits and comes again still goes out once.
    assert state.from_peer("a", message(CON, GET, 4, b"\x04"), 0.0) == []
    actions = state.from_node(message(ACK, 0x45, frames[0].mid, frames[0].token), 0.1)
    frames += node_frames(actions)
    assert len(frames) == 3 and len(datagrams(actions)) == 1
    assert state.next_poll_s(0.4) == pytest.approx(0.6)
    assert state.poll(0.9) == []
    frames += node_frames(state.poll(1.2))
    assert len(frames) == 5
    assert len({frame.mid for frame in frames}) == 5


def test_bridge_paces_by_bytes_but_lets_one_pass() -> None:
    state = Bridge(seed=1, max_in_flight=10, max_in_flight_bytes=1500)
    large = [message(CON, PUT, number, b"", bytes(1024)) for number in range(3)]
    assert len(node_frames(state.from_peer("a", large[0], 0))) == 1
    assert state.from_peer("a", large[1], 0) == []
    huge = Bridge(seed=1, max_in_flight_bytes=100)
    assert len(node_frames(huge.from_peer("a", large[0], 0))) == 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.one_of(st.binary(max_size=1024), st.integers(0, 1024).map(lambda size: b"\xc0" * size)),
        ),
        max_size=60,
    )
)
def test_bridge_never_sends_more_than_the_nodes_ring_holds(requests: list[tuple[int, bytes]]) -> None:
    """Unanswered frames fit the receive ring as they are on the line; a frame that does not fit goes alone."""
    ring_bytes = int(re.findall(r"#define WM_SERIAL_RING_BYTES (\d+)", SERIAL_H.read_text())[0])
    state = Bridge(seed=1)
    unanswered: deque[bytes] = deque()

    def take(actions: list[ToPeer | ToNode]) -> None:
        unanswered.extend(action.message for action in actions if isinstance(action, ToNode))
        line_bytes = sum(len(slipmux.encode(slipmux.COAP, frame)) for frame in unanswered)
        assert len(unanswered) <= 1 or line_bytes <= ring_bytes

    for number, (client, payload) in enumerate(requests):
        take(state.from_peer(client, message(CON, PUT, number, bytes([number]), payload), 0.0))
    answered = 0
    while unanswered:
        frame = Message.decode(unanswered.popleft())
        take(state.from_node(message(ACK, 0x44, frame.mid, frame.token), 0.1))
        answered += 1
    assert answered == len(requests)


def test_bridge_tables_are_bounded() -> None:
    state = Bridge(
        seed=1,
        max_in_flight=10**6,
        max_in_flight_bytes=10**9,
        exchanges=50,
        observations=5,
        max_waiting=10**6,
    )
    for number in range(3000):
        frame = ask(state, f"p{number}", message(CON, GET, 1, b"\x01", observe=0))
        state.from_node(message(ACK, 0x45, frame.mid, frame.token, observe=1), 0)
    tables = state._tables
    sizes = [
        len(table)
        for table in (
            tables.by_client_mid,
            tables.by_serial_mid,
            tables.by_serial_token,
            tables.by_client_token,
            tables.observations,
            tables.node_mids,
            state._in_flight,
        )
    ]
    assert max(sizes) <= 55, sizes


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.binary(max_size=40)), max_size=60))
def test_bridge_takes_any_bytes_from_either_side(traffic: list[tuple[bool, int, bytes]]) -> None:
    state = Bridge(seed=3, forward=0, exchanges=8, observations=2)
    for number, (from_node, peer, data) in enumerate(traffic):
        now_s = number * 0.3
        actions = state.from_node(data, now_s) if from_node else state.from_peer(peer, data, now_s)
        for action in actions + state.poll(now_s):
            assert isinstance(action, ToNode | ToPeer)


@given(st.integers(0, 3), st.integers(0, 255), st.binary(max_size=8), st.binary(max_size=40))
def test_bridge_a_reply_frees_what_its_request_took(kind: int, code: int, token: bytes, rest: bytes) -> None:
    state = Bridge(seed=3, max_in_flight=1)
    # Whatever options and payload look like: judging them is the node's affair.
    data = bytes([0x40 | kind << 4 | len(token), code, 0, 5]) + token + rest
    actions = state.from_peer("a", data, 0)
    if kind in (CON, NON) and 0 < code < 32:
        (frame,) = actions
        assert isinstance(frame, ToNode)
        assert state.from_peer("b", message(CON, GET, 5), 0) == []
        freed = state.from_node(empty(RST, int.from_bytes(frame.message[2:4], "big")), 0)
        assert freed[0] == ToPeer("a", empty(RST, 5)) and len(node_frames(freed)) == 1
