"""How long the emulated STM32F405 stays without a look at its link: most instructions between two (looks.c), while
functions run that do not end, and while modules are installed."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path

import aiocoap
import build
import qemu
from client import Client

from wasmote.protocol.section import Section, with_section

# An instruction takes 8 ns: 125 million in a second, near to what the chip does at 168 MHz, so that its timer interrupt
# comes after as many instructions as there.
SHIFT = 3
SETTLE_S = 0.3
RUN_S = 1.0  # of this machine's time, for each function
FUEL = 1_000_000_000
ROOTS = (
    14_000  # f64.sqrt takes the most for a byte of code; compiled, hardly more of them fit the chip's memory
)
FUNCTIONS = 250  # of a large module


@dataclass(frozen=True)
class Look:
    title: str
    instructions: int
    runs: bool  # a function was running; else a module was installed


def _wat(name: str, text: str) -> bytes:
    build.OUT.mkdir(parents=True, exist_ok=True)
    source = build.OUT / f"{name}.wat"
    source.write_text(f"(module {text})")
    return build.wat(source).read_bytes()


def _roots() -> str:
    """Of a function: an endless loop with a long body."""
    return f"(local f64) f64.const 2 local.set 0 loop local.get 0 {'f64.sqrt ' * ROOTS} local.set 0 br 0 end"


def _running() -> dict[str, bytes]:
    """Title -> a module whose only function never ends."""
    roots = _roots()
    down = "local.get 0 i32.const 1 i32.sub call $f"
    return {
        "spin: an empty loop": _wat("spin", '(func (export "run") loop br 0 end)'),
        f"a loop of {ROOTS:,} f64.sqrt in a row": _wat("roots", f'(func (export "run") {roots})'),
        "recursion, 12 deep": _wat(
            "tree",
            f"(func $f (param i32) local.get 0 if {down} {down} end)"
            '(func (export "run") loop i32.const 12 call $f br 0 end)',
        ),
        "memory.fill of 64 KB": _wat(
            "fill",
            '(memory 1) (func (export "run") loop i32.const 0 i32.const 1 i32.const 65536 memory.fill br 0 end)',
        ),
    }


def _installed() -> dict[str, bytes]:
    """Title -> a module that takes long to install."""
    body = "local.get 0 i32.const 7 i32.mul local.get 1 i32.add i32.const 12345 i32.xor local.tee 1"
    body += " local.get 0 i32.shl"
    functions = f"(func (param i32 i32) (result i32) {body} {body} drop)" * FUNCTIONS
    large = _wat("large", f'{functions} (func (export "run"))')
    endless = _wat("start", '(start $s) (func $s loop br 0 end) (func (export "run"))')
    return {
        f"validate and compile {len(large):,} bytes, {FUNCTIONS} functions": large,
        "start function: an empty loop": endless,
        "start function: a loop of f64.sqrt": _wat("start_roots", f"(start $s) (func $s {_roots()})"),
    }


def measure(image: Path) -> list[Look]:
    """image: the board's, with looks.c."""
    found = []
    with qemu.emulated(image, "-icount", f"shift={SHIFT}") as link:
        client = Client(link)

        def ask(code: aiocoap.numbers.codes.Code, path: str, payload: bytes = b"", **options: object) -> int:
            """A request, and the most instructions between two looks since the reply before."""
            settle()
            client.request(code, path, payload, **options)
            return int(link.text("looks ", 10)) >> SHIFT

        def settle() -> None:
            """Read what the replies before have left."""
            with contextlib.suppress(TimeoutError):
                while True:
                    link.text("looks ", SETTLE_S)

        for number, (title, module) in enumerate(_running().items()):
            client.put("/f/f", with_section(module, Section(name="f", fuel=FUEL)))
            job = f"/j/{number}"
            ask(aiocoap.PUT, job, content_format=60, uri_query=("f=f",), if_none_match=True)
            time.sleep(RUN_S)
            most = ask(aiocoap.GET, "/d")
            ask(aiocoap.DELETE, job)
            found.append(Look(title, most, True))
        for title, module in _installed().items():
            ask(aiocoap.DELETE, "/f/f")
            try:
                client.put("/f/f", module)
            except RuntimeError:
                assert "start" in title  # refused, after it has run
            # The look after the last block is the one that came late.
            found.append(Look(title, ask(aiocoap.GET, "/d"), False))
    return found
