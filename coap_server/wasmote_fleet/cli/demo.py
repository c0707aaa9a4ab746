"""wasmote fleet demo: a chain of functions over two host nodes and an emulated chip, one of which is killed.

Everything here happens for real: a server and nodes as processes, calls by HTTP. What the table at the end says was
measured, or read from the server's history and from the nodes, in this run.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import inspect
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasmote.adapters import apps
from wasmote.adapters import build as builder
from wasmote.adapters.boards import Board, find_board
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.cli.calls import size_text
from wasmote.cli.node import time_text
from wasmote.errors import WasmoteError
from wasmote_fleet.cli.demo_fleet import PATIENCE_S, HostNode, Server, chip, server, states, until
from wasmote_fleet.cli.demo_load import CALLERS, call_chain, expected, load
from wasmote_fleet.cli.rollout import end_of

CHIP = "netduinoplus2"
BEAT_S = 1.0  # of the node that will die: faster than a server's own 5 s, so that somebody can look on
CALLS = 200  # before the kill, after the functions have moved, and again when all is as it was
ID, CHAIN = "demo", "fingerprint"
PATH = ("deployments", ID, "chains", CHAIN)
STEPS = {"words": "wordcount", "digest": "sha256", "check": "crc32"}  # of the chain: the app of each
_PAGE = 200
_REPORT = "report it, with what the demo printed"


class DemoFailed(WasmoteError):
    """Something did not turn out as shown to everybody else."""


@dataclass
class Demo:
    """What the stages share. alpha, beta: host nodes; chip: the name of the third node; modules: of STEPS."""

    session: Session
    server: Server
    alpha: HostNode
    beta: HostNode
    chip: str
    modules: dict[str, bytes]
    rows: list[dict[str, str]] = field(default_factory=list)

    def called(self, node: str) -> str:
        """A node's name, as short as can be."""
        return "chip" if node == self.chip else node

    def row(self, what: str, came_out: str, elapsed_s: float | None = None) -> None:
        took = "" if elapsed_s is None else time_text(elapsed_s)
        self.rows.append({"step": what, "result": came_out, "time": took})
        self.session.output.note(f"{what}: {came_out}{f' ({took})' if took else ''}")


@base_command()
def command(session: Session) -> None:
    """Show what a fleet does: a chain over three nodes, one of which dies under load.

    Starts a server, two nodes on this machine and an emulated STM32F405 behind a serial bridge, with all data in a
    temporary folder; ends and removes all of it. It takes less than a minute once the images are built.
    """
    rows = asyncio.run(_demo(session))
    session.output.table(rows, {"step": "STEP", "result": "WHAT CAME OUT", "time": "TIME"})


async def _demo(session: Session) -> list[dict[str, str]]:
    began_s = time.monotonic()
    async with _started(session) as demo:
        for stage in (_deploy, _call_once, _kill_under_load):
            await stage(demo)
    demo.row("all of it", "everything that was started has ended", time.monotonic() - began_s)
    return demo.rows


@contextlib.asynccontextmanager
async def _started(session: Session) -> AsyncIterator[Demo]:
    """A server and three nodes, once the server has heard of each."""
    (host, host_image), (board, image) = _built(session, "host"), _built(session, CHIP)
    modules = {name: apps.load(app).data for name, app in STEPS.items()}
    began_s = time.monotonic()
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasmote-demo-")))
        running = await stack.enter_async_context(server(folder))
        session.output.note(f"the server answers at {running.http}, and nodes register at {running.coap}")
        alpha, beta = [
            await stack.enter_async_context(HostNode(host, host_image, ep, running.coap))
            for ep in ("alpha", "beta")
        ]
        chip_ep = await stack.enter_async_context(chip(board, image, running.coap))
        wanted = {alpha.ep: "up", beta.ep: "up", chip_ep: "up"}

        async def all_up() -> bool:
            return states(await running.nodes()) == wanted

        await until("all nodes have registered", all_up)
        await asyncio.to_thread(running.client().request, "PATCH", "nodes", alpha.ep, json={"beat_s": BEAT_S})
        demo = Demo(session, running, alpha, beta, chip_ep, modules)
        came_out = "alpha, beta and the chip behind its serial line registered themselves"
        demo.row("start a server and three nodes", came_out, time.monotonic() - began_s)
        yield demo


def _built(session: Session, name: str) -> tuple[Board, Path]:
    project = Project.find()
    board = find_board(project, name)
    with session.output.progress(f"build {name}") as bar:
        return board, builder.build(project, board, progress=bar, log=session.output.warning)


