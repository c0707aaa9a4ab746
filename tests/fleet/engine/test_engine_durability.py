"""kill -9 in the middle of 1,000 mixed writes: what was acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mixed_writes import blob
from nats_server import NatsServer

from wasmote_fleet.engine import Engine, QueuePolicy, open_engine

WRITES = 1000
PROGRAM = Path(__file__).parent / "mixed_writes.py"
# Jobs that were leased when the end came are to be seen soon.
POLICY = QueuePolicy(visibility_s=2.0)


def start(location: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, PROGRAM, location, str(WRITES)], stdout=subprocess.PIPE)


def read_acknowledged(process: subprocess.Popen[bytes], count: int | None) -> list[dict[str, Any]]:
    """count lines, or all to the end; a line that was cut short acknowledges nothing."""
    assert process.stdout is not None
    found = []
    while count is None or len(found) < count:
        line = process.stdout.readline()
        if not line.endswith(b"\n"):
            break
        found.append(json.loads(line))
    return found


async def check(engine: Engine, acknowledged: list[dict[str, Any]]) -> Counter[str]:
    """All of it is there; returns how many of each kind were looked at."""
    seen: Counter[str] = Counter()
    jobs = await engine.queue("jobs", POLICY)
    done = await engine.queue("done", POLICY)
    waiting: dict[str, bytes] = {}
    while leased := await jobs.lease(100):
        waiting.update({job.id: job.data for job in leased})
    unfinished = set()
    while leased := await done.lease(100, wait_s=3.0):
        unfinished |= {job.id for job in leased}
        for job in leased:
            await done.ack(job)
    records = {}
    log = await engine.log("events")
    while page := await log.read(max(records, default=0)):
        records.update({record.offset: record.data for record in page})
    entries = {entry.key: entry for entry in await engine.kv.entries()}
    for what in acknowledged:
        match what:
            case {"put": key, "value": value}:
                assert entries[key].value == value.encode()
            case {"counter": worker, "value": value}:
                assert int(entries[f"counter/{worker}"].value) >= value
            case {"delete": key}:
                assert key not in entries
            case {"job": id, "value": value}:
                assert waiting[id] == value.encode()
            case {"done": id}:
                assert id not in unfinished
            case {"offset": offset, "value": value}:
                assert records[offset] == value.encode()
            case {"lease": name, "revision": revision}:
                entry = await engine.leases._bucket.get(name)
                assert entry is not None and entry.revision >= revision
            case {"blob": digest, "number": number}:
                assert await engine.blobs.read(digest) == blob(number)
            case _:
                raise AssertionError(what)
        seen[next(iter(what))] += 1
    return seen


@pytest.mark.parametrize("after", [1, 150, 700])
async def test_sqlite_loses_nothing_when_the_process_is_killed(tmp_path: Path, after: int) -> None:
    location = str(tmp_path / "fleet.db")
    with start(location) as process:
        acknowledged = read_acknowledged(process, after)
        process.kill()
        acknowledged += read_acknowledged(process, None)
    assert after <= len(acknowledged) < WRITES
    engine = await open_engine(location)
    try:
        seen = await check(engine, acknowledged)
        assert after == 1 or len(seen) == 8
        assert await engine.kv.put("after", b"") > 0
    finally:
        await engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("sync", ["always", "2m"])
@pytest.mark.parametrize("after", [150, 700])
async def test_nats_loses_nothing_when_its_process_is_killed(tmp_path: Path, after: int, sync: str) -> None:
    server = NatsServer(tmp_path, sync=sync)
    try:
        with start(server.url) as process:
            acknowledged = read_acknowledged(process, after)
            server.kill()
            await asyncio.sleep(0.2)
            process.kill()
            acknowledged += read_acknowledged(process, None)
        assert after <= len(acknowledged) < WRITES
        server.start()
        engine = await open_engine(server.url)
        try:
            seen = await check(engine, acknowledged)
            assert len(seen) == 8
            assert await engine.kv.put("after", b"") > 0
        finally:
            await engine.close()
    finally:
        server.kill()


async def test_it_ends_well_when_nobody_kills_it(tmp_path: Path) -> None:
    """The program itself: all 1,000 writes are acknowledged, and found."""
    location = str(tmp_path / "fleet.db")
    with start(location) as process:
        acknowledged = read_acknowledged(process, None)
    assert process.returncode == 0 and len(acknowledged) == WRITES
    engine = await open_engine(location)
    try:
        assert sum((await check(engine, acknowledged)).values()) == WRITES
    finally:
        await engine.close()
