"""Changes modules so that they can be run and looked at: imports become functions that do nothing, and globals can be
read by calls. Function bodies are left as they are."""

from __future__ import annotations

from collections.abc import Callable

from generate import section, signature, u, vec

from wasmote.protocol.module import Module, parse_module

_CODES = {"i32": 0x7F, "i64": 0x7E, "f32": 0x7D, "f64": 0x7C}
_TYPE, _IMPORT, _FUNCTION, _EXPORT, _CODE = 1, 2, 3, 7, 10
_ORDER = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11)
_EMPTY_BODY = b"\x02\x00\x0b"


def _contents(module: Module) -> dict[int, bytes]:
    """Section id -> content; custom sections are left out."""
    return {span.id: module.data[span.content : span.end] for span in module.sections if span.id != 0}


def _joined(contents: dict[int, bytes]) -> bytes:
    return b"\0asm\1\0\0\0" + b"".join(section(n, contents[n]) for n in _ORDER if n in contents)


def _count(content: bytes) -> tuple[int, bytes]:
    """The number at the start of a vector, and its items."""
    value = shift = at = 0
    while True:
        value |= (content[at] & 0x7F) << shift
        shift += 7
        at += 1
        if content[at - 1] < 0x80:
            return value, content[at:]


def _longer(content: bytes, change: Callable[[bytes], bytes], more: int) -> bytes:
    count, items = _count(content)
    return u(count + more) + change(items)


def with_stubs(data: bytes) -> bytes:
    """Imported functions, all without results, become functions of the module that do nothing. Their indexes stay.
    Raises ValueError for other imports."""
    module = parse_module(data)
    if not module.imports:
        return data
    types = [found.type_index for found in module.imports if found.kind == "func"]
    if len(types) != len(module.imports) or any(module.types[i or 0].results for i in types):
        raise ValueError("it imports something else than functions without results")
    contents = _contents(module)
    del contents[_IMPORT]
    declared = b"".join(u(i or 0) for i in types)
    contents[_FUNCTION] = _longer(contents.get(_FUNCTION, b"\0"), lambda items: declared + items, len(types))
    bodies = _EMPTY_BODY * len(types)
    contents[_CODE] = _longer(contents.get(_CODE, b"\0"), lambda items: bodies + items, len(types))
    return _joined(contents)


def with_getters(data: bytes, prefix: str = "get ") -> bytes:
    """Each global gets a function that gives its value, exported as prefix and its number."""
    module = parse_module(data)
    if not module.globals:
        return data
    contents = _contents(module)
    n, types, functions = len(module.globals), len(module.types), len(module.functions)
    kinds = [_CODES[found.type] for found in module.globals]
    more = {
        _TYPE: [signature((), (kind,)) for kind in kinds],
        _FUNCTION: [u(types + i) for i in range(n)],
        _EXPORT: [_named(f"{prefix}{i}") + b"\0" + u(functions + i) for i in range(n)],
        _CODE: [_body(b"\0\x23" + u(i) + b"\x0b") for i in range(n)],
    }
    for number, items in more.items():
        added = b"".join(items)
        contents[number] = _longer(
            contents.get(number, vec([])), lambda old, added=added: old + added, len(items)
        )
    return _joined(contents)


def _named(name: str) -> bytes:
    return u(len(name)) + name.encode()


def _body(code: bytes) -> bytes:
    return u(len(code)) + code
