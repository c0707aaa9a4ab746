"""The fleet server: calls through the gateway beside the same call straight by CoAP and beside a bare HTTP route; what
a registered node costs; how long 200 nodes take."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "fleet" / "scale"))

from http_load import Connection  # noqa: E402
from report import Report, Table  # noqa: E402
from storm import FUNCTION, Storm, fib, prepared, raise_limits  # noqa: E402

from wasmote.node import Node  # noqa: E402

OUTSTANDING = (1, 16)
ROUNDS, QUICK_ROUNDS = 9, 3
TURN_S = 1.0
ARGUMENT = 7
NODES, QUICK_NODES = 200, 40

Call = Callable[[int], Awaitable[None]]


@dataclass
class Way:
    """A way to call. call: with its worker's number. pid: of the process whose time counts, None: this one."""

    title: str
    call: Call
    pid: int | None
    rates: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)

    def on_core_s(self) -> float:
        if self.pid is None:
            return time.process_time()
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    async def turn(self, outstanding: int, seconds: float) -> None:
        """Calls for so long, with so many under way."""
        began, cpu = time.perf_counter(), self.on_core_s()
        end = began + seconds

        async def worker(number: int) -> int:
            count = 0
            while (at := time.perf_counter()) < end:
                await self.call(number)
                self.times_s.append(time.perf_counter() - at)
                count += 1
            return count

        done = sum(await asyncio.gather(*(worker(number) for number in range(outstanding))))
        self.rates.append(done / (time.perf_counter() - began))
        self.cpu_us.append((self.on_core_s() - cpu) / done * 1e6)


