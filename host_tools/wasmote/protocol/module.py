"""Reads a WebAssembly binary: sections, types, imports, exports, globals, names; and puts a custom section first.

A reader, not a validator: function bodies are not looked at (the node validates them). Every read is bounded by the
section it is in, every count by the bytes that are there, so any input ends in a Module or a ModuleError.
Source: WebAssembly Core Specification, 5 (binary format) and 7.4.1 (name section).
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from wasmote.errors import InputError
from wasmote.protocol.values import signature_text

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"
PAGE_BYTES = 65536

Kind = Literal["func", "table", "memory", "global", "tag"]
_KINDS: tuple[Kind, ...] = ("func", "table", "memory", "global", "tag")
_VALTYPES = {
    0x7F: "i32",
    0x7E: "i64",
    0x7D: "f32",
    0x7C: "f64",
    0x7B: "v128",
    0x70: "funcref",
    0x6F: "externref",
}
# Section ids in the order that the specification asks for (12, data count, comes before code; 13, tags, after memory).
_ORDER = (1, 2, 3, 4, 5, 13, 6, 7, 8, 9, 12, 10, 11)

T = TypeVar("T")


class ModuleError(InputError):
    """The bytes are no WebAssembly module. offset: where it shows, in bytes."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(
            "not a WebAssembly module",
            cause=f"{what} (at byte {offset})",
            next_step="check the file with `wasm-validate`, or compile it again",
        )
        self.offset = offset


@dataclass(frozen=True)
class FuncType:
    params: tuple[str, ...]
    results: tuple[str, ...]

    @property
    def is_bytes(self) -> bool:
        """() -> () or () -> i32: such an export reads and writes streams (docs/PROTOCOL.md, 4)."""
        return not self.params and self.results in ((), ("i32",))

    def __str__(self) -> str:
        return signature_text(self.params, self.results)


@dataclass(frozen=True)
class SectionSpan:
    """start: of the section's id byte; content: of what follows its size; end: behind it. name: of a custom one."""

    id: int
    start: int
    content: int
    end: int
    name: str = ""


@dataclass(frozen=True)
class Import:
    """type_index: for functions, else None."""

    module: str
    name: str
    kind: Kind
    type_index: int | None = None


@dataclass(frozen=True)
class Export:
    """index: in the export section; item: in the index space of its kind (imports first)."""

    index: int
    name: str
    kind: Kind
    item: int


@dataclass(frozen=True)
class Global:
    """value: of a constant initializer; None for an imported one or another expression."""

    type: str
    mutable: bool
    value: int | float | None = None


@dataclass(frozen=True)
class Memory:
    """Pages of 64 KiB; max_pages None: not declared."""

    min_pages: int
    max_pages: int | None


@dataclass(frozen=True)
class Module:
    """What a module declares. Function, global and memory lists are index spaces: imports come first."""

    data: bytes
    sections: tuple[SectionSpan, ...]
    types: tuple[FuncType, ...] = ()
    imports: tuple[Import, ...] = ()
    functions: tuple[int, ...] = ()
    globals: tuple[Global, ...] = ()
    memories: tuple[Memory, ...] = ()
    exports: tuple[Export, ...] = ()
    start: int | None = None
    function_names: dict[int, str] = field(default_factory=dict)

    def signature(self, function: int) -> FuncType:
        """The type of a function by its index."""
        return self.types[self.functions[function]]

    def export(self, name: str) -> Export | None:
        """The export of this name."""
        return next((export for export in self.exports if export.name == name), None)

    def function_exports(self) -> dict[str, FuncType]:
        """name -> type of every exported function, in the order of the export section."""
        return {export.name: self.signature(export.item) for export in self.exports if export.kind == "func"}

    def custom(self, name: str) -> bytes | None:
        """The content of the first custom section of this name, without its name."""
        for span in self.sections:
            if span.id == 0 and span.name == name:
                reader = _Reader(self.data, span.content, span.end)
                reader.name("section name")
                return self.data[reader.at : span.end]
        return None

    @property
    def heap_base(self) -> int | None:
        """The value of the exported immutable i32 global `__heap_base`: where the heap may begin."""
        export = self.export("__heap_base")
        if export is None or export.kind != "global":
            return None
        found = self.globals[export.item]
        if found.type != "i32" or found.mutable or not isinstance(found.value, int):
            return None
        return found.value & 0xFFFFFFFF


