"""What every request passes before a route sees it: the bound on all of them, where it comes from, and its key."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from wasmote.errors import WasmoteError
from wasmote_fleet.gateway.http.mounts import Mount, render_for
from wasmote_fleet.gateway.http.problems import HttpProblem, problem
from wasmote_fleet.gateway.keys import Keys, Role

AT_ONCE = 640  # requests in this process; the gateway's own bounds come first
MAX_PATH = 2048
# What anybody may ask.
PUBLIC = ("/health",)


class Guard:
    """ASGI middleware. keys: who may do what; None: everybody may do everything, who reaches a loopback address. The
    role is then in request.state.role. mounts: paths whose errors have another shape. trusted: whether requests from
    this address need no key, for programs that know of none."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Keys | None,
        mounts: Sequence[Mount] = (),
        trusted: Callable[[str], bool] | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._trusted = trusted
        self._mounts = mounts
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._running += 1
        try:
            if self._running > AT_ONCE:
                raise HttpProblem(
                    503,
                    "overloaded",
                    "the server has too many requests",
                    cause=f"it works on {AT_ONCE} at a time",
                    next_step="try again in a second",
                )
            scope.setdefault("state", {})["role"] = await self._role(scope)
        except WasmoteError as error:
            await render_for(self._mounts, scope["path"])(error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
        finally:
            self._running -= 1

    async def _role(self, scope: Scope) -> Role | None:
        headers = Headers(scope=scope)
        if len(scope["path"]) > MAX_PATH:
            raise HttpProblem(
                414,
                "path",
                f"the path has more than {MAX_PATH} characters",
                next_step="/openapi.json has all paths",
            )
        _check_length(headers)
        _check_site(headers)
        if self._keys is None:
            _check_local(headers)
            return Role.DEPLOY
        if scope["path"] in PUBLIC:
            return None
        key = _key(headers.get("authorization", ""))
        client = scope.get("client")
        if key is None and self._trusted is not None and client is not None and self._trusted(client[0]):
            _check_named_here(headers)
            return Role.DEPLOY
        role = None if key is None else await self._keys.role_of(key)
        if role is None:
            raise HttpProblem(
                401,
                "key",
                "this server wants a key" if key is None else "the key is not known here",
                next_step="send it as a bearer token, or as the password of Basic authentication; "
                "`wasmote fleet keys add ROLE` makes one",
                headers={"WWW-Authenticate": 'Bearer realm="wasmote", Basic realm="wasmote"'},
            )
        return role


def allow(
    role: Role, endpoint: Callable[[Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint for who has this role, whose errors become problem documents."""

    async def guarded(request: Request) -> Response:
        try:
            has: Role | None = request.state.role
            if has is None or has < role:
                raise HttpProblem(
                    403,
                    "role",
                    f"this takes a key with the role '{role.word}'",
                    cause=f"the key has the role '{has.word}'" if has else "",
                    next_step=f"ask who runs the server for one: `wasmote fleet keys add {role.word}`",
                )
            return await endpoint(request)
        except WasmoteError as error:
            return problem(error)

    return guarded


def _key(authorization: str) -> str | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            _user, colon, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return password if colon else None
    return None


def _check_length(headers: Headers) -> None:
    """A body with two lengths (RFC 9112, 6.1): a proxy in front may take the other one, and what follows for another
    client's request."""
    if "content-length" in headers and "transfer-encoding" in headers:
        raise HttpProblem(
            400,
            "length",
            "the body has two lengths",
            cause="Content-Length and Transfer-Encoding are both there",
            next_step="send one of them",
            headers={"Connection": "close"},
        )


def _check_site(headers: Headers) -> None:
    """Refuse what a browser sends for a page of another site: a form's POST, and a link's or an image's GET, which may
    call a function. A browser adds the key that a person gave it for Basic authentication."""
    origin = headers.get("origin")
    if origin is None:
        other = headers.get("sec-fetch-site") == "cross-site"
    else:
        site = _host_of(origin)
        other = not site or not (is_loopback(site) or site == _host_of(f"//{headers.get('host', '')}"))
    if other:
        raise HttpProblem(
            403,
            "origin",
            "requests from other sites' pages are not answered here",
            cause=f"the header {'Sec-Fetch-Site' if origin is None else 'Origin'} says that this is one",
            next_step="open the address itself, or send the request by a program",
        )


def _check_named_here(headers: Headers) -> None:
    """Without a key, from a trusted machine: a page in a browser there must not get here by a name of its own that it
    made point to this server. Nobody else owns an address, nor a name without dots."""
    host = _host_of(f"//{headers.get('host', '')}")
    if not host or not (_is_address(host) or "." not in host or host.endswith(".local")):
        raise HttpProblem(
            403,
            "host",
            f"requests to '{host}' are not answered without a key",
            cause="such a name can belong to anybody",
            next_step="name this server by its IP address, or send a key",
        )


def _check_local(headers: Headers) -> None:
    """Without keys, only what was meant for this machine: a page in a browser here must not reach the fleet through a
    name that it made point to 127.0.0.1, or by a form."""
    host = _host_of(f"//{headers.get('host', '')}")
    if not is_loopback(host):
        raise HttpProblem(
            403,
            "host",
            f"requests to '{host}' are not answered here",
            cause="without keys this server is for this machine: Host must be localhost or a loopback address",
            next_step="use http://127.0.0.1, or start the server with --http ADDRESS:PORT and keys",
        )


def _host_of(url: str) -> str:
    """ "" for none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """localhost, or an address of this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
