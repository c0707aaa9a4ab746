"""How the output of one step becomes the input of the next. Sans-IO.

| from | to | how |
|---|---|---|
| numbers | numbers | each result is an argument, in order; the numbers must be as many, and fit the types |
| bytes | bytes | as they are |
| numbers | bytes | a JSON array of the results, as HTTP gives them: `[6765]` |
| bytes | numbers | the output is read as JSON: an array of arguments, or one number |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from wasmote.errors import InputError
from wasmote.protocol import values
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.deploy.joints import misfit
from wasmote_fleet.requests.records import Body

MAX_JSON_BYTES = 64 * 1024


def check_chain(steps: Sequence[tuple[str, Export]]) -> None:
    """Raises InputError where a step's output can never be the next one's input. steps: (how a person names it, the
    export)."""
    for (before, giver), (name, taker) in pairwise(steps):
        why = misfit(giver, taker)
        if why is not None:
            raise InputError(
                f"the output of {before} is no input for {name}",
                cause=why,
                next_step="put a function between them that converts it, or leave one of them out",
            )


def output_of(result: CallResult, taker: Export) -> Body:
    """The next step's input. What does not fit is said by fitted()."""
    if result.kind == "bytes":
        return result.output
    if taker.kind == "numbers":
        return list(result.numbers)
    converted = [
        values.to_json(kind, number) for kind, number in zip(result.results, result.numbers, strict=True)
    ]
    return json.dumps(converted, separators=(",", ":")).encode()


def fitted(name: str, body: Body, taker: Export) -> Body:
    """body as the export takes it: a stream for an export of numbers is read as JSON, numbers for one of bytes become
    it. Raises InputError."""
    if taker.kind == "bytes":
        if body is None or isinstance(body, bytes):
            return body
        return json.dumps(list(body), separators=(",", ":")).encode()
    if isinstance(body, bytes):
        body = _numbers(name, body, taker)
    check_numbers(name, body, taker)
    return body


def check_numbers(name: str, body: Sequence[values.Argument] | None, taker: Export) -> None:
    """Raises InputError for what the export does not take."""
    try:
        values.parse_arguments(taker.params, body or ())
    except values.ArgumentError as error:
        raise InputError(
            f"{name} {error}" if error.index is None else f"{name}: {error}",
            cause=f"its signature is {taker.signature}",
            next_step="give it what it takes; in a chain, that is the output of the step before",
            details={} if error.index is None else {"arg": error.index},
        ) from None


def _numbers(name: str, data: bytes, taker: Export) -> list[values.Argument]:
    why = ""
    found: Any = None
    if not data:
        return []
    if len(data) > MAX_JSON_BYTES:
        why = f"it has {len(data)} bytes"
    else:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError) as error:
            why = str(error) or "it is nested too deeply"
    items: list[Any] = found if isinstance(found, list) else [found]
    if not why:
        for item in items:
            if isinstance(item, bool) or not isinstance(item, int | float | str):
                why = f"{json.dumps(item)[:40]} is neither a number nor a text"
                break
    if why:
        raise InputError(
            f"{name} takes numbers, and what it was given is no JSON array of them",
            cause=f"{why}; its signature is {taker.signature}",
            next_step="give it a text such as [20, 2.5]; an i64 beyond 2^53, NaN and the infinities as texts",
        )
    return items
