"""JSON as these routes take and give it."""

from __future__ import annotations

import json
import math
from typing import Any

from wasmote.protocol.values import json_integer
from wasmote_fleet.compat.openwhisk.errors import malformed


def parse(data: bytes) -> Any:
    """Raises Rejected (400): what is not JSON, and what cannot be written as JSON in UTF-8 again."""
    try:
        value = json.loads(
            data.decode("utf-8"), parse_constant=_refuse, parse_float=_float, parse_int=json_integer
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise malformed("it is nested too deeply") from None
    except ValueError as error:  # also UnicodeError: half of a surrogate pair
        raise malformed(str(error)) from None
    return value


def parse_object(data: bytes) -> dict[str, Any]:
    """An object; {} for no bytes at all. Raises Rejected (400)."""
    value = parse(data) if data else {}
    if not isinstance(value, dict):
        raise malformed("Object expected")
    return value


def encode(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def size_of(value: Any) -> int:
    return len(encode(value))


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON; write it as a text")


def _float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is larger than a number can be here")
    return value
