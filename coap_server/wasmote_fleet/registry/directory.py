"""A resource directory (RFC 9176), apart from CoAP: registrations in the engine's kv, and what lookups answer.

A registration is `rd/<id>`, one JSON, whose time to live is its lifetime: it ends by itself, and whoever watches the
keys (the registry does) sees it come, change and go. All servers of a fleet share them.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from wasmote.protocol import links
from wasmote.protocol.links import Link, LinkFormatError
from wasmote.protocol.target import COAP_PORT
from wasmote_fleet.engine import KeyValue, RevisionConflict
from wasmote_fleet.registry import records
from wasmote_fleet.registry.asking import answers_as
from wasmote_fleet.registry.presence import State
from wasmote_fleet.registry.records import node_id

log = logging.getLogger("wasmote.fleet.registry")

PREFIX = "rd/"
LIFETIME_S = 90_000  # RFC 9176, 5
MAX_LIFETIME_S = 2**32 - 1
MAX_NAME_BYTES = 63
MAX_LINKS_BYTES = 16 * 1024
MAX_PARAMETERS = 16
MAX_FOUND = 1000  # links that one lookup gives; page and count show others
MAX_ENDPOINTS = 10_000
MAX_ASKED = 32  # nodes that are asked at a time whether they are still there
NODE_TYPE = "wm.d"  # resource type of a node's /d
REGISTRATION_PATH = "rd"
_THERE = (State.UP, State.SILENT, State.UNKNOWN)
_OWN = ("ep", "d", "lt", "base")
_RESERVED = ("page", "count", "rt", "href", "anchor")
_WORDS = ("rt", "if", "rel", "ct")  # attributes that list words: one of them is enough (RFC 6690, 4.1)
_BASE = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]+\Z")

_CONFLICTS = 5  # with other changes of one registration, before its sender is asked to come again
_TOLD_S, _TOLD = (
    3600.0,
    100,
)  # a refusal is logged once in that time, and so many of different names or machines

Query = Sequence[tuple[str, str]]
StillThere = Callable[[str, str], Awaitable[bool]]  # base, ep: whether that endpoint answers there


class BadRequest(Exception):
    """4.00: the request is wrong; the message says what, for a person."""


class Full(Exception):
    """5.03: no room for more endpoints."""


class Taken(Exception):
    """4.03: this is another's, by the address that the request came from."""


@dataclass(frozen=True, slots=True)
class Registration:
    """An endpoint's. base: where it is; explicit: it said so itself. lt: lifetime in seconds. attributes: its other
    parameters, such as et. links: what it registered, in link format."""

    ep: str
    d: str
    base: str
    explicit: bool
    lt: int
    attributes: Mapping[str, str] = field(default_factory=dict)
    links: str = ""

    @property
    def id(self) -> str:
        return node_id(self.ep, self.d)

    @property
    def href(self) -> str:
        return f"/{REGISTRATION_PATH}/{self.id}"

    @property
    def link(self) -> Link:
        """What an endpoint lookup says of it."""
        own = {"ep": self.ep, **({"d": self.d} if self.d else {}), "base": self.base}
        return Link(self.href, {**own, **self.attributes, "rt": "core.rd-ep"})

    def resolved(self) -> list[Link]:
        """Its links with full addresses, as a resource lookup gives them."""
        found = []
        for link in links.parse(self.links):
            attributes = dict(link.attributes)
            if "anchor" in attributes:
                attributes["anchor"] = urljoin(self.base, attributes["anchor"])
            found.append(Link(urljoin(self.base, link.target), attributes))
        return found

    def offers(self, rt: str) -> bool:
        """Whether one of its links has this resource type."""
        return any(rt in link.words("rt") for link in links.parse(self.links))

    @property
    def is_node(self) -> bool:
        """Whether it is a wasmote node, as far as it says."""
        return self.base.startswith("coap://") and self.offers(NODE_TYPE)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()


def decode(value: bytes) -> Registration:
    """The registration of a value."""
    members = json.loads(value)
    return Registration(
        **{name: members[name] for name in Registration.__dataclass_fields__ if name in members}
    )


def parse_query(options: Sequence[str]) -> Query:
    """Uri-Query options as pairs; one without `=` has an empty value."""
    return [(name, value) for name, _, value in (option.partition("=") for option in options)]


