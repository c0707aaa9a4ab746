"""Modules of mixed size for test_arenas.py: what a function keeps in its memory and its globals can be told from its
answers, so that a byte that is lost or a start function that ran twice shows.

Exports: add(n) adds to a sum that is kept three times (in globals, and at both ends of the memory) and answers with
it, or traps if the three differ; spin() never ends; echo() answers with its input; twice(n), which is pure, goes
through the table.
"""

from __future__ import annotations

import functools
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nodes import padded

from wasmote.adapters import apps
from wasmote.protocol.section import Section, with_section

HEAP_BASE = 1040
START = 1000  # what a start function adds to the sum
FUEL = 3000


@dataclass(frozen=True)
class Shape:
    """work: functions that are only there to be compiled. size_bytes: of the whole module, at least. heap_bytes: of
    memory beyond HEAP_BASE. has_start: its sum begins with START."""

    work: int
    size_bytes: int
    heap_bytes: int | None
    stack_bytes: int
    output_bytes: int
    has_start: bool

    @property
    def memory_bytes(self) -> int:
        """What the node gives it."""
        return 0 if self.heap_bytes is None else (HEAP_BASE + self.heap_bytes + 15) & ~15

    @property
    def least_bytes(self) -> int:
        """No node takes it in less free memory than this."""
        return len(self.data) + self.memory_bytes + self.stack_bytes

    @property
    def first_sum(self) -> int:
        return START if self.has_start else 0

    @property
    def data(self) -> bytes:
        return _module(self)


@functools.cache
def _module(shape: Shape) -> bytes:
    section = Section(
        name="mixed",
        abi=1,
        heap=shape.heap_bytes,
        stack=shape.stack_bytes,
        fuel=FUEL,
        output=shape.output_bytes,
        default="add",
        pure=("twice",),
    )
    # The last word of the memory is where the module looks for the third copy of its sum.
    base = _assembled(shape.work, shape.has_start, shape.memory_bytes)
    data = with_section(base, section)
    return data if len(data) + 12 >= shape.size_bytes else padded(data, shape.size_bytes)


@functools.cache
def _assembled(work: int, has_start: bool, memory_bytes: int) -> bytes:
    text = f"""(module
      (type $unary (func (param i32) (result i32)))
      {_IMPORTS if memory_bytes else ""}
      (table 4 funcref)
      (elem (i32.const 1) $double $add)
      (global $sum (mut i32) (i32.const 0))
      (global $wide (mut i64) (i64.const {WIDE}))
      (global (export "__heap_base") i32 (i32.const {HEAP_BASE}))
      (func $double (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
      (func $add (export "add") (param i32) (result i32)
        (if (i64.ne (global.get $wide)
                    (i64.xor (i64.const {WIDE}) (i64.shl (i64.extend_i32_u (global.get $sum)) (i64.const 32))))
          (then (unreachable)))
        {_CHECK.format(last=memory_bytes - 4) if memory_bytes else ""}
        (call $keep (i32.add (global.get $sum) (local.get 0)))
        (global.get $sum))
      (func $keep (param i32)
        (global.set $sum (local.get 0))
        (global.set $wide (i64.xor (i64.const {WIDE}) (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32))))
        {_KEEP.format(last=memory_bytes - 4) if memory_bytes else ""})
      (func $start (call $keep (i32.add (global.get $sum) (i32.const {START}))))
      (func (export "spin") (loop (br 0)))
      (func (export "twice") (param i32) (result i32)
        (call_indirect (type $unary) (local.get 0) (i32.const 1)))
      {_ECHO if memory_bytes else ""}
      {"".join(_WORK.format(n=n, factor=n * 77 + 3) for n in range(work))}
      {"(start $start)" if has_start else ""})"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.wat"
        path.write_text(text, encoding="utf-8")
        return apps.load(str(path)).data


WIDE = 0x123456789ABCDEF0
_IMPORTS = """
      (import "wasmote" "input" (func $input (param i32 i32) (result i32)))
      (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
      (memory 1)
      (data (i32.const 1000) "the data of a module, once")"""
_CHECK = """
        (if (i32.ne (global.get $sum) (i32.load (i32.const 0))) (then (unreachable)))
        (if (i32.ne (global.get $sum) (i32.load (i32.const {last}))) (then (unreachable)))
        (if (i32.ne (i32.load (i32.const 1000)) (i32.add (i32.const 0x20656874) (global.get $sum)))
          (then (unreachable)))"""
_KEEP = """
        (i32.store (i32.const 0) (local.get 0))
        (i32.store (i32.const {last}) (local.get 0))
        (i32.store (i32.const 1000) (i32.add (i32.const 0x20656874) (local.get 0)))"""
_ECHO = """
      (func (export "echo") (local $n i32)
        (loop $more
          (local.set $n (call $input (i32.const 512) (i32.const 256)))
          (drop (call $output (i32.const 512) (local.get $n)))
          (br_if $more (local.get $n))))"""
_WORK = """
      (func (param $a i32) (result i32) (local $b i32)
        (local.set $b (i32.mul (local.get $a) (i32.const {factor})))
        (loop $l
          (local.set $b (i32.xor (i32.shl (local.get $b) (i32.const 3)) (i32.const {factor})))
          (if (i32.gt_s (local.get $b) (i32.const 65536))
            (then (local.set $b (i32.sub (local.get $b) (i32.const {n}))))
            (else (local.set $a (i32.mul (local.get $a) (local.get $b)))))
          (br_if $l (i32.gt_s (local.get $a) (local.tee $a (i32.add (local.get $b) (i32.const 1))))))
        (local.get $b))"""


def shape(rng: random.Random) -> Shape:
    """Any: mostly small, now and then one that hardly fits a chip's pool."""
    large = rng.random() < 0.1
    return Shape(
        work=rng.choice((0, 0, 0, 1, 4, 12, 30)),
        size_bytes=rng.choice((0, 0, 700, 1500, 4000, 9000) + ((20000, 40000) if large else ())),
        heap_bytes=rng.choice((None, 0, 0, 200, 1000, 3000, 8000) + ((16000, 40000) if large else ())),
        stack_bytes=rng.choice((512, 1024, 2048)),
        output_bytes=rng.choice((256, 1024, 1024, 6000)),
        has_start=rng.random() < 0.5,
    )
