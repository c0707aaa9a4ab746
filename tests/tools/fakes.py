"""A scripted CoAP server: what a node may do on the wire but a good one rarely does (busy, smaller blocks, forgotten
transfers, lost replies). Claims about the node itself are tested against the node, in tests/integration."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass, field

import cbor2
from aiocoap import Message
from aiocoap.message import Direction
from aiocoap.numbers.types import Type

from wasmote.protocol import slipmux


@dataclass
class Answer:
    """A reply of the script."""

    code: int
    payload: bytes = b""
    content_format: int | None = None
    etag: bytes | None = None
    max_age: int | None = None
    size1: int | None = None
    observe: int | None = None


def problem(code: int, title: str, detail: str = "", **members: object) -> Answer:
    document: dict[object, object] = {-1: title}
    if detail:
        document[-2] = detail
    if members:
        document["tag:wasmote,2026:p"] = members
    return Answer(code, cbor2.dumps(document), 257)


@dataclass
class Seen:
    """A request whose body is complete."""

    peer: Hashable
    method: int
    path: tuple[str, ...]
    query: tuple[str, ...]
    payload: bytes
    message: Message


@dataclass
class ScriptedNode:
    """Deduplicates, takes Block1, gives Block2; `handle` answers what is complete. szx: its block size."""

    handle: Callable[[Seen], Answer]
    szx: int = 6
    requests: list[Message] = field(default_factory=list)
    complete: list[Seen] = field(default_factory=list)
    duplicates: int = 0
    ran_twice: int = 0
    before: Callable[[Message], Answer | None] = lambda _message: None

    def __post_init__(self) -> None:
        self._replies: dict[tuple[Hashable, int], tuple[bytes, bytes]] = {}
        self._bodies: dict[Hashable, bytearray] = {}
        self._rest: dict[Hashable, Answer] = {}

    def datagram(self, peer: Hashable, data: bytes) -> bytes | None:
        """The reply to a datagram, None for none."""
        message = Message.decode(data)
        if message.mtype in (Type.ACK, Type.RST):
            return None
        if int(message.code) == 0:
            return b"\x70\x00" + data[2:4]
        key = (peer, message.mid)
        known = self._replies.get(key)
        if known is not None and known[0] == data:
            self.duplicates += 1
            return known[1]
        self.requests.append(message)
        reply = self._answer(peer, message)
        self._replies[key] = (data, reply)
        return reply

    def _answer(self, peer: Hashable, message: Message) -> bytes:
        opt = message.opt
        tag = tuple(opt.request_tag)
        key = (peer, int(message.code), opt.uri_path, tag)
        early = self.before(message)
        if early is not None:
            return self._encode(message, early, early.payload)
        if opt.block2 is not None and opt.block2.block_number > 0 and key in self._rest:
            return self._block2(message, self._rest[key])
        payload = bytes(message.payload)
        if opt.block1 is not None:
            body = self._bodies.setdefault(key, bytearray())
            offset = opt.block1.start
            if offset == 0:
                body.clear()
            if offset > len(body):
                return self._encode(message, problem(0x88, "gap"), b"")
            body[offset:] = payload
            if opt.block1.more:
                return self._encode(message, Answer(0x5F), b"", block1=True)
            payload = bytes(body)
        seen = Seen(peer, int(message.code), opt.uri_path, opt.uri_query, payload, message)
        self.complete.append(seen)
        answer = self.handle(seen)
        self._rest[key] = answer
        return self._block2(message, answer)

    def _block2(self, message: Message, answer: Answer) -> bytes:
        asked = message.opt.block2
        szx = min(self.szx, asked.size_exponent if asked is not None else 6)
        size = 16 << szx
        start = asked.start if asked is not None else 0
        if len(answer.payload) <= size and start == 0:
            return self._encode(message, answer, answer.payload, block1=message.opt.block1 is not None)
        more = start + size < len(answer.payload)
        return self._encode(
            message, answer, answer.payload[start : start + size], block2=(start // size, more, szx)
        )

    def _encode(
        self,
        request: Message,
        answer: Answer,
        payload: bytes,
        *,
        block1: bool = False,
        block2: tuple[int, bool, int] | None = None,
    ) -> bytes:
        reply = Message(
            code=answer.code, payload=payload, _mtype=Type.ACK, _mid=request.mid, _token=request.token
        )
        reply.opt.content_format = answer.content_format
        reply.opt.etag = answer.etag
        reply.opt.max_age = answer.max_age
        reply.opt.size1 = answer.size1
        reply.opt.observe = answer.observe
        if block1:
            given = request.opt.block1
            szx = min(given.size_exponent, self.szx)
            # The number is that of the request; a smaller size is meant for what follows (RFC 7959, 2.3).
            reply.opt.block1 = (given.block_number, given.more, szx)
        if block2 is not None:
            reply.opt.block2 = block2
        reply.direction = Direction.OUTGOING
        return bytes(reply.encode())


EXPORTS = {
    "add": [{"name": "add", "params": ["i32", "i64"], "results": ["i64"], "kind": "numbers"}],
    "pure": [{"name": "pure", "params": ["f32"], "results": ["f32"], "kind": "numbers", "pure": True}],
    "wc": [{"name": "wc", "params": [], "results": ["i32"], "kind": "bytes", "idempotent": True}],
    "once": [{"name": "once", "params": [], "results": [], "kind": "bytes"}],
    "two": [
        {"name": "a", "params": [], "results": [], "kind": "numbers"},
        {"name": "b", "params": [], "results": ["i32", "f64"], "kind": "numbers"},
    ],
}


class Functions:
    """Answers like a node that has EXPORTS; keeps what is pushed."""

    def __init__(self) -> None:
        self.modules: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, object]] = {}
        self.limits: dict[str, int] = {}  # of its validator; without one as large as can be
        self.device: dict[str, object] = {}  # what else its /d says
        self.special: Callable[[Seen], Answer | None] = lambda _seen: None

    def __call__(self, seen: Seen) -> Answer:
        special = self.special(seen)
        if special is not None:
            return special
        match seen.method, seen.path:
            case 1, ("d",):
                return Answer(0x45, cbor2.dumps({"validate": self.limits, **self.device}), 60)
            case 1, ("f", name) if name in EXPORTS:
                default = name if len(EXPORTS[name]) == 1 else None
                info = {
                    "name": name,
                    "size": 5,
                    "sha256": bytes(32),
                    "default": default,
                    "exports": EXPORTS[name],
                }
                return Answer(0x45, cbor2.dumps(info), 60, etag=b"\1\2\3\4<")
            case 1, ("f", name) if name in self.modules and seen.message.opt.accept == 42:
                return Answer(0x45, self.modules[name], 42)
            case 1, ("f", name) if name in self.modules:
                digest = hashlib.sha256(self.modules[name]).digest()
                return Answer(0x45, cbor2.dumps({"name": name, "sha256": digest, "exports": []}), 60)
            case 3, ("f", name):
                created = name not in self.modules
                if not created and seen.message.opt.if_none_match:
                    return problem(0x8C, "precondition failed")
                self.modules[name] = seen.payload
                return Answer(0x41 if created else 0x44, etag=b"\1\2\3\4*")
            case 2 | 5, ("f", "add", _):
                a, b = cbor2.loads(seen.payload)
                return Answer(0x44, cbor2.dumps(a + b), 60)
            case 2 | 5, ("f", "pure", _):
                return Answer(0x45, cbor2.dumps(cbor2.loads(seen.payload)[0]), 60)
            case 2, ("f", "wc" | "once", _):
                return Answer(0x44, seen.payload.upper(), 42)
            case 2, ("f", "two", "b"):
                return Answer(0x44, cbor2.dumps([-3, 0.5]), 60)
            case 2, ("f", "two", "a"):
                return Answer(0x44, cbor2.dumps([]), 60)
            case 3, ("j", job):
                if job in self.jobs:
                    return problem(0x8C, "taken")
                self.jobs[job] = {
                    "id": job,
                    "f": "add",
                    "export": "add",
                    "state": "done",
                    "ct": 60,
                    "result": b"\x05",
                }
                return Answer(0x41)
            case 1, ("j", job) if job in self.jobs:
                return Answer(0x45, cbor2.dumps(self.jobs[job]), 60)
            case 1, ("f",):
                return Answer(0x45, b'</f/add>;rt="wm.f";sz=5,</f/add/add>;rt="wm.x",</f/wc>;sz=7', 40)
        return problem(0x84, "not found")


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, node: ScriptedNode, drop: Callable[[str, bytes], bool]) -> None:
        self._node = node
        self._drop = drop
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a datagram endpoint

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._drop("in", data):
            return
        reply = self._node.datagram(addr, data)
        assert self.transport is not None
        if reply is not None and not self._drop("out", reply):
            self.transport.sendto(reply, addr)


@contextlib.asynccontextmanager
async def udp_server(
    node: ScriptedNode, drop: Callable[[str, bytes], bool] = lambda _way, _data: False
) -> AsyncIterator[str]:
    """The node on loopback; gives its coap:// address. drop(way, datagram) loses datagrams."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Protocol(node, drop), local_addr=("127.0.0.1", 0)
    )
    try:
        yield f"coap://127.0.0.1:{transport.get_extra_info('sockname')[1]}"
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def serial_server(node: ScriptedNode, path: str, *, hello: bool = True) -> AsyncIterator[str]:
    """The node behind slipmux on a Unix socket; gives the serial URL."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        decoder = slipmux.Decoder()
        if hello:
            writer.write(slipmux.encode(slipmux.TEXT, b"wasmote 0.1.0 scripted"))
        try:
            while data := await reader.read(4096):
                for frame in decoder.feed(data):
                    reply = node.datagram("serial", frame.content)
                    if reply is not None:
                        writer.write(slipmux.encode(slipmux.COAP, reply))
        except asyncio.CancelledError:
            pass
        finally:
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield f"unix:{path}"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