async def _deploy(demo: Demo) -> None:
    """words runs on both host nodes at a time, digest on one of them, check on the chip."""
    began_s = time.monotonic()
    client = demo.server.client()
    hosts = [demo.alpha.ep, demo.beta.ep]
    spec = {
        "id": ID,
        "functions": [
            {"name": "words", "nodes": hosts, "count": 2},
            {"name": "digest", "nodes": hosts, "count": 1},
            {"name": "check", "nodes": [demo.chip]},
        ],
        "chains": [{"name": CHAIN, "steps": list(STEPS)}],
    }

    def apply() -> None:
        for name, module in demo.modules.items():
            client.request("PUT", "functions", name, data=module, content_type="application/wasm")
        client.request("PUT", "deployments", ID, json=spec)

    await asyncio.to_thread(apply)
    progress: dict[str, Any] = {}

    async def settled() -> bool:
        progress.update(await demo.server.ask("deployments", ID, "progress"))
        return bool(progress["settled"])

    await until("the functions are where they should be", settled)
    end_of(progress, PATIENCE_S)
    where: dict[str, list[str]] = {name: [] for name in STEPS}
    for place in progress["nodes"]:
        where[place["function"]].append(demo.called(place["node"]))
    came_out = ", ".join(f"{name} on {' and '.join(sorted(nodes))}" for name, nodes in where.items())
    demo.row("deploy a chain of three functions", came_out, time.monotonic() - began_s)


async def _call_once(demo: Demo) -> None:
    # A real text of some 100 KB that every machine with Python has: the source of argparse.
    text = inspect.getsource(argparse).encode()
    began_s = time.monotonic()
    answer, rid = await asyncio.to_thread(call_chain, demo.server.client(), PATH, text)
    elapsed_s = time.monotonic() - began_s
    _expect(f"{CHAIN} of the text", expected(text), answer)
    hops = (await demo.server.ask("requests", rid))["hops"]
    way = ", ".join(
        f"{name} on {demo.called(hop['node'])} {time_text(hop['ended_at'] - hop['began_at'])}"
        for name, hop in zip(STEPS, hops, strict=True)
    )
    demo.row(f"call it with {size_text(len(text))} of text", f"{answer}, as it must be: {way}", elapsed_s)


async def _kill_under_load(demo: Demo) -> None:
    alpha, beta = demo.alpha, demo.beta
    with demo.session.output.progress(f"{CALLERS} callers, {CALLS} calls before the kill") as bar:
        async with load(demo.server.client, PATH) as calls:
            await calls.more(CALLS)
            before = calls.right
            demo.row(f"{CALLERS} callers at a time", f"{before} calls, all answers right")

            bar.describe("kill -9 alpha, and wait until digest is on beta")
            began_s = time.monotonic()
            await alpha.kill()

            async def moved() -> bool:
                return "digest" in await beta.functions()

            await until("digest has moved to beta", moved)
            moved_s = time.monotonic() - began_s
            await calls.more(CALLS)
            came_out = f"digest moved to beta; {calls.right - before} calls, all answers right"
            demo.row("kill -9 alpha meanwhile", came_out, moved_s)
            before = calls.right

            bar.describe("start alpha again, and wait until it has words again")
            began_s = time.monotonic()
            await alpha.start()

            async def back() -> bool:
                return "words" in await alpha.functions()

            await until("alpha has words again", back)
            back_s = time.monotonic() - began_s
            await calls.more(CALLS)
            _expect("what is on alpha", ["words"], await alpha.functions())
            came_out = f"it has words again; {calls.right - before} calls, all answers right"
            demo.row("start alpha again, empty", came_out, back_s)
    await _account(demo, calls.right, calls.slowest_s)


async def _account(demo: Demo, answered: int, slowest_s: float) -> None:
    """What the server's history has about the load, held against what the callers saw."""
    requests = await asyncio.to_thread(_history, demo.server)
    ended = Counter(request["state"] for request in requests)
    # The call before the load is in it.
    _expect("how the calls ended, in the server's history", {"done": answered + 1}, dict(ended))
    again = sum(len(request["hops"]) > len(STEPS) for request in requests)
    did = Counter(hop["node"] for request in requests for hop in request["hops"] if hop["outcome"] == "done")
    shares = ", ".join(f"{demo.called(node)} {count}" for node, count in sorted(did.items()))
    demo.row(
        f"all {answered} calls", f"0 failed, 0 wrong; {again} met the dead node and went on at another one"
    )
    demo.row("who did their steps", shares)
    demo.row("the slowest call", "from the request to the answer, by HTTP", slowest_s)


def _history(running: Server) -> list[dict[str, Any]]:
    client, found = running.client(), []
    query = {"deployment": ID, "limit": str(_PAGE)}
    while True:
        page = client.get("requests", query=query)
        found += page["requests"]
        if page["before"] is None:
            return found
        query["before"] = page["before"]


def _expect(what: str, wanted: object, got: object) -> None:
    if wanted != got:
        raise DemoFailed(f"{what} went wrong", cause=f"expected {wanted!r}, got {got!r}", next_step=_REPORT)