@contextmanager
def _bare_route() -> Iterator[tuple[str, int]]:
    """Its address and process."""
    command = [sys.executable, str(HERE / "bare_route.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}", process.pid
        finally:
            process.terminate()


def _by_http(stack: AsyncExitStack, base: str, path: str, value: int) -> Call:
    connections = [Connection(base) for _ in range(max(OUTSTANDING))]
    for connection in connections:
        stack.push_async_callback(connection.close)
    body = json.dumps([ARGUMENT]).encode()

    async def call(worker: int) -> None:
        answer = await connections[worker].request("POST", path, body)
        if answer.status != 200 or answer.json()["value"] != value:
            raise RuntimeError(f"POST {path}: {answer.status} {answer.body!r}")

    return call


async def _measure_calls(image: Path, folder: Path, rounds: int) -> dict[int, list[Way]]:
    """By how many are outstanding."""
    async with AsyncExitStack() as stack:
        storm = Storm(nodes=1)
        run = await stack.enter_async_context(prepared(storm, image, folder, lambda _text: None))
        uri = run.nodes.nodes["n000"].uri
        node = await stack.enter_async_context(Node(uri))
        bare, bare_pid = stack.enter_context(_bare_route())
        server, server_pid = run.server.http, run.server.process.pid

        async def straight(_worker: int) -> None:
            if (await node.call(FUNCTION, [ARGUMENT])).value != fib(ARGUMENT):
                raise RuntimeError("a wrong answer")

        path = f"functions/{FUNCTION}/{FUNCTION}"
        ways = {
            "straight by CoAP, wasmote's client": (straight, None),
            "bare Starlette route": (_by_http(stack, bare, "/node/fib/fib", ARGUMENT), bare_pid),
            "gateway: a node's function": (
                _by_http(stack, server, f"/api/v1/nodes/n000/{path}", fib(ARGUMENT)),
                server_pid,
            ),
            "gateway: a deployment's function": (
                _by_http(stack, server, f"/api/v1/deployments/{FUNCTION}/{path}", fib(ARGUMENT)),
                server_pid,
            ),
        }
        found = {}
        for outstanding in OUTSTANDING:
            found[outstanding] = [Way(title, call, pid) for title, (call, pid) in ways.items()]
            for way in found[outstanding]:
                await Way(way.title, way.call, way.pid).turn(outstanding, 0.3)
            for _ in range(rounds):
                for way in found[outstanding]:
                    await way.turn(outstanding, TURN_S)
        return found


def _calls_tables(report: Report, found: dict[int, list[Way]]) -> None:
    figures: dict[str, dict[str, dict[str, float]]] = {}
    for outstanding, ways in found.items():
        straight, bare = ways[0], ways[1]
        table = Table(
            f"The fleet server: calls, {outstanding} outstanding",
            ("way", "of straight CoAP", "of the bare route", "a second", "CPU a call", "p50", "p99"),
        )
        for way in ways:
            of_straight = median(a / b for a, b in zip(way.rates, straight.rates, strict=True))
            of_bare = median(a / b for a, b in zip(way.rates, bare.rates, strict=True))
            p = quantiles(way.times_s, n=100)
            row = {
                "rate": median(way.rates),
                "of_straight": of_straight,
                "of_bare": of_bare,
                "cpu_us": median(way.cpu_us),
                "p50_ms": p[49] * 1000,
                "p99_ms": p[98] * 1000,
            }
            figures.setdefault(str(outstanding), {})[way.title] = row
            table.rows.append(
                (
                    way.title,
                    f"{of_straight:.0%}",
                    f"{of_bare:.0%}",
                    f"{row['rate']:,.0f}",
                    f"{row['cpu_us']:,.0f} us",
                    f"{row['p50_ms']:.1f} ms",
                    f"{row['p99_ms']:.1f} ms",
                )
            )
        report.tables.append(table)
    table.notes.append(
        "fib(7) on one host node. All of it is Python but the node. CPU: of the server's process; straight by CoAP, of "
        f"the client's. The HTTP client shares the machine with what it measures "
        f"(load average {os.getloadavg()[0]:.0f})."
    )
    report.figures["fleet"] = {"calls": figures}


async def _measure_nodes(image: Path, folder: Path, count: int) -> dict[str, object]:
    async with prepared(Storm(nodes=count), image, folder, lambda _text: None) as run:
        await run.restart_all()
        return run.figures


def _nodes_table(report: Report, count: int, figures: dict[str, dict[str, float]]) -> None:
    registration, deployment, restart = (figures[key] for key in ("registration", "deployment", "restart"))
    table = Table(
        f"The fleet server: {count} nodes, each a process, on two cores with it",
        ("what", "wall", "server's CPU"),
    )
    table.rows += [
        (
            f"started ({registration['processes_started_s']} s), registered and up",
            f"{registration['all_up_s']} s",
            f"{registration['server_cpu_s']} s",
        ),
        (
            "one function on all, from the PUT on",
            f"{deployment['wall_s']} s",
            f"{deployment['server_cpu_s']} s",
        ),
        (
            f"all killed and started again ({restart['processes_started_s']} s): up, and with their function",
            f"{restart['wall_s']} s",
            f"{restart['server_cpu_s']} s",
        ),
    ]
    table.notes.append(
        f"A registered node that answers beats costs the server {registration['kb_a_node']:.0f} KB and "
        f"{registration['sockets_a_node']:g} of its sockets; one with a function that was deployed, "
        f"{deployment['kb_a_node']:.0f} KB more."
    )
    report.tables.append(table)


def measure(report: Report, image: Path, quick: bool, say: Callable[[str], None]) -> None:
    """image: the host's node."""
    rounds, count = (QUICK_ROUNDS, QUICK_NODES) if quick else (ROUNDS, NODES)
    raise_limits()
    with tempfile.TemporaryDirectory(prefix="wasmote-bench-") as name:
        folder = Path(name)
        say(f"fleet: calls, {rounds} rounds")
        _calls_tables(report, asyncio.run(_measure_calls(image, folder / "calls", rounds)))
        say(f"fleet: {count} nodes")
        figures = asyncio.run(_measure_nodes(image, folder / "nodes", count))
    _nodes_table(report, count, figures)  # type: ignore[arg-type]
    kept = report.figures["fleet"]
    assert isinstance(kept, dict)
    kept["nodes"] = figures
