"""Find nodes: a multicast GET of `/.well-known/core` on every interface, then `/d` of each that answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any

import cbor2
from aiocoap import Message
from aiocoap.error import UnparsableMessage
from aiocoap.numbers.types import Type

from wasmote.adapters.coap import CoapClient, Tuning
from wasmote.errors import LocalError, WasmoteError
from wasmote.protocol import messages
from wasmote.protocol.messages import Request
from wasmote.protocol.target import COAP_PORT

GROUP_IPV4 = "224.0.1.187"  # All CoAP Nodes (RFC 7252, 12.8)
GROUP_IPV6 = "ff02::fd"
DEFAULT_TIMEOUT_S = 6.0  # a node answers within a leisure of 5 s (RFC 7252, 8.2)


@dataclass(frozen=True)
class Found:
    """A node that answered. device: its `/d`."""

    address: str
    ep: str
    device: dict[str, Any] = field(repr=False)


async def discover(
    targets: Sequence[tuple[str, int]] = (),
    *,
    multicast: bool = True,
    port: int = COAP_PORT,
    interfaces: Sequence[str] = (),
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tuning: Tuning | None = None,
) -> AsyncGenerator[Found, None]:
    """Nodes as they answer, each once. targets: addresses to ask one by one besides. interfaces: names; empty: all,
    also loopback. Raises LocalError if no interface can send."""
    queue: asyncio.Queue[Found] = asyncio.Queue()
    asked: set[tuple[Any, ...]] = set()
    tasks: set[asyncio.Task[None]] = set()
    patience = tuning or Tuning(max_retransmit=2, attempts=1)

    async def ask(host: str, to_port: int) -> None:
        with contextlib.suppress(WasmoteError):
            async with CoapClient(host, to_port, tuning=patience) as client:
                reply = await client.request(Request(messages.GET, ("d",)), repeatable=True)
                device = cbor2.loads(reply.payload) if reply.ok else None
                if isinstance(device, dict) and "ep" in device:
                    queue.put_nowait(Found(client.uri, str(device["ep"]), device))

    def heard(address: tuple[Any, ...]) -> None:
        if address[:2] not in asked:
            asked.add(address[:2])
            host = str(address[0])
            if len(address) == 4 and address[3] and host.startswith("fe80:") and "%" not in host:
                host += f"%{socket.if_indextoname(address[3])}"
            task = asyncio.create_task(ask(host, int(address[1])))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    loop = asyncio.get_running_loop()
    endpoints = _send_multicast(loop, port, interfaces, heard) if multicast else []
    try:
        for host, to_port in targets:
            heard((host, to_port))
        deadline = loop.time() + timeout_s
        while (left_s := deadline - loop.time()) > 0:
            if not multicast and not tasks and queue.empty():
                break
            with contextlib.suppress(TimeoutError):
                yield await asyncio.wait_for(queue.get(), min(left_s, 0.1))
        # What answered at the last moment still gets the time to say who it is.
        if tasks:
            await asyncio.wait(tasks, timeout=2.0)
        while not queue.empty():
            yield queue.get_nowait()
    finally:
        for sock in endpoints:
            loop.remove_reader(sock)
            sock.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)


def _send_multicast(
    loop: asyncio.AbstractEventLoop, port: int, interfaces: Sequence[str], heard: Any
) -> list[socket.socket]:
    """One socket for each interface and family; those that cannot send are left out."""
    try:
        known = socket.if_nameindex()
    except OSError as error:
        raise LocalError(
            "the network interfaces cannot be listed",
            cause=str(error),
            next_step="give addresses and --no-multicast",
        ) from error
    wanted = [(index, name) for index, name in known if not interfaces or name in interfaces]
    if missing := sorted(set(interfaces) - {name for _, name in known}):
        raise LocalError(
            f"no such interface: {', '.join(missing)}",
            next_step="interfaces here: " + ", ".join(name for _, name in known),
        )
    sockets = []
    problems = []
    for index, name in wanted:
        for family, group in ((socket.AF_INET, GROUP_IPV4), (socket.AF_INET6, GROUP_IPV6)):
            token = secrets.token_bytes(4)
            try:
                sock = _multicast_socket(family, index)
            except OSError as error:
                problems.append(f"{name}: {error.strerror or error}")
                continue
            try:
                address = (group, port) if family == socket.AF_INET else (group, port, 0, index)
                sock.sendto(_request(token), address)
            except OSError as error:
                problems.append(f"{name}: {error.strerror or error}")
                sock.close()
                continue
            loop.add_reader(sock, _receive, sock, token, heard)
            sockets.append(sock)
    if not sockets:
        raise LocalError(
            "no interface can send to the CoAP multicast groups",
            cause="; ".join(sorted(set(problems))),
            next_step="give the node's address: wasmote discover coap://HOST",
        )
    return sockets


def _multicast_socket(family: int, index: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        if family == socket.AF_INET:
            # struct ip_mreqn: group, local address, interface index.
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("@4s4si", b"", b"", index))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
    except OSError:
        sock.close()
        raise
    return sock


def _request(token: bytes) -> bytes:
    # Only the link of /d is asked for, so that replies stay small on a large network.
    message = Message(code=messages.GET, _mtype=Type.NON, _mid=secrets.randbelow(0x10000), _token=token)
    message.opt.uri_path = (".well-known", "core")
    message.opt.uri_query = ("href=/d",)
    return bytes(message.encode())


def _receive(sock: socket.socket, token: bytes, heard: Any) -> None:
    try:
        data, address = sock.recvfrom(2048)
        message = Message.decode(data)
    except (OSError, UnparsableMessage, ValueError):
        return
    if message.token == token and int(message.code) == messages.CONTENT:
        heard(address)
