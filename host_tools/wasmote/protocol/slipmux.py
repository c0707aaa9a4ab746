"""slipmux frames on a serial line (docs/PROTOCOL.md, 1). Pure: bytes in, bytes out.

A frame is ``END escaped(first byte, content[, FCS]) END``. Two kinds are known: COAP carries a CoAP message
and RFC 1662's FCS-16, TEXT carries diagnostics for a person.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

END = 0xC0
ESC = 0xDB
ESC_END = 0xDC
ESC_ESC = 0xDD

COAP = 0xA9
TEXT = 0x0A

# The node's largest message, doubled: a decoder for tools can afford to be generous.
MAX_FRAME_BYTES = 4096


def _fcs_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ 0x8408 if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


_TABLE = _fcs_table()


def fcs16(data: bytes, fcs: int = 0xFFFF) -> int:
    """One or more steps of RFC 1662's FCS-16. Start with FFFF; complement the last value to send it."""
    for byte in data:
        fcs = (fcs >> 8) ^ _TABLE[(fcs ^ byte) & 0xFF]
    return fcs


def encode(kind: int, content: bytes) -> bytes:
    """One frame with its delimiters. COAP content gets its FCS."""
    body = bytes([kind]) + content
    if kind == COAP:
        body += (fcs16(body) ^ 0xFFFF).to_bytes(2, "little")
    # ESC first, or the escapes of END would be escaped again.
    escaped = body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
    return b"\xc0" + escaped + b"\xc0"


@dataclass(frozen=True, slots=True)
class Frame:
    """A good frame: its first byte and what follows, without the FCS."""

    kind: int
    content: bytes

    @property
    def text(self) -> str:
        """The content as text for a person; bytes that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", errors="replace")


class Decoder:
    """Takes bytes in any portions and gives the good frames. Bad ones are dropped whole and counted."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self.dropped = 0
        self._max = max_frame_bytes
        self._body = bytearray()
        self._escaped = False
        self._broken = False

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that end within data, in order. Consume the iterator to the end before the next feed."""
        for byte in data:
            if byte == END:
                frame = self._end()
                if frame is not None:
                    yield frame
            elif self._broken:
                continue
            elif self._escaped:
                self._escaped = False
                if byte == ESC_END:
                    self._put(END)
                elif byte == ESC_ESC:
                    self._put(ESC)
                else:
                    self._broken = True
            elif byte == ESC:
                self._escaped = True
            else:
                self._put(byte)

    def _put(self, byte: int) -> None:
        if len(self._body) == self._max:
            self._broken = True
        else:
            self._body.append(byte)

    def _end(self) -> Frame | None:
        body, broken = bytes(self._body), self._broken or self._escaped
        self._body.clear()
        self._escaped = self._broken = False
        if not body and not broken:
            return None
        if not broken and body[0] == TEXT:
            return Frame(TEXT, body[1:])
        # Over the content and its own FCS the register ends at a constant (RFC 1662, C.2).
        if not broken and body[0] == COAP and len(body) >= 3 and fcs16(body) == 0xF0B8:
            return Frame(COAP, body[1:-2])
        self.dropped += 1
        return None
