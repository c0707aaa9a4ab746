"""Drives a node to the deepest C stack that requests can reach, and asks it how much of its stack that took.

The node paints its stack at start and tells in `/d/m` how much has lost its paint. What goes deepest: requests that
are served while a function runs at the deepest point where the engine lets it run, and modules whose blocks are
nested as deeply as the node accepts. So both are found by trial, and every kind of request comes in each place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import cbor2

from wasmote.adapters.boards import Board
from wasmote.adapters.coap import CoapClient, Tuning, parse_address
from wasmote.adapters.emulator import Emulator
from wasmote.errors import BuildError, WasmoteError
from wasmote.protocol import messages, problem, senml
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.module import MAGIC, VERSION, encode_unsigned
from wasmote.protocol.push import PushRejected
from wasmote.protocol.section import Section, with_section

_BUSY_WAIT_S = 0.2  # a node that is busy is what is wanted here, so nobody waits for it
_PAUSE_S = 0.05
_PATIENCE = 100
_SETTLE_S = 0.4  # longer than WM_OBSERVE_MIN_MS
_FOREVER = 0x7FFF_FFFF
_FUEL = 1_000_000_000
_WASM_STACK_BYTES = 16384
_MOST_LEVELS = 512  # of calls or of blocks: more than any node has stack for
_LONG_NAME = "a-name-that-is-31-letters-long-"
_PATHS = (
    "d",
    "d/m",
    "d/log",
    "f",
    f"f/{_LONG_NAME}",
    "j",
    "j/deep",
    "j/failed",
    ".well-known/core",
    "nothing/here",
)
_CRASHED = ("fault:", "panic:")


@dataclass
class StackUse:
    """used_bytes: most of the C stack that was in use at any time. after: the same after each part of the probe, by
    its name. nesting: kind of block -> how deeply such blocks may be nested. refusals: what the node said of one level
    more."""

    used_bytes: int = 0
    after: dict[str, int] = field(default_factory=dict)
    nesting: dict[str, int] = field(default_factory=dict)
    refusals: dict[str, str] = field(default_factory=dict)


async def probe_stack(
    board: Board, image: Path, *, describe: Callable[[str], None] = lambda _text: None
) -> StackUse | None:
    """Start the board's emulator, drive its node as deep as it goes, and stop it. None if the node does not know
    how much stack it uses. describe: called with the name of each part. Raises WasmoteError; BuildError
    when the node crashes."""
    said: list[str] = []
    async with Emulator(board, image, on_text=said.append) as emulator:
        assert emulator.uri is not None
        host, port = parse_address(emulator.uri, 5683)
        tuning = Tuning(attempts=1, busy_wait_s=_BUSY_WAIT_S)
        async with (
            CoapClient(host, port, tuning=tuning) as caller,
            CoapClient(host, port, tuning=tuning) as other,
        ):
            probe = _Probe(caller, other, (host, port), describe)
            try:
                return await probe.run()
            except WasmoteError as err:
                # A node that crashed starts again, and whatever comes next of it is no surprise.
                crash = [line for line in said if line.startswith(_CRASHED)]
                if crash:
                    raise BuildError(
                        f"{board.name} crashed while its stack was measured",
                        cause="\n".join(crash),
                        next_step="make the stack larger (link.ld), or WM_NATIVE_STACK_RESERVE_BYTES",
                    ) from err
                raise


class _Probe:
    """caller has a function running; other, and raw datagrams, ask for all else meanwhile."""

    def __init__(
        self,
        caller: CoapClient,
        other: CoapClient,
        address: tuple[str, int],
        describe: Callable[[str], None],
    ) -> None:
        self._caller, self._other, self._address = caller, other, address
        self._describe = describe
        self._use = StackUse()

    async def run(self) -> StackUse | None:
        if await self._used() is None:
            return None
        _expect(await self._push(_LONG_NAME, deep_module()))
        _expect(await self._job("failed", _MOST_LEVELS, 1))
        await asyncio.sleep(_SETTLE_S)
        await self._part("requests", self._requests())
        await self._part("requests while a function runs", self._while_running())
        await self._part("start function", self._start())
        await self._part("nested blocks", self._nesting())
        return self._use

    async def _part(self, name: str, work: Awaitable[None]) -> None:
        self._describe(name)
        await work
        used = await self._used()
        assert used is not None
        self._use.after[name] = self._use.used_bytes = used

    async def _used(self) -> int | None:
        reply = await self._ask(messages.GET, "d/m")
        found = {entry.name: entry.value for entry in senml.decode(reply.payload)}
        return int(found["stack"]) if "stack" in found else None

    async def _ask(self, method: int, path: str, payload: bytes = b"", *, client: CoapClient | None = None,
                   query: tuple[str, ...] = (), accept: int | None = None, content_format: int | None = None,
                   new: bool = False) -> Reply:  # fmt: skip
        request = Request(method, tuple(path.split("/")), payload, query, content_format, accept, (), new)
        try:
            return await (client or self._other).request(request, repeatable=True)
        except PushRejected as refused:
            return refused.reply

    async def _push(self, name: str, module: bytes) -> Reply:
        return await self._ask(messages.PUT, f"f/{name}", module, content_format=messages.FORMAT_BYTES)

    # ---- the parts ----

    async def _nesting(self) -> None:
        """The deepest nesting of each kind of block, by bisection; and its call on a fresh instance, if
        there is room."""
        for kind in _BLOCKS:
            low, high = 1, _MOST_LEVELS
            while low + 1 < high:
                levels = (low + high) // 2
                reply = await self._push("nested", nested_module(kind, levels))
                if reply.ok:
                    low = levels
                else:
                    high = levels
                    self._use.refusals[kind] = problem.decode(reply).text
            self._use.nesting[kind] = low
            _expect(await self._push("nested", nested_module(kind, low)))
            await self._ask(
                messages.FETCH, "f/nested/run", cbor2.dumps([1]), content_format=messages.FORMAT_CBOR
            )
        await self._ask(messages.DELETE, "f/nested")

    async def _start(self) -> None:
        """A start function that calls itself until it is stopped. It is refused."""
        for _ in range(_PATIENCE):
            reply = await self._push("start", deep_module(start=True))
            if (
                reply.code != messages.UNAVAILABLE
            ):  # what was cancelled a moment ago may still be on its way out
                break
            await asyncio.sleep(_PAUSE_S)
        if reply.ok or "stack" not in problem.decode(reply).text:
            raise _surprise("the start function did not end at the stack", problem.decode(reply).text)

    async def _while_running(self) -> None:
        low, high = 0, _MOST_LEVELS
        while low + 1 < high:
            levels = (low + high) // 2
            reply = await self._call(_LONG_NAME, levels, 1)
            if reply.ok:
                low = levels
            elif "stack-native" in problem.decode(reply).members.values():
                high = levels
            else:
                raise _surprise("a deep call failed", problem.decode(reply).text)
        _expect(await self._job("deep", low, _FOREVER))
        await asyncio.sleep(_PAUSE_S)
        states = [await self._state("deep")]
        await self._requests()
        states.append(await self._state("deep"))
        if states != ["running", "running"]:
            raise _surprise("the deep call did not run all the while", " ".join(states))
        await self._ask(messages.DELETE, "j/deep")

    async def _call(self, name: str, *args: int) -> Reply:
        return await self._ask(
            messages.POST, f"f/{name}/run", cbor2.dumps(list(args)), content_format=messages.FORMAT_CBOR
        )

    async def _requests(self) -> None:
        """One of each kind that a node answers, and refusals with long texts."""
        background = [asyncio.create_task(self._watch(path)) for path in ("d/m", "d/log", "j/deep")]
        module = nested_module("block", 8)
        for path in _PATHS:
            await self._ask(messages.GET, path)
            await self._ask(messages.GET, path, accept=9999)
            await self._ask(messages.DELETE, f"{path}/none")
        await self._ask(messages.GET, f"f/{_LONG_NAME}", accept=messages.FORMAT_BYTES)
        await self._ask(messages.GET, ".well-known/core", query=("href=/f/*", "rt=wm.x"))
        await self._ask(messages.POST, f"f/{_LONG_NAME}/{_LONG_NAME * 4}", b"\x80")
        # Calls: while a function runs they wait for it, and nobody here waits for them.
        for method, body in (
            (messages.POST, cbor2.dumps([1, "two", 3.5])),
            (messages.FETCH, cbor2.dumps([[[[[[1]]]]]] * 20)),
            (messages.POST, b"\xff" * 900),
            (messages.POST, b"input" * 600),
        ):
            call = self._ask(method, f"f/{_LONG_NAME}/run", body, content_format=messages.FORMAT_CBOR)
            background.append(asyncio.create_task(_forget(call)))
            await asyncio.sleep(_PAUSE_S)
        # Cancelled while it waits: its observer hears of it with problem details.
        await self._job("queued", 1, 1)
        background.append(asyncio.create_task(self._watch("j/queued")))
        await self._ask(messages.GET, "j")
        await asyncio.sleep(_SETTLE_S)
        await self._ask(messages.DELETE, "j/queued")
        await self._ask(messages.GET, "j/queued")
        await self._push("small", module)
        await self._push("broken", module[:-1])
        await self._datagrams()
        await asyncio.sleep(_SETTLE_S)
        await self._ask(messages.GET, "d/m")
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await self._ask(messages.DELETE, "f/small")

    async def _job(self, job_id: str, *args: int) -> Reply:
        return await self._ask(messages.PUT, f"j/{job_id}", cbor2.dumps(list(args)), query=(f"f={_LONG_NAME}/run",),
                               content_format=messages.FORMAT_CBOR, new=True)  # fmt: skip

    async def _state(self, job_id: str) -> str:
        return str(cbor2.loads((await self._ask(messages.GET, f"j/{job_id}")).payload)["state"])

    async def _watch(self, path: str) -> None:
        with contextlib.suppress(WasmoteError):
            async for _ in self._other.observe(Request(messages.GET, tuple(path.split("/")))):
                pass

    async def _datagrams(self) -> None:
        """What no proper client sends: a ping, an unknown critical option, cut and senseless messages."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, remote_addr=self._address
        )
        get = bytes.fromhex("4001")
        for number, message in enumerate((
            bytes.fromhex("4000"), get + b"\x77\x01\xe1\x00\x00\x00", get + b"\x77\x02\xb1", get + b"\x77\x03\xff",
            b"\x44\x01\x77\x04", get + b"\x77\x05" + b"\xb1d" * 20, get + b"\x77\x06\xd1\x0a\xff" + b"\x01x" * 40,
        )):  # fmt: skip
            transport.sendto(message if number else message + b"\x77\x00")
            await asyncio.sleep(0.02)
        transport.close()


