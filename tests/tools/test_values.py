"""protocol/values.py against cbor2: what is encoded is what was meant, and what does not fit is named."""

from __future__ import annotations

import json
import math
import struct

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote.protocol.values import (
    MAX_DIGITS,
    ArgumentError,
    ResultError,
    decode_cells,
    decode_results,
    encode_arguments,
    encode_cells,
    json_integer,
    parse_arguments,
    signature_text,
    to_json,
    to_text,
)

i32 = st.integers(-(2**31), 2**32 - 1)
i64 = st.integers(-(2**63), 2**64 - 1)
f32 = st.floats(width=32)
f64 = st.floats()
typed = st.one_of(
    *(st.tuples(st.just(k), s) for k, s in {"i32": i32, "i64": i64, "f32": f32, "f64": f64}.items())
)


def same(a: object, b: object) -> bool:
    return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


@given(st.lists(typed, max_size=30))
def test_values_encode_reads_back_with_cbor2(arguments: list[tuple[str, int | float]]) -> None:
    params, given_values = [kind for kind, _ in arguments], [value for _, value in arguments]
    decoded = cbor2.loads(encode_arguments(params, given_values))
    assert len(decoded) == len(given_values)
    assert all(type(a) is type(b) and same(a, b) for a, b in zip(decoded, given_values, strict=True))


@given(st.lists(typed, max_size=8))
def test_values_text_means_the_same_as_the_number(arguments: list[tuple[str, int | float]]) -> None:
    params, given_values = [kind for kind, _ in arguments], [value for _, value in arguments]
    texts = [to_text(kind, value) for kind, value in arguments]
    assert all(same(a, b) for a, b in zip(parse_arguments(params, texts), given_values, strict=True))


@given(f32)
def test_values_f32_is_four_bytes_and_prints_short(value: float) -> None:
    assert encode_arguments(["f32"], [value])[1] == 0xFA
    if math.isfinite(value):
        text = to_text("f32", value)
        assert struct.pack(">f", float(text)) == struct.pack(">f", value)
        assert len(text.lstrip("-").replace(".", "").split("e")[0].strip("0")) <= 9


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("i32", "20", 20),
        ("i32", "-5", -5),
        ("i32", "0xffffffff", 0xFFFFFFFF),
        ("i32", "0b101", 5),
        ("i32", "007", 7),
        ("i32", " 1_000 ", 1000),
        ("i64", "-0x8000000000000000", -(2**63)),
        ("i64", "18446744073709551615", 2**64 - 1),
        ("f64", "1e3", 1000.0),
        ("f64", "-inf", -math.inf),
        ("f64", "0x10", 16.0),
        ("f64", "3", 3.0),
        ("f32", "0.1", struct.unpack(">f", struct.pack(">f", 0.1))[0]),
        ("f32", "16777217.0", 16777216.0),
    ],
)
def test_values_accepts(kind: str, text: str, value: float) -> None:
    assert parse_arguments([kind], [text]) == [value]
    assert type(parse_arguments([kind], [text])[0]) is type(value)


def test_values_nan_stays_nan() -> None:
    assert math.isnan(parse_arguments(["f64"], ["NaN"])[0])
    assert math.isnan(cbor2.loads(encode_arguments(["f32"], ["nan"]))[0])


