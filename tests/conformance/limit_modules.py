"""For each limit of the validator, modules of any number of what it counts: on both sides of any node's limit."""

from __future__ import annotations

from collections.abc import Callable

from generate import section, u, vec

HEAD = b"\0asm\1\0\0\0"
EMPTY_TYPE = b"\x60\0\0"
I32 = b"\x7f"


def _code(body: bytes, locals_: int = 0) -> bytes:
    groups = vec([u(locals_) + I32]) if locals_ else b"\0"
    return section(10, vec([u(len(groups + body) + 1) + groups + body + b"\x0b"]))


def _module(*, type_: bytes = EMPTY_TYPE, between: bytes = b"", code: bytes | None = None) -> bytes:
    return HEAD + section(1, vec([type_])) + section(3, vec([b"\0"])) + between + (code or _code(b""))


def _exports(names: list[bytes]) -> bytes:
    return _module(between=section(7, vec([u(len(name)) + name + b"\0\0" for name in names])))


def _functions(n: int) -> bytes:
    return (
        HEAD
        + section(1, vec([EMPTY_TYPE]))
        + section(3, vec([b"\0"] * n))
        + section(10, vec([b"\2\0\x0b"] * n))
    )


def _segments(n: int) -> bytes:
    return HEAD + section(5, b"\1\0\1") + section(11, vec([b"\0\x41\0\x0b\0"] * n))


def _table(n: int) -> bytes:
    at = n - 1
    offset = (
        bytes(at >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)) + b"\0"
    )  # five bytes: never negative
    return _module(
        between=section(4, b"\1\x70\0" + u(n))
        + section(9, vec([b"\0\x41" + offset + b"\x0b" + vec([b"\0"])]))
    )


# Key in `/d` -> a module of n of these. n is the most that a node with this limit accepts.
MODULES: dict[str, Callable[[int], bytes]] = {
    "types": lambda n: HEAD + section(1, vec([EMPTY_TYPE] * n)),
    "functions": _functions,
    "globals": lambda n: HEAD + section(6, vec([I32 + b"\0\x41\0\x0b"] * n)),
    "exports": lambda n: _exports([f"e{i}".encode() for i in range(n)]),
    "segments": _segments,
    "name": lambda n: _exports([b"n" * n]),
    "table": _table,
    "params": lambda n: HEAD + section(1, vec([b"\x60" + vec([I32] * n) + b"\0"])),
    "results": lambda n: HEAD + section(1, vec([b"\x60\0" + vec([I32] * n)])),
    "locals": lambda n: _module(code=_code(b"", n)),
    "nesting": lambda n: _module(code=_code(b"\x02\x40" * (n - 1) + b"\x0b" * (n - 1))),
    "br_table": lambda n: _module(code=_code(b"\x41\0\x0e" + u(n) + b"\0" * (n + 1))),
    "code": lambda n: _module(code=_code(b"\x01" * (n - 2))),
}


def operands(n: int) -> bytes:
    """n operands at once: what `height` and `constants` bound together."""
    return _module(code=_code(b"\x41\0" * n + b"\x1a" * n))