def _expect(reply: Reply) -> None:
    if not reply.ok:
        raise _surprise("the node refused what it accepts elsewhere", problem.decode(reply).text)


def _surprise(what: str, cause: str) -> BuildError:
    return BuildError(
        f"the stack could not be measured: {what}",
        cause=cause,
        next_step="run the node's own tests first: `./dev test tests/integration`",
    )


async def _forget(call: Awaitable[Reply]) -> None:
    with contextlib.suppress(WasmoteError):
        await call


# ---- modules: assembled here, so that measuring needs no assembler ----

_I32, _FUNC = b"\x7f", b"\x60"
_BLOCKS = {
    "block": b"\x02\x40",
    "loop": b"\x03\x40",
    "if": b"\x20\x00\x04\x40",
    "else": b"\x20\x00\x04\x40\x05",
}
_SECTION = Section(heap=0, stack=_WASM_STACK_BYTES, fuel=_FUEL, pure=("run",))
_RESULTS = 16  # WM_MODULE_RESULTS: wasm3 copies them by recursion
_TEXT_BYTES = 63


def _vector(*items: bytes) -> bytes:
    return encode_unsigned(len(items)) + b"".join(items)


def _text(text: str) -> bytes:
    return encode_unsigned(len(text)) + text.encode()


def _type(params: int, results: int) -> bytes:
    return _FUNC + _vector(*[_I32] * params) + _vector(*[_I32] * results)


