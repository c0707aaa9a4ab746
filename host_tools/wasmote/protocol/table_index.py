"""Table indexes as nodes take them. Sans-IO.

Compilers that know several tables (clang and Rust since LLVM 19) leave room for a linker in each call_indirect: the
index of the table is a zero of five bytes, 80 80 80 80 00. Where WebAssembly 1.0 is meant, which has one table, it is
one byte; so the core test suite wants it, and the node's validator, too.

A zero of one byte and four times `nop` are as long and mean the same: no offset in the module changes.
Source: WebAssembly Core Specification, 5.4 (instructions) and 5.2.2 (integers).
"""

from __future__ import annotations

from wasmote.protocol.module import Module, parse_module

_CODE_SECTION = 10
_BR_TABLE, _CALL_INDIRECT, _PREFIX, _NOP = 0x0E, 0x11, 0xFC, 0x01
# How many integers follow, in LEB128, whatever they mean. All other instructions below _LAST_PLAIN have none.
_INTEGERS = {
    **dict.fromkeys((0x0C, 0x0D, 0x10, *range(0x20, 0x25), *range(0x3F, 0x43)), 1),
    **dict.fromkeys(range(0x28, 0x3F), 2),  # alignment and offset
    **dict.fromkeys(range(0x02, 0x05), 1),  # a block's type: one byte, or an index
}
_CONSTANT_BYTES = {0x43: 4, 0x44: 8}
_UNKNOWN = (*range(0x06, 0x0B), *range(0x12, 0x1A), *range(0x1C, 0x20), *range(0x25, 0x28))
_LAST_PLAIN = 0xC4
# After the prefix: conversions, memory.init, data.drop, memory.copy, memory.fill.
_PREFIXED_INTEGERS = {**dict.fromkeys(range(8), 0), 8: 2, 9: 1, 10: 2, 11: 1}


class _Unknown(Exception):
    """Something that is not in this table of instructions, or no instruction at all."""


def plain_table_indexes(data: bytes) -> bytes:
    """The module, of the same length, with one-byte table indexes wherever they are zero. One with instructions that
    are not known here comes back as it is: the validator has the better words for it. Raises ModuleError."""
    module = parse_module(data)
    out = bytearray(data)
    try:
        for start, end in _bodies(module):
            _shorten(out, start, end)
    except (_Unknown, IndexError):
        return data
    return bytes(out)


def _bodies(module: Module) -> list[tuple[int, int]]:
    """Where the instructions of each function begin and end."""
    data, found = module.data, []
    for span in module.sections:
        if span.id != _CODE_SECTION:
            continue
        count, at = _unsigned(data, span.content)
        for _ in range(count):
            size, at = _unsigned(data, at)
            end = at + size
            groups, at = _unsigned(data, at)
            for _ in range(groups):
                at = _skip(data, at) + 1  # how many locals, and their type
            if not at <= end <= span.end:
                raise _Unknown
            found.append((at, end))
            at = end
    return found


def _shorten(out: bytearray, at: int, end: int) -> None:
    while at < end:
        op = out[at]
        at += 1
        if op in _UNKNOWN or (op > _LAST_PLAIN and op != _PREFIX):
            raise _Unknown
        if op == _CALL_INDIRECT:
            at = _skip(out, at)
            index, behind = _unsigned(out, at)
            if index == 0:
                out[at:behind] = bytes(1) + bytes([_NOP]) * (behind - at - 1)
            at = behind
            continue
        if op == _BR_TABLE:
            integers, at = _unsigned(out, at)
            integers += 1
        elif op == _PREFIX:
            second, at = _unsigned(out, at)
            if second not in _PREFIXED_INTEGERS:
                raise _Unknown
            integers = _PREFIXED_INTEGERS[second]
        else:
            integers = _INTEGERS.get(op, 0)
        for _ in range(integers):
            at = _skip(out, at)
        at += _CONSTANT_BYTES.get(op, 0)
    if at != end:
        raise _Unknown


def _skip(data: bytes | bytearray, at: int) -> int:
    """Behind the integer there."""
    while data[at] >= 0x80:
        at += 1
    return at + 1


def _unsigned(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """The integer there, and what is behind it."""
    value, behind = 0, _skip(data, at)
    if behind - at > 5:
        raise _Unknown
    for index in range(at, behind):
        value |= (data[index] & 0x7F) << 7 * (index - at)
    return value, behind
