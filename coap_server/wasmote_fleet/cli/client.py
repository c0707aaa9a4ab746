"""The server as the commands see it: HTTP, with errors as they are everywhere in wasmote."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import click
import requests

from wasmote.errors import ExitCode, InputError, UnansweredError, UnreachableError, WasmoteError

DEFAULT_SERVER = "http://127.0.0.1:8080"
# What to do about a problem where that is another thing here than for a client of HTTP.
_NEXT_STEPS = {
    "key": "give it with --key or in WASMOTE_FLEET_KEY; on the server's machine `wasmote fleet keys add` makes one",
    "wrong-body": "give numbers behind the name, and bytes with --in FILE, or --in - for standard input",
}
F = TypeVar("F", bound=Callable[..., Any])
_CONNECT_S = 5.0
_READ_S = 330.0  # longer than any deadline of the server
_SILENT_S = 45.0  # a stream of events has a comment every 15 s

# The exit code of a problem, by the last part of its type; others go by their status.
_EXIT_CODES = {
    "application": ExitCode.APPLICATION,
    "trap": ExitCode.TRAP,
    "unanswered": ExitCode.UNANSWERED,
    "unreachable": ExitCode.UNREACHABLE,
    "internal": ExitCode.INTERNAL,
    "storage": ExitCode.LOCAL,
    "no-place": ExitCode.UNREACHABLE,
    "too-late": ExitCode.UNREACHABLE,
}
_USAGE = {
    "input", "query", "body", "json", "path", "method", "media-type", "too-large", "unknown-node", "unknown-function",
    "unknown-deployment", "unknown-export", "unknown-target", "unknown-request", "request-exists", "wrong-body",
    "node-exists", "version-taken",
}  # fmt: skip


def server_options(function: F) -> F:
    """--server and --key, as `server` and `key`."""
    key = click.option(
        "--key",
        envvar="WASMOTE_FLEET_KEY",
        metavar="KEY",
        help="For a server on a network. Also WASMOTE_FLEET_KEY.",
    )
    server = click.option(
        "--server",
        envvar="WASMOTE_FLEET",
        default=DEFAULT_SERVER,
        metavar="URL",
        help=f"Where the server is; otherwise {DEFAULT_SERVER}. Also WASMOTE_FLEET.",
    )
    return server(key(function))


class Client:
    """One server. Raises WasmoteError with the server's reason, UnreachableError, UnansweredError."""

    def __init__(self, server: str, key: str | None) -> None:
        parts = urlsplit(server)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"no server: '{server}'", next_step=f"write a URL such as {DEFAULT_SERVER}")
        self._url = server.rstrip("/")
        self._http = requests.Session()
        # No key out of ~/.netrc, and no proxy on the way to this very machine.
        self._http.trust_env = parts.hostname not in ("127.0.0.1", "::1", "localhost")
        self._http.auth = _Bearer(key)

    def request(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str] | None = None,
        json: Any = None,
        data: bytes | None = None,
        content_type: str | None = None,
        answers: Collection[int] = (),
    ) -> requests.Response:
        """One request below /api/v1; path is quoted here. answers: statuses above 299 that are no error."""
        url = "/".join([self._url, "api", "v1", *(quote(part, safe="") for part in path)])
        headers = {} if content_type is None else {"Content-Type": content_type}
        try:
            response = self._http.request(
                method,
                url,
                params=query,
                json=json,
                data=data,
                headers=headers,
                timeout=(_CONNECT_S, _READ_S),
                allow_redirects=False,
            )
        except (requests.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise self._unreachable(error) from None
        except requests.ConnectionError as error:
            if "NewConnectionError" in repr(error) or method == "GET":
                raise self._unreachable(error) from None
            raise self._unanswered(method, error) from None
        except requests.RequestException as error:
            raise self._unanswered(method, error) from None
        if response.status_code >= 300 and response.status_code not in answers:
            raise _error(response)
        return response

    def get(self, *path: str, query: Mapping[str, str] | None = None) -> Any:
        """The JSON there."""
        return self.request("GET", *path, query=query).json()

    def stream(self, *path: str, query: Mapping[str, str] | None = None) -> Iterator[Any | None]:
        """Server-sent events there, each the JSON of its data, until the server ends them; None: it is there. Raises
        UnreachableError also where it is cut off."""
        url = "/".join([self._url, "api", "v1", *(quote(part, safe="") for part in path)])
        try:
            headers = {"Accept": "text/event-stream"}
            timeout = (_CONNECT_S, _SILENT_S)
            with self._http.get(url, params=query, headers=headers, stream=True, timeout=timeout) as response:
                if response.status_code != 200:
                    raise _error(response)
                for line in response.iter_lines(chunk_size=1):
                    yield json.loads(line[5:]) if line.startswith(b"data:") else None
        except requests.RequestException as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"no fleet server at {self._url}",
            cause=_reason(error),
            next_step="start one with `wasmote fleet serve`, or give its address with --server URL",
        )

    def _unanswered(self, method: str, error: Exception) -> UnansweredError:
        return UnansweredError(
            f"the server did not answer a {method}: it may have been done",
            cause=_reason(error),
            next_step="look with `wasmote fleet status` before you repeat it",
        )


class _Bearer(requests.auth.AuthBase):
    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


def _reason(error: Exception) -> str:
    """The innermost of what requests and urllib3 wrap, without their addresses of objects."""
    found: BaseException = error
    while (inner := getattr(found, "reason", None) or found.__cause__ or found.__context__) is not None:
        if not isinstance(inner, BaseException):
            break
        found = inner
    return str(found)


def _error(response: requests.Response) -> WasmoteError:
    """The problem in a response as the error that it was."""
    status = response.status_code
    try:
        body = response.json()
        title, kind = str(body["title"]), str(body["type"]).rpartition("/")[2]
    except (ValueError, KeyError, TypeError):
        if (refused := _openwhisk_error(response)) is not None:
            return refused
        return WasmoteError(
            f"{response.url} answered {status}",
            cause=response.text[:200],
            next_step="check that a fleet server is there, and no other program",
            exit_code=ExitCode.REFUSED,
        )
    code = _EXIT_CODES.get(kind, ExitCode.USAGE if kind in _USAGE else ExitCode.REFUSED)
    details = body.get("node")
    extra = {"function_status": body["function_status"]} if "function_status" in body else {}
    return WasmoteError(
        title,
        cause=str(body.get("detail", "")),
        next_step=_NEXT_STEPS.get(kind) or str(body.get("next_step", "")),
        exit_code=code,
        details={**(details if isinstance(details, dict) else {}), **extra, "status": status, "kind": kind},
    )


def _openwhisk_error(response: requests.Response) -> WasmoteError | None:
    """The error of OpenWhisk's paths, `{"error": TEXT, "code": ID}`; None if it is none."""
    try:
        body = response.json()
        text, _code = str(body["error"]), body["code"]
    except (ValueError, KeyError, TypeError):
        return None
    status = response.status_code
    return WasmoteError(
        text,
        next_step=_NEXT_STEPS["key"]
        if status in (401, 403)
        else "`wasmote fleet action list` shows what there is"
        if status == 404
        else "docs/compatibility.md says what an action may be",
        exit_code=ExitCode.USAGE if status in (400, 404, 413) else ExitCode.REFUSED,
        details={"status": status, "kind": "openwhisk"},
    )
