"""protocol/module.py and section.py: reading modules, and the `wasmote` section."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

import cbor2
import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmote.adapters.tools import find_tool
from wasmote.protocol.module import (
    FuncType,
    ModuleError,
    encode_unsigned,
    function_name,
    parse_module,
    with_custom_first,
    without_custom,
)
from wasmote.protocol.section import (
    Section,
    SectionError,
    decode_section,
    default_export,
    encode_section,
    is_function_name,
    memory_bytes,
    section_of,
    with_section,
)

EMPTY = b"\0asm\1\0\0\0"
WAT = """
(module
  (import "wasmote" "input" (func $in (param i32 i32) (result i32)))
  (import "env" "g" (global $g i64))
  (type $two (func (param i32 f64) (result i64 f32)))
  (memory (export "memory") 2 3)
  (table 1 funcref)
  (global $base i32 (i32.const 1040))
  (global $counter (mut i64) (i64.const -5))
  (export "__heap_base" (global $base))
  (export "counter" (global $counter))
  (func $pair (export "pair") (type $two) i64.const 1 f32.const 2)
  (func $go (export "go"))
  (export "imported" (func $in))
  (start $go)
  (data (i32.const 16) "hello"))
"""


def assemble(tmp_path: Path, wat: str, *options: str) -> bytes:
    if find_tool("wat2wasm") is None:
        return bytes(wasmtime.wat2wasm(wat))
    source, out = tmp_path / "t.wat", tmp_path / "t.wasm"
    source.write_text(wat, encoding="utf-8")
    subprocess.run(["wat2wasm", *options, source, "-o", out], check=True)
    return out.read_bytes()


def test_module_reads_what_a_module_declares(tmp_path: Path) -> None:
    module = parse_module(assemble(tmp_path, WAT))
    assert [(entry.module, entry.name, entry.kind) for entry in module.imports] == [
        ("wasmote", "input", "func"),
        ("env", "g", "global"),
    ]
    assert module.function_exports() == {
        "pair": FuncType(("i32", "f64"), ("i64", "f32")),
        "go": FuncType((), ()),
        "imported": FuncType(("i32", "i32"), ("i32",)),
    }
    assert str(module.function_exports()["pair"]) == "(i32, f64) -> (i64, f32)"
    assert module.heap_base == 1040
    counter = module.export("counter")
    assert counter is not None
    assert module.globals[counter.item].value == -5
    assert (module.memories[0].min_pages, module.memories[0].max_pages) == (2, 3)
    assert module.start == 2
    assert module.export("nothing") is None
    assert FuncType((), ("i32",)).is_bytes
    assert not FuncType(("i32",), ("i32",)).is_bytes


def test_module_reads_function_names(tmp_path: Path) -> None:
    if find_tool("wat2wasm") is None:
        pytest.skip("names are written by wabt")
    module = parse_module(assemble(tmp_path, WAT, "--debug-names"))
    assert module.function_names == {0: "in", 1: "pair", 2: "go"}


def test_function_name_is_the_sources_or_an_exports(tmp_path: Path) -> None:
    if find_tool("wat2wasm") is None:
        pytest.skip("names are written by wabt")
    named, bare = assemble(tmp_path, WAT, "--debug-names"), assemble(tmp_path, WAT)
    assert [function_name(named, index) for index in range(4)] == ["in", "pair", "go", None]
    exports = {export.item: export.name for export in parse_module(bare).exports if export.kind == "func"}
    assert exports and function_name(bare, min(exports)) == exports[min(exports)]
    # What is refused is often damaged: sections that are wrong, cut or too long hide no name that can be read.
    code = next(span for span in parse_module(named).sections if span.id == 10)
    torn = named[: code.content] + b"\xff" * (code.end - code.content) + named[code.end :]
    assert function_name(torn, 2) == "go"
    assert function_name(bare[: code.content], min(exports)) == exports[min(exports)]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "does not start"),
        (b"\0as", "does not start"),
        (b"\x7fELF\1\1\1\0", "does not start"),
        (b"\0asm\2\0\0\0", "version 02000000"),
        (b"\0asm", "version"),
        (EMPTY + b"\1", "ends inside the size"),
        (EMPTY + b"\1\5\0", "ends inside section 1"),
        (EMPTY + b"\x0f\0", "unknown section 15"),
        (EMPTY + b"\3\1\0\1\1\0", "section 1 is out of order"),
        (EMPTY + b"\1\1\0\1\1\0", "section 1 is out of order"),
        (EMPTY + b"\1\5\xff\xff\xff\xff\x0f", "4294967295 types do not fit"),
        (EMPTY + b"\1\6\xff\xff\xff\xff\xff\0", "number too long"),
        (EMPTY + b"\1\5\xff\xff\xff\xff\x7f", "number too large"),
        (EMPTY + b"\1\4\1\x60\1\x11", "no value type"),
        (EMPTY + b"\1\2\1\x61", "no function type"),
        (EMPTY + b"\1\2\0\0", "1 bytes too many"),
        (EMPTY + b"\3\2\1\0", "type 0 does not exist"),
        (EMPTY + b"\1\4\1\x60\0\0\3\2\1\0", "1 functions but 0 bodies"),
        (EMPTY + b"\7\5\1\1a\0\0", "func 0, which does not exist"),
        (EMPTY + b"\7\5\1\1a\7\0", "unknown external kind"),
        (EMPTY + b"\7\5\1\1\xff\0\0", "not UTF-8"),
        (EMPTY + b"\6\4\1\x7f\2\x0b", "neither 0 nor 1"),
        (EMPTY + b"\6\4\1\x7f\0\x00", "in a constant expression"),
        (EMPTY + b"\x08\1\0", "start function 0 does not exist"),
        (EMPTY + b"\0\2\5a", "custom section"),
    ],
)
def test_module_says_what_is_wrong(data: bytes, cause: str) -> None:
    with pytest.raises(ModuleError) as caught:
        parse_module(data)
    assert cause in caught.value.cause
    assert 0 <= caught.value.offset <= len(data)


def test_module_every_truncation_is_an_error_or_a_shorter_module(tmp_path: Path) -> None:
    data = assemble(tmp_path, WAT)
    ends = {span.start for span in parse_module(data).sections}
    for length in range(len(data)):
        if length in ends or length == 8:
            continue  # whole sections; other rules may still refuse it
        with pytest.raises(ModuleError):
            parse_module(data[:length])


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_module_any_bytes_end_in_a_module_or_an_error(tail: bytes) -> None:
    with contextlib.suppress(ModuleError):
        parse_module(EMPTY + tail)
    function_name(EMPTY + tail, 0)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_module_any_damage_ends_in_a_module_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    good = bytearray(_good(tmp_path_factory))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(8, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ModuleError):
        parse_module(bytes(good))
    function_name(bytes(good), 1)


_cache: list[bytes] = []


def _good(factory: pytest.TempPathFactory) -> bytes:
    if not _cache:
        _cache.append(assemble(factory.mktemp("wat"), WAT))
    return _cache[0]


@given(st.integers(0, 2**32 - 1))
def test_module_leb128_round_trip(value: int) -> None:
    # A custom section whose size takes any number of bytes would be large, so the number stands as a type count.
    raw = encode_unsigned(value)
    assert sum((byte & 0x7F) << (7 * at) for at, byte in enumerate(raw)) == value
    assert all(byte & 0x80 for byte in raw[:-1]) and not raw[-1] & 0x80


def test_module_custom_section_goes_first_and_replaces(tmp_path: Path) -> None:
    data = assemble(tmp_path, WAT)
    once = with_custom_first(data, "wasmote", b"one")
    twice = with_custom_first(once, "wasmote", b"two" * 100)
    module = parse_module(twice)
    assert module.sections[0].name == "wasmote"
    assert module.custom("wasmote") == b"two" * 100
    assert sum(span.name == "wasmote" for span in module.sections) == 1
    assert without_custom(twice, "wasmote") == data
    # The oracle takes the module with the section as it takes the one without.
    wasmtime.Module(wasmtime.Engine(), twice)


# ---- the section ----

FULL = Section(
    name="fib",
    version="1.0.0",
    default="fib",
    abi=1,
    heap=1024,
    stack=2048,
    fuel=4_000_000_000,
    output=64,
    permissions=("i2c",),
    pure=("fib", "fib64"),
    idempotent=("get",),
    log=20,
    native=4096,
)


def test_section_bytes_are_those_of_the_protocol() -> None:
    assert encode_section(Section(name="a", abi=1, heap=0)) == bytes.fromhex("a3 01 61 61 04 01 05 00")
    assert cbor2.loads(encode_section(FULL)) == {
        1: "fib",
        2: "1.0.0",
        3: "fib",
        4: 1,
        5: 1024,
        6: 2048,
        7: 4_000_000_000,
        8: 64,
        9: ["i2c"],
        10: ["fib", "fib64"],
        11: ["get"],
        12: 20,
        13: 4096,
    }
    assert list(cbor2.loads(encode_section(FULL))) == sorted(range(1, 14))


def test_section_round_trip(tmp_path: Path) -> None:
    assert decode_section(encode_section(FULL)) == FULL
    assert decode_section(encode_section(Section())) == Section()
    assert section_of(parse_module(with_section(EMPTY, FULL))) == FULL
    assert section_of(parse_module(EMPTY)) is None


def test_section_ignores_unknown_keys() -> None:
    assert decode_section(cbor2.dumps({1: "a", 99: [1, {}], "x": None})) == Section(name="a")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xa1",
        b"\x01",
        b"\xa0\x00",
        b"\xff",
        b"\xa1\x01\x01",
        cbor2.dumps({5: -1}),
        cbor2.dumps({5: 1 << 32}),
        cbor2.dumps({5: True}),
        cbor2.dumps({5: 1.0}),
        cbor2.dumps({9: "i2c"}),
        cbor2.dumps({10: [1]}),
        b"\x81" * 5000,
    ],
)
def test_section_refuses_what_is_none(content: bytes) -> None:
    with pytest.raises(SectionError):
        decode_section(content)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_section_any_bytes_end_in_a_section_or_an_error(content: bytes) -> None:
    with contextlib.suppress(SectionError):
        decode_section(content)


@pytest.mark.parametrize("name", ["a", "fib", "a.b-c_D9", "x" * 31, "-", "_"])
def test_function_names(name: str) -> None:
    assert is_function_name(name)


@pytest.mark.parametrize("name", ["", ".a", "x" * 32, "a b", "ä", "a/b", "a\n"])
def test_no_function_names(name: str) -> None:
    assert not is_function_name(name)


def test_section_memory_is_cut(tmp_path: Path) -> None:
    module = parse_module(assemble(tmp_path, WAT))
    assert memory_bytes(module, None) == 2 * 65536
    assert memory_bytes(module, Section()) == 2 * 65536
    assert memory_bytes(module, Section(heap=0)) == 1040
    assert memory_bytes(module, Section(heap=1)) == 1056
    assert memory_bytes(module, Section(heap=1 << 30)) == 2 * 65536
    assert memory_bytes(parse_module(EMPTY), Section(heap=5)) == 0


def test_section_default_export(tmp_path: Path) -> None:
    module = parse_module(assemble(tmp_path, WAT))
    assert default_export(module, Section(default="pair"), "x") == "pair"
    assert default_export(module, None, "go") == "go"
    assert default_export(module, None, "x") is None
    assert default_export(parse_module(EMPTY), None, "x") is None
