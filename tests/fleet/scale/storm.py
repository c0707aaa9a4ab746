"""Hundreds of host nodes on one fleet server, while some of them are killed and come back, under a load of calls.

    PYTHONPATH=tests python tests/fleet/scale/storm.py --nodes 200 --seconds 300 --share 0.2 --seed 1 --json storm.json

Nodes register by themselves; one function is deployed to all; a share of them is down at any time, killed (-9) and
started again at random, some at another address, while calls go at a constant rate to single nodes and to the
deployment. Then all come back, and what should be is compared with what the nodes say. Exits with 1 unless each answer
was right, each failed call said why, and the desired state was reached again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[1]),
]  # where it is not pytest that starts it

from fleet_server import FleetServer, fleet_server  # noqa: E402
from host_nodes import HostNode, HostNodes  # noqa: E402
from http_load import Connection, Response  # noqa: E402

from wasmote.adapters import apps  # noqa: E402
from wasmote.protocol.section import with_section  # noqa: E402

FUNCTION = "fib"
PURE, ONCE = "fib", "fib64"  # exports: the one may be repeated, the other may not
CALL_S = 10.0  # a call's deadline
DOWN_S = (1.0, 20.0)  # for how long a node stays away
PATIENCE_S = 300.0  # for the desired state
FIRST = 10  # nodes that register before it is measured
STREAMS = 64  # connections at most
# A function that a rebooted node does not have yet; too much to do; a node that is away; no node; a deadline, or a call
# that may have run.
EXPECTED = (404, 429, 502, 503, 504)


@dataclass(frozen=True)
class Storm:
    """seconds: of calls and kills. share: of the nodes that are away at a time. rate: calls a second. quiet_s: calls
    without kills before that, so that both can be compared."""

    nodes: int = 200
    seconds: float = 300.0
    share: float = 0.2
    seed: int = 1
    rate: float = 40.0
    beat_s: float = 5.0
    quiet_s: float = 0.0


@dataclass
class Calls:
    """What became of calls of one sort. causes: how often each, names left out. silent: failed without a cause."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    times_s: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        p = quantiles(self.times_s, n=100) if len(self.times_s) > 1 else [0.0] * 99
        return {
            "right": self.right,
            "failed": dict(self.failed),
            "wrong": self.wrong[:10],
            "without_cause": self.silent[:10],
            "p50_ms": round(p[49] * 1000, 1),
            "p99_ms": round(p[98] * 1000, 1),
            "longest_ms": round(max(self.times_s, default=0.0) * 1000),
        }


@dataclass
class Sample:
    """Of the server process. at_s: since it started. cpu_s: used so far."""

    at_s: float
    rss_mb: float
    sockets: int
    cpu_s: float


