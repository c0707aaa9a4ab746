"""wasmote demo: a host node and an emulated chip run the same functions, which are replaced while they are in use.

Everything here happens for real, over CoAP. A figure in the table at the end was measured in this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from wasmote.adapters import apps, local
from wasmote.adapters import build as builder
from wasmote.adapters.apps import Compiled
from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.calls import size_text
from wasmote.cli.node import time_text
from wasmote.errors import TrapError, WasmoteError
from wasmote.node import Node

BOARDS = ("host", "netduinoplus2")
LOADS = {"host": 200, "netduinoplus2": 40}  # calls before, and again after the replacement
SHORT = b"one call among many\n"


_REPORT = "report it, with what the demo printed"


class DemoFailed(WasmoteError):
    """Something did not turn out as shown to everybody else."""


@dataclass
class Row:
    """A line of the table: what was done, and what came out on each board."""

    what: str
    results: dict[str, str] = field(default_factory=dict)


@dataclass
class Demo:
    """What the stages share."""

    session: Session
    nodes: dict[str, Node]
    uris: dict[str, str]
    text: bytes
    rows: list[Row] = field(default_factory=list)

    def row(self, what: str) -> Row:
        self.rows.append(Row(what))
        return self.rows[-1]

    def say(self, text: str) -> None:
        self.session.output.note(text)


@make_command()
def command(session: Session) -> None:
    """Show what wasmote does, on a host node and on an emulated STM32F405, in under a minute."""
    # A real text of some 100 KB that every machine with Python has: the source of argparse.
    text = Path(argparse.__file__).read_bytes()
    demo = asyncio.run(_demo(session, text))
    rows = [{"step": row.what, **row.results} for row in demo.rows]
    session.output.table(rows, {"step": "", "host": "host node", "netduinoplus2": "STM32F405 (QEMU)"})


async def _demo(session: Session, text: bytes) -> Demo:
    began_s = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        demo = await stack.enter_async_context(_started(session, text))
        compiled = {name: apps.load(name) for name in ("fib", "crc32", "spin", "wordcount", "wordcount-v2")}
        sizes = ", ".join(f"{name} {size_text(len(app.data))}" for name, app in compiled.items())
        demo.say(f"compiled: {sizes}")
        for stage in (_count_words, _replace_in_use, _stop_endless, _same_everywhere):
            await stage(demo, compiled)
        for board, node in demo.nodes.items():
            ram = (await node.device())["ram"]
            demo.say(f"{board}: {ram['free']} of {ram['total']} bytes of the function pool are free")
    demo.row("all of it").results["host"] = time_text(time.monotonic() - began_s)
    return demo


@contextlib.asynccontextmanager
async def _started(session: Session, text: bytes) -> AsyncIterator[Demo]:
    """Build and start a node of each board."""
    project = Project.find()
    async with contextlib.AsyncExitStack() as stack:
        demo = Demo(session, {}, {}, text)
        row = demo.row("started")
        for name in BOARDS:
            board = find_board(project, name)
            with session.output.progress(f"build {name}") as bar:
                image = builder.build(project, board, progress=bar, log=session.output.warning)
            began_s = time.monotonic()
            emulator = await stack.enter_async_context(Emulator(board, image, udp_port=0))
            assert emulator.uri is not None  # it was asked for one
            node = await stack.enter_async_context(Node(emulator.uri))
            device = await node.device()
            demo.nodes[name], demo.uris[name] = node, emulator.uri
            row.results[name] = time_text(time.monotonic() - began_s)
            demo.say(
                f"{name}: {device['ep']} answers at {emulator.uri}, {device['ram']['free']} bytes for functions"
            )
        yield demo


def _expect(what: str, expected: object, got: object) -> None:
    if expected != got:
        raise DemoFailed(f"{what} went wrong", cause=f"expected {expected!r}, got {got!r}", next_step=_REPORT)


def _wc(text: bytes) -> str:
    """What wc says, by Python alone."""
    lines = text.count(b"\n")
    return f"{lines} {len(text.split())} {len(text)}\n"


async def _count_words(demo: Demo, compiled: dict[str, Compiled]) -> None:
    pushed_row, counted_row = demo.row("push wordcount"), demo.row("count a text")
    for board, node in demo.nodes.items():
        pushed = await node.push(compiled["wordcount"].data, name="wordcount")
        pushed_row.results[board] = f"{size_text(pushed.size_bytes)}, {time_text(pushed.elapsed_s)}"
        # A chip gets as many whole lines as fit its memory.
        largest = int((await node.device())["ram"]["largest"])
        text = demo.text
        if len(text) > largest * 3 // 4:
            text = text[: text.rindex(b"\n", 0, largest * 3 // 4) + 1]
        counted = await node.call("wordcount", input=text)
        _expect(f"wordcount on {board}", _wc(text), counted.output.decode())
        counted_row.results[board] = f"{counted.output.decode().strip()} in {time_text(counted.elapsed_s)}"
        demo.say(
            f"{board}: {size_text(len(text))} of text: {counted.output.decode().strip()} (lines words bytes)"
        )


class _Load:
    """Somebody else who calls wordcount, `count` times before and as often after `switched`."""

    def __init__(self, uri: str, count: int) -> None:
        self._uri, self._count = uri, count
        self.answers: list[str] = []
        self.warm, self.switched = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        after = 0
        async with Node(self._uri) as node:
            while after < self._count:
                self.answers.append((await node.call("wordcount", input=SHORT)).output.decode())
                after += self.switched.is_set()
                if len(self.answers) == self._count:
                    self.warm.set()


async def _replace_in_use(demo: Demo, compiled: dict[str, Compiled]) -> None:
    row = demo.row("replace it under load")
    for board, node in demo.nodes.items():
        load = _Load(demo.uris[board], LOADS[board])
        async with asyncio.TaskGroup() as tasks:  # a call that fails ends the demo
            tasks.create_task(load.run())
            await load.warm.wait()
            pushed = await node.push(compiled["wordcount-v2"].data, name="wordcount")
            load.switched.set()
        answers = load.answers
        old, new = _wc(SHORT), f"{_wc(SHORT).strip()} {max(map(len, SHORT.split()))}\n"
        at = answers.index(new)
        expected = [old] * at + [new] * (len(answers) - at)
        _expect(f"the answers around the replacement on {board}", expected, answers)
        row.results[board] = f"{at} old, {len(answers) - at} new, 0 failed"
        demo.say(
            f"{board}: version 2 in {time_text(pushed.elapsed_s)}; {len(answers)} calls meanwhile, none failed"
        )


async def _stop_endless(demo: Demo, compiled: dict[str, Compiled]) -> None:
    row = demo.row("stop a function that never ends")
    for board, node in demo.nodes.items():
        await node.push(compiled["spin"].data, name="spin")
        began_s = time.monotonic()
        try:
            await node.call("spin")
        except TrapError as trap:
            elapsed_s = time.monotonic() - began_s
            _expect(f"the reason why spin stopped on {board}", "fuel", trap.details.get("trap"))
            row.results[board] = f"out of fuel after {time_text(elapsed_s)}"
        else:
            raise DemoFailed(f"spin came to an end on {board}", next_step=_REPORT)
        await node.device()  # and it still answers
        demo.say(f"{board}: spin was stopped, and the node answers")


async def _same_everywhere(demo: Demo, compiled: dict[str, Compiled]) -> None:
    here = {
        "fib": local.run_calls(compiled["fib"], [local.Call("fib", [20])])[0].results[0],
        "crc32": local.run_calls(compiled["crc32"], [local.Call("crc32", input=demo.text[:4096])])[
            0
        ].output.decode(),
    }
    row = demo.row(f"fib(20) and crc32, as in pywasm3: {here['fib']}, {here['crc32']}")
    for board, node in demo.nodes.items():
        for name in here:
            await node.push(compiled[name].data, name=name)
            _expect(f"the module that {board} gives back", compiled[name].data, await node.fetch_module(name))
        fib = await node.call("fib/fib", [20])
        crc = await node.call("crc32", input=demo.text[:4096])
        _expect(f"fib(20) on {board}", here["fib"], fib.value)
        _expect(f"crc32 on {board}", here["crc32"], crc.output.decode())
        row.results[board] = (
            f"same bytes, same answers, {time_text(fib.elapsed_s)} and {time_text(crc.elapsed_s)}"
        )
    demo.say("the same .wasm, byte for byte, answers the same on chip, host and here")
