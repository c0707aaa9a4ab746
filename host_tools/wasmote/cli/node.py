"""What the commands that talk to a node share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from wasmote.cli.base import Session
from wasmote.errors import InputError
from wasmote.node import Node, Tuning

T = TypeVar("T")


def tuning(session: Session) -> Tuning:
    """The patience that --ack-timeout and --max-retransmit ask for."""
    plain = Tuning()
    return Tuning(
        ack_timeout_s=plain.ack_timeout_s if session.ack_timeout_s is None else session.ack_timeout_s,
        max_retransmit=plain.max_retransmit if session.max_retransmit is None else session.max_retransmit,
        block_bytes=plain.block_bytes if session.block_bytes is None else session.block_bytes,
    )


def open_node(session: Session) -> Node:
    """The node of this run, not opened yet. Delays and diagnostics become notes."""
    return Node(
        session.target(),
        tuning=tuning(session),
        on_delay=lambda seconds, why: session.output.note(f"{why}: waiting {seconds:g} s"),
        on_silence=session.output.note,
        on_text=lambda text: session.output.note(f"node: {text}"),
    )


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's work."""
    return asyncio.run(work)


def hex_etag(text: str) -> bytes:
    """An ETag as `info` and `push` print it. Raises InputError."""
    try:
        etag = bytes.fromhex(text)
    except ValueError:
        etag = b""
    if not 1 <= len(etag) <= 8:
        raise InputError(
            f"'{text}' is no ETag",
            cause="an ETag is 1 to 8 bytes in hex",
            next_step="`wasmote info NAME` prints the one of what is installed",
        )
    return etag


def time_text(seconds: float) -> str:
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"
