"""Web actions: an HTTP request becomes parameters, and a result becomes an HTTP response. Sans-IO.

Responses carry `Content-Security-Policy: sandbox`, so that a page which a function makes is no page of this server:
what its scripts send comes from another origin, which the server refuses.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.activations import APPLICATION_ERROR, Outcome
from wasmote_fleet.compat.openwhisk.errors import NOT_ALLOWED, Rejected, bad_request, not_found
from wasmote_fleet.compat.openwhisk.names import NAMESPACE

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
EXTENSIONS = (".http", ".json", ".html", ".svg", ".text")
RESERVED = {"__ow_method", "__ow_headers", "__ow_path", "__ow_user", "__ow_query", "__ow_body"}
SANDBOX = {
    "Content-Security-Policy": "sandbox allow-scripts allow-forms",
    "X-Content-Type-Options": "nosniff",
}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "OPTIONS, GET, DELETE, POST, PUT, HEAD, PATCH",
}
CORS_HEADERS = (
    "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent, X-Require-Whisk-Auth"
)
_SECRET = ("authorization", "cookie", "proxy-authorization")
# What the server says itself, and what would change where a response ends.
_OWN = {
    "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te", "date", "server",
    "content-security-policy", "proxy-authenticate", "www-authenticate",
}  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]*")
_MEDIA = re.compile(r"([a-z0-9!#$&^_.+-]+)/([a-z0-9!#$&^_.+-]+)\s*(;.*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class WebRequest:
    """path: behind the action's name. query: as it was sent. authenticated: the request carried a key."""

    method: str
    headers: Mapping[str, str]
    path: str
    query: str
    body: bytes
    authenticated: bool

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class WebResponse:
    status: int
    body: bytes = b""
    media_type: str | None = None
    headers: Sequence[tuple[str, str]] = field(default_factory=list)


def split_extension(name: str) -> tuple[str, str]:
    """The action's name, and how its result is answered: `.http` unless the name says otherwise."""
    for extension in EXTENSIONS:
        if name.endswith(extension) and len(name) > len(extension):
            return name.removesuffix(extension), extension
    return name, ".http"


def check_allowed(annotation: Any, request: WebRequest) -> None:
    """What `require-whisk-auth` asks for. Raises Rejected (401)."""
    if annotation is None or annotation is False:
        return
    if annotation is True:
        allowed = request.authenticated
    elif isinstance(annotation, str | int | float):
        given = request.headers.get("x-require-whisk-auth", "")
        allowed = hmac.compare_digest(given.encode(), str(annotation).encode())
    else:
        allowed = False
    if not allowed:
        raise Rejected(401, "The resource requires authentication, which was not supplied with the request")


def parameters(request: WebRequest, *, raw: bool, final: set[str]) -> dict[str, Any]:
    """What the action gets. raw: the body and the query as they are. Raises Rejected."""
    said: dict[str, Any] = {
        "__ow_method": request.method.lower(),
        "__ow_headers": {name: value for name, value in request.headers.items() if name not in _SECRET},
        "__ow_path": request.path,
    }
    if request.authenticated:
        said["__ow_user"] = NAMESPACE
    if raw:
        return said | {"__ow_query": request.query, "__ow_body": _opaque(request) if request.body else ""}
    query = dict(parse_qsl(request.query, keep_blank_values=True, max_num_fields=1000))
    body: Any = None
    if request.body:
        if _is_json(request.media_type):
            body = jsons.parse(request.body)
        elif request.media_type == "application/x-www-form-urlencoded":
            text = request.body.decode("utf-8", "replace")
            body = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=1000))
        else:
            body = _opaque(request)
    given: dict[str, Any] = dict(query)
    if isinstance(body, dict):
        given |= body
    if given.keys() & (RESERVED | final):
        raise bad_request(NOT_ALLOWED)
    if body is not None and not isinstance(body, dict):
        given["__ow_body"] = body
    return said | given


