"""What names, keys and values may be: the same for all drivers."""

from __future__ import annotations

import math
import re

from wasmote_fleet.engine.errors import TooLarge

MAX_KEY_BYTES = 256
MAX_VALUE_BYTES = 512 * 1024
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


def check_name(name: str, what: str) -> str:
    """A queue's, log's, bucket's or service's name: 1 to 64 of A-Z a-z 0-9 _ -. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a {what}: {name!r}; 1 to 64 of A-Z, a-z, 0-9, _ and - are")
    return name


def check_key(key: str) -> str:
    """Segments between slashes, none empty, no control characters, at most 256 bytes of UTF-8. Raises ValueError."""
    if not key or not key.isprintable() or "" in key.split("/") or len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(
            f"not a key: {key!r}; printable segments between single slashes, 256 bytes at most, are"
        )
    return key


def check_prefix(prefix: str) -> str:
    """Whole segments: empty for all keys, or a key with a slash behind it. Raises ValueError."""
    if prefix:
        if not prefix.endswith("/"):
            raise ValueError(f"not a prefix: {prefix!r}; it ends with a slash, or is empty for all keys")
        check_key(prefix[:-1])
    return prefix


def check_value(value: bytes) -> None:
    """At most MAX_VALUE_BYTES. Raises TooLarge."""
    if len(value) > MAX_VALUE_BYTES:
        raise TooLarge(
            f"{len(value)} bytes are too many",
            cause=f"a value has {MAX_VALUE_BYTES} at most",
            next_step="put it into a blob, and its digest here",
        )


def whole_seconds(ttl_s: float) -> int:
    """A time to live, rounded up. Raises ValueError unless it is above 0."""
    if not ttl_s > 0:
        raise ValueError(f"not a time to live: {ttl_s} s")
    return math.ceil(ttl_s)
