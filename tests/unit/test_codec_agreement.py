"""The node's codecs against others: CoAP against hand-made vectors and aiocoap, CBOR against cbor2 and the RFC.

Where the others are laxer or stricter than the RFCs, the tests say so and hold the node to the RFC.
"""

from __future__ import annotations

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
import pytest
from aiocoap.error import UnparsableMessage
from aiocoap.numbers.codes import Code
from aiocoap.numbers.types import Type
from aiocoap.optiontypes import OpaqueOption
from codec_library import ERR_TRUNCATED, ERR_UNSUPPORTED, ERROR_NAMES, CodecError, CodecLibrary, Item, Message
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "coap_messages.json").read_text(encoding="utf-8")
)
THOUSANDS = settings(max_examples=2000, deadline=None)

# ---- CoAP: vectors ----


def _vector(entry: dict[str, Any]) -> Message:
    options = tuple((number, bytes.fromhex(value)) for number, value in entry["options"])
    token, payload = bytes.fromhex(entry["token"]), bytes.fromhex(entry["payload"])
    return Message(entry["type"], entry["code"], entry["mid"], token, options, payload)


@pytest.mark.parametrize("entry", VECTORS["good"], ids=lambda entry: entry["name"])
def test_coap_vector_is_read_and_written(codec: CodecLibrary, entry: dict[str, Any]) -> None:
    datagram = bytes.fromhex(entry["hex"])
    assert codec.coap_parse(datagram) == _vector(entry)
    assert codec.coap_write(_vector(entry)) == datagram


@pytest.mark.parametrize("entry", VECTORS["good"], ids=lambda entry: entry["name"])
def test_coap_vector_means_the_same_to_aiocoap(entry: dict[str, Any]) -> None:
    vector = _vector(entry)
    theirs = aiocoap.Message.decode(bytes.fromhex(entry["hex"]))
    assert (int(theirs.mtype), int(theirs.code), theirs.mid) == (vector.type, vector.code, vector.mid)
    assert (theirs.token, theirs.payload) == (vector.token, vector.payload)
    assert [int(option.number) for option in theirs.opt.option_list()] == [n for n, _ in vector.options]


@pytest.mark.parametrize("entry", VECTORS["bad"], ids=lambda entry: entry["name"])
def test_coap_vector_is_refused(codec: CodecLibrary, entry: dict[str, Any]) -> None:
    with pytest.raises(CodecError) as refused:
        codec.coap_parse(bytes.fromhex(entry["hex"]))
    assert ERROR_NAMES[refused.value.code] == entry["error"]


# ---- CoAP: against aiocoap ----

# Around the borders of the encoding (13, 269), where options are defined, and anywhere.
_NUMBERS = st.one_of(
    st.sampled_from([0, 1, 3, 4, 11, 12, 13, 14, 15, 23, 27, 60, 268, 269, 270, 292, 65534, 65535]),
    st.integers(0, 65535),
)
_VALUES = st.one_of(
    st.binary(max_size=20),
    st.integers(0, 1100).map(lambda n: bytes(i & 0xFF for i in range(n))),
)
_MESSAGES = st.builds(
    Message,
    type=st.integers(0, 3),
    code=st.integers(1, 255),
    mid=st.integers(0, 65535),
    token=st.binary(max_size=8),
    options=st.lists(st.tuples(_NUMBERS, _VALUES), max_size=8).map(
        lambda options: tuple(sorted(options, key=lambda option: option[0]))
    ),
    payload=st.binary(max_size=64),
)


def _to_aiocoap(msg: Message) -> aiocoap.Message:
    theirs = aiocoap.Message(
        _mtype=Type(msg.type), code=Code(msg.code), _mid=msg.mid, _token=msg.token, payload=msg.payload
    )
    for number, value in msg.options:
        theirs.opt.add_option(OpaqueOption(number, value))
    return theirs


def _from_aiocoap(theirs: aiocoap.Message) -> Message:
    options = tuple((int(option.number), option.encode()) for option in theirs.opt.option_list())
    return Message(int(theirs.mtype), int(theirs.code), theirs.mid, theirs.token, options, theirs.payload)


def _aiocoap_decode(datagram: bytes) -> aiocoap.Message | None:
    """None: refused. Other exceptions than its own mean that the message is fine and an option's value is not."""
    try:
        return aiocoap.Message.decode(datagram)
    except UnparsableMessage:
        return None


@pytest.mark.slow
@THOUSANDS
@given(_MESSAGES)
def test_coap_is_written_as_aiocoap_writes_it(codec: CodecLibrary, msg: Message) -> None:
    theirs = _to_aiocoap(msg).encode()
    assert codec.coap_write(msg) == theirs
    assert codec.coap_parse(theirs) == msg