def new_registration(query: Query, links_text: str, source: str | None) -> Registration:
    """The registration that a request asks for. source: the address it came from, as a base; None where that has none.
    Raises BadRequest."""
    given = _parameters(query)
    ep = given.pop("ep", "")
    if not ep or len(ep.encode()) > MAX_NAME_BYTES or not ep.isprintable():
        raise BadRequest(f"ep: an endpoint name of 1 to {MAX_NAME_BYTES} bytes is needed")
    d = given.pop("d", "")
    if len(d.encode()) > MAX_NAME_BYTES or not (d.isprintable()):
        raise BadRequest(f"d: at most {MAX_NAME_BYTES} bytes")
    lt = _lifetime(given.pop("lt", str(LIFETIME_S)))
    explicit = "base" in given
    base = _base(given.pop("base")) if explicit else source
    if base is None:
        raise BadRequest("base is needed: this transport does not tell an address")
    _check_links(links_text)
    return Registration(ep, d, base, explicit, lt, given, links_text)


def updated(registration: Registration, query: Query, source: str | None) -> Registration:
    """The registration after an update (RFC 9176, 5.3.1). Raises BadRequest."""
    given = _parameters(query)
    if "ep" in given or "d" in given:
        raise BadRequest("ep and d cannot be changed: register anew")
    lt = _lifetime(given.pop("lt")) if "lt" in given else registration.lt
    explicit, base = registration.explicit, registration.base
    if "base" in given:
        explicit, base = True, _base(given.pop("base"))
    elif not explicit and source is not None:
        base = source
    attributes = {**registration.attributes, **given}
    return Registration(registration.ep, registration.d, base, explicit, lt, attributes, registration.links)


class Directory:
    """Registrations, kept in kv. still_there: asks a node that registered whether it is."""

    def __init__(self, kv: KeyValue, still_there: StillThere = answers_as) -> None:
        self._kv = kv
        self._still_there = still_there
        self._asked = 0
        self._told: dict[tuple[str, str], float] = {}  # refusals: id and machine, when

    async def get(self, id: str) -> Registration | None:
        entry = await self._kv.get(PREFIX + id)
        return None if entry is None else decode(entry.value)

    async def put(self, registration: Registration, source: str | None = None) -> None:
        """Keep it for its lifetime, in the place of an earlier one of the same endpoint. source: the base that the
        request came from, if that is to count. A node that is there keeps its name: one that would move it to another
        address waits until the earlier one has been asked. Raises Full, Taken."""
        try:
            await self._put(registration, source)
        except Taken as err:
            self._tell(registration, source, err)
            raise

    async def _put(self, registration: Registration, source: str | None) -> None:
        if not _may(source, registration.base):
            raise Taken(
                "base is another machine's: who registers somebody else does it on the server's machine"
            )
        key = PREFIX + registration.id
        for _ in range(_CONFLICTS):
            entry = await self._kv.get(key)
            if entry is None:
                if len(await self._kv.keys(PREFIX)) >= MAX_ENDPOINTS:
                    raise Full(f"{MAX_ENDPOINTS} endpoints are registered")
            else:
                await self._check_free(decode(entry.value), registration, source)
            try:
                # Of two that come at once with one name, the later one finds the other.
                revision = 0 if entry is None else entry.revision
                await self._kv.put(key, registration.encode(), ttl_s=registration.lt, expected=revision)
                return
            except RevisionConflict:
                continue
        raise Full(f"the registration of {registration.ep} changes too fast")

    async def _check_free(self, before: Registration, now: Registration, source: str | None) -> None:
        """Raises Taken if the node that registered before is there, and elsewhere; Full."""
        if not _may(source, before.base):
            if await self._is_there(now.id):
                raise Taken("a node of this name is there, at another address; it may move once it is down")
            return
        if _same_place(before.base, now.base) or not before.is_node:
            return
        # Asked is only where an endpoint has registered, never where this request says.
        if self._asked >= MAX_ASKED:
            raise Full("too many nodes that move are asked for at once")
        self._asked += 1
        try:
            there = await self._still_there(before.base, before.ep)
        finally:
            self._asked -= 1
        if there:
            raise Taken(
                f"another node called '{before.ep}' answers at {before.base}: "
                "give this one a name of its own (--ep), or stop that one"
            )

    def _tell(self, registration: Registration, source: str | None, why: Taken) -> None:
        """Log a refusal, for whoever looks for the node; not each time that it comes again."""
        now = asyncio.get_running_loop().time()
        self._told = {key: at for key, at in self._told.items() if now - at < _TOLD_S}
        key = registration.id, str(_address(source or registration.base))
        if key not in self._told and len(self._told) < _TOLD:
            self._told[key] = now
            log.warning("the registration of '%s' from %s is refused: %s", registration.ep, source, why)

    async def change(self, before: Registration, after: Registration, source: str | None) -> None:
        """What an update says: only its own address may send one. Raises Taken."""
        if not _may(source, before.base):
            raise Taken("this registration came from another address")
        await self.put(after, source)

    async def remove(self, id: str, source: str | None = None) -> bool:
        """Whether it was there. source: as for put. Raises Taken."""
        before = await self.get(id)
        if before is not None and not _may(source, before.base):
            raise Taken("this registration came from another address")
        return await self._kv.delete(PREFIX + id)

    async def _is_there(self, id: str) -> bool:
        """Whether it is a node of the fleet that answers, as far as is known."""
        entry = await self._kv.get(records.PREFIX + id)
        return entry is not None and records.decode(entry.value).state in _THERE

    async def all(self) -> list[Registration]:
        """By id."""
        return [decode(entry.value) for entry in await self._kv.entries(PREFIX)]

    async def endpoints(self, query: Query) -> list[Link]:
        """An endpoint lookup (RFC 9176, 6.4). Raises BadRequest."""
        filters, window = _filters(query)
        found = [
            registration.link
            for registration in await self.all()
            if all(
                _matches(registration.link, name, value)
                or any(_matches(link, name, value) for link in registration.resolved())
                for name, value in filters
            )
        ]
        return found[window][:MAX_FOUND]

    async def resources(self, query: Query) -> list[Link]:
        """A resource lookup (RFC 9176, 6.3). Raises BadRequest."""
        filters, window = _filters(query)
        found = [
            link
            for registration in await self.all()
            for link in registration.resolved()
            if all(
                _matches(link, name, value) or _matches(registration.link, name, value)
                for name, value in filters
            )
        ]
        return found[window][:MAX_FOUND]


