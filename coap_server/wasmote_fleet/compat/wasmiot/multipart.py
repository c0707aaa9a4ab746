"""multipart/form-data (RFC 7578), both ways. Sans-IO, and bounded by the size of what it is given."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from wasmote_fleet.compat.wasmiot.errors import BadBody

MAX_PARTS = 256
MEDIA_TYPE = "multipart/form-data"
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_ITEM = re.compile(r';\s*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_PLAIN = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Part:
    """A field; filename: None unless it is a file. media_type: in lower case, without parameters."""

    name: str
    data: bytes = field(repr=False)
    filename: str | None = None
    media_type: str = ""


def parse(content_type: str, body: bytes) -> list[Part]:
    """The parts, in order, without those of files that nobody chose. Raises BadBody."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise _bad("its Content-Type names no boundary")
    mark = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise _bad("its last boundary is missing")
    if len(pieces) - 2 > MAX_PARTS:
        raise _bad(f"it has more than {MAX_PARTS} parts")
    return [part for piece in pieces[1:-1] if (part := _part(piece)).filename != ""]


def _part(piece: bytes) -> Part:
    line, end, rest = piece.partition(b"\r\n")
    head, blank, data = (b"\r\n" + rest).partition(b"\r\n\r\n")
    if line.strip() or not end or not blank:
        raise _bad("a part has no headers")
    name, filename, media_type = None, None, ""
    for header in head.decode("utf-8", "replace").split("\r\n"):
        key, _, value = header.partition(":")
        if key.strip().lower() == "content-disposition":
            items = {item[1].lower(): _unquoted(item) for item in _ITEM.finditer(value)}
            name, filename = items.get("name"), items.get("filename")
        elif key.strip().lower() == "content-type":
            media_type = value.partition(";")[0].strip().lower()
    if name is None:
        raise _bad("a part has no name")
    return Part(name, data, filename, media_type or ("" if filename is None else _PLAIN))


def _unquoted(item: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", item[2]) if item[2] is not None else item[3]


def _bad(why: str) -> BadBody:
    return BadBody(
        "the body is no multipart/form-data", cause=why, next_step="send it as a form with files is sent"
    )


def encode(parts: Iterable[Part]) -> tuple[str, bytes]:
    """The Content-Type and the body."""
    boundary = secrets.token_hex(16)  # too long to occur in a part by chance
    body = bytearray()
    for part in parts:
        name = _quoted(part.name)
        disposition = f'form-data; name="{name}"'
        if part.filename is not None:
            disposition += f'; filename="{_quoted(part.filename)}"'
        kind = f"Content-Type: {part.media_type}\r\n" if part.media_type else ""
        body += (
            f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{kind}\r\n".encode() + part.data + b"\r\n"
        )
    return f"{MEDIA_TYPE}; boundary={boundary}", bytes(body) + f"--{boundary}--\r\n".encode()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", " ").replace("\n", " ")