class _Reader:
    """A cursor over data[at:end]."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def byte(self, what: str) -> int:
        if self.at >= self.end:
            raise ModuleError(f"it ends inside {what}", self.at)
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int, what: str) -> bytes:
        if count > self.end - self.at:
            raise ModuleError(f"it ends inside {what}", self.at)
        self.at += count
        return self.data[self.at - count : self.at]

    def unsigned(self, what: str, bits: int = 32) -> int:
        """LEB128, at most bits wide."""
        start, value, shift = self.at, 0, 0
        while True:
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift >= bits:
                raise ModuleError(f"{what} is a number too long", start)
        if value >> bits:
            raise ModuleError(f"{what} is a number too large", start)
        return value

    def signed(self, what: str, bits: int) -> int:
        start, value, shift = self.at, 0, 0
        while True:
            byte = self.byte(what)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
            if shift >= bits:
                raise ModuleError(f"{what} is a number too long", start)
        if byte & 0x40:
            value -= 1 << shift
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise ModuleError(f"{what} is a number too large", start)
        return value

    def name(self, what: str) -> str:
        start = self.at
        raw = self.take(self.unsigned(f"the length of {what}"), what)
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise ModuleError(f"{what} is not UTF-8", start) from None

    def vector(self, item: Callable[[], T], what: str) -> tuple[T, ...]:
        start, count = self.at, self.unsigned(f"the number of {what}")
        # An item takes a byte at least, so a count beyond the bytes is wrong before anything is read.
        if count > self.end - self.at:
            raise ModuleError(f"{count} {what} do not fit into their section", start)
        return tuple(item() for _ in range(count))

    def valtype(self) -> str:
        at, code = self.at, self.byte("a value type")
        if code not in _VALTYPES:
            raise ModuleError(f"0x{code:02x} is no value type", at)
        return _VALTYPES[code]

    def limits(self) -> Memory:
        at, flags = self.at, self.byte("limits")
        if flags > 7:
            raise ModuleError("unknown limits", at)
        bits = 64 if flags & 4 else 32
        low = self.unsigned("limits", bits)
        return Memory(low, self.unsigned("limits", bits) if flags & 1 else None)

    def function_type(self) -> FuncType:
        at = self.at
        if self.byte("a type") != 0x60:
            raise ModuleError("a type that is no function type", at)
        return FuncType(self.vector(self.valtype, "parameters"), self.vector(self.valtype, "results"))

    def kind(self) -> Kind:
        at, code = self.at, self.byte("an external kind")
        if code >= len(_KINDS):
            raise ModuleError("unknown external kind", at)
        return _KINDS[code]

    def global_type(self) -> Global:
        kind, at = self.valtype(), self.at
        mutable = self.byte("a global")
        if mutable > 1:
            raise ModuleError("a global's mutability is neither 0 nor 1", at)
        return Global(kind, mutable == 1)

    def one_global(self) -> Global:
        kind = self.global_type()
        return Global(kind.type, kind.mutable, self.constant())

    def name_map(self) -> dict[int, str]:
        return dict(self.vector(lambda: (self.unsigned("an index"), self.name("a name")), "names"))

    def constant(self) -> int | float | None:
        """A constant expression; its value if it is a single constant."""
        value: int | float | None = None
        count = 0
        while True:
            at, op = self.at, self.byte("a constant expression")
            if op == 0x0B:
                return value if count == 1 else None
            count += 1
            if op == 0x41:
                value = self.signed("i32.const", 32)
            elif op == 0x42:
                value = self.signed("i64.const", 64)
            elif op == 0x43:
                value = float(struct.unpack("<f", self.take(4, "f32.const"))[0])
            elif op == 0x44:
                value = float(struct.unpack("<d", self.take(8, "f64.const"))[0])
            elif op in (0x23, 0xD2):
                self.unsigned("an index")
                value = None
            elif op == 0xD0:
                self.signed("a heap type", 33)
                value = None
            elif op in (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E):
                value = None
            else:
                raise ModuleError(f"0x{op:02x} in a constant expression", at)


def parse_module(data: bytes) -> Module:
    """The module in data. Raises ModuleError."""
    if data[:4] != MAGIC:
        raise ModuleError("it does not start with \\0asm", 0)
    if data[4:8] != VERSION:
        raise ModuleError(f"binary format version {data[4:8].hex()} is not 1", 4)
    spans: list[SectionSpan] = []
    reader = _Reader(data, 8, len(data))
    rank = -1
    while reader.at < len(data):
        start = reader.at
        section = reader.byte("a section")
        size = reader.unsigned("the size of a section")
        content = reader.at
        reader.take(size, f"section {section}")
        name = ""
        if section == 0:
            name = _Reader(data, content, reader.at).name("the name of a custom section")
        elif section not in _ORDER:
            raise ModuleError(f"unknown section {section}", start)
        elif _ORDER.index(section) <= rank:
            raise ModuleError(f"section {section} is out of order", start)
        else:
            rank = _ORDER.index(section)
        spans.append(SectionSpan(section, start, content, reader.at, name))
    return _read_sections(data, tuple(spans))


class _Sections:
    """Collects what the sections of one module say."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.types: tuple[FuncType, ...] = ()
        self.imports: tuple[Import, ...] = ()
        self.functions: list[int] = []
        self.globals: list[Global] = []
        self.memories: list[Memory] = []
        self.exports: tuple[Export, ...] = ()
        self.start: int | None = None
        self.names: dict[int, str] = {}
        self.declared = self.bodies = 0

    def read(self, span: SectionSpan) -> None:
        reader = _Reader(self.data, span.content, span.end)
        if span.id == 1:
            self.types = reader.vector(reader.function_type, "types")
        elif span.id == 2:
            self.imports = reader.vector(lambda: self._import(reader), "imports")
        elif span.id == 3:
            own = reader.vector(lambda: self._type_index(reader), "functions")
            self.declared = len(own)
            self.functions.extend(own)
        elif span.id == 5:
            self.memories.extend(reader.vector(reader.limits, "memories"))
        elif span.id == 6:
            self.globals.extend(reader.vector(reader.one_global, "globals"))
        elif span.id == 7:
            self.exports = _exports(reader)
        elif span.id == 8:
            self.start = reader.unsigned("the start function")
        else:
            if span.id == 10:
                self.bodies = reader.unsigned("the number of function bodies")
            elif span.id == 0 and span.name == "name":
                self.names = _function_names(reader)
            return
        if reader.at != span.end:
            raise ModuleError(f"section {span.id} has {span.end - reader.at} bytes too many", reader.at)

    def _type_index(self, reader: _Reader) -> int:
        at, index = reader.at, reader.unsigned("a type index")
        if index >= len(self.types):
            raise ModuleError(f"type {index} does not exist", at)
        return index

    def _import(self, reader: _Reader) -> Import:
        module, name, kind = reader.name("an import"), reader.name("an import"), reader.kind()
        if kind == "func":
            index = self._type_index(reader)
            self.functions.append(index)
            return Import(module, name, kind, index)
        if kind == "table":
            reader.byte("a table type")
            reader.limits()
        elif kind == "memory":
            self.memories.append(reader.limits())
        elif kind == "global":
            self.globals.append(reader.global_type())
        else:
            reader.byte("a tag")
            reader.unsigned("a tag")
        return Import(module, name, kind)


