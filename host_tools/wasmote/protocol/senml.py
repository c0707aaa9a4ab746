"""SenML (RFC 8428) as CBOR, as far as a node uses it: numbers with base name and unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cbor2

_BASE_NAME, _BASE_UNIT, _BASE_VALUE, _BASE_TIME = -2, -4, -5, -3
_NAME, _UNIT, _VALUE, _STRING, _BOOL, _TIME = 0, 1, 2, 3, 4, 6


class SenmlError(ValueError):
    """Not a SenML pack."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One resolved record: its name without the base name, its value, its unit or ""."""

    name: str
    value: int | float | str | bool
    unit: str
    base_name: str = ""


def decode(data: bytes) -> list[Measurement]:
    """The records of a pack, in order, base fields applied. Raises SenmlError."""
    try:
        pack = cbor2.loads(data)
    except Exception as error:  # cbor2 raises many kinds on bytes from the wire
        raise SenmlError(f"not CBOR: {error}") from error
    if not isinstance(pack, list):
        raise SenmlError("a SenML pack is an array")
    base: dict[int, Any] = {}
    records = []
    for record in pack:
        if not isinstance(record, dict):
            raise SenmlError("a SenML record is a map")
        base.update((key, record[key]) for key in (_BASE_NAME, _BASE_UNIT, _BASE_VALUE) if key in record)
        value = next((record[key] for key in (_VALUE, _STRING, _BOOL) if key in record), None)
        if value is None:
            continue
        if not isinstance(value, int | float | str | bool):
            raise SenmlError("a SenML value is a number, a text or a boolean")
        if isinstance(value, int | float) and not isinstance(value, bool) and _BASE_VALUE in base:
            value = value + base[_BASE_VALUE]
        name = str(record.get(_NAME, ""))
        unit = str(record.get(_UNIT, base.get(_BASE_UNIT, "")))
        records.append(Measurement(name, value, unit, str(base.get(_BASE_NAME, ""))))
    return records
