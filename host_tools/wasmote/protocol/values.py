"""Arguments and results of numeric exports: text or JSON <-> Python <-> CBOR (docs/PROTOCOL.md, 4).

Everything is checked against the export's signature before a byte is sent, so that a mistake is named in the
user's words. In JSON an i64 beyond 2^53 is a string, and so are NaN and the infinities, which JSON has no
word for.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

import cbor2

MAX_DIGITS = 640  # of a whole number in JSON; Python reads so many however it is set up

Value = int | float
Argument = int | float | str

_INTEGER_BITS = {"i32": 32, "i64": 64}
_FLOAT_BYTES = {"f32": 4, "f64": 8}
_FLOAT_HEADS = {"f32": b"\xfa", "f64": b"\xfb"}
_JSON_EXACT = 1 << 53
_FLOAT_WORDS = {
    "nan": math.nan, "+nan": math.nan, "-nan": math.nan,
    "inf": math.inf, "+inf": math.inf, "-inf": -math.inf,
    "infinity": math.inf, "+infinity": math.inf, "-infinity": -math.inf,
}  # fmt: skip


def json_integer(text: str) -> int:
    """For json's parse_int. Raises ValueError for a number that is too long, in words for a person: Python's own tell
    how to change Python."""
    if len(text.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text.lstrip('-'))} digits, and at most {MAX_DIGITS} are read")
    return int(text)


class ArgumentError(ValueError):
    """An argument that does not fit the signature. ``index`` counts from 0; None: the count is wrong."""

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class ResultError(ValueError):
    """A reply that does not fit the signature."""


def signature_text(params: Sequence[str], results: Sequence[str]) -> str:
    """A signature for a person: ``(i32, i64) -> f32``."""
    left = f"({', '.join(params)})"
    if not results:
        return left
    return f"{left} -> {results[0] if len(results) == 1 else '(' + ', '.join(results) + ')'}"


def parse_arguments(params: Sequence[str], arguments: Sequence[Argument]) -> list[Value]:
    """Arguments as numbers of the types in params. Text may be decimal, 0x, 0o or 0b, with _ between digits;
    floats also take nan and inf. Raises ArgumentError."""
    if len(arguments) != len(params):
        wants = f"{len(params)} argument{'' if len(params) == 1 else 's'}"
        types = f" ({', '.join(params)})" if params else ""
        raise ArgumentError(f"takes {wants}{types}, got {len(arguments)}")
    return [_parse(index, kind, arg) for index, (kind, arg) in enumerate(zip(params, arguments, strict=True))]


def encode_arguments(params: Sequence[str], arguments: Sequence[Argument]) -> bytes:
    """The request payload of a call. Raises ArgumentError."""
    values = parse_arguments(params, arguments)
    # cbor2 has no word for "a float of this width", so floats are written here.
    return _head(4, len(values)) + b"".join(_item(kind, v) for kind, v in zip(params, values, strict=True))


def decode_results(results: Sequence[str], payload: bytes) -> list[Value]:
    """The numbers of a reply, one for each result type. Raises ResultError."""
    try:
        decoded = cbor2.loads(payload)
    except Exception as error:  # cbor2 raises many kinds on bytes from the wire
        raise ResultError(f"the reply is not CBOR: {error}") from error
    values = decoded if isinstance(decoded, list) else [decoded]
    if len(values) != len(results):
        raise ResultError(f"the reply has {len(values)} numbers, the signature {len(results)}")
    for kind, value in zip(results, values, strict=True):
        wanted = int if kind in _INTEGER_BITS else float
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ResultError(f"the reply has {value!r} where the signature says {kind}")
    return values


def encode_cells(params: Sequence[str], cells: Sequence[int]) -> bytes:
    """The request payload of a call whose arguments are given as their bits, so that a NaN keeps its own."""
    items = []
    for kind, cell in zip(params, cells, strict=True):
        if kind in _FLOAT_BYTES:
            items.append(_FLOAT_HEADS[kind] + cell.to_bytes(_FLOAT_BYTES[kind], "big"))
        else:
            items.append(_head(0, cell))
    return _head(4, len(items)) + b"".join(items)


def decode_cells(results: Sequence[str], payload: bytes) -> list[int]:
    """The numbers of a reply as their bits, exactly as docs/PROTOCOL.md, 4 writes them. Raises ResultError."""
    at = 0
    if len(results) != 1:
        if payload[:1] != _head(4, len(results)):
            raise ResultError(f"the reply {payload.hex()} is no array of {len(results)}")
        at = 1
    cells = []
    for kind in results:
        if kind in _FLOAT_BYTES:
            end = at + 1 + _FLOAT_BYTES[kind]
            right = payload[at : at + 1] == _FLOAT_HEADS[kind] and end <= len(payload)
            cells.append(int.from_bytes(payload[at + 1 : end], "big"))
        else:
            value, end = _integer(payload, at)
            bits = _INTEGER_BITS[kind]
            right = value is not None and -(1 << bits - 1) <= value < 1 << bits - 1
            cells.append((value or 0) & ((1 << bits) - 1))
        if not right:
            raise ResultError(f"the reply {payload.hex()} has no {kind} at byte {at}")
        at = end
    if at != len(payload):
        raise ResultError(f"the reply {payload.hex()} is longer than its results")
    return cells


def _integer(payload: bytes, at: int) -> tuple[int | None, int]:
    """The integer at a byte, in the shortest form, and where it ends; None if there is none."""
    head = payload[at] if at < len(payload) else 0xFF
    major, info = head >> 5, head & 0x1F
    size = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    end = at + 1 + size
    if major > 1 or info > 27 or end > len(payload):
        return None, at
    value = int.from_bytes(payload[at + 1 : end], "big") if size else info
    if _head(major, value) != payload[at:end]:
        return None, at
    return (value if major == 0 else -1 - value), end


def to_json(kind: str, value: Value) -> int | float | str:
    """A result as JSON can carry it."""
    if kind == "i64" and abs(value) > _JSON_EXACT:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if kind == "f32":
        return float(to_text(kind, value))
    return value


def to_text(kind: str, value: Value) -> str:
    """A result for a person: the shortest text that reads back as the same value of its type."""
    if kind != "f32" or not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    for digits in range(1, 9):
        rounded = float(f"{value:.{digits}g}")
        try:
            if _round_f32(rounded) == value:
                return repr(rounded)
        except OverflowError:
            continue  # fewer digits rounded it up beyond the largest f32
    return repr(float(f"{value:.9g}"))


def _parse(index: int, kind: str, argument: Argument) -> Value:
    if isinstance(argument, bool) or not isinstance(argument, int | float | str):
        raise _error(index, kind, argument, "is not a number")
    if kind in _INTEGER_BITS:
        return _parse_integer(index, kind, argument)
    if kind in ("f32", "f64"):
        return _parse_float(index, kind, argument)
    raise ArgumentError(f"argument {index + 1} has type {kind}, which cannot be passed from outside", index)


def _parse_integer(index: int, kind: str, argument: Argument) -> int:
    value: int | None = argument if isinstance(argument, int) else None
    if isinstance(argument, str):
        try:
            value = int(argument.strip(), 0) if not _leading_zero(argument) else int(argument.strip(), 10)
        except ValueError:
            value = None
    if value is None:
        raise _error(index, kind, argument, "is not an integer")
    bits = _INTEGER_BITS[kind]
    if not -(1 << bits - 1) <= value < 1 << bits:
        raise _error(index, kind, argument, f"is out of range (-2^{bits - 1} to 2^{bits}-1)")
    return value


def _leading_zero(text: str) -> bool:
    # int("007", 0) is refused, though a person means 7.
    digits = text.strip().lstrip("+-")
    return len(digits) > 1 and digits[0] == "0" and digits.replace("_", "").isdigit()


def _parse_float(index: int, kind: str, argument: Argument) -> float:
    if isinstance(argument, str):
        word = argument.strip().lower()
        if word in _FLOAT_WORDS:
            return _FLOAT_WORDS[word]
        try:
            value = float(word)
            exact = None
        except ValueError:
            try:
                exact = int(word, 0)  # 0x10
            except ValueError:
                raise _error(index, kind, argument, "is not a number") from None
            value = 0.0
        if exact is None and word.replace("_", "").lstrip("+-").isdigit():
            exact = int(word)
    else:
        exact = argument if isinstance(argument, int) else None
        value = 0.0 if exact is not None else float(argument)
    if exact is not None:
        try:
            value = float(exact)
            rounded = _round_f32(value) if kind == "f32" else value
        except OverflowError:
            raise _error(index, kind, argument, "is out of range") from None
        if rounded != exact:
            raise _error(
                index,
                kind,
                argument,
                "is an integer that the type cannot hold exactly (with .0 it is rounded)",
            )
        return rounded
    if math.isinf(value) and isinstance(argument, str):
        raise _error(index, kind, argument, "is out of range")  # 1e999: the word inf says what is meant
    if kind == "f32":
        try:
            return _round_f32(value)
        except OverflowError:
            raise _error(index, kind, argument, "is out of range") from None
    return value


def _round_f32(value: float) -> float:
    rounded: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return rounded


def _error(index: int, kind: str, argument: object, why: str) -> ArgumentError:
    return ArgumentError(f"argument {index + 1} ({kind}): {str(argument)!r} {why}", index)


def _item(kind: str, value: Value) -> bytes:
    if kind == "f32":
        return b"\xfa" + struct.pack(">f", value)
    if kind == "f64":
        return b"\xfb" + struct.pack(">d", value)
    integer = int(value)
    return _head(0, integer) if integer >= 0 else _head(1, -1 - integer)


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise AssertionError("ranges are checked before")