def _body(locals_: int, code: bytes) -> bytes:
    body = _vector(encode_unsigned(locals_) + _I32) + code + b"\x0b"
    return encode_unsigned(len(body)) + body


def _module(**sections: bytes) -> bytes:
    """sections: s1 is section 1, and so on, in order."""
    out = MAGIC + VERSION
    for name, content in sections.items():
        out += bytes([int(name[1:])]) + encode_unsigned(len(content)) + content
    return with_section(out, _SECTION)


def nested_module(kind: str, levels: int) -> bytes:
    """`run` has so many blocks in one another; in the innermost lies one with as many results as there may be."""
    results = b"\x02\x01" + b"\x41\x07" * _RESULTS + b"\x0b" + b"\x1a" * _RESULTS
    code = _BLOCKS[kind] * (levels - 1) + results + b"\x0b" * (levels - 1) + b"\x20\x00"
    return _module(
        s1=_vector(_type(1, 1), _type(0, _RESULTS)),
        s3=_vector(b"\x00"),
        s7=_vector(_text("run") + b"\x00\x00"),
        s10=_vector(_body(20, code)),
    )


def deep_module(*, start: bool = False) -> bytes:
    """run(levels, turns): calls itself so many levels deep, logs and writes there, and turns a loop. start: its start
    function runs deeper than any node lets it."""
    down = b"\x20\x00\x41\x01\x6b\x20\x01\x10\x02"  # run(levels - 1, turns)
    log = b"\x41\x01\x41\x00\x41\x3f\x10\x00"  # log(1, 0, _TEXT_BYTES)
    write = b"\x41\x00\x41\x3f\x10\x01\x1a"  # output(0, _TEXT_BYTES)
    turn = b"\x03\x40\x20\x01\x41\x01\x6b\x22\x01\x0d\x00\x0b"  # loop: until --turns == 0
    run = b"\x20\x00\x04\x7f" + down + b"\x05" + log + write + turn + b"\x41\x00\x0b"
    begin = b"\x41\xff\x03\x41\x01\x10\x02\x1a"  # run(511, 1)
    imports = [
        _text("wasmote") + _text(name) + b"\x00" + kind
        for name, kind in (("log", b"\x01"), ("output", b"\x00"))
    ]
    return _module(
        s1=_vector(_type(2, 1), _type(3, 0), _type(0, 0)),
        s2=_vector(*imports),
        s3=_vector(b"\x00", b"\x02"),
        s5=_vector(b"\x00\x01"),
        s6=_vector(_I32 + b"\x00\x41\x80\x02\x0b"),  # __heap_base: 256
        s7=_vector(_text("run") + b"\x00\x02", _text("__heap_base") + b"\x03\x00"),
        **({"s8": b"\x03"} if start else {}),
        s10=_vector(_body(0, run), _body(0, begin)),
        s11=_vector(b"\x00\x41\x00\x0b" + _text("x" * _TEXT_BYTES)),
    )
