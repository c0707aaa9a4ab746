"""Requests and responses as all of OpenWhisk's paths have them: roles, parameters, bodies, errors."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.activations import WHISK_ERROR, Activation
from wasmote_fleet.compat.openwhisk.errors import FORBIDDEN, Rejected, bad_request, not_found
from wasmote_fleet.compat.openwhisk.limits import LIST_DEFAULT, LIST_MOST, MAX_WAIT_MS
from wasmote_fleet.compat.openwhisk.names import check_entity
from wasmote_fleet.gateway.http.body import media_type, read_body
from wasmote_fleet.gateway.http.problems import HttpProblem, problem
from wasmote_fleet.gateway.keys import Role

MAX_PUT_BYTES = 4 << 20  # the module in base64, parameters and annotations


def render(error: WasmoteError) -> Response:
    """`{error, code}`; the code is this answer's own, for who asks about it."""
    if isinstance(error, Rejected):
        status, text, headers = error.status, error.message, dict(error.headers)
    elif isinstance(error, HttpProblem) and error.status == 401:
        status, text, headers = 401, "The supplied authentication is invalid", dict(error.headers)
    else:
        shown = problem(error)
        status, text = shown.status_code, str(error)
        headers = {name: value for name, value in shown.headers.items() if name == "retry-after"}
        if error.next_step:
            text = f"{text}. {error.next_step}"
    code = secrets.token_hex(16)
    return json_response({"error": text, "code": code}, status, {**headers, "X-Request-ID": code})


def answering(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except WasmoteError as error:
            return render(error)

    return answer


# ---- of a request ----


def need_role(request: Request, role: Role) -> None:
    """Raises Rejected (403)."""
    has: Role | None = request.state.role
    if has is None or has < role:
        raise Rejected(403, FORBIDDEN)


def only_method(request: Request, method: str) -> None:
    if request.method not in (method, "HEAD"):
        raise wrong_method(request, method)


def wrong_method(request: Request, allowed: str) -> Rejected:
    text = f"HTTP method not allowed, supported methods: {allowed}"
    return Rejected(405, text, headers={"Allow": allowed})


def single_name(names: list[str]) -> str:
    if len(names) != 1:
        raise not_found()
    return check_entity(names[0])


async def json_object(request: Request, most_bytes: int) -> dict[str, Any]:
    """The body, an object of JSON; {} for none. Raises Rejected, HttpProblem."""
    body = await read_body(request, most_bytes)
    if body and media_type(request) != "application/json":
        raise Rejected(415, "The request's Content-Type is not supported. Expected:\napplication/json")
    return jsons.parse_object(body)


def bad_query(name: str, text: str) -> Rejected:
    return bad_request(f"The query parameter '{name}' was malformed:\n{text}")


def flag(request: Request, name: str, default: bool) -> bool:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.lower() in ("true", "yes", "on", "1"):
        return True
    if text.lower() in ("false", "no", "off", "0"):
        return False
    raise bad_query(name, f"'{text}' is not a valid Boolean value")


def wait_s(request: Request) -> float:
    text = request.query_params.get("timeout")
    if text is None:
        return MAX_WAIT_MS / 1000
    if not text.isdecimal() or len(text) > 9 or not 0 < int(text) <= MAX_WAIT_MS:
        raise bad_query("timeout", f"Timeout must be number of milliseconds up to {MAX_WAIT_MS}.")
    return int(text) / 1000


def page(request: Request, collection: str) -> tuple[int, int]:
    """skip and limit; a limit of 0 means the most."""
    skip, limit = (
        integer(request, "skip", collection, 0),
        integer(request, "limit", collection, LIST_DEFAULT),
    )
    if skip < 0:
        raise bad_query("skip", f"The value '{skip}' is not greater than or equal to 0 for {collection}.")
    if not 0 <= limit <= LIST_MOST:
        raise bad_query(
            "limit", f"The value '{limit}' is not in the range of 0 to {LIST_MOST} for {collection}."
        )
    return skip, limit or LIST_MOST


def integer(request: Request, name: str, collection: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.isdecimal() or len(digits) > 9:
        raise bad_query(name, f"The value '{text}' is not an integer for {collection}.")
    return int(text)


def epoch(request: Request, name: str) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 15:
        raise bad_query(name, f"Parameter is not a valid value for epoch seconds: {text}")
    return int(text)


def plain_header(text: str | None) -> str:
    """A header's value that may be said again."""
    return text if text is not None and text.isascii() and text.isprintable() else ""


# ---- of a response ----


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(jsons.encode(value), status, dict(headers or {}), media_type="application/json")


def listed_response(request: Request, collection: str, docs: list[dict[str, Any]]) -> Response:
    """A page of a collection, or only how many there are."""
    skip, limit = page(request, collection)
    if flag(request, "count", False):
        return json_response({collection: max(0, len(docs) - skip)})
    return json_response(docs[skip : skip + limit])


def activation_header(id: str) -> dict[str, str]:
    return {"X-Openwhisk-Activation-Id": id}


def accepted_response(id: str) -> Response:
    return json_response({"activationId": id}, 202, activation_header(id))


def ended_response(activation: Activation, only_result: bool) -> Response:
    outcome = activation.outcome
    assert outcome is not None
    if outcome.busy:
        headers = {"Retry-After": "1", **activation_header(activation.id)}
        raise Rejected(503, str(outcome.result["error"]), headers=headers)
    status = 200 if outcome.ok else 500 if outcome.status == WHISK_ERROR else 502
    body = outcome.result if only_result else activation.as_json()
    return json_response(body, status, activation_header(activation.id))


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
