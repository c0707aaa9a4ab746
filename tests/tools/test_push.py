"""protocol/push.py against a receiver that follows RFC 7959 and may forget, shrink its blocks or lose replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote.protocol import messages
from wasmote.protocol.messages import Block, Reply
from wasmote.protocol.push import Block1, PushRejected, PushSession, PushTooLarge


class Receiver:
    """Puts blocks together as a node does."""

    def __init__(self, szx: int = 6) -> None:
        self.szx = szx
        self.bodies: dict[bytes, bytearray] = {}
        self.done: list[bytes] = []

    def take(self, tag: bytes, block: Block1) -> Reply:
        body = self.bodies.setdefault(tag, bytearray())
        offset = block.num * block.size_bytes
        answer = Block(block.num, block.more, min(block.szx, self.szx))
        if offset > len(body):
            return Reply(messages.INCOMPLETE)
        body[offset:] = block.payload
        if block.more:
            return Reply(messages.CONTINUE, block1=answer)
        self.done.append(bytes(body))
        return Reply(messages.CREATED, block1=answer)


def run(
    session: PushSession, receiver: Receiver, lost: list[bool] | None = None, limit: int = 10_000
) -> None:
    """Send everything; lost[i]: the i-th reply does not arrive."""
    losses = iter(lost or [])
    for _ in range(limit):
        block = session.next_block()
        if block is None:
            return
        reply = receiver.take(session.tag, block)
        if not next(losses, False):
            session.on_reply(block, reply)
    raise AssertionError("the session does not end")


@given(
    st.binary(max_size=5000),
    st.sampled_from([16, 64, 256, 1024]),
    st.integers(0, 6),
    st.lists(st.booleans(), max_size=40),
)
def test_push_delivers_any_body_over_lost_replies(
    body: bytes, block: int, szx: int, lost: list[bool]
) -> None:
    session, receiver = PushSession(body, tag=b"tag!", block_bytes=block), Receiver(szx)
    run(session, receiver, lost)
    # A last block whose reply was lost comes twice; the node answers it from memory (docs/PROTOCOL.md, 2).
    assert set(receiver.done) == {body}
    assert session.reply is not None and session.reply.code == messages.CREATED
    assert session.acked_bytes == len(body) and session.restarts == 0


def test_push_follows_a_smaller_block_size_from_the_next_block_on() -> None:
    session = PushSession(bytes(3000), tag=b"t", block_bytes=1024)
    first = session.next_block()
    assert first is not None and (first.num, first.more, first.szx, len(first.payload)) == (0, True, 6, 1024)
    session.on_reply(first, Reply(messages.CONTINUE, block1=Block(0, True, 2)))
    second = session.next_block()
    assert second is not None and (second.num, second.szx, len(second.payload)) == (16, 2, 64)


def test_push_repeats_the_unanswered_block_and_ignores_a_late_reply() -> None:
    session = PushSession(bytes(range(200)), tag=b"t", block_bytes=64)
    first = session.next_block()
    assert first is not None and session.next_block() == first
    session.on_reply(first, Reply(messages.CONTINUE))
    second = session.next_block()
    session.on_reply(first, Reply(messages.CONTINUE))
    assert session.next_block() == second and session.acked_bytes == 64


def test_push_starts_again_under_another_tag_when_the_node_forgot() -> None:
    body = bytes(range(256)) * 2
    session, receiver = PushSession(body, tag=b"\xff\xff", block_bytes=128), Receiver()
    for _ in range(2):
        block = session.next_block()
        assert block is not None
        session.on_reply(block, receiver.take(session.tag, block))
    receiver.bodies.clear()
    tag = session.tag
    run(session, receiver)
    assert receiver.done == [body]
    assert session.restarts == 1 and session.tag != tag


def test_push_gives_up_after_a_few_restarts() -> None:
    session = PushSession(bytes(100), tag=b"t", block_bytes=64, max_restarts=2)
    with pytest.raises(PushRejected) as caught:
        while (block := session.next_block()) is not None:
            session.on_reply(block, Reply(messages.INCOMPLETE))
    assert caught.value.reply.code == messages.INCOMPLETE and session.restarts == 2


def test_push_too_large_names_what_fits() -> None:
    session = PushSession(bytes(70_000), tag=b"t")
    block = session.next_block()
    assert block is not None
    with pytest.raises(PushTooLarge) as caught:
        session.on_reply(block, Reply(messages.TOO_LARGE, size1_bytes=65536))
    assert caught.value.fits_bytes == 65536
    assert "70000" in str(caught.value) and "65536" in str(caught.value)


def test_push_tries_smaller_blocks_where_413_asks_for_them() -> None:
    session = PushSession(bytes(2000), tag=b"t", block_bytes=1024)
    block = session.next_block()
    assert block is not None
    session.on_reply(block, Reply(messages.TOO_LARGE, block1=Block(0, True, 3)))
    again = session.next_block()
    assert again is not None and (again.num, again.szx) == (0, 3)


@pytest.mark.parametrize("code", [messages.PRECONDITION_FAILED, messages.UNPROCESSABLE, messages.CHANGED])
def test_push_refused_in_the_middle(code: int) -> None:
    session = PushSession(bytes(2000), tag=b"t")
    block = session.next_block()
    assert block is not None
    with pytest.raises(PushRejected):
        session.on_reply(block, Reply(code))


def test_push_sends_an_empty_body_as_one_block() -> None:
    session = PushSession(b"", tag=b"t")
    block = session.next_block()
    assert block == Block1(0, False, 6, b"")
    session.on_reply(block, Reply(messages.CHANGED))
    assert session.next_block() is None


@pytest.mark.parametrize(("tag", "size"), [(b"", 64), (b"123456789", 64), (b"t", 100), (b"t", 2048)])
def test_push_refuses_wrong_parameters(tag: bytes, size: int) -> None:
    with pytest.raises(ValueError):
        PushSession(b"", tag=tag, block_bytes=size)
