"""protocol/slipmux.py: frames survive any cut of the stream; damage loses one frame and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote.protocol.slipmux import COAP, TEXT, Decoder, Frame, encode, fcs16


def decode(data: bytes) -> list[Frame]:
    return list(Decoder().feed(data))


def test_slipmux_fcs_matches_rfc1662_check_value() -> None:
    # The check value of CRC-16/X-25, which RFC 1662 describes.
    assert fcs16(b"123456789") ^ 0xFFFF == 0x906E


def test_slipmux_encode_escapes_and_appends_the_fcs() -> None:
    frame = encode(COAP, b"\xc0\xdb\x01")
    assert frame.startswith(b"\xc0\xa9\xdb\xdc\xdb\xdd\x01")
    assert frame.endswith(b"\xc0") and b"\xc0" not in frame[1:-1]


@given(st.lists(st.tuples(st.sampled_from([COAP, TEXT]), st.binary(max_size=300)), max_size=6), st.data())
def test_slipmux_round_trip_over_any_split(frames: list[tuple[int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(encode(kind, content) for kind, content in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder, out = Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        out += list(decoder.feed(stream[start:end]))
    assert out == [Frame(kind, content) for kind, content in frames]
    assert decoder.dropped == 0


@given(st.binary(max_size=500))
def test_slipmux_takes_random_bytes_and_finds_the_next_frame(noise: bytes) -> None:
    decoder = Decoder()
    list(decoder.feed(noise))
    # END closes whatever the noise left open; the frame behind it is whole.
    assert list(decoder.feed(b"\xc0" + encode(COAP, b"ok")))[-1] == Frame(COAP, b"ok")


@given(st.binary(min_size=1, max_size=80), st.data())
def test_slipmux_single_bit_errors_are_noticed(content: bytes, data: st.DataObject) -> None:
    frame = encode(COAP, content)
    at = data.draw(st.integers(1, len(frame) - 2))
    bad = bytearray(frame)
    bad[at] ^= 1 << data.draw(st.integers(0, 7))
    # The damage may also look like an END and split the frame, or make it a text: never a CoAP message.
    assert not any(frame.kind == COAP for frame in decode(bytes(bad)))


@pytest.mark.parametrize(
    "body",
    [b"\xa9", b"\xa9\x01\x02", b"\x41abc", b"\xa9\xdb", b"\xa9\xdb\x01\x00\x00", b"\x0a" + b"x" * 5000],
    ids=["no-fcs", "bad-fcs", "unknown-kind", "escape-at-end", "bad-escape", "too-long"],
)
def test_slipmux_drops_bad_frames_whole_and_counts_them(body: bytes) -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"\xc0" + body + b"\xc0")) == []
    assert decoder.dropped == 1
    assert list(decoder.feed(encode(TEXT, b"after"))) == [Frame(TEXT, b"after")]


def test_slipmux_skips_empty_frames() -> None:
    decoder = Decoder()
    assert list(decoder.feed(b"\xc0\xc0\xc0" + encode(TEXT, b"x") + b"\xc0")) == [Frame(TEXT, b"x")]
    assert decoder.dropped == 0


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "slipmux.json").read_text(encoding="utf-8"))
KINDS = {"coap": COAP, "text": TEXT}


@pytest.mark.parametrize("vector", VECTORS["frames"], ids=lambda vector: vector["name"])
def test_slipmux_vectors_of_whole_frames(vector: dict[str, str]) -> None:
    kind, content = KINDS[vector["kind"]], bytes.fromhex(vector["content"])
    assert encode(kind, content).hex() == vector["frame"]
    assert decode(bytes.fromhex(vector["frame"])) == [Frame(kind, content)]


@pytest.mark.parametrize("vector", VECTORS["broken"], ids=lambda vector: vector["name"])
def test_slipmux_vectors_of_broken_streams(vector: dict[str, Any]) -> None:
    decoder = Decoder(1536)
    good = list(decoder.feed(bytes.fromhex(vector["stream"])))
    assert [frame.content.hex() for frame in good] == vector["good"]
    assert decoder.dropped == vector["dropped"]