@pytest.mark.slow
@THOUSANDS
@given(_MESSAGES)
def test_coap_is_read_by_aiocoap(codec: CodecLibrary, msg: Message) -> None:
    # aiocoap interprets values while it decodes: text must be UTF-8 and numbers lose leading zeros. What is compared
    # here is where each option starts and ends, so values are such that interpreting them changes nothing.
    options = tuple((number, bytes(0x41 + (b & 0x1F) for b in value)) for number, value in msg.options)
    plain = Message(msg.type, msg.code, msg.mid, msg.token, options, msg.payload)
    theirs = _aiocoap_decode(codec.coap_write(plain))
    assert theirs is not None
    assert _from_aiocoap(theirs) == plain


@given(_MESSAGES, st.integers(0, 80))
def test_coap_writer_respects_its_capacity(codec: CodecLibrary, msg: Message, cap: int) -> None:
    whole = codec.coap_write(msg)
    if cap >= len(whole):
        assert codec.coap_write(msg, cap) == whole
    else:
        with pytest.raises(CodecError):
            codec.coap_write(msg, cap)


def _options_end(body: bytes) -> tuple[int, int]:
    """Where the options of a body end, and the highest number there. The body is one that aiocoap takes."""
    at = number = 0
    while at < len(body) and body[at] != 0xFF:
        fields, first, at = [], body[at], at + 1
        for nibble in (first >> 4, first & 15):
            width = {13: 1, 14: 2}.get(nibble, 0)
            base = {13: 13, 14: 269}.get(nibble, nibble)
            fields.append(base + int.from_bytes(body[at : at + width], "big"))
            at += width
        number += fields[0]
        at += fields[1]
    return at, number


def _is_laxness_of_aiocoap(datagram: bytes) -> bool:
    """Whether aiocoap takes this datagram although RFC 7252 calls it a message format error."""
    token_len = datagram[0] & 15
    body = datagram[4 + token_len :]
    if token_len > 8:  # section 3: lengths 9 to 15 are reserved
        return True
    if len(datagram) < 4 + token_len:  # a token that is cut off
        return True
    if datagram[1] == 0 and len(datagram) > 4:  # 4.1: an empty message ends after the message ID
        return True
    end, highest = _options_end(body)
    if end == len(body) - 1:  # 3: a marker followed by a payload of no length
        return True
    return highest > 65535  # 3.1: a number has 16 bits


_PREFIXES = st.tuples(
    st.integers(0x40, 0x7F), st.integers(0, 255), st.integers(0, 65535), st.binary(max_size=8)
).map(lambda p: bytes([p[0] & 0xF0 | len(p[3]), p[1]]) + struct.pack("!H", p[2]) + p[3])
_NOISE = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda prefix, rest: prefix + rest, _PREFIXES, st.binary(max_size=60)),
)


def _mutate(datagram: bytes, at: int, value: int, cut: int) -> bytes:
    raw = bytearray(datagram)
    raw[at % len(raw)] = value
    return bytes(raw[: len(raw) - cut % len(raw)] if cut % 3 == 0 else raw)


_DAMAGED = st.builds(
    _mutate,
    _MESSAGES.map(lambda msg: _to_aiocoap(msg).encode()),
    st.integers(0, 200),
    st.integers(0, 255),
    st.integers(0, 60),
)


@pytest.mark.slow
@THOUSANDS
@given(st.one_of(_NOISE, _DAMAGED))
@example(b"\x40\x01\x00\x01\xe0\xff\xff\xe0\xff\xff")
@example(b"\x4f\x01\x00\x01" + bytes(15))
def test_coap_any_bytes_are_taken_by_both_or_none(codec: CodecLibrary, datagram: bytes) -> None:
    try:
        ours = codec.coap_parse(datagram)
    except CodecError:
        ours = None
    try:
        theirs = _aiocoap_decode(datagram)
    except ValueError:
        # An option's value that aiocoap cannot interpret (UTF-8, an enumeration). On the message layer that is no
        # error: options are judged one by one (RFC 7252, 5.4). What comes behind it, aiocoap has not seen.
        reject()
    if theirs is not None and _is_laxness_of_aiocoap(datagram):
        assert ours is None
        return
    assert (ours is None) == (theirs is None)
    if ours is None or theirs is None:
        return
    assert (ours.type, ours.code, ours.mid) == (int(theirs.mtype), int(theirs.code), theirs.mid)
    assert (ours.token, ours.payload) == (theirs.token, theirs.payload)
    assert [n for n, _ in ours.options] == [int(o.number) for o in theirs.opt.option_list()]
    # Written again it is shortest, and still the same message.
    assert codec.coap_parse(codec.coap_write(ours)) == ours


