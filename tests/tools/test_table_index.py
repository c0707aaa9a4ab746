"""table_index.py: modules of newer compilers, made as nodes take them."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from support import RunningNode

from wasmote.adapters import apps
from wasmote.adapters.tools import need_tool
from wasmote.adapters.validator import Validator
from wasmote.errors import RefusedError
from wasmote.node import Node
from wasmote.protocol.module import ModuleError
from wasmote.protocol.table_index import plain_table_indexes

APPS = Path(__file__).parents[2] / "wasm_apps"
# Each kind of immediate before the calls. The last one is 0x44: read as an instruction, f64.const, it would take the
# next eight bytes with it, the first call among them.
WAT = """(module
  (type $t (func (param i32) (result i32)))
  (table 3 funcref) (memory 1) (global $g (mut i32) (i32.const 0))
  (elem (i32.const 0) $a $b)
  (func $a (type $t) local.get 0 i32.const 1 i32.add)
  (func $b (type $t) local.get 0 i32.const 2 i32.mul)
  (func (export "run") (param $which i32) (param $x i32) (result i32) (local f64 i64)
    (block $out (loop $in (br_if $out (i32.const 1)) (br $in)))
    (block (br_table 0 0 0 (local.get $which)))
    (if (i32.eqz (local.get $x)) (then (global.set $g (i32.const 17))) (else (nop)))
    (drop (f64.const 1.4e-300)) (drop (f32.const 3)) (drop (i64.const 75462672401))
    (drop (i32.trunc_sat_f32_s (f32.const 2))) (drop (i32.extend8_s (i32.const 0x11)))
    (i64.store16 offset=300 (i32.const 8) (i64.const -1)) (drop (memory.size))
    (memory.fill (i32.const 0) (i32.const 0) (i32.const 4)) (memory.copy (i32.const 0) (i32.const 8) (i32.const 4))
    HERE
    (call_indirect (type $t) (call_indirect (type $t) (local.get $x) (local.get $which)) (local.get $which))))
"""


LIKE_F64_CONST = {
    "an offset": "(drop (i32.load offset=68 (i32.const 0)))",
    "an i32": "(drop (i32.const -60))",
    "an i64": "(drop (i64.const -60))",
}


@pytest.fixture(scope="module", params=LIKE_F64_CONST.values(), ids=LIKE_F64_CONST)
def padded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """As a compiler leaves it to the linker: all indexes have five bytes."""
    source = tmp_path_factory.mktemp("padded") / "t.wat"
    source.write_text(WAT.replace("HERE", request.param), encoding="utf-8")
    out = source.with_suffix(".wasm")
    subprocess.run([need_tool("wat2wasm"), "-r", source, "-o", out], check=True)
    return out.read_bytes()


def test_padded_indexes_become_plain_in_their_place(padded: bytes) -> None:
    plain = plain_table_indexes(padded)
    changed = [at for at, (old, new) in enumerate(zip(padded, plain, strict=True)) if old != new]
    runs = [
        [at for _, at in run]
        for _, run in itertools.groupby(enumerate(changed), lambda pair: pair[1] - pair[0])
    ]
    assert [padded[run[0] : run[-1] + 1].hex() for run in runs] == ["8080808000"] * 2
    assert [plain[run[0] : run[-1] + 1].hex() for run in runs] == ["0001010101"] * 2
    assert plain_table_indexes(plain) == plain


def test_padded_indexes_mean_the_same_when_plain(padded: bytes) -> None:
    def results(module: bytes) -> list[int]:
        store = wasmtime.Store()
        made = wasmtime.Instance(store, wasmtime.Module(store.engine, module), [])
        run = made.exports(store)["run"]
        assert isinstance(run, wasmtime.Func)
        return [run(store, which, x) for which in (0, 1) for x in (0, 1, 20)]

    assert results(padded) == results(plain_table_indexes(padded)) == [2, 3, 22, 0, 4, 80]


async def test_node_takes_a_module_with_padded_indexes(
    padded: bytes, tmp_path: Path, host_node: RunningNode
) -> None:
    path = tmp_path / "modern.wasm"
    path.write_bytes(padded)
    module = apps.with_default_section(apps.load(str(path)), "modern")
    async with Node(host_node.uri) as node:
        with pytest.raises(RefusedError, match="padded table index"):
            await node.push(padded, name="modern")
        await node.push(module, name="modern", validator=Validator.load())
        assert [(await node.call("modern/run", [which, 20])).value for which in (0, 1)] == [22, 80]


@pytest.mark.parametrize("name", ["fib", "sha256", "conv8", "wordcount"])
def test_other_modules_stay_as_they_are(name: str) -> None:
    data = apps.load(str(APPS / name)).data
    assert plain_table_indexes(data) == data


@settings(max_examples=400, deadline=None)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.integers(0, 40))
def test_damaged_modules_come_back_whole(padded: bytes, at: int, byte: int, cut: int) -> None:
    """What is no module says so; else nothing is lost, and nothing but whole indexes is changed."""
    damaged = bytearray(padded)
    damaged[at % len(damaged)] = byte
    data = bytes(damaged[: len(damaged) - cut])
    try:
        plain = plain_table_indexes(data)
    except ModuleError:
        return
    assert len(plain) == len(data)
    assert all(new in (0, 1) for old, new in zip(data, plain, strict=True) if old != new)
