"""HTTP requests that go out from the server to URLs which others wrote: bounded in size and time, and only to addresses
that may be reached.

    module = await fetch("http://192.0.2.7/fibo.wasm", reach=Reach(["192.0.2.0/24"]), limits=Limits(timeout_s=5))

A name is resolved once; the addresses are judged, and the connection goes to one of those that were: a name that says
something else a moment later changes nothing. Each redirect is judged like the first URL. Nothing of this machine goes
along: no proxy, no cookies, no credentials, no Referer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import h11

from wasmote.errors import InputError, UnansweredError, UnreachableError, WasmoteError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 8192
_READ_BYTES = 64 * 1024
_HEADER_BYTES = 32 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Python's tables before 3.13 take these for public: protocol assignments (a cloud's metadata among them), 6to4 relays,
# Azure's metadata, local NAT64, documentation, segment routing.
_NOT_PUBLIC = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "64:ff9b:1::/48", "3fff::/20", "5f00::/16",
    )
]  # fmt: skip
# Looking a name up cannot be cancelled, so it has threads of its own: names that nobody answers for hold up no others.
_RESOLVERS = ThreadPoolExecutor(8, thread_name_prefix="wasmote-resolve")


class UrlRefused(InputError):
    """The URL is malformed, or leads to where requests must not go. Nothing was sent there."""


class FetchFailed(WasmoteError):
    """The other side answered, but not with what was asked for. status: of its answer."""

    def __init__(self, message: str, *, cause: str, next_step: str, status: int) -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.status = status


@dataclass(frozen=True, slots=True)
class Limits:
    """max_bytes: of the body. timeout_s: for all of it, redirects included. redirects: how many are followed, of a GET;
    elsewhere: whether they may lead to another host."""

    max_bytes: int = 1 << 20
    timeout_s: float = 10.0
    redirects: int = 3
    elsewhere: bool = True


class Reach:
    """Where requests may go: to public addresses, and to others only if they are given. allowed: addresses or networks
    ("192.0.2.7", "10.0.0.0/8"); hosts: names that may point anywhere. Raises InputError."""

    def __init__(
        self, allowed: Iterable[str] = (), *, hosts: Iterable[str] = (), public: bool = True
    ) -> None:
        self._networks = [parse_network(text) for text in allowed]
        self._hosts = frozenset(host.lower() for host in hosts)
        self._public = public

    def also(self, *allowed: str, hosts: Iterable[str] = ()) -> Reach:
        """These besides."""
        more = Reach(allowed, hosts=hosts, public=self._public)
        more._networks += self._networks
        more._hosts |= self._hosts
        return more

    def allows(self, host: str, address: IpAddress) -> bool:
        """Whether a request to host may go to this address."""
        return (
            host.lower() in self._hosts
            or any(plain(address) in network for network in self._networks)
            or (self._public and is_public(address))
        )


def parse_network(text: str) -> IpNetwork:
    """An address or a network. Raises InputError."""
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise InputError(
            f"'{text}' is no address",
            next_step="write one such as 192.0.2.7, or a network such as 192.0.2.0/24",
        ) from None


def plain(address: IpAddress) -> IpAddress:
    """The IPv4 address inside an IPv6 one that only wraps it; others as they are."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: IpAddress) -> bool:
    """Whether it is on the Internet, and so not this machine, its networks, or its cloud's metadata service."""
    address = plain(address)
    if isinstance(address, ipaddress.IPv6Address):
        if address.sixtofour is not None:
            return is_public(address.sixtofour)
        if address.teredo is not None or address.is_site_local:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


@dataclass(frozen=True)
class Answer:
    """What came back. url: where it came from, after redirects. headers: names in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """In lower case, without parameters; "" for none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def fetch(url: str, *, reach: Reach, limits: Limits) -> Answer:
    """GET. Raises FetchFailed unless it is answered by 2xx, and what exchange() raises."""
    answer = await exchange("GET", url, reach=reach, limits=limits)
    if not 200 <= answer.status < 300:
        raise FetchFailed(
            f"{_shown(url)} was not fetched",
            cause=f"the answer was {answer.status}",
            next_step="check that the URL is right and that what it names is there",
            status=answer.status,
        )
    return answer