def _may(source: str | None, base: str) -> bool:
    """Whether who sent from source has a say about base: the same machine has, and this machine about all."""
    if source is None:
        return True
    sender = _address(source)
    return sender is not None and (sender.is_loopback or sender == _address(base))


def _same_place(one: str, other: str) -> bool:
    """Whether two bases are one address and port."""
    if one == other:
        return True
    here, there = urlsplit(one), urlsplit(other)
    address = _address(one)
    same_host = address == _address(other) if address is not None else here.hostname == there.hostname
    return same_host and here.scheme == there.scheme and (here.port or COAP_PORT) == (there.port or COAP_PORT)


def _address(base: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address of a base; None for a name."""
    try:
        found = ipaddress.ip_address((urlsplit(base).hostname or "").partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _parameters(query: Query) -> dict[str, str]:
    given: dict[str, str] = {}
    if len(query) > MAX_PARAMETERS:
        raise BadRequest(f"more than {MAX_PARAMETERS} parameters")
    for name, value in query:
        if name in given:
            raise BadRequest(f"{name}: given twice")
        if name in _RESERVED:
            raise BadRequest(f"{name}: not a parameter of a registration")
        given[name] = value
    if any(not re.fullmatch(r"[A-Za-z0-9._-]{1,32}", name) or len(given[name]) > 256 for name in given):
        raise BadRequest("a parameter's name or value is too long, or its name has other characters")
    return given


def _lifetime(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_LIFETIME_S:
        raise BadRequest(f"lt: seconds, 1 to {MAX_LIFETIME_S}")
    return int(text)


def _base(text: str) -> str:
    try:
        sound = _BASE.match(text) is not None and urlsplit(text).hostname and urlsplit(text).port != 0
    except ValueError:
        sound = False
    if not sound:
        raise BadRequest("base: scheme://host or scheme://host:port, without a path")
    return text


def _check_links(text: str) -> None:
    if len(text.encode()) > MAX_LINKS_BYTES:
        raise BadRequest(f"links: at most {MAX_LINKS_BYTES} bytes")
    try:
        for link in links.parse(text):
            urlsplit(link.target), urlsplit(link.attributes.get("anchor", ""))
    except (LinkFormatError, ValueError) as err:
        raise BadRequest(f"links: {err}") from None


def _filters(query: Query) -> tuple[list[tuple[str, str]], slice]:
    """The filters of a lookup, and which part of what is found was asked for."""
    numbers: dict[str, int] = {}
    for name, value in query:
        if name in ("page", "count"):
            if name in numbers or not value.isascii() or not value.isdigit() or len(value) > 9:
                raise BadRequest(f"{name}: one number")
            numbers[name] = int(value)
    if "page" in numbers and "count" not in numbers:
        raise BadRequest("page needs count")
    begin = numbers.get("page", 0) * numbers.get("count", 0)
    window = slice(begin, begin + numbers["count"]) if "count" in numbers else slice(None)
    return [(name, value) for name, value in query if name not in ("page", "count")], window


def _matches(link: Link, name: str, wanted: str) -> bool:
    """Whether a link has an attribute (or href) of this value; with `*` at its end, one that begins so."""
    if name == "href":
        values: tuple[Any, ...] = (link.target,)
    elif name not in link.attributes:
        return False
    else:
        values = link.words(name) if name in _WORDS else (link.attributes[name],)
    if wanted.endswith("*"):
        return any(value.startswith(wanted[:-1]) for value in values)
    return wanted in values