@given(st.integers(0, 2**32 - 1))
def test_coap_numbers_in_options(codec: CodecLibrary, value: int) -> None:
    shortest = value.to_bytes((value.bit_length() + 7) // 8, "big")
    assert codec.uint_bytes(value) == shortest
    assert codec.opt_uint(shortest.rjust(4, b"\0")) == codec.opt_uint(shortest) == value
    with pytest.raises(CodecError):
        codec.opt_uint(b"\0" + shortest.rjust(4, b"\0"))


# ---- CBOR: against cbor2 ----

_SCALARS = st.one_of(
    st.integers(-(2**64), 2**64 - 1),
    st.booleans(),
    st.none(),
    st.binary(max_size=300),
    st.text(max_size=80),
    st.floats(),
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.one_of(st.integers(-(2**64), 2**64 - 1), st.text(max_size=8)), inner, max_size=5),
    ),
    max_leaves=30,
)


def _read(codec: CodecLibrary, data: bytes, off: int = 0) -> tuple[Any, int]:
    """One item with all that is in it, by wm_cbor_next alone."""
    item, off = codec.cbor_next(data, off)
    if item.kind in ("array", "map"):
        found: list[Any] = []
        wanted = math.inf if item.indefinite else item.value * (2 if item.kind == "map" else 1)
        while len(found) < wanted:
            if item.indefinite and codec.cbor_next(data, off)[0].kind == "break":
                off += 1
                break
            value, off = _read(codec, data, off)
            found.append(value)
        return (found if item.kind == "array" else dict(zip(found[::2], found[1::2], strict=True))), off
    return _scalar(item), off


def _scalar(item: Item) -> Any:
    match item.kind:
        case "uint":
            return item.value
        case "nint":
            return -1 - item.value
        case "bytes":
            return item.bytes
        case "text":
            return item.bytes.decode()
        case "float16":
            return struct.unpack("e", struct.pack("H", item.value))[0]
        case "float32":
            return struct.unpack("f", struct.pack("I", item.value))[0]
        case "float64":
            return struct.unpack("d", struct.pack("Q", item.value))[0]
        case "simple":
            return {20: False, 21: True, 22: None}[item.value]
    raise AssertionError(f"unexpected {item}")


def _write(codec: CodecLibrary, value: Any) -> bytes:
    """value by the writers of cbor.h; there is none for null."""
    match value:
        case bool():
            return codec.cbor_put("bool", int(value))
        case int() if value >= 0:
            return codec.cbor_put("uint", value)
        case int():
            return codec.cbor_put("int", value)
        case bytes():
            return codec.cbor_put("bytes", content=value)
        case str():
            return codec.cbor_put("text", content=value.encode())
        case float():
            return codec.cbor_put("float64", struct.unpack("Q", struct.pack("d", value))[0])
        case list():
            return codec.cbor_put("array", len(value)) + b"".join(_write(codec, v) for v in value)
        case dict():
            pairs = b"".join(_write(codec, k) + _write(codec, v) for k, v in value.items())
            return codec.cbor_put("map", len(value)) + pairs
    raise AssertionError(f"no writer for {value!r}")


def _same(a: Any, b: Any) -> bool:
    """Equality of type and value in which NaN equals NaN and -0.0 differs from 0.0."""
    if isinstance(a, float) and isinstance(b, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.slow
@THOUSANDS
@given(_TREES, st.booleans(), st.booleans())
def test_cbor_of_cbor2_is_read(codec: CodecLibrary, tree: Any, canonical: bool, indefinite: bool) -> None:
    data = cbor2.dumps(tree, canonical=canonical, indefinite_containers=indefinite and not canonical)
    value, end = _read(codec, data)
    assert end == len(data)
    assert _same(value, cbor2.loads(data))


_WRITABLE = st.recursive(
    st.one_of(
        st.integers(-(2**63), 2**64 - 1),
        st.booleans(),
        st.binary(max_size=300),
        st.text(max_size=80),
        st.floats(),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=26),
        st.dictionaries(st.one_of(st.integers(-(2**63), 2**64 - 1), st.text(max_size=8)), inner, max_size=26),
    ),
    max_leaves=30,
)


@pytest.mark.slow
@THOUSANDS
@given(_WRITABLE)
def test_cbor_is_written_for_cbor2(codec: CodecLibrary, tree: Any) -> None:
    data = _write(codec, tree)
    assert _same(cbor2.loads(data), tree)
    if not _holds_special(tree):  # cbor2 writes NaN and the infinities in two bytes
        assert data == cbor2.dumps(tree)


def _holds_special(tree: Any) -> bool:
    if isinstance(tree, dict):
        return any(map(_holds_special, tree.values()))
    if isinstance(tree, list):
        return any(map(_holds_special, tree))
    return isinstance(tree, float) and not math.isfinite(tree)