class ServerWatch:
    """Looks at a process from outside."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def look(self) -> Sample:
        status = Path(f"/proc/{self._pid}/status").read_text()
        rss_kb = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        links = []
        for fd in Path(f"/proc/{self._pid}/fd").iterdir():
            try:
                links.append(str(fd.readlink()))
            except FileNotFoundError:
                continue  # closed meanwhile
        ticks = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        cpu_s = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        sockets = sum(link.startswith("socket:") for link in links)
        found = Sample(time.monotonic() - self._began, rss_kb / 1024, sockets, cpu_s)
        self.samples.append(found)
        return found

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(1.0)


def module() -> bytes:
    """fib, of which one export alone is declared pure."""
    loaded = apps.load(FUNCTION)
    assert loaded.section is not None
    return with_section(loaded.data, dataclasses.replace(loaded.section, pure=(PURE,)))


def fib(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


class Run:
    """One storm on a server that runs. figures: what was measured; after storm_over(), faults: what must not be."""

    def __init__(
        self, storm: Storm, server: FleetServer, nodes: HostNodes, say: Callable[[str], None]
    ) -> None:
        self.storm = storm
        self.figures: dict[str, Any] = {}
        self.faults: list[str] = []
        self.server = server
        self.nodes = nodes
        self._say = say
        self._random = random.Random(storm.seed)
        self._calls: dict[str, Calls] = {}
        self._watch = ServerWatch(server.process.pid)
        self._idle: list[Connection] = []
        self._out = 0
        self._skipped = 0
        self._kills = 0

    async def __aenter__(self) -> Run:
        self._watching = asyncio.create_task(self._watch.run())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._watching.cancel()
        for connection in self._idle:
            await connection.close()

    async def prepare(self) -> None:
        """Nodes that have the function. Raises AssertionError where that does not come about in time."""
        await self._register()
        await self._deploy()

    async def storm_over(self) -> None:
        """Calls and kills, and all in order again. Raises AssertionError."""
        if self.storm.quiet_s:
            await self._load(self.storm.quiet_s, "quiet", kills=False)
        await self._load(self.storm.seconds, "storm", kills=True)
        await self._recover()

    async def restart_all(self) -> None:
        """Kill all nodes and start them again at once, until all are up and have their function."""
        before = self._watch.look()
        for node in self.nodes.nodes.values():
            self.nodes.kill(node)
        began = time.monotonic()
        for node in self.nodes.nodes.values():
            await self.nodes.start(node)
        started_s = time.monotonic() - began
        wall_s = await self._reached(began)
        after = self._watch.look()
        self.figures["restart"] = {
            "processes_started_s": round(started_s, 1),
            "wall_s": round(wall_s, 1),
            "server_cpu_s": round(after.cpu_s - before.cpu_s, 1),
        }
        self._say(f"restart of all: {self.figures['restart']}")

    # ---- before ----

    async def _register(self) -> None:
        # The first few, so that what all nodes have in common is there.
        first = min(FIRST, self.storm.nodes // 2)
        for number in range(first):
            await self.nodes.add(f"n{number:03}")
        await self._until(self._all_up, "nodes that are up")
        await asyncio.sleep(self.storm.beat_s)
        before = self._watch.look()
        began = time.monotonic()
        for number in range(first, self.storm.nodes):
            await self.nodes.add(f"n{number:03}")
        started_s = time.monotonic() - began
        await self._until(self._all_up, "nodes that are up")
        took_s = time.monotonic() - began
        await asyncio.sleep(2 * self.storm.beat_s)  # a few beats, so that what a node costs is there
        after = self._watch.look()
        self.figures["registration"] = {
            "nodes": self.storm.nodes - first,
            "processes_started_s": round(started_s, 1),
            "all_up_s": round(took_s, 1),
            "server_cpu_s": round(after.cpu_s - before.cpu_s, 1),
            "server_mb_before": round(before.rss_mb, 1),
            "kb_a_node": round((after.rss_mb - before.rss_mb) * 1024 / (self.storm.nodes - first), 1),
            "sockets_a_node": round((after.sockets - before.sockets) / (self.storm.nodes - first), 2),
        }
        self._say(f"registration: {self.figures['registration']}")

    async def _deploy(self) -> None:
        await self._ask("PUT", f"/api/v1/functions/{FUNCTION}?version=1", module(), "application/wasm")
        spec = {"id": FUNCTION, "functions": [{"name": FUNCTION, "count": "all"}]}
        before = self._watch.look()
        began = time.monotonic()
        await self._ask("PUT", f"/api/v1/deployments/{FUNCTION}", json.dumps(spec).encode())
        seen: list[int] = []

        async def ready() -> bool:
            found = (await self._ask("GET", f"/api/v1/deployments/{FUNCTION}/progress")).json()
            seen.append(found["ready"])
            return found["phase"] == "ready" and found["ready"] == self.storm.nodes

        await self._until(ready, "a deployment that is ready")
        after = self._watch.look()
        self.figures["deployment"] = {
            "wall_s": round(time.monotonic() - began, 1),
            "server_cpu_s": round(after.cpu_s - before.cpu_s, 1),
            "progress": seen,
            "kb_a_node": round((after.rss_mb - before.rss_mb) * 1024 / self.storm.nodes, 1),
        }
        self._say(f"deployment: {self.figures['deployment']}")

    # ---- calls ----

    async def _load(self, seconds: float, name: str, *, kills: bool) -> None:
        self._calls = {}
        before = self._watch.look()
        end = time.monotonic() + seconds
        killing = asyncio.create_task(self._kill_until(end)) if kills else None
        tasks: set[asyncio.Task[None]] = set()
        late_s: list[float] = []
        due = time.monotonic()
        while due < end:
            await asyncio.sleep(max(due - time.monotonic(), 0.0))
            late_s.append(time.monotonic() - due)
            due += 1 / self.storm.rate
            if self._out >= STREAMS:
                self._skipped += 1
                continue
            self._out += 1
            task = asyncio.create_task(self._call())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            if killing is not None and killing.done():
                break
        await asyncio.gather(*tasks)
        if killing is not None:
            await killing
        after = self._watch.look()
        self.figures[name] = {
            "seconds": seconds,
            "calls_a_second": self.storm.rate,
            "not_sent_too_many_out": self._skipped,
            "sent_late_ms_p99": round(quantiles(late_s, n=100)[98] * 1000, 1),  # the client's own delay
            "kills": self._kills,
            "server_cpu_share": round((after.cpu_s - before.cpu_s) / (after.at_s - before.at_s), 2),
            "calls": {sort: calls.figures() for sort, calls in sorted(self._calls.items())},
        }
        self._note_faults()
        self._say(f"{name}: {json.dumps(self.figures[name], indent=1)}")

    async def _call(self) -> None:
        chance = self._random
        of_deployment, once = chance.random() < 0.5, chance.random() < 0.5
        export, n = (ONCE, chance.randrange(90)) if once else (PURE, chance.randrange(25))
        node = chance.choice(list(self.nodes.nodes))
        path = f"deployments/{FUNCTION}" if of_deployment else f"nodes/{node}"
        sort = f"{'deployment' if of_deployment else 'node'}, {'once' if once else 'repeatable'}"
        calls = self._calls.setdefault(sort, Calls())
        connection = self._idle.pop() if self._idle else Connection(self.server.http)
        began = time.monotonic()
        try:
            answer = await connection.request(
                "POST",
                f"/api/v1/{path}/functions/{FUNCTION}/{export}?timeout_s={CALL_S:g}",
                json.dumps([n]).encode(),
                timeout_s=CALL_S + 20.0,
            )
        except (OSError, EOFError) as error:
            calls.silent.append(f"{path}: {error!r}")
        else:
            calls.times_s.append(time.monotonic() - began)
            self._judge(calls, answer, fib(n))
            self._idle.append(connection)
        finally:
            self._out -= 1

    def _judge(self, calls: Calls, answer: Response, wanted: int) -> None:
        if answer.status == 200:
            value = answer.json()["value"]
            if int(value) == wanted:
                calls.right += 1
            else:
                calls.wrong.append(f"{value} instead of {wanted}")
            return
        told = answer.json() if answer.kind.startswith("application/problem+json") else {}
        kind = str(told.get("type", "")).rpartition("/")[2]
        if answer.status not in EXPECTED:
            calls.silent.append(f"{answer.status}: {told or answer.body!r}")
        elif not told.get("title") or not (told.get("detail") or told.get("next_step")):
            calls.silent.append(f"{answer.status}: {answer.body!r}")
        else:
            calls.failed[f"{answer.status} {kind}"] += 1

    # ---- kills ----

    async def _kill_until(self, end: float) -> None:
        """About a share of the nodes is away at a time."""
        away = max(1, round(self.storm.share * self.storm.nodes))
        tasks: set[asyncio.Task[None]] = set()
        mean_s = sum(DOWN_S) / 2
        while time.monotonic() < end:
            await asyncio.sleep(self._random.expovariate(away / mean_s))
            alive = [node for node in self.nodes.nodes.values() if node.process is not None]
            if len(tasks) >= away or not alive:
                continue
            task = asyncio.create_task(self._kill(self._random.choice(alive)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def _kill(self, node: HostNode) -> None:
        self.nodes.kill(node)
        self._kills += 1
        await asyncio.sleep(self._random.uniform(*DOWN_S))
        await self.nodes.start(node, moved=self._random.random() < 0.3)

    # ---- after ----

    async def _recover(self) -> None:
        """All nodes run: the server says that all is as it should be, and each node has the function."""
        began = time.monotonic()
        assert not self.nodes.dead(), f"these nodes ended by themselves: {self.nodes.dead()}"
        wall_s = await self._reached(began)
        last_minute = [one.rss_mb for one in self._watch.samples[-30:]]
        begun = [one.rss_mb for one in self._watch.samples if one.at_s > 30][:30] or last_minute
        final = self._watch.look()
        self.figures["recovery"] = {"wall_s": round(wall_s, 1)}
        self.figures["server"] = {
            "mb_first_half_minute": round(median(begun), 1),
            "mb_last_half_minute": round(median(last_minute), 1),
            "mb_most": round(max(one.rss_mb for one in self._watch.samples), 1),
            "sockets_most": max(one.sockets for one in self._watch.samples),
            "sockets_at_end": final.sockets,
            "data_mb": round(
                sum(path.stat().st_size for path in Path(self.server.data).parent.iterdir()) / 1e6, 1
            ),
            "mb_each_half_minute": [round(one.rss_mb, 1) for one in self._watch.samples[::30]],
        }
        self._say(f"recovery: {self.figures['recovery']}\nserver: {self.figures['server']}")

    async def _reached(self, began: float) -> float:
        """Wait until all is as it should be, by what the server and the nodes say; how long it took."""
        last: dict[str, Any] = {}

        async def reached() -> bool:
            last.update((await self._ask("GET", f"/api/v1/deployments/{FUNCTION}/progress")).json())
            if last["phase"] != "ready" or last["ready"] != self.storm.nodes or not await self._all_up():
                return False
            last["without"] = await self._without_function()
            return not last["without"]

        await self._until(reached, "the desired state", lambda: json.dumps(last)[:2000])
        return time.monotonic() - began

    async def _without_function(self) -> list[str]:
        """Nodes that do not answer a call, or wrongly."""
        found = []
        for ep in self.nodes.nodes:
            path = f"/api/v1/nodes/{ep}/functions/{FUNCTION}/{PURE}"
            answer = await self._connection(lambda one, path=path: one.request("POST", path, b"[20]"))
            if answer.status != 200 or answer.json()["value"] != fib(20):
                found.append(f"{ep}: {answer.body.decode()}")
        return found

    def _note_faults(self) -> None:
        for sort, calls in self._calls.items():
            self.faults += [f"{sort}: wrong answer: {text}" for text in calls.wrong]
            self.faults += [f"{sort}: failed without a cause: {text}" for text in calls.silent]
        if not any(calls.right for calls in self._calls.values()):
            self.faults.append("no call gave a result")

    # ---- the server ----

    async def _all_up(self) -> bool:
        nodes = (await self._ask("GET", "/api/v1/nodes")).json()["nodes"]
        return sum(node["state"] == "up" for node in nodes) == len(self.nodes.nodes)

    async def _ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> Response:
        answer = await self._connection(lambda one: one.request(method, path, body, kind))
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body.decode()}"
        return answer

    async def _connection(self, work: Callable[[Connection], Any]) -> Response:
        connection = Connection(self.server.http)
        try:
            found = await work(connection)
            assert isinstance(found, Response)
            return found
        finally:
            await connection.close()

    async def _until(self, true: Callable[[], Any], what: str, detail: Callable[[], str] = str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not await true():
            assert time.monotonic() < end, f"not in {PATIENCE_S:g} s: {what} {detail()}"
            await asyncio.sleep(0.25)


@contextlib.asynccontextmanager
async def prepared(storm: Storm, image: Path, folder: Path, say: Callable[[str], None]) -> AsyncIterator[Run]:
    """A server and its nodes, which have the function. folder: an empty one for the server's data."""
    with (
        fleet_server(folder / "fleet.db", "--beat", f"{storm.beat_s:g}") as server,
        HostNodes(image, server.coap) as nodes,
    ):
        async with Run(storm, server, nodes, say) as run:
            await run.prepare()
            yield run


