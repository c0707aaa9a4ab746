"""The server by CoAP:

    /functions               GET: a link list of what is published
    /functions/{name}        GET: the latest module, by Block2. Nodes that can fetch do it here
    /events                  GET, observe: what happened to nodes (events.py)
    /rpc/{name}              POST: a call that a function on a node asks for (rpc.py)
    /rd, /.well-known/rd, /rd-lookup/ep, /rd-lookup/res    a resource directory (RFC 9176), where nodes register

CoAP carries no keys yet, so it is for loopback addresses, unless somebody says otherwise. Nothing here changes a
function, and only nodes may ask for calls, of what is deployed with what they have.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
from types import TracebackType

import aiocoap
from aiocoap import resource
from aiocoap.error import BadRequest, NotFound

from wasmote.errors import InputError
from wasmote.protocol.messages import FORMAT_BYTES, FORMAT_LINKS
from wasmote_fleet.gateway.coap.bounds import BoundedSite, Few, text_refused
from wasmote_fleet.gateway.coap.events import Events
from wasmote_fleet.gateway.coap.rpc import Rpc
from wasmote_fleet.registry import Directory, Feed, add_directory
from wasmote_fleet.repository import Repository, UnknownFunction

# The server's own log; what matters comes back as a reply.
_LOGGER = "wasmote.coap-server"
_MODULES = 4


class _List(resource.Resource):  # type: ignore[misc]
    """/functions"""

    def __init__(self, repository: Repository) -> None:
        super().__init__()
        self._repository = repository

    async def render_get(self, _request: aiocoap.Message) -> aiocoap.Message:
        links = [
            f'</functions/{found.name}>;ct={FORMAT_BYTES};title="{found.version}"'
            for found in await self._repository.latest()
        ]
        return aiocoap.Message(payload=",".join(links).encode(), content_format=FORMAT_LINKS)


class _Modules(resource.Resource, resource.PathCapable):  # type: ignore[misc]
    """/functions/{name}"""

    def __init__(self, repository: Repository) -> None:
        super().__init__()
        self._repository = repository
        # The latest ones, so that all who fetch one share its bytes.
        self._modules: dict[str, bytes] = {}

    async def render_get(self, request: aiocoap.Message) -> aiocoap.Message:
        if len(request.opt.uri_path) != 1:
            raise NotFound
        try:
            found = await self._repository.find(request.opt.uri_path[0])
            module = await self._read(found.digest)
        except UnknownFunction:
            raise NotFound from None
        except InputError as error:
            raise BadRequest(error.message) from None
        return aiocoap.Message(
            payload=module, content_format=FORMAT_BYTES, etag=bytes.fromhex(found.digest)[:8]
        )

    async def _read(self, digest: str) -> bytes:
        module = self._modules.pop(digest, None) or await self._repository.read(digest)
        while len(self._modules) >= _MODULES:
            del self._modules[next(iter(self._modules))]
        self._modules[digest] = module
        return module


class CoapServer:
    """`async with`: answers at host and port meanwhile."""

    def __init__(
        self, host: str, port: int, repository: Repository, directory: Directory, feed: Feed, rpc: Rpc
    ) -> None:
        self._bind = (host, port)
        self._site = BoundedSite()
        self._site.add_resource(
            [".well-known", "core"], resource.WKCResource(self._site.get_resources_as_linkheader)
        )
        self._site.add_resource(["functions"], _List(repository))
        self._site.add_resource(["functions"], _Modules(repository))
        self._events = Events(feed)
        self._site.add_resource(["events"], self._events)
        self._site.add_resource(["rpc"], rpc)
        add_directory(self._site, directory)

    async def __aenter__(self) -> CoapServer:
        async with contextlib.AsyncExitStack() as stack:
            log, few = logging.getLogger(_LOGGER), Few()
            log.addFilter(few)
            stack.callback(log.removeFilter, few)
            stack.enter_context(text_refused())
            # Behind all addresses a reply must leave by the one that was asked, which only udp6 sees to (Linux).
            transport = "udp6" if ipaddress.ip_address(self._bind[0]).is_unspecified else "simplesocketserver"
            context = await aiocoap.Context.create_server_context(
                self._site, bind=self._bind, loggername=_LOGGER, transports=[transport]
            )
            stack.push_async_callback(context.shutdown)
            await stack.enter_async_context(self._events)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
