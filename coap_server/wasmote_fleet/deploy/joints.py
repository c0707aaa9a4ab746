"""Whether the output of one step of a chain can be the input of the next: by their types. Sans-IO.

Between an export of numbers and one of bytes it always may: numbers become a JSON array, and bytes are read as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wasmote.protocol.values import signature_text

_INTEGERS = ("i32", "i64")


class Typed(Protocol):
    """An export: "numbers" or "bytes", and its signature."""

    @property
    def kind(self) -> str: ...

    @property
    def params(self) -> Sequence[str]: ...

    @property
    def results(self) -> Sequence[str]: ...


def misfit(giver: Typed, taker: Typed) -> str | None:
    """Why the output can never be the input, None if it may. What depends on values is found when the chain runs: an
    i64 that is too large for an i32, a text that is no JSON."""
    if giver.kind == "bytes" or taker.kind == "bytes":
        return None
    why = None
    if len(giver.results) != len(taker.params):
        why = f"{len(giver.results)} results, {len(taker.params)} parameters"
    else:
        for index, (given, taken) in enumerate(zip(giver.results, taker.params, strict=True)):
            if given not in _INTEGERS and taken in _INTEGERS:
                why = f"result {index + 1} is {given}, the parameter {taken}"
                break
    if why is None:
        return None
    return (
        f"{why}: {signature_text(giver.params, giver.results)}, then "
        f"{signature_text(taker.params, taker.results)}"
    )
