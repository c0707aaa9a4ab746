"""What the tools ask of a node and hear from it, apart from any CoAP library."""

from __future__ import annotations

from dataclasses import dataclass

GET, POST, PUT, DELETE, FETCH = 1, 2, 3, 4, 5

CREATED, DELETED, VALID, CHANGED, CONTENT, CONTINUE = 0x41, 0x42, 0x43, 0x44, 0x45, 0x5F
BAD_REQUEST = 0x80
UNAUTHORIZED = 0x81
BAD_OPTION = 0x82
FORBIDDEN = 0x83
NOT_FOUND = 0x84
METHOD_NOT_ALLOWED = 0x85
NOT_ACCEPTABLE = 0x86
INCOMPLETE = 0x88
CONFLICT = 0x89
PRECONDITION_FAILED = 0x8C
TOO_LARGE = 0x8D
UNSUPPORTED_FORMAT = 0x8F
UNPROCESSABLE = 0x96
TOO_MANY_REQUESTS = 0x9D
SERVER_ERROR = 0xA0
UNAVAILABLE = 0xA3

FORMAT_LINKS = 40
FORMAT_BYTES = 42
FORMAT_CBOR = 60
FORMAT_SENML_CBOR = 112
FORMAT_PROBLEM = 257

METHOD_NAMES = {GET: "GET", POST: "POST", PUT: "PUT", DELETE: "DELETE", FETCH: "FETCH"}


def code_text(code: int) -> str:
    """A response code as RFC 7252 writes it: 0x84 is ``4.04``."""
    return f"{code >> 5}.{code & 31:02}"


@dataclass(frozen=True, slots=True)
class Block:
    """A Block1 or Block2 option: number, more to come, size 16 << szx bytes (szx 0 to 6)."""

    num: int
    more: bool
    szx: int

    @property
    def size_bytes(self) -> int:
        return 16 << self.szx

    @property
    def offset_bytes(self) -> int:
        return self.num * self.size_bytes


@dataclass(frozen=True, slots=True)
class Request:
    """One request, before it is cut into blocks."""

    method: int
    path: tuple[str, ...]
    payload: bytes = b""
    query: tuple[str, ...] = ()
    content_format: int | None = None
    accept: int | None = None
    if_match: tuple[bytes, ...] = ()
    if_none_match: bool = False

    @property
    def text(self) -> str:
        """Method and path for a message to a person."""
        query = "?" + "&".join(self.query) if self.query else ""
        return f"{METHOD_NAMES.get(self.method, self.method)} /{'/'.join(self.path)}{query}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. ``code`` is the code byte: 0x45 is 2.05. Options that are absent are None."""

    code: int
    payload: bytes = b""
    content_format: int | None = None
    etag: bytes | None = None
    max_age_s: int | None = None
    size1_bytes: int | None = None
    size2_bytes: int | None = None
    block1: Block | None = None
    block2: Block | None = None
    observe: int | None = None

    @property
    def ok(self) -> bool:
        """A 2.xx code."""
        return self.code >> 5 == 2

    @property
    def code_text(self) -> str:
        return code_text(self.code)