@pytest.mark.parametrize(
    ("kind", "argument", "words"),
    [
        ("i32", "4294967296", "out of range"),
        ("i32", "-2147483649", "out of range"),
        ("i64", str(2**64), "out of range"),
        ("i32", "1.5", "not an integer"),
        ("i32", 1.0, "not an integer"),
        ("i32", "twenty", "not an integer"),
        ("i64", "", "not an integer"),
        ("f64", "abc", "not a number"),
        ("f64", "1e999", "out of range"),
        ("f32", "1e39", "out of range"),
        ("f32", 16777217, "exactly"),
        ("f64", 2**53 + 1, "exactly"),
        ("f64", 10**400, "out of range"),
        ("f64", True, "not a number"),
        ("funcref", "1", "cannot be passed"),
    ],
)
def test_values_refuses_and_names_the_argument(kind: str, argument: int | float | str, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as caught:
        encode_arguments(["i32", kind], [1, argument])
    assert caught.value.index == 1
    assert "argument 2" in str(caught.value)


def test_values_wrong_count() -> None:
    with pytest.raises(ArgumentError, match=r"takes 2 arguments \(i32, i64\), got 1") as caught:
        encode_arguments(["i32", "i64"], [1])
    assert caught.value.index is None
    with pytest.raises(ArgumentError, match="takes 0 arguments, got 1"):
        encode_arguments([], ["1"])


def test_values_results() -> None:
    assert decode_results([], cbor2.dumps([])) == []
    assert decode_results(["i32"], cbor2.dumps(-5)) == [-5]
    assert decode_results(["i64", "f64"], cbor2.dumps([2**62, 0.5])) == [2**62, 0.5]
    for results, payload in [
        (["i32"], cbor2.dumps([])),
        (["i32"], cbor2.dumps(1.0)),
        (["f32"], cbor2.dumps(1)),
        (["i32"], cbor2.dumps(True)),
        (["i32"], cbor2.dumps("1")),
        (["i32"], b"\xff"),
        (["i32"], b""),
    ]:
        with pytest.raises(ResultError):
            decode_results(results, payload)


@given(
    st.lists(st.tuples(st.sampled_from(["i32", "i64", "f32", "f64"]), st.integers(0, 2**64 - 1)), max_size=20)
)
def test_values_cells_keep_every_bit(pairs: list[tuple[str, int]]) -> None:
    kinds = [kind for kind, _ in pairs]
    cells = [value & (2**32 - 1 if kind.endswith("32") else 2**64 - 1) for kind, value in pairs]
    payload = encode_cells(kinds, cells)
    for kind, cell, value in zip(kinds, cells, cbor2.loads(payload), strict=True):
        if kind.startswith("i"):
            assert value == cell
        elif not math.isnan(value):
            assert struct.pack(">f" if kind == "f32" else ">d", value) == cell.to_bytes(
                int(kind[1:]) // 8, "big"
            )
    # A node replies with signed integers, and one result alone.
    bits = {"i32": 32, "i64": 64}
    signed = b"".join(
        cbor2.dumps(cell - (1 << bits[kind]) if cell >> bits[kind] - 1 else cell)
        if kind in bits
        else encode_cells([kind], [cell])[1:]
        for kind, cell in zip(kinds, cells, strict=True)
    )
    head = b"" if len(kinds) == 1 else cbor2.dumps([0] * len(kinds))[:1]
    assert decode_cells(kinds, head + signed) == cells


@pytest.mark.parametrize(
    ("kinds", "payload"),
    [
        (["i32"], "8101"),  # one result is no array
        (["i32"], "1801"),  # not the shortest form
        (["i32"], "1a80000000"),  # unsigned
        (["i32"], "fa00000000"),
        (["i32"], "19 01"),
        (["i32"], ""),
        (["i32"], "0101"),
        (["i64"], "1b8000000000000000"),
        (["f32"], "fb0000000000000000"),
        (["f64"], "fa00000000"),
        (["f64"], "fb000000"),
        (["f32"], "01"),
        ([], ""),
        ([], "8101"),
        (["i32", "i32"], "01"),
        (["i32", "i32"], "8101"),
    ],
)
def test_values_cells_must_be_as_the_protocol_says(kinds: list[str], payload: str) -> None:
    with pytest.raises(ResultError):
        decode_cells(kinds, bytes.fromhex(payload))


def test_values_json() -> None:
    assert to_json("i64", 2**53) == 2**53
    assert to_json("i64", 2**53 + 1) == "9007199254740993"
    assert to_json("i64", -(2**63)) == "-9223372036854775808"
    assert to_json("f64", math.nan) == "NaN"
    assert to_json("f64", -math.inf) == "-Infinity"
    assert to_json("f32", struct.unpack(">f", struct.pack(">f", 0.1))[0]) == 0.1


def test_values_signature() -> None:
    assert signature_text(["i32", "i64"], ["f32"]) == "(i32, i64) -> f32"
    assert signature_text([], []) == "()"
    assert signature_text([], ["i32", "i32"]) == "() -> (i32, i32)"


def test_values_whole_numbers_of_json() -> None:
    assert json.loads("[-12, 9007199254740993]", parse_int=json_integer) == [-12, 9007199254740993]
    longest = "-" + "9" * MAX_DIGITS
    assert json.loads(longest, parse_int=json_integer) == int(longest)
    with pytest.raises(ValueError, match="a number has 641 digits, and at most 640 are read"):
        json.loads(longest + "9", parse_int=json_integer)
