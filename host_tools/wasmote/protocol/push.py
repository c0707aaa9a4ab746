"""Upload one request body over CoAP Block1 (RFC 7959). PushSession is sans-IO: no sockets, clocks, prints.

    session = PushSession(image, tag=random 1 to 8 bytes)
    while (block := session.next_block()) is not None:
        send it with session.tag as Request-Tag, session.size1_bytes as Size1 where block.num == 0
        session.on_reply(block, reply)        # or nothing at all: next_block() gives the same block again
    session.reply                             # the reply to the last block

A session that lost its place at the node (4.08: forgotten, or the node was reset) starts again by itself,
under a new Request-Tag so that the node cannot mix the two.
"""

from __future__ import annotations

from dataclasses import dataclass

from wasmote.protocol.messages import CONTINUE, INCOMPLETE, TOO_LARGE, Reply, code_text

MAX_SZX = 6


@dataclass(frozen=True, slots=True)
class Block1:
    """One block to send."""

    num: int
    more: bool
    szx: int
    payload: bytes

    @property
    def size_bytes(self) -> int:
        return 16 << self.szx


class PushRejected(Exception):
    """The node refused the body. ``reply`` says why."""

    def __init__(self, reply: Reply, detail: str = "") -> None:
        super().__init__(detail or f"refused with {code_text(reply.code)}")
        self.reply = reply


class PushTooLarge(PushRejected):
    """4.13: the body does not fit. ``fits_bytes`` is the reply's Size1, None where it has none."""

    def __init__(self, reply: Reply, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.fits_bytes = reply.size1_bytes
        limit = "" if reply.size1_bytes is None else f", {reply.size1_bytes} would fit"
        super().__init__(reply, f"{size_bytes} bytes are too large for the node{limit}")


class PushSession:
    """The state of one upload. ``block_bytes`` is a power of two from 16 to 1024."""

    def __init__(self, image: bytes, *, tag: bytes, block_bytes: int = 1024, max_restarts: int = 3) -> None:
        if block_bytes not in (16, 32, 64, 128, 256, 512, 1024):
            raise ValueError(f"a block has 16, 32, 64 ... 1024 bytes, not {block_bytes}")
        if not 1 <= len(tag) <= 8:
            raise ValueError("a Request-Tag has 1 to 8 bytes here")
        self.acked_bytes = 0
        self.restarts = 0
        self.reply: Reply | None = None
        self._image = image
        self._tag = tag
        self._szx = block_bytes.bit_length() - 5
        self._max_restarts = max_restarts

    @property
    def size1_bytes(self) -> int:
        return len(self._image)

    @property
    def tag(self) -> bytes:
        """The Request-Tag of the current attempt."""
        count = int.from_bytes(self._tag, "big") + self.restarts
        return (count % (1 << 8 * len(self._tag))).to_bytes(len(self._tag), "big")

    @property
    def block_bytes(self) -> int:
        return 16 << self._szx

    def next_block(self) -> Block1 | None:
        """The first block that the node has not acknowledged; None after the last one's reply."""
        if self.reply is not None:
            return None
        start, size = self.acked_bytes, self.block_bytes
        data = self._image[start : start + size]
        return Block1(start // size, start + size < len(self._image), self._szx, data)

    def on_reply(self, sent: Block1, reply: Reply) -> None:
        """Take the reply to a block. Raises PushTooLarge for 4.13, PushRejected for any other refusal."""
        offset = sent.num * sent.size_bytes
        if self.reply is not None or offset != self.acked_bytes:
            return  # a late reply to a block that has been dealt with
        smaller = reply.block1 is not None and reply.block1.szx < self._szx
        if reply.code == INCOMPLETE and self.restarts < self._max_restarts:
            self.restart()
        elif reply.code == TOO_LARGE and smaller and offset == 0 and sent.more:
            # The node cannot take a block of this size (RFC 7959, 2.9.3); the body may still fit.
            self._follow(reply)
        elif reply.code == TOO_LARGE:
            raise PushTooLarge(reply, len(self._image))
        elif not reply.ok:
            raise PushRejected(reply)
        elif not sent.more:
            if reply.code == CONTINUE:
                raise PushRejected(reply, "the node waits for more after the last block")
            self.acked_bytes += len(sent.payload)
            self.reply = reply
        elif reply.code != CONTINUE:
            raise PushRejected(reply, f"the node ended a transfer early with {code_text(reply.code)}")
        else:
            self.acked_bytes += len(sent.payload)
            self._follow(reply)

    def restart(self) -> None:
        """Begin again from the first byte under a new Request-Tag."""
        self.restarts += 1
        self.acked_bytes = 0
        self.reply = None

    def _follow(self, reply: Reply) -> None:
        # A smaller size holds from the next block on (RFC 7959, 2.3); a larger one is not for the node to ask.
        if reply.block1 is not None:
            self._szx = min(self._szx, reply.block1.szx)