def _read_sections(data: bytes, spans: tuple[SectionSpan, ...]) -> Module:
    found = _Sections(data)
    for span in spans:
        found.read(span)
    if found.bodies != found.declared:
        raise ModuleError(f"{found.declared} functions but {found.bodies} bodies", len(data))
    spaces = {"func": len(found.functions), "memory": len(found.memories), "global": len(found.globals)}
    for export in found.exports:
        # Tables and tags are not counted here; nobody calls them.
        if export.kind in spaces and export.item >= spaces[export.kind]:
            raise ModuleError(
                f"export '{export.name}' is {export.kind} {export.item}, which does not exist", len(data)
            )
    if found.start is not None and found.start >= len(found.functions):
        raise ModuleError(f"the start function {found.start} does not exist", len(data))
    return Module(
        data,
        spans,
        found.types,
        found.imports,
        tuple(found.functions),
        tuple(found.globals),
        tuple(found.memories),
        found.exports,
        found.start,
        found.names,
    )


def _exports(reader: _Reader) -> tuple[Export, ...]:
    raw = reader.vector(
        lambda: (reader.name("an export"), reader.kind(), reader.unsigned("an export's index")), "exports"
    )
    if len({name for name, _kind, _item in raw}) != len(raw):
        raise ModuleError("two exports of one name", reader.at)
    return tuple(Export(index, *entry) for index, entry in enumerate(raw))


def _function_names(reader: _Reader) -> dict[int, str]:
    """Subsection 1 of the name section. A damaged name section is as good as none: it is only for people."""
    try:
        reader.name("section name")
        while reader.at < reader.end:
            kind, size = reader.byte("names"), reader.unsigned("names")
            start = reader.at
            reader.take(size, "names")
            if kind == 1:
                return _Reader(reader.data, start, reader.at).name_map()
    except ModuleError:
        pass
    return {}


def function_name(data: bytes, function: int) -> str | None:
    """What the source calls a function: by the name section, else by its first export. Works on any bytes, also on a
    module that is refused: what cannot be read gives no name."""
    names: dict[int, str] = {}
    exported: dict[int, str] = {}
    reader = _Reader(data, 8, len(data))
    try:
        while reader.at < len(data):
            section, size = reader.byte("a section"), reader.unsigned("the size of a section")
            inside = _Reader(data, reader.at, reader.at + size)
            reader.take(size, "a section")
            with contextlib.suppress(ModuleError):
                if section == 0 and _Reader(data, inside.at, inside.end).name("a name") == "name":
                    names = names or _function_names(inside)
                elif section == 7:
                    for export in _exports(inside):
                        if export.kind == "func":
                            exported.setdefault(export.item, export.name)
    except ModuleError:
        pass  # cut off: what came before counts
    return names.get(function) or exported.get(function)


def encode_unsigned(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if not value:
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def with_custom_first(data: bytes, name: str, content: bytes) -> bytes:
    """The module with this custom section in front of all others, in the place of any of the same name.
    Raises ModuleError."""
    module = parse_module(data)
    raw_name = name.encode()
    body = encode_unsigned(len(raw_name)) + raw_name + content
    out = bytearray(MAGIC + VERSION + b"\0" + encode_unsigned(len(body)) + body)
    for span in module.sections:
        if not (span.id == 0 and span.name == name):
            out += data[span.start : span.end]
    return bytes(out)


def without_custom(data: bytes, *names: str) -> bytes:
    """The module without the custom sections of these names. Raises ModuleError."""
    out = bytearray(MAGIC + VERSION)
    for span in parse_module(data).sections:
        if not (span.id == 0 and span.name in names):
            out += data[span.start : span.end]
    return bytes(out)
