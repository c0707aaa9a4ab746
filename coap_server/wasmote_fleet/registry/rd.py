"""The resource directory as resources of an aiocoap server (RFC 9176):

    /.well-known/rd          POST: simple registration; /.well-known/core is read where the request came from
    /rd                      POST: registration with links
    /rd/{id}                 POST: update; DELETE: removal
    /rd-lookup/ep, /res      GET: lookups

    site = aiocoap.resource.Site()
    add_directory(site, Directory(engine.kv))

The server adds a /.well-known/core of its own, which lists them with their resource types.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiocoap
import cbor2
from aiocoap import error as aiocoap_error
from aiocoap.resource import PathCapable, Resource, Site

from wasmote.adapters.coap import CoapClient, Tuning
from wasmote.errors import WasmoteError
from wasmote.protocol import links, messages
from wasmote.protocol.messages import Request
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import EngineError
from wasmote_fleet.registry.directory import (
    REGISTRATION_PATH,
    BadRequest,
    Directory,
    Full,
    Registration,
    Taken,
    new_registration,
    parse_query,
    updated,
)

MAX_READING = 32  # nodes whose links are read at a time; more are asked to come again
_READ_TUNING = Tuning(ack_timeout_s=1.0, max_retransmit=3, attempts=1, busy_wait_s=5.0)
_AGAIN_S = 5


def add_directory(site: Site, directory: Directory) -> None:
    """Add the directory's resources to a site."""
    site.add_resource((".well-known", "rd"), _Simple(directory))
    site.add_resource((REGISTRATION_PATH,), _Register(directory))
    site.add_resource((REGISTRATION_PATH,), _Registrations(directory))
    site.add_resource(("rd-lookup", "ep"), _Lookup(directory.endpoints, "core.rd-lookup-ep"))
    site.add_resource(("rd-lookup", "res"), _Lookup(directory.resources, "core.rd-lookup-res"))


class _Simple(Resource):  # type: ignore[misc]
    """RFC 9176, 5.1."""

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self._directory = directory
        self._reading = 0

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return await _answer(self._register(request))

    async def _register(self, request: aiocoap.Message) -> aiocoap.Message:
        query = parse_query(request.opt.uri_query)
        if request.payload:
            raise BadRequest("a simple registration has no payload")
        if any(name == "base" for name, _ in query):
            raise BadRequest("base is not allowed in a simple registration")
        asked = new_registration(query, "", _source(request))
        if self._reading >= MAX_READING:
            raise Full("too many nodes register at once")
        self._reading += 1
        try:
            text = await _read_links(asked.base)
        finally:
            self._reading -= 1
        await self._directory.put(new_registration(query, text, asked.base), _source(request))
        return aiocoap.Message(code=aiocoap.CHANGED)


class _Register(Resource):  # type: ignore[misc]
    """RFC 9176, 5."""

    ct = str(messages.FORMAT_LINKS)
    rt = "core.rd"

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self._directory = directory

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return await _answer(self._register(request))

    async def _register(self, request: aiocoap.Message) -> aiocoap.Message:
        if request.opt.content_format not in (None, messages.FORMAT_LINKS):
            return aiocoap.Message(code=aiocoap.UNSUPPORTED_CONTENT_FORMAT)
        query = parse_query(request.opt.uri_query)
        registration = new_registration(query, _text(request.payload), _source(request))
        await self._directory.put(registration, _source(request))
        return aiocoap.Message(code=aiocoap.CREATED, location_path=(REGISTRATION_PATH, registration.id))


class _Registrations(Resource, PathCapable):  # type: ignore[misc]
    """RFC 9176, 5.3: one resource a registration."""

    def __init__(self, directory: Directory) -> None:
        super().__init__()
        self._directory = directory

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return await _answer(self._update(request))

    async def render_delete(self, request: aiocoap.Message) -> aiocoap.Message:
        return await _answer(self._remove(request))

    async def _update(self, request: aiocoap.Message) -> aiocoap.Message:
        registration = await self._find(request)
        if request.payload:
            raise BadRequest("an update has no payload: register anew to change the links")
        query = parse_query(request.opt.uri_query)
        source = _source(request)
        await self._directory.change(registration, updated(registration, query, source), source)
        return aiocoap.Message(code=aiocoap.CHANGED)

    async def _remove(self, request: aiocoap.Message) -> aiocoap.Message:
        registration = await self._find(request)
        await self._directory.remove(registration.id, _source(request))
        return aiocoap.Message(code=aiocoap.DELETED)

    async def _find(self, request: aiocoap.Message) -> Registration:
        path = request.opt.uri_path
        found = None
        if len(path) == 1:
            with contextlib.suppress(ValueError):  # no id of ours, so no key
                found = await self._directory.get(path[0])
        if found is None:
            raise aiocoap_error.NotFound
        return found


class _Lookup(Resource):  # type: ignore[misc]
    """RFC 9176, 6."""

    ct = str(messages.FORMAT_LINKS)

    def __init__(
        self, look_up: Callable[[list[tuple[str, str]]], Awaitable[list[links.Link]]], rt: str
    ) -> None:
        super().__init__()
        self._look_up = look_up
        self.rt = rt

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        return await _answer(self._answer(request))

    async def _answer(self, request: aiocoap.Message) -> aiocoap.Message:
        if request.opt.accept not in (None, messages.FORMAT_LINKS):
            return aiocoap.Message(code=aiocoap.NOT_ACCEPTABLE)
        found = await self._look_up(list(parse_query(request.opt.uri_query)))
        return aiocoap.Message(
            code=aiocoap.CONTENT,
            payload=links.encode(found).encode(),
            content_format=messages.FORMAT_LINKS,
        )


async def _answer(work: Awaitable[aiocoap.Message]) -> aiocoap.Message:
    """What the work gives, or the error that it raised, with problem details."""
    try:
        return await work
    except BadRequest as err:
        return _problem(aiocoap.BAD_REQUEST, "bad request", str(err))
    except Taken as err:
        return _problem(aiocoap.FORBIDDEN, "not yours", str(err))
    except (Full, EngineError) as err:
        reply = _problem(aiocoap.SERVICE_UNAVAILABLE, "not now", str(err))
        reply.opt.max_age = _AGAIN_S
        return reply
    except (WasmoteError, TimeoutError) as err:
        return _problem(
            aiocoap.GATEWAY_TIMEOUT, "the node's links cannot be read", str(err) or "it is too slow"
        )


def _problem(code: aiocoap.Code, title: str, detail: str) -> aiocoap.Message:
    return aiocoap.Message(
        code=code, payload=cbor2.dumps({-1: title, -2: detail}), content_format=messages.FORMAT_PROBLEM
    )


def _source(request: aiocoap.Message) -> str | None:
    """Where the request came from, as a base."""
    try:
        return str(request.remote.uri)
    except aiocoap_error.AnonymousHost:
        return None


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise BadRequest("links: not UTF-8") from None


async def _read_links(base: str) -> str:
    """/.well-known/core of the endpoint at base. Raises WasmoteError, BadRequest."""
    target = parse_target(base)
    if target.kind != "udp":
        raise BadRequest("only an endpoint at coap:// can register simply")
    request = Request(messages.GET, (".well-known", "core"), accept=messages.FORMAT_LINKS)
    async with asyncio.timeout(60), CoapClient(target.host, target.port, tuning=_READ_TUNING) as client:
        reply = await client.request(request, repeatable=True)
    if not reply.ok:
        raise BadRequest(f"/.well-known/core of {base} answers {reply.code_text}")
    return _text(reply.payload)
