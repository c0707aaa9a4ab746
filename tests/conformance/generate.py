"""Random valid modules, made instruction by instruction with the types of the operand stack in view.

They lean towards what engines get wrong: blocks, loops and branches that carry several values, values left below, code
that cannot be reached, calls whose results are arguments, locals that change while they are operands. Every loop and
every function counts down a global, so that each call ends. The exports are `f0`, `f1`, ..., the memory `m` and
the global `g`.

The bits of a NaN that arithmetic makes are the engine's choice. Here it is made the canonical one at once, so that what
is computed from its bits is the same everywhere.
"""

from __future__ import annotations

import dataclasses
import random
import struct

I32, I64, F32, F64 = 0x7F, 0x7E, 0x7D, 0x7C
TYPES = (I32, I64, F32, F64)

Types = tuple[int, ...]


def u(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def s(value: int) -> bytes:
    """Signed LEB128."""
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if value == (-1 if byte & 0x40 else 0):
            out.append(byte)
            return bytes(out)
        out.append(byte | 0x80)


def vec(items: list[bytes]) -> bytes:
    return u(len(items)) + b"".join(items)


def section(number: int, content: bytes) -> bytes:
    return bytes([number]) + u(len(content)) + content


def signature(params: Types, results: Types) -> bytes:
    return b"\x60" + vec([bytes([t]) for t in params]) + vec([bytes([t]) for t in results])


def _operations() -> dict[tuple[Types, int], list[bytes]]:
    """(operand types, result type) -> opcodes."""
    table: dict[tuple[Types, int], list[bytes]] = {}

    def add(first: int, last: int, operands: Types, result: int) -> None:
        table.setdefault((operands, result), []).extend(bytes([op]) for op in range(first, last + 1))

    add(0x45, 0x45, (I32,), I32)
    add(0x46, 0x4F, (I32, I32), I32)
    add(0x50, 0x50, (I64,), I32)
    add(0x51, 0x5A, (I64, I64), I32)
    add(0x5B, 0x60, (F32, F32), I32)
    add(0x61, 0x66, (F64, F64), I32)
    for base, kind in ((0x67, I32), (0x79, I64)):
        add(base, base + 2, (kind,), kind)
        add(base + 3, base + 17, (kind, kind), kind)
    for base, kind in ((0x8B, F32), (0x99, F64)):
        add(base, base + 6, (kind,), kind)
        add(base + 7, base + 13, (kind, kind), kind)
    conversions = [
        (I64, I32), (F32, I32), (F32, I32), (F64, I32), (F64, I32), (I32, I64), (I32, I64), (F32, I64), (F32, I64),
        (F64, I64), (F64, I64), (I32, F32), (I32, F32), (I64, F32), (I64, F32), (F64, F32), (I32, F64), (I32, F64),
        (I64, F64), (I64, F64), (F32, F64), (F32, I32), (F64, I64), (I32, F32), (I64, F64), (I32, I32), (I32, I32),
        (I64, I64), (I64, I64), (I64, I64),
    ]  # fmt: skip
    for op, (source, target) in enumerate(conversions, 0xA7):
        add(op, op, (source,), target)
    for op, (source, target) in enumerate(
        [(F32, I32), (F32, I32), (F64, I32), (F64, I32), (F32, I64), (F32, I64), (F64, I64), (F64, I64)]
    ):
        table.setdefault(((source,), target), []).append(bytes([0xFC, op]))
    return table


OPERATIONS = _operations()

_F32_ROUNDING, _F64_ROUNDING = range(0x8D, 0x98), range(0x9B, 0xA6)
# Their result may be a NaN of the engine's choice: all but neg, abs, copysign, and what converts from integers.
NAN_MAKERS = {
    bytes([op]): kind for ops, kind in ((_F32_ROUNDING, F32), (_F64_ROUNDING, F64)) for op in ops
} | {b"\xb6": F32, b"\xbb": F64}
_CANONICAL = {F32: b"\x43\0\0\xc0\x7f", F64: b"\x44\0\0\0\0\0\0\xf8\x7f"}
_EQUAL = {F32: b"\x5b", F64: b"\x61"}
LOADS = {
    I32: (0x28, 0x2C, 0x2D, 0x2E, 0x2F),
    I64: (0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35),
    F32: (0x2A,),
    F64: (0x2B,),
}
STORES = {I32: (0x36, 0x3A, 0x3B), I64: (0x37, 0x3C, 0x3D, 0x3E), F32: (0x38,), F64: (0x39,)}


@dataclasses.dataclass
class Block:
    opcode: int
    params: Types
    results: Types
    height: int
    unreachable: bool = False

    @property
    def label(self) -> Types:
        return self.params if self.opcode == 0x03 else self.results


class Body:
    """One function's code. stack holds the types of all operands, those of outer blocks below."""

    def __init__(self, module: Module, params: Types, results: Types, size: int) -> None:
        self.module, self.rng = module, module.rng
        self.locals = [*params, *(self.rng.choice(TYPES) for _ in range(self.rng.randrange(6)))]
        self.params = params
        # Two more locals, which nothing else uses.
        self.scratch = {F32: len(self.locals), F64: len(self.locals) + 1}
        self.code = bytearray()
        self.stack: list[int] = []
        self.blocks = [Block(0x01, (), results, 0)]
        self.countdown()
        while len(self.code) < size:
            self.step()
        while self.blocks:
            self.end()

    def encode(self) -> bytes:
        groups = [u(1) + bytes([t]) for t in (*self.locals[len(self.params) :], F32, F64)]
        body = vec(groups) + bytes(self.code)
        return u(len(body)) + body

    # -- the stack --

    def here(self) -> list[int]:
        """Operands of the innermost block."""
        return self.stack[self.blocks[-1].height :]

    def push(self, kind: int) -> None:
        rng = self.rng
        choices = [i for i, t in enumerate(self.locals) if t == kind]
        roll = rng.random()
        if choices and roll < 0.5:
            self.code += b"\x20" + u(rng.choice(choices))
        elif roll < 0.6 and kind in self.module.global_types:
            self.code += b"\x23" + u(self.module.global_types.index(kind))
        else:
            self.code += self.const(kind)
        self.stack.append(kind)

    def const(self, kind: int) -> bytes:
        rng = self.rng
        value = rng.choice((0, 1, 2, 3, -1, 7, 100, rng.getrandbits(31), -rng.getrandbits(31)))
        if kind == I32:
            return b"\x41" + s(value)
        if kind == I64:
            return b"\x42" + s(value << rng.choice((0, 0, 31)))
        number = rng.choice((float(value), value / 8, 1.5, float("inf")))
        return b"\x43" + struct.pack("<f", number) if kind == F32 else b"\x44" + struct.pack("<d", number)

    def need(self, types: Types) -> None:
        """Make types the top of the stack: what is there already may stay, the rest is pushed."""
        here = self.here()
        for kept in range(min(len(types), len(here)), -1, -1):
            if kept == 0 or (tuple(here[-kept:]) == types[:kept] and self.rng.random() < 0.8):
                for kind in types[kept:]:
                    self.push(kind)
                return

    def take(self, types: Types) -> None:
        """The operands below are consumed. In code that cannot be reached some may be missing."""
        for _ in types:
            if len(self.stack) > self.blocks[-1].height:
                self.stack.pop()

    def ask(self, types: Types) -> None:
        """need, then take; in unreachable code with an empty stack sometimes neither."""
        if not (self.blocks[-1].unreachable and not self.here() and self.rng.random() < 0.5):
            self.need(types)
            self.take(types)

    def countdown(self) -> None:
        # global 0: (if (i32.eqz) unreachable); global 0 -= 1
        self.code += b"\x23\x00\x45\x04\x40\x00\x0b\x23\x00\x41\x01\x6b\x24\x00"

    def jumped(self) -> None:
        del self.stack[self.blocks[-1].height :]
        self.blocks[-1].unreachable = True

    # -- instructions --

    def step(self) -> None:
        actions = [
            (self.value, 6), (self.operate, 10), (self.set_local, 4), (self.tee_local, 2), (self.drop, 2),
            (self.select, 2), (self.load, 1), (self.store, 1), (self.call, 4), (self.open, 5), (self.end_inner, 4),
            (self.br, 1), (self.br_if, 3), (self.br_table, 1), (self.leave, 1), (self.set_global, 1),
            (self.memory, 1), (self.call_indirect, 1),
        ]  # fmt: skip
        self.rng.choices([a for a, _ in actions], [w for _, w in actions])[0]()

    def value(self) -> None:
        self.push(self.rng.choice(TYPES))

    def operate(self) -> None:
        operands, result = self.rng.choice(list(OPERATIONS))
        opcode = self.rng.choice(OPERATIONS[operands, result])
        self.ask(operands)
        self.code += opcode
        if opcode in NAN_MAKERS:
            self.canonicalize(NAN_MAKERS[opcode])
        self.stack.append(result)

    def canonicalize(self, kind: int) -> None:
        """x == x ? x : the canonical NaN"""
        value = u(self.scratch[kind])
        self.code += b"\x22" + value + _CANONICAL[kind] + b"\x20" + value + b"\x20" + value
        self.code += _EQUAL[kind] + b"\x1b"

    def set_local(self) -> None:
        if self.locals:
            index = self.rng.randrange(len(self.locals))
            self.ask((self.locals[index],))
            self.code += b"\x21" + u(index)

    def tee_local(self) -> None:
        if self.locals:
            index = self.rng.randrange(len(self.locals))
            self.ask((self.locals[index],))
            self.code += b"\x22" + u(index)
            self.stack.append(self.locals[index])

    def set_global(self) -> None:
        index = self.rng.randrange(1, len(self.module.global_types))
        self.ask((self.module.global_types[index],))
        self.code += b"\x24" + u(index)

    def drop(self) -> None:
        if self.here():
            self.stack.pop()
            self.code += b"\x1a"

    def select(self) -> None:
        kind = self.rng.choice(TYPES)
        self.need((kind, kind, I32))
        self.take((kind, kind, I32))
        self.code += b"\x1b"
        self.stack.append(kind)

    def _address(self) -> bytes:
        return b"\x00" + u(self.rng.choice((0, 8, 100, 65530)))

    def load(self) -> None:
        kind = self.rng.choice(TYPES)
        self.ask((I32,))
        self.code += bytes([self.rng.choice(LOADS[kind])]) + self._address()
        self.stack.append(kind)

    def store(self) -> None:
        kind = self.rng.choice(TYPES)
        self.ask((I32, kind))
        self.code += bytes([self.rng.choice(STORES[kind])]) + self._address()

    def memory(self) -> None:
        if self.rng.random() < 0.5:
            self.code += b"\x3f\x00"
            self.stack.append(I32)
            return
        self.ask((I32, I32, I32))
        self.code += self.rng.choice((b"\xfc\x0a\x00\x00", b"\xfc\x0b\x00"))

    def call(self) -> None:
        index = self.rng.randrange(len(self.module.signatures))
        params, results = self.module.signatures[index]
        self.ask(params)
        self.code += b"\x10" + u(index)
        self.stack += results

    def call_indirect(self) -> None:
        index = self.rng.randrange(len(self.module.types))
        params, results = self.module.types[index]
        self.ask(params)
        self.code += b"\x41" + s(self.rng.randrange(len(self.module.signatures) + 1))
        self.code += b"\x11" + u(index) + b"\x00"
        self.stack += results

    def open(self) -> None:
        if len(self.blocks) > 8:
            return
        rng = self.rng
        opcode = rng.choice((0x02, 0x02, 0x03, 0x04))
        roll = rng.random()
        params: Types = ()
        results: Types = ()
        if roll < 0.25:
            kind = b"\x40"
        elif roll < 0.6:
            results = (rng.choice(TYPES),)
            kind = bytes(results)
        else:
            index = rng.randrange(len(self.module.types))
            params, results = self.module.types[index]
            kind = s(index)
        self.need((*params, I32) if opcode == 0x04 else params)
        self.take((I32,) if opcode == 0x04 else ())
        self.take(params)
        self.code += bytes([opcode]) + kind
        self.blocks.append(Block(opcode, params, results, len(self.stack)))
        self.stack += params
        if opcode == 0x03:
            self.countdown()

    def end_inner(self) -> None:
        if len(self.blocks) > 1:
            self.end()

    def settle(self) -> None:
        """Leave exactly the results of the innermost block."""
        block = self.blocks[-1]
        while self.here() and tuple(self.here()) != block.results[: len(self.here())]:
            self.stack.pop()
            self.code += b"\x1a"
        for kind in block.results[len(self.here()) :]:
            if block.unreachable and not self.here() and self.rng.random() < 0.5:
                break
            self.push(kind)

    def end(self) -> None:
        block = self.blocks[-1]
        self.settle()
        if block.opcode == 0x04 and (block.params != block.results or self.rng.random() < 0.5):
            self.code += b"\x05"
            del self.stack[block.height :]
            self.stack += block.params
            block.opcode, block.unreachable = 0x05, False
            return
        self.code += b"\x0b"
        del self.stack[block.height :]
        self.blocks.pop()
        self.stack += block.results

    def target(self) -> tuple[int, Types]:
        depth = self.rng.randrange(len(self.blocks))
        return depth, self.blocks[-1 - depth].label

    def br(self) -> None:
        depth, label = self.target()
        self.need(label)
        self.code += b"\x0c" + u(depth)
        self.jumped()

    def br_if(self) -> None:
        depth, label = self.target()
        self.need((*label, I32))
        self.take((I32,))
        self.code += b"\x0d" + u(depth)

    def br_table(self) -> None:
        depth, label = self.target()
        same = [d for d in range(len(self.blocks)) if self.blocks[-1 - d].label == label]
        targets = self.rng.choices(same, k=self.rng.randrange(4))
        self.need((*label, I32))
        self.code += b"\x0e" + vec([u(t) for t in targets]) + u(depth)
        self.jumped()

    def leave(self) -> None:
        if self.rng.random() < 0.5:
            self.code += b"\x00"
        else:
            self.need(self.blocks[0].results)
            self.code += b"\x0f"
        self.jumped()


class Module:
    """A module of a few functions. The same seed gives the same bytes; or rng decides, as hypothesis may.

    size: of a function's code in bytes, more or less, at most; above 10."""

    def __init__(self, rng: int | random.Random, *, size: int = 120) -> None:
        rng = self.rng = random.Random(rng) if isinstance(rng, int) else rng
        self.types: list[tuple[Types, Types]] = [((), ())]
        for _ in range(rng.randrange(2, 7)):
            params = tuple(rng.choice(TYPES) for _ in range(rng.choice((0, 1, 1, 2, 2, 3))))
            results = tuple(rng.choice(TYPES) for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3))))
            self.types.append((params, params if rng.random() < 0.2 else results))
        indexes = [rng.randrange(len(self.types)) for _ in range(rng.randrange(2, 5))]
        self.signatures = [self.types[i] for i in indexes]
        self.global_types = [I32, *TYPES]
        bodies = [Body(self, *self.types[i], rng.randrange(10, size)).encode() for i in indexes]
        zero = {I32: b"\x41\xe4\x00", I64: b"\x42\x05", F32: b"\x43" + bytes(4), F64: b"\x44" + bytes(8)}
        exports = [u(len(name)) + name + b"\x00" + u(i) for i, name in enumerate(self._names())]
        self.bytes = b"\0asm\1\0\0\0" + b"".join(
            (
                section(1, vec([signature(*t) for t in self.types])),
                section(3, vec([u(i) for i in indexes])),
                section(4, b"\x01\x70\x00" + u(len(indexes))),
                section(5, b"\x01\x01\x01\x01"),
                section(6, vec([bytes([t, 1]) + zero[t] + b"\x0b" for t in self.global_types])),
                section(7, vec([*exports, b"\x01m\x02\x00", b"\x01g\x03\x00"])),
                section(9, b"\x01\x00\x41\x00\x0b" + vec([u(i) for i in range(len(indexes))])),
                section(10, vec(bodies)),
            )
        )

    def _names(self) -> list[bytes]:
        return [f"f{i}".encode() for i in range(len(self.signatures))]
