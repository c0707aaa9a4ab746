"""The fleet server's engine: operations a second on each driver, beside what the disk itself can do."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from nats_server import NatsServer
from report import Report, Table

from wasmote_fleet.engine import Engine, Log, Queue, SnapshotEnd, open_engine

OUTSTANDING = (1, 16, 256)
VALUE = bytes(100)
BLOB = random.Random(1).randbytes(3_500_000)
# The drivers take turns; what is shown are medians over the rounds. In a round each has so many seconds for each row.
ROUNDS, QUICK_ROUNDS = 7, 2
TURN_S = 0.25

Work = Callable[[int, int], Awaitable[object]]


def syncs_a_second(folder: Path, seconds: float, *, grows: bool) -> float:
    """Writes of 4 KiB with an fdatasync after each, to a file that grows or in one of 4 MiB: what a database that
    commits one write at a time cannot surpass."""
    size = 4 * 1024 * 1024
    path = folder / "raw"
    path.write_bytes(b"" if grows else bytes(size))
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.fdatasync(descriptor)
        began, count = time.perf_counter(), 0
        while (took := time.perf_counter() - began) < seconds:
            os.pwrite(descriptor, bytes(4096), count * 4096 if grows else count * 4096 % size)
            os.fdatasync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
    return count / took


async def rate(work: Work, outstanding: int, seconds: float) -> float:
    """Calls of work a second, with so many under way; each gets its worker's number and its own."""
    end = time.perf_counter() + seconds

    async def worker(number: int) -> int:
        count = 0
        while time.perf_counter() < end:
            await work(number, count)
            count += 1
        return count

    began = time.perf_counter()
    counts = await asyncio.gather(*(worker(number) for number in range(outstanding)))
    return sum(counts) / (time.perf_counter() - began)


async def told_ms(engine: Engine, times: int) -> float:
    """From the beginning of a put to a watch that tells of it, median."""
    took = []
    async with engine.kv.watch("watched/") as changes:
        while not isinstance(await anext(changes), SnapshotEnd):
            pass
        for number in range(times):
            began = time.perf_counter()
            put = asyncio.ensure_future(engine.kv.put(f"watched/{number % 10}", VALUE))
            await anext(changes)
            took.append(time.perf_counter() - began)
            await put
    return statistics.median(took) * 1000


class Bench:
    """One driver under measurement."""

    def __init__(self, engine: Engine, queue: Queue, log: Log) -> None:
        self.engine, self.queue, self.log = engine, queue, log
        self.works: dict[str, Work] = {
            "put": self.put,
            "append": self.append,
            "job": self.job,
            "get": self.get,
        }
        self.figures: dict[str, list[float]] = {}
        self._jobs = itertools.count()

    @classmethod
    async def open(cls, location: str) -> Bench:
        engine = await open_engine(location)
        return cls(engine, await engine.queue("bench"), await engine.log("bench"))

    async def put(self, worker: int, number: int) -> None:
        await self.engine.kv.put(f"bench/{worker}/{number % 50}", VALUE)

    async def get(self, worker: int, _number: int) -> None:
        assert await self.engine.kv.get(f"bench/{worker}/0") is not None

    async def job(self, _worker: int, _number: int) -> None:
        await self.queue.enqueue(VALUE, id=str(next(self._jobs)))
        for one in await self.queue.lease():
            await self.queue.ack(one)

    async def append(self, _worker: int, _number: int) -> None:
        await self.log.append(VALUE)

    def add(self, name: str, figure: float) -> None:
        self.figures.setdefault(name, []).append(figure)

    async def blob(self) -> None:
        began = time.perf_counter()
        info = await self.engine.blobs.put(BLOB)
        self.add("blob put", len(BLOB) / 1e6 / (time.perf_counter() - began))
        began = time.perf_counter()
        assert len(await self.engine.blobs.read(info.digest)) == len(BLOB)
        self.add("blob read", len(BLOB) / 1e6 / (time.perf_counter() - began))
        await self.engine.blobs.delete(info.digest)


async def measure_drivers(
    locations: dict[str, str], rounds: int, folder: Path
) -> dict[str, dict[str, float]]:
    """Title -> row -> median; the disk itself is one of the titles."""
    benches = {title: await Bench.open(location) for title, location in locations.items()}
    disk: dict[str, list[float]] = {"grows": [], "in place": []}
    for _ in range(rounds):
        disk["grows"].append(syncs_a_second(folder, TURN_S, grows=True))
        disk["in place"].append(syncs_a_second(folder, TURN_S, grows=False))
        for name in ("put", "append", "job", "get"):
            for outstanding in OUTSTANDING:
                for bench in benches.values():
                    bench.add(f"{name} {outstanding}", await rate(bench.works[name], outstanding, TURN_S))
        for bench in benches.values():
            bench.add("told", await told_ms(bench.engine, 20))
            await bench.blob()
    for bench in benches.values():
        await bench.engine.close()
    found = {title: bench.figures for title, bench in benches.items()} | {"disk": disk}
    return {title: {row: statistics.median(of) for row, of in rows.items()} for title, rows in found.items()}


def measure(report: Report, quick: bool, say: Callable[[str], None]) -> None:
    """Adds the part's table to the report."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    say(f"fleet engine: SQLite, NATS and the disk, {rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="wasmote-bench-") as name:
        folder = Path(name)
        always, lazily = NatsServer(folder / "always", sync="always"), NatsServer(folder / "lazily")
        try:
            locations = {
                "SQLite": str(folder / "fleet.db"),
                "NATS, sync always": always.url,
                "NATS, as it comes": lazily.url,
            }
            results = asyncio.run(measure_drivers(locations, rounds, folder))
        finally:
            always.stop()
            lazily.stop()
    report.figures["fleet-engine"] = results
    disk = results.pop("disk")
    table = Table("The fleet server's engine, operations a second", ("operation, outstanding", *results))
    for what, key in (
        ("put of 100 bytes", "put"),
        ("append to a log", "append"),
        ("job: enqueue, lease, ack", "job"),
        ("get", "get"),
    ):
        for outstanding in OUTSTANDING:
            cells = [f"{figures[f'{key} {outstanding}']:,.0f}" for figures in results.values()]
            table.rows.append((f"{what}, {outstanding}", *cells))
    for what, key, unit in (
        ("put to a watch that tells it", "told", "ms"),
        ("blob of 3.5 MB, put", "blob put", "MB/s"),
        ("blob of 3.5 MB, read", "blob read", "MB/s"),
    ):
        table.rows.append((what, *(f"{figures[key]:.1f} {unit}" for figures in results.values())))
    table.notes += [
        f"One Python client; {rounds} rounds in which the drivers took turns, medians. The disk, with an fdatasync "
        f"after each 4 KiB: {disk['grows']:,.0f} a second in a file that grows, {disk['in place']:,.0f} in one that "
        "does not. SQLite and NATS with `sync always` acknowledge what the disk has.",
        "These are no ratios: they depend on the disk and on what else the machine does "
        f"(load average {os.getloadavg()[0]:.0f}).",
    ]
    report.tables.append(table)
