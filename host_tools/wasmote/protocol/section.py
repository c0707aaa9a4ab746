"""The `wasmote` section of a module: what a function is called and what it needs (docs/PROTOCOL.md, 5)."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

import cbor2

from wasmote.errors import InputError
from wasmote.protocol.module import PAGE_BYTES, Module, with_custom_first

SECTION_NAME = "wasmote"
ABI_VERSION = 1
NAME_MAX_BYTES = 31
NAME_PATTERN = rf"[A-Za-z0-9_-][A-Za-z0-9_.-]{{0,{NAME_MAX_BYTES - 1}}}"

_TEXT_KEYS = {1: "name", 2: "version", 3: "default"}
_UINT_KEYS = {4: "abi", 5: "heap", 6: "stack", 7: "fuel", 8: "output", 12: "log", 13: "native"}
_LIST_KEYS = {9: "permissions", 10: "pure", 11: "idempotent"}


class SectionError(InputError):
    """The bytes are no `wasmote` section."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            "the module's `wasmote` section is wrong",
            cause=cause,
            next_step="compile the app again with `wasmote compile`",
        )


@dataclass(frozen=True)
class Section:
    """None or empty: not given, so that the node's default holds.

    heap: bytes of memory beyond __heap_base; stack: bytes of wasm stack; fuel: loop turns and calls, for each call from
    outside; output: bytes of a reply; log: log lines a second; native: bytes of the node's C stack.
    """

    name: str | None = None
    version: str | None = None
    default: str | None = None
    abi: int | None = None
    heap: int | None = None
    stack: int | None = None
    fuel: int | None = None
    output: int | None = None
    log: int | None = None
    native: int | None = None
    permissions: tuple[str, ...] = ()
    pure: tuple[str, ...] = ()
    idempotent: tuple[str, ...] = ()


def is_function_name(name: str) -> bool:
    """1 to 31 bytes of a-z A-Z 0-9 _ - . and no dot in front."""
    return re.fullmatch(NAME_PATTERN, name) is not None


def encode_section(section: Section) -> bytes:
    """The section's content, in deterministic encoding (RFC 8949, 4.2.1), so that equal sections are equal bytes."""
    items: dict[int, Any] = {}
    for key, attribute in (_TEXT_KEYS | _UINT_KEYS).items():
        value = getattr(section, attribute)
        if value is not None:
            items[key] = value
    for key, attribute in _LIST_KEYS.items():
        if values := getattr(section, attribute):
            items[key] = list(values)
    return cbor2.dumps(items, canonical=True)


def decode_section(content: bytes) -> Section:
    """The section in these bytes. Unknown keys are ignored. Raises SectionError."""
    stream = io.BytesIO(content)
    try:
        raw = cbor2.CBORDecoder(stream, read_size=1).decode()
    except (cbor2.CBORDecodeError, ValueError, RecursionError, OverflowError, MemoryError) as err:
        raise SectionError(f"no CBOR: {err}") from None
    if stream.tell() != len(content):
        raise SectionError("bytes behind the CBOR map")
    if not isinstance(raw, dict):
        raise SectionError("no CBOR map")
    found: dict[str, Any] = {}
    for key, attribute in _TEXT_KEYS.items():
        if key in raw:
            if not isinstance(raw[key], str):
                raise SectionError(f"{attribute} (key {key}) is no text")
            found[attribute] = raw[key]
    for key, attribute in _UINT_KEYS.items():
        if key in raw:
            value = raw[key]
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
                raise SectionError(f"{attribute} (key {key}) is no unsigned 32-bit number")
            found[attribute] = value
    for key, attribute in _LIST_KEYS.items():
        if key in raw:
            values = raw[key]
            if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
                raise SectionError(f"{attribute} (key {key}) is no array of texts")
            found[attribute] = tuple(values)
    return Section(**found)


def section_of(module: Module) -> Section | None:
    """The section of a module; None if it has none. Raises SectionError."""
    content = module.custom(SECTION_NAME)
    return None if content is None else decode_section(content)


def with_section(data: bytes, section: Section) -> bytes:
    """The module with this section first, in the place of one that it has. Raises ModuleError."""
    return with_custom_first(data, SECTION_NAME, encode_section(section))


def memory_bytes(module: Module, section: Section | None) -> int:
    """What the instance's memory really has (docs/PROTOCOL.md, 5); 0 without a memory."""
    if not module.memories:
        return 0
    declared = module.memories[0].min_pages * PAGE_BYTES
    if section is None or section.heap is None or module.heap_base is None:
        return declared
    return min(declared, (module.heap_base + section.heap + 15) // 16 * 16)


def default_export(module: Module, section: Section | None, function_name: str) -> str | None:
    """The export that a call without a name means (docs/PROTOCOL.md, 3.5); None where that is ambiguous."""
    names = list(module.function_exports())
    if section is not None and section.default is not None:
        return section.default
    if len(names) == 1:
        return names[0]
    return next((name for name in ("main", "run", function_name) if name in names), None)