@given(st.integers(0, 2**32 - 1))
@example(0x7FC00001)
@example(0x7F800001)
def test_cbor_float32_keeps_its_bits(codec: CodecLibrary, bits: int) -> None:
    data = codec.cbor_put("float32", bits)
    assert data == b"\xfa" + bits.to_bytes(4, "big")
    item, _ = codec.cbor_next(data, 0)
    assert (item.kind, item.value) == ("float32", bits)


@given(st.integers(0, 2**64 - 1))
@example(0x7FF8000000000001)
@example(0x7FF0000000000001)
def test_cbor_float64_keeps_its_bits(codec: CodecLibrary, bits: int) -> None:
    data = codec.cbor_put("float64", bits)
    assert data == b"\xfb" + bits.to_bytes(8, "big")
    item, _ = codec.cbor_next(data, 0)
    assert (item.kind, item.value) == ("float64", bits)


_SKIP_LEVELS = 8


def _well_formed(data: bytes, off: int = 0, level: int = 0) -> int:
    """Where the item at off ends, as RFC 8949, appendix C has it, with the two limits of wm_cbor_skip.

    Raises EOFError: cut off; ValueError: not well-formed; RecursionError: too deep, or a string in chunks.
    """
    if off == len(data):
        raise EOFError
    major, info, off = data[off] >> 5, data[off] & 31, off + 1
    if info == 31:
        if major in (0, 1, 6):
            raise ValueError("no indefinite length for this type")
        if major == 7:
            raise ValueError("a break out of place")
        if major in (2, 3) or level == _SKIP_LEVELS:
            raise RecursionError
        items = 0
        while True:
            if off == len(data):
                raise EOFError
            if data[off] == 0xFF:
                if major == 5 and items % 2:
                    raise ValueError("a key without a value")
                return off + 1
            off, items = _well_formed(data, off, level + 1), items + 1
    if info > 27:
        raise ValueError("reserved")
    width = {24: 1, 25: 2, 26: 4, 27: 8}.get(info, 0)
    if off + width > len(data):
        raise EOFError
    value = int.from_bytes(data[off : off + width], "big") if width else info
    off += width
    if major in (2, 3):
        if value > len(data) - off:
            raise EOFError
        off += value
    elif major == 6:
        off = _well_formed(data, off, level)
    elif major == 7 and info == 24 and value < 32:
        raise ValueError("a simple value in two bytes that has one")
    elif major in (4, 5):
        if level == _SKIP_LEVELS:
            raise RecursionError
        for _ in range(value * (2 if major == 5 else 1)):
            off = _well_formed(data, off, level + 1)
    return off


_CBOR_NOISE = st.one_of(
    st.binary(max_size=40),
    st.builds(_mutate, _TREES.map(cbor2.dumps), st.integers(0, 200), st.integers(0, 255), st.integers(0, 60)),
    # structure without much content: containers, tags, breaks
    st.lists(
        st.sampled_from(
            [0x00, 0x20, 0x40, 0x61, 0x80, 0x81, 0x82, 0x9F, 0xA0, 0xA1, 0xBF, 0xC1, 0xD8, 0xF4, 0xF8, 0xFF]
        ),
        max_size=24,
    ).map(bytes),
)


@pytest.mark.slow
@THOUSANDS
@given(_CBOR_NOISE)
def test_cbor_any_bytes_are_judged_by_the_rfc(codec: CodecLibrary, data: bytes) -> None:
    try:
        end = codec.cbor_skip(data)
    except CodecError as err:
        with pytest.raises((EOFError, ValueError, RecursionError)) as why:
            _well_formed(data)
        # A length that no input has may be seen before what else is wrong, so only the other direction is exact.
        if err.code == ERR_UNSUPPORTED:
            assert why.type is RecursionError
        if why.type is EOFError:
            assert err.code == ERR_TRUNCATED
        return
    assert _well_formed(data) == end


@pytest.mark.slow
@THOUSANDS
@given(_CBOR_NOISE)
def test_cbor_any_bytes_that_cbor2_takes_are_taken(codec: CodecLibrary, data: bytes) -> None:
    # cbor2 also judges content: UTF-8, dates in tags, keys that hash. So its refusal says little, its consent a lot.
    stream = io.BytesIO(data)
    try:
        cbor2.CBORDecoder(stream).decode()
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError):
        return
    try:
        end = codec.cbor_skip(data)
    except CodecError as err:
        assert err.code == ERR_UNSUPPORTED  # chunks, or deeper than 8 levels
        with pytest.raises(RecursionError):
            _well_formed(data)
        return
    assert end == stream.tell()
