"""From nothing to the first reply: a function of 4 KB is pushed by Block1 and called, by a client that is ready."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

import qemu
from build import OUT, wat
from client import Client, UdpLink
from servers import Server, started

BYTES = 4096


def module_of_4_kb() -> bytes:
    """Code, not filling: functions that each do some arithmetic in a loop. Export `main` calls them all: () -> i32."""
    body = """
  (func $f{i} (param $x i32) (result i32)
    (loop $again
      (local.set $x (i32.add (i32.mul (local.get $x) (i32.const {a})) (i32.const {b})))
      (br_if $again (i32.and (i32.shr_u (local.get $x) (i32.const 13)) (i32.const 1))))
    (i32.xor (local.get $x) (i32.const {b})))"""
    module = b""
    for count in range(80, 200):
        functions = "".join(body.format(i=i, a=1664525 + 8 * i, b=1013904223 + i) for i in range(count))
        calls = "(i32.const 1)"
        for i in range(count):
            calls = f"(call $f{i} {calls})"
        source = OUT / "four_kb.wat"
        source.write_text(f'(module{functions}\n  (func (export "main") (param i32) (result i32) {calls}))\n')
        bigger = wat(source).read_bytes()
        if len(bigger) > BYTES:
            break
        module = bigger
    return module


def _push_and_call(client: Client, name: str, module: bytes) -> float:
    """Seconds."""
    start = time.perf_counter()
    client.put(f"/f/{name}", module)
    client.post(f"/f/{name}", b"\x81\x01", content_format=60)
    return time.perf_counter() - start


def on_host(node: Server, module: bytes, rounds: int) -> float:
    """Median, in seconds."""
    with started(node) as running:
        link = UdpLink(running.port)
        client = Client(link)
        return median(_push_and_call(client, f"push{i}", module) for i in range(rounds))


def on_serial(image: Path, module: bytes, rounds: int, baud: int) -> float:
    """Median, in seconds, over an emulated UART that is held to baud."""
    times = []
    with qemu.emulated(image, baud=baud) as link:
        client = Client(link)
        for _ in range(rounds):
            times.append(_push_and_call(client, "push", module))
    return median(times)
