"""Request bodies: bounded in size and time, never compressed, JSON without its extensions."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from starlette.requests import Request

from wasmote.protocol.values import json_integer
from wasmote_fleet.gateway.http.problems import HttpProblem

MAX_JSON_BYTES = 64 * 1024
MAX_INPUT_BYTES = 1 << 20
BODY_TIMEOUT_S = 30.0

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
JSON = "application/json"
BYTES = "application/octet-stream"
WASM = "application/wasm"


def media_type(request: Request) -> str:
    """The body's type without its parameters, in lower case; "" for none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def need_type(request: Request, *allowed: str) -> str:
    """The body's type. Raises HttpProblem (415) unless it is allowed."""
    given = media_type(request)
    if given not in allowed:
        raise HttpProblem(
            415,
            "media-type",
            f"a body of type '{given}' is not understood here" if given else "the body's type is missing",
            next_step=f"send it with Content-Type: {' or '.join(allowed)}",
        )
    return given


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises HttpProblem: 413 beyond limit_bytes, 408 for one that takes too long, 415 for a compressed
    one; ClientDisconnect."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise HttpProblem(
            415,
            "encoding",
            f"a body in {encoding} is not taken",
            next_step="send it as it is",
            headers={"Accept-Encoding": "identity"},
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for piece in request.stream():
                if len(body) + len(piece) > limit_bytes:
                    raise _too_large(limit_bytes)
                body += piece
    except TimeoutError:
        raise HttpProblem(
            408,
            "slow-body",
            f"the body did not arrive within {BODY_TIMEOUT_S:g} s",
            next_step="send it again, faster",
            headers={"Connection": "close"},
        ) from None
    return bytes(body)


def _too_large(limit_bytes: int) -> HttpProblem:
    return HttpProblem(
        413,
        "too-large",
        f"the body has more than {limit_bytes} bytes",
        next_step="send less",
        headers={"Connection": "close"},
    )


def parse_json(body: bytes) -> Any:
    """Raises HttpProblem (400)."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_int=json_integer)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair is no text
        return value
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise HttpProblem(
            400, "json", "the body is no JSON", cause=why, next_step="correct it as the text above says"
        ) from None


async def read_object(
    request: Request, members: dict[str, type], *, required: tuple[str, ...]
) -> dict[str, Any]:
    """A JSON object with these members and no others. Raises HttpProblem."""
    body = await read_body(request, MAX_JSON_BYTES)
    if not body and not required:
        return {}
    need_type(request, JSON)
    value = parse_json(body)
    if not isinstance(value, dict):
        raise wrong("the body is no JSON object", members)
    for name, item in value.items():
        if name not in members:
            raise wrong(f"the body has an unknown member '{name}'", members)
        wanted = int | float if members[name] is float else members[name]
        if not isinstance(item, wanted) or isinstance(item, bool) != (members[name] is bool):
            raise wrong(f"'{name}' is of a wrong type", members)
    for name in required:
        if name not in value:
            raise wrong(f"'{name}' is missing in the body", members)
    return value


def wrong(what: str, members: dict[str, type]) -> HttpProblem:
    """A body that is JSON and not what is asked for."""
    words = {
        str: "a text",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        list: "an array",
        dict: "an object",
    }
    known = ", ".join(f"{name} ({words[kind]})" for name, kind in members.items())
    return HttpProblem(422, "body", what, cause=f"its members are: {known}", next_step="see /openapi.json")


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON; write it as a text")
