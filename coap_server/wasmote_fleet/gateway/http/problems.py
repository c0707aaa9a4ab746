"""Errors as problem documents (RFC 9457): title is what failed, detail why, next_step what to do now.

CoAP codes of nodes become HTTP codes as RFC 8075, 7, says. A function's own status is always 422 with type
"application", so that it is never mixed up with what the gateway or the node says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from wasmote.errors import (
    ApplicationError,
    InputError,
    LocalError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)
from wasmote_fleet.deploy import Refused, SpecError, UnknownDeployment
from wasmote_fleet.engine import EngineError, EngineUnavailable
from wasmote_fleet.gateway.errors import (
    DeadlinePassed,
    Overloaded,
    UnknownExport,
    WrongBody,
)
from wasmote_fleet.registry import NodeExists, UnknownNode
from wasmote_fleet.repository import UnknownFunction, VersionTaken
from wasmote_fleet.requests import (
    Cancelled,
    HopLimit,
    NoPlace,
    NotFinished,
    RequestExists,
    TooLate,
    UnknownRequest,
    UnknownTarget,
)

MEDIA_TYPE = "application/problem+json"
TYPES = "tag:wasmote,2026:problem/"
BUSY_RETRY_S = 1


class HttpProblem(WasmoteError):
    """An error of the request itself. kind: the last part of the problem's type."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        cause: str = "",
        next_step: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.status = status
        self.kind = kind
        self.headers = dict(headers or {})


# The first class that fits decides.
_BY_CLASS: list[tuple[type[WasmoteError], int, str]] = [
    (UnknownNode, 404, "unknown-node"),
    (UnknownDeployment, 404, "unknown-deployment"),
    (UnknownFunction, 404, "unknown-function"),
    (UnknownExport, 404, "unknown-export"),
    (NodeExists, 409, "node-exists"),
    (VersionTaken, 409, "version-taken"),
    (WrongBody, 415, "wrong-body"),
    (InputError, 422, "input"),
    (ApplicationError, 422, "application"),
    (TrapError, 500, "trap"),
    (UnansweredError, 504, "unanswered"),
    (UnreachableError, 502, "unreachable"),
    (LocalError, 502, "unreachable"),
    (EngineUnavailable, 503, "storage"),
    (EngineError, 500, "storage"),
]
_OF_REQUESTS: list[tuple[type[WasmoteError], int, str]] = [
    (UnknownRequest, 404, "unknown-request"),
    (UnknownTarget, 404, "unknown-target"),
    (RequestExists, 409, "request-exists"),
    (NotFinished, 409, "not-finished"),
    (Cancelled, 410, "cancelled"),
    (HopLimit, 508, "hop-limit"),
    (TooLate, 504, "too-late"),
]
# What a node refused, by its code. Others, such as 4.01, are between gateway and node: 502.
_BY_CODE = {
    "4.00": 400,
    "4.04": 404,
    "4.05": 405,
    "4.12": 412,
    "4.13": 413,
    "4.22": 422,
    "4.29": 429,
    "5.03": 503,
}


def document(error: WasmoteError) -> tuple[dict[str, Any], dict[str, str]]:
    """The problem document of an error, and the headers that go with it."""
    status, kind, headers = _classify(error)
    body: dict[str, Any] = {
        "type": TYPES + kind,
        "title": error.message,
        "status": status,
        "next_step": error.next_step,
    }
    if error.cause:
        body["detail"] = error.cause
    if isinstance(error, ApplicationError):
        body["function_status"] = error.status
    if isinstance(error, Refused):
        body |= {"function": error.function, "nodes": error.reasons}
    elif isinstance(error, SpecError):
        body |= error.details
    elif error.details:
        body["node"] = error.details  # as the node said it
    if status in (429, 503):
        headers.setdefault("Retry-After", str(BUSY_RETRY_S))
    return json.loads(json.dumps(body, default=_as_text)), headers


def problem(error: WasmoteError) -> Response:
    """The response for an error."""
    body, headers = document(error)
    # What others wrote may hold half of a surrogate pair: JSON has its number.
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(text, body["status"], headers, media_type=MEDIA_TYPE)


def _classify(error: WasmoteError) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HttpProblem):
        return error.status, error.kind, dict(error.headers)
    if isinstance(error, Overloaded):
        return 503 if error.whole else 429, "overloaded", {"Retry-After": str(error.retry_after_s)}
    if isinstance(error, DeadlinePassed):
        return (504, "unanswered", {}) if error.began else (503, "overloaded", {})
    if isinstance(error, NoPlace):
        return 429 if error.busy else 503, "no-place", {}
    for found, status, word in _OF_REQUESTS:
        if isinstance(error, found):
            return status, word, {}
    if isinstance(error, Refused):
        return 409, "not-admitted", {}
    if isinstance(error, RefusedError):
        return _BY_CODE.get(str(error.details.get("code")), 502), "refused", {}
    for kind, status, word in _BY_CLASS:
        if isinstance(error, kind):
            return status, word, {}
    return 500, "internal", {}


def _as_text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