async def exchange(
    method: str,
    url: str,
    *,
    reach: Reach,
    limits: Limits,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> Answer:
    """One request and its answer, whatever its status. Only a GET follows redirects. Raises UrlRefused;
    UnreachableError: nothing was sent; UnansweredError: it was sent, and no whole answer came; FetchFailed: the answer
    is too large, compressed, or leads too far."""
    began = False
    first = _parse(url).hostname
    try:
        async with asyncio.timeout(limits.timeout_s):
            for _ in range(limits.redirects + 1):
                target = _parse(url)
                async with _connected(target, reach) as (reader, writer):
                    began = True
                    answer = await _converse(
                        reader, writer, method, url, target, headers or {}, body, limits.max_bytes
                    )
                where = answer.headers.get("location")
                if method != "GET" or answer.status not in _REDIRECTS or where is None:
                    return answer
                url = _joined(url, where)
                if not limits.elsewhere and _parse(url).hostname != first:
                    raise UrlRefused(
                        f"{_shown(url)} is not fetched",
                        cause=f"{first} redirects to another host",
                        next_step="name the URL that it redirects to, if that is meant",
                    )
    except TimeoutError:
        raise _timeout(url, limits.timeout_s, began) from None
    raise FetchFailed(
        f"{_shown(url)} was not fetched",
        cause=f"more than {limits.redirects} redirects",
        next_step="name the last URL",
        status=answer.status,
    )


def _timeout(url: str, timeout_s: float, began: bool) -> WasmoteError:
    if began:
        return UnansweredError(
            f"no whole answer from {_shown(url)} within {timeout_s:g} s",
            cause="the request was sent",
            next_step="look there before you repeat it",
        )
    return UnreachableError(
        f"{_shown(url)} cannot be reached",
        cause=f"no connection within {timeout_s:g} s",
        next_step="check that its server runs and that this machine reaches it",
    )


def _joined(url: str, where: str) -> str:
    try:
        return urljoin(url, where)
    except ValueError:
        return where  # no URL, which _parse says


def _parse(url: str) -> SplitResult:
    """Raises UrlRefused."""
    why = ""
    try:
        parts = urlsplit(url)
        if len(url) > MAX_URL:
            why = f"it is longer than {MAX_URL} characters"
        elif any(c <= " " or c == "\x7f" for c in url):
            why = "it has spaces or control characters"
        elif parts.scheme not in ("http", "https"):
            why = "it does not begin with http:// or https://"
        elif not parts.hostname:
            why = "it names no host"
        elif parts.username is not None or parts.password is not None:
            why = "it carries a user name"
        elif parts.port == 0:
            why = "its port is 0"
        else:
            parts.hostname.encode("idna")
    except ValueError as error:
        why = str(error)
    if why:
        raise UrlRefused(f"'{_shown(url)}' is no URL to fetch", cause=why, next_step="correct it")
    return parts


@contextlib.asynccontextmanager
async def _connected(
    target: SplitResult, reach: Reach
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an address of the URL's host that may be reached. Raises UrlRefused, UnreachableError."""
    host = target.hostname
    assert host is not None
    port = target.port or (443 if target.scheme == "https" else 80)
    found = await _resolve(host, port)
    addresses = [address for address in found if reach.allows(host, address)]
    if not addresses:
        raise UrlRefused(
            f"{host} must not be reached from here",
            cause=f"it is {', '.join(str(address) for address in found[:4])}: not a public address, and not allowed",
            next_step="who runs the server can allow it",
        )
    tls = ssl.create_default_context() if target.scheme == "https" else None
    why: Exception | None = None
    for address in addresses[:8]:
        try:
            reader, writer = await asyncio.open_connection(
                str(address), port, ssl=tls, server_hostname=host if tls else None, limit=_READ_BYTES
            )
            break
        except OSError as error:  # ssl.SSLError, too
            why = error
    else:
        raise UnreachableError(
            f"{host} cannot be reached at port {port}",
            cause=(why.strerror if isinstance(why, OSError) and why.strerror else str(why)),
            next_step="check that its server runs and that this machine reaches it",
        )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # one exchange a connection, and its end was seen


async def _resolve(host: str, port: int) -> Sequence[IpAddress]:
    """The host's addresses, at least one. Raises UnreachableError, UrlRefused."""
    with contextlib.suppress(ValueError):
        return [ipaddress.ip_address(host)]
    try:
        name = host.encode("idna").decode()
        found = await asyncio.get_running_loop().run_in_executor(
            _RESOLVERS, lambda: socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        )
    except UnicodeError as error:
        raise UrlRefused(f"'{host}' is no host name", cause=str(error), next_step="correct it") from None
    except OSError as error:
        raise UnreachableError(
            f"there is no host '{host}'",
            cause=error.strerror or str(error),
            next_step="check its spelling, or write its address",
        ) from None
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


async def _converse(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    url: str,
    target: SplitResult,
    headers: Mapping[str, str],
    body: bytes,
    max_bytes: int,
) -> Answer:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADER_BYTES)
    path = quote(target.path or "/", safe="/%:@!$&'()*+,;=-._~")
    path += f"?{quote(target.query, safe='/?%:@!$&()*+,;=-._~[]')}" if target.query else ""
    host = _host_line(target)
    lines = {"Host": host, "User-Agent": "wasmote", "Accept": "*/*", "Accept-Encoding": "identity"}
    lines |= {"Connection": "close"} | dict(headers)
    if body or method in ("POST", "PUT"):
        lines["Content-Length"] = str(len(body))
    try:
        data = connection.send(h11.Request(method=method, target=path, headers=list(lines.items())))
        data += (connection.send(h11.Data(data=body)) or b"") if body else b""
        data += connection.send(h11.EndOfMessage()) or b""
        sending = asyncio.create_task(_send(writer, data))
        try:
            return await _receive(connection, reader, url, max_bytes)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
    except (OSError, EOFError, h11.RemoteProtocolError) as error:
        raise UnansweredError(
            f"no whole answer from {_shown(url)}",
            cause=str(error) or "the connection was closed",
            next_step="look there before you repeat it",
        ) from None


def _host_line(target: SplitResult) -> str:
    host = (target.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    return host if target.port is None else f"{host}:{target.port}"


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(OSError):  # then reading says so
        writer.write(data)
        await writer.drain()


async def _receive(
    connection: h11.Connection, reader: asyncio.StreamReader, url: str, max_bytes: int
) -> Answer:
    status, headers, body = 0, dict[str, str](), bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in event.headers}
            _check_size(url, status, headers, max_bytes)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > max_bytes:
                raise _too_large(url, status, max_bytes)
        elif isinstance(event, h11.EndOfMessage):
            return Answer(url, status, headers, bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            raise EOFError


def _check_size(url: str, status: int, headers: Mapping[str, str], max_bytes: int) -> None:
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(url, status, max_bytes)
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise FetchFailed(
            f"{_shown(url)} was not fetched",
            cause=f"it is sent in {coding}, though that was not asked for",
            next_step="have its server send it as it is",
            status=status,
        )


def _too_large(url: str, status: int, max_bytes: int) -> FetchFailed:
    return FetchFailed(
        f"{_shown(url)} was not fetched",
        cause=f"it has more than {max_bytes} bytes",
        next_step="make it smaller",
        status=status,
    )


def _shown(url: str) -> str:
    """For a message: without the query, which may be a signature."""
    text = url.partition("?")[0]
    return text if len(text) <= 200 else text[:200] + "..."