def run(storm: Storm, image: Path, folder: Path, say: Callable[[str], None]) -> Run:
    """Server, nodes and storm, from the beginning to the end."""

    async def all_of_it() -> Run:
        async with prepared(storm, image, folder, say) as found:
            await found.storm_over()
            return found

    raise_limits()
    return asyncio.run(all_of_it())


def raise_limits() -> None:
    """As many open files as this process may have: a pipe a node."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    defaults = Storm()
    parser.add_argument("--nodes", type=int, default=defaults.nodes)
    parser.add_argument("--seconds", type=float, default=defaults.seconds)
    parser.add_argument("--quiet", type=float, default=30.0, metavar="S", help="calls without kills before")
    parser.add_argument("--share", type=float, default=defaults.share, help="of the nodes, away at a time")
    parser.add_argument("--rate", type=float, default=defaults.rate, help="calls a second")
    parser.add_argument("--beat", type=float, default=defaults.beat_s, metavar="S")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--image", type=Path, help="the host's node; built if it is not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    options = parser.parse_args()
    image = options.image
    if image is None:
        from support import HOST, built

        image = built(HOST)
    storm = Storm(
        options.nodes, options.seconds, options.share, options.seed, options.rate, options.beat, options.quiet
    )
    with tempfile.TemporaryDirectory(prefix="wasmote-storm-") as folder:
        found = run(storm, image, Path(folder), lambda text: print(text, flush=True))
    if options.json is not None:
        options.json.write_text(json.dumps({**dataclasses.asdict(storm), **found.figures}, indent=2) + "\n")
    for fault in found.faults[:50]:
        print(f"FAULT {fault}")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
