"""The node's codecs in Python: capi.c as a shared library, called through ctypes."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

ERR_MALFORMED = -2
ERR_TRUNCATED = -3
ERR_UNSUPPORTED = -10
ERROR_NAMES = {ERR_MALFORMED: "malformed", ERR_TRUNCATED: "truncated", ERR_UNSUPPORTED: "unsupported"}

_OPTIONS_MAX = 2048


class CodecError(Exception):
    """The codec refused its input; `code` is one of err.h."""

    def __init__(self, code: int) -> None:
        super().__init__(ERROR_NAMES.get(code, str(code)))
        self.code = code


@dataclass(frozen=True)
class Message:
    """A CoAP message: options as (number, value) in the order of the wire."""

    type: int
    code: int
    mid: int
    token: bytes
    options: tuple[tuple[int, bytes], ...]
    payload: bytes


@dataclass(frozen=True)
class Item:
    """The head of one CBOR item; `kind` indexes KINDS."""

    kind: str
    indefinite: bool
    value: int
    bytes: bytes


KINDS = [
    "uint",
    "nint",
    "bytes",
    "text",
    "array",
    "map",
    "tag",
    "float16",
    "float32",
    "float64",
    "simple",
    "break",
]
PUTS = ["uint", "int", "float32", "float64", "bool", "text", "bytes", "array", "map"]


class _Option(ctypes.Structure):
    _fields_ = [("number", ctypes.c_uint32), ("off", ctypes.c_uint32), ("len", ctypes.c_uint32)]


class _Message(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_uint32),
        ("code", ctypes.c_uint32),
        ("mid", ctypes.c_uint32),
        ("token_len", ctypes.c_uint32),
        ("option_count", ctypes.c_uint32),
        ("payload_off", ctypes.c_uint32),
        ("payload_len", ctypes.c_uint32),
        ("token", ctypes.c_uint8 * 8),
        ("options", _Option * _OPTIONS_MAX),
    ]


class _Item(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_uint32),
        ("indefinite", ctypes.c_uint32),
        ("value", ctypes.c_uint64),
        ("bytes_off", ctypes.c_uint32),
        ("bytes_len", ctypes.c_uint32),
    ]


class CodecLibrary:
    """One loaded library; not for several threads."""

    def __init__(self, path: Path) -> None:
        lib = ctypes.CDLL(str(path))
        size, size_p, item_p = ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t), ctypes.POINTER(_Item)
        text, message_p = ctypes.c_char_p, ctypes.POINTER(_Message)
        self._parse = lib.capi_coap_parse
        self._parse.argtypes = [text, size, message_p]
        self._write = lib.capi_coap_write
        self._write.argtypes = [message_p, text, text, size]
        self._opt_uint = lib.capi_coap_opt_uint
        self._opt_uint.argtypes, self._opt_uint.restype = [text, size], ctypes.c_int64
        self._uint_bytes = lib.capi_coap_uint_bytes
        self._uint_bytes.argtypes = [ctypes.c_uint32, text]
        self._next = lib.capi_cbor_next
        self._next.argtypes = [text, size, size_p, item_p]
        self._skip = lib.capi_cbor_skip
        self._skip.argtypes, self._skip.restype = [text, size], ctypes.c_int64
        self._put = lib.capi_cbor_put
        self._put.argtypes = [text, size, size_p, ctypes.c_int, ctypes.c_uint64, text, size]
        self._put.restype = None
        self._message = _Message()

    def coap_parse(self, datagram: bytes) -> Message:
        """Raises CodecError."""
        raw = self._message
        err = self._parse(datagram, len(datagram), raw)
        if err:
            raise CodecError(err)
        return Message(
            raw.type,
            raw.code,
            raw.mid,
            bytes(raw.token[: raw.token_len]),
            tuple((o.number, datagram[o.off : o.off + o.len]) for o in raw.options[: raw.option_count]),
            datagram[raw.payload_off : raw.payload_off + raw.payload_len],
        )

    def coap_write(self, msg: Message, cap: int = 1 << 17) -> bytes:
        """Options must be in order of their numbers. Raises CodecError: it is longer than cap."""
        raw, pool = self._message, b""
        raw.type, raw.code, raw.mid, raw.token_len = msg.type, msg.code, msg.mid, len(msg.token)
        ctypes.memmove(raw.token, msg.token, len(msg.token))
        raw.option_count = len(msg.options)
        for i, (number, value) in enumerate(msg.options):
            raw.options[i] = _Option(number, len(pool), len(value))
            pool += value
        raw.payload_off, raw.payload_len = len(pool), len(msg.payload)
        out = ctypes.create_string_buffer(cap)
        length = self._write(raw, pool + msg.payload, out, cap)
        if length < 0:
            raise CodecError(length)
        return out.raw[:length]

    def opt_uint(self, value: bytes) -> int:
        """Raises CodecError."""
        result = int(self._opt_uint(value, len(value)))
        if result < 0:
            raise CodecError(result)
        return result

    def uint_bytes(self, value: int) -> bytes:
        """The shortest option value."""
        out = ctypes.create_string_buffer(4)
        length = self._uint_bytes(value, out)
        return out.raw[:length]

    def cbor_next(self, data: bytes, off: int) -> tuple[Item, int]:
        """The item at off, and where the next one starts. Raises CodecError."""
        at, raw = ctypes.c_size_t(off), _Item()
        err = self._next(data, len(data), ctypes.byref(at), raw)
        if err:
            raise CodecError(err)
        content = data[raw.bytes_off : raw.bytes_off + raw.bytes_len]
        return Item(KINDS[raw.kind], bool(raw.indefinite), raw.value, content), at.value

    def cbor_skip(self, data: bytes) -> int:
        """Length of the first item with all that is in it. Raises CodecError."""
        result = int(self._skip(data, len(data)))
        if result < 0:
            raise CodecError(result)
        return result

    def cbor_put(self, what: str, value: int = 0, content: bytes = b"") -> bytes:
        """One item as wm_cbor_{what} writes it; negative values and float bits as they lie in 64 bits."""
        total = ctypes.c_size_t(0)
        out = ctypes.create_string_buffer(len(content) + 16)
        bits = value & (2**64 - 1)
        self._put(out, len(out), ctypes.byref(total), PUTS.index(what), bits, content, len(content))
        return out.raw[: total.value]
