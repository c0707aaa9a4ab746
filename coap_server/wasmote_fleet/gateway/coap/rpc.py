"""Calls that nodes ask for: POST /rpc/{name}[/{export}]?from=EP&f=FUNCTION&x=CONTEXT (docs/PROTOCOL.md, 3.8).

The answer says that the call is queued, never what it gave: nothing waits here.

There are no keys. Who asks must be a node of the fleet by its name, and ask from its address; it can call only what is
deployed together with what it has.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from urllib.parse import urlsplit

import aiocoap
import cbor2
from aiocoap import resource
from aiocoap.numbers import codes

from wasmote.errors import InputError, RefusedError, WasmoteError
from wasmote.protocol.messages import FORMAT_BYTES, FORMAT_CBOR, FORMAT_PROBLEM
from wasmote.protocol.target import parse_target
from wasmote_fleet.deploy import UnknownDeployment
from wasmote_fleet.engine import EngineError
from wasmote_fleet.gateway.errors import Overloaded
from wasmote_fleet.registry import Registry, State, UnknownNode
from wasmote_fleet.registry.records import Record, node_id
from wasmote_fleet.requests import Ambiguous, HopLimit, Requests, TooLate, UnknownTarget
from wasmote_fleet.requests.records import Body

MAX_BYTES = 64 * 1024
_KNOWN = ("from", "f", "x")
_FORMAT_TEXT = 0
_RETRY_S = 2


class NotANode(RefusedError):
    """Who asks is no node of the fleet, or asks from another address."""


class _TooLarge(InputError):
    """The data have more than MAX_BYTES."""


# The first class that fits decides.
_CODES: list[tuple[type[WasmoteError], codes.Code]] = [
    (NotANode, codes.FORBIDDEN),
    (UnknownTarget, codes.NOT_FOUND),
    (UnknownDeployment, codes.NOT_FOUND),
    (Ambiguous, codes.CONFLICT),
    (_TooLarge, codes.REQUEST_ENTITY_TOO_LARGE),
    (Overloaded, codes.SERVICE_UNAVAILABLE),
    (EngineError, codes.SERVICE_UNAVAILABLE),
    (TooLate, codes.GATEWAY_TIMEOUT),
    (HopLimit, codes.HOP_LIMIT_REACHED),
    (InputError, codes.BAD_REQUEST),
]


class Rpc(resource.Resource, resource.PathCapable):  # type: ignore[misc]
    """/rpc"""

    rt = "wm.rpc"

    def __init__(self, requests: Requests, registry: Registry) -> None:
        super().__init__()
        self._requests = requests
        self._registry = registry

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        try:
            made = await self._accept(request)
        except WasmoteError as error:
            return _refused(error)
        return aiocoap.Message(code=codes.CREATED, payload=made.encode(), content_format=_FORMAT_TEXT)

    async def _accept(self, request: aiocoap.Message) -> str:
        query = _query(request.opt.uri_query)
        if "from" not in query:
            raise InputError("the query 'from' is missing", next_step="send the node's ep as from=EP")
        path = request.opt.uri_path
        if not 1 <= len(path) <= 2 or not all(path):
            raise InputError("the path is no name", next_step="POST to /rpc/NAME or /rpc/NAME/EXPORT")
        if len(request.payload) > MAX_BYTES:
            raise _TooLarge(f"the data have more than {MAX_BYTES} bytes", next_step="send less")
        node = await self._node(query["from"], request.remote)
        made = await self._requests.submit_from_node(
            node,
            query.get("f"),
            query.get("x"),
            path[0],
            path[1] if len(path) == 2 else None,
            _body(request),
        )
        return made.id

    async def _node(self, ep: str, remote: object) -> str:
        """The id of the node that asks. Raises NotANode."""
        try:
            view = await self._registry.find(node_id(ep))
        except (UnknownNode, InputError):
            raise NotANode(
                f"'{ep}' is no node of this fleet", next_step="register it here, or adopt it"
            ) from None
        if view.state is State.LEFT or not await _is_at(view.record, remote):
            raise NotANode(
                f"'{ep}' did not ask this",
                cause=f"it is {view.state}, at {view.record.uri}",
                next_step="adopt it at the address that it has now",
            )
        return view.record.id


async def _is_at(record: Record, remote: object) -> bool:
    """Whether a request comes from where the node is. Of a serial node, its bridge is on this machine."""
    asking = _address(urlsplit(f"//{getattr(remote, 'hostinfo', '')}").hostname or "")
    target = parse_target(record.uri)
    if asking is None:
        return False
    if target.kind == "serial":
        return asking.is_loopback
    known = _address(target.host)
    if known is not None:
        return known == asking
    try:
        found = await asyncio.get_running_loop().getaddrinfo(target.host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    return any(_address(str(each[4][0])) == asking for each in found)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _query(parts: tuple[str, ...]) -> dict[str, str]:
    """Raises InputError."""
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name not in _KNOWN or name in found:
            raise InputError(
                f"the query '{name}' is {'given twice' if name in found else 'not known here'}",
                cause=f"known here: {', '.join(_KNOWN)}",
                next_step="see docs/PROTOCOL.md, 3.8",
            )
        found[name] = value
    return found


def _body(request: aiocoap.Message) -> Body:
    """Raises InputError."""
    if request.opt.content_format == FORMAT_CBOR:
        try:
            numbers = cbor2.loads(request.payload)
        except Exception as error:  # cbor2 raises many kinds on bytes from the wire
            raise InputError("the data are no CBOR", cause=str(error), next_step="correct them") from None
        if not isinstance(numbers, list) or not all(
            isinstance(each, int | float) and not isinstance(each, bool) for each in numbers
        ):
            raise InputError("the data are no array of numbers", next_step="send one, or a stream (42)")
        return numbers
    if request.opt.content_format not in (None, FORMAT_BYTES):
        raise InputError(
            f"data of format {request.opt.content_format} are not understood", next_step="send 42 or 60"
        )
    return bytes(request.payload)


def _refused(error: WasmoteError) -> aiocoap.Message:
    """With problem details (RFC 9290)."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), codes.INTERNAL_SERVER_ERROR)
    details = {-1: error.message, -2: f"{error.cause}; {error.next_step}" if error.cause else error.next_step}
    message = aiocoap.Message(code=code, payload=cbor2.dumps(details), content_format=FORMAT_PROBLEM)
    if code == codes.SERVICE_UNAVAILABLE:
        message.opt.max_age = error.retry_after_s if isinstance(error, Overloaded) else _RETRY_S
    return message