def _opaque(request: WebRequest) -> str:
    """Text as it is, everything else in base64; JSON, too, as OpenWhisk does."""
    kind = request.media_type
    if kind.startswith("text/") or kind == "application/x-www-form-urlencoded":
        return request.body.decode("utf-8", "replace")
    return base64.b64encode(request.body).decode()


def response(outcome: Outcome, extension: str) -> WebResponse:
    """What the client gets of a result. Raises Rejected."""
    if not outcome.ok and outcome.status != APPLICATION_ERROR:
        raise bad_request("There was an error processing your request.")
    value: Any = outcome.result if outcome.ok else outcome.result.get("error")
    if extension == ".json":
        if not isinstance(value, dict | list):
            raise _invalid("application/json")
        return WebResponse(200, jsons.encode(value), "application/json")
    if extension == ".html":
        return WebResponse(200, _text(value, "html", "text/html"), "text/html; charset=utf-8")
    if extension == ".svg":
        return WebResponse(200, _text(value, "svg", "image/svg+xml"), "image/svg+xml")
    if extension == ".text":
        return WebResponse(200, _plain(value), "text/plain; charset=utf-8")
    return _http(value)


def _text(value: Any, member: str, media_type: str) -> bytes:
    found = value.get("body", value.get(member)) if isinstance(value, dict) else value
    if not isinstance(found, str):
        raise _invalid(media_type)
    return found.encode()


def _plain(value: Any) -> bytes:
    if isinstance(value, dict):
        if "body" not in value and "text" not in value:
            raise not_found("Response does not include requested property.")
        value = value.get("body", value.get("text"))
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, ensure_ascii=False, indent=2).encode()


def _http(value: Any) -> WebResponse:
    """A result that says its own status, headers and body."""
    if not isinstance(value, dict):
        raise _invalid("message/http")
    status = _status(value.get("statusCode"))
    headers, media_type = _headers(value.get("headers"))
    body = value.get("body")
    if body is None or body == "":
        return WebResponse(status or 204, b"", None, headers)
    if isinstance(body, str):
        return WebResponse(status or 200, _bytes(body, media_type), media_type or "text/html", headers)
    if media_type is not None and not _is_json(media_type.partition(";")[0].strip().lower()):
        raise bad_request("Response type in header did not match generated content type.")
    return WebResponse(status or 200, jsons.encode(body), media_type or "application/json", headers)


def _status(value: Any) -> int | None:
    if value is None:
        return None
    try:
        status = int(value) if isinstance(value, str | int) and not isinstance(value, bool) else 0
    except ValueError:
        status = 0
    if isinstance(value, float) and value.is_integer():
        status = int(value)
    if not 200 <= status <= 599:
        raise _invalid("message/http")
    return status


def _headers(value: Any) -> tuple[list[tuple[str, str]], str | None]:
    """Those that a function may set, and its content type."""
    if value is None:
        return [], None
    if not isinstance(value, dict):
        raise _invalid("message/http")
    found: list[tuple[str, str]] = []
    media_type: str | None = None
    for name, item in value.items():
        for text in _header_values(item):
            if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(text):
                raise _invalid("message/http")
            if name.lower() == "content-type":
                if not _MEDIA.fullmatch(text.strip()):
                    raise bad_request("Response did not specify a known content-type.")
                media_type = text.strip()
            elif name.lower() not in _OWN:
                found.append((name, text))
    return found, media_type


def _header_values(item: Any) -> list[str]:
    if isinstance(item, list):
        return [text for inner in item for text in _header_values(inner)]
    if isinstance(item, bool):
        return ["true" if item else "false"]
    if isinstance(item, str | int | float):
        return [str(item)]
    raise _invalid("message/http")


def _bytes(body: str, media_type: str | None) -> bytes:
    """Of a text body: itself for text, and what its base64 says for all else."""
    kind = "text/html" if media_type is None else media_type.partition(";")[0].strip().lower()
    if kind.startswith("text/") or _is_json(kind) or kind in ("application/xml", "application/javascript"):
        return body.encode()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise bad_request("Response type in header did not match generated content type.") from None


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _invalid(media_type: str) -> Rejected:
    return bad_request(f"Response is not valid '{media_type}'.")
