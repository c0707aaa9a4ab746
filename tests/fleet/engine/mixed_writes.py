"""A program that writes to an engine in every way there is, and says on stdout what was acknowledged, a JSON line each.

usage: mixed_writes.py LOCATION COUNT
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import sys

from wasmote_fleet.engine import Engine, Queue, open_engine

WORKERS = 8
BLOB_BYTES = 20_000


def blob(number: int) -> bytes:
    return random.Random(number).randbytes(BLOB_BYTES)


def acknowledged(**what: object) -> None:
    # One write() a line: what is in the pipe outlives this process.
    os.write(1, (json.dumps(what) + "\n").encode())


async def work(
    engine: Engine, jobs: Queue, done: Queue, worker: int, numbers: itertools.count[int], end: int
) -> None:
    log = await engine.log("events")
    lease = await engine.leases.acquire(f"worker/{worker}", "me", 3600)
    assert lease is not None
    while (number := next(numbers)) < end:
        key, value = f"k/{number}", str(number).encode()
        match number % 8:
            case 0:
                await engine.kv.put(key, value)
                acknowledged(put=key, value=value.decode())
            case 1:
                await engine.kv.put(f"counter/{worker}", value)
                acknowledged(counter=worker, value=number)
            case 2:
                await engine.kv.put(key, value)
                await engine.kv.delete(key)
                acknowledged(delete=key)
            case 3:
                assert await jobs.enqueue(value, id=key)
                acknowledged(job=key, value=value.decode())
            case 4:
                assert await done.enqueue(value, id=key)
                for job in await done.lease():
                    await done.ack(job)
                    acknowledged(done=job.id)
            case 5:
                acknowledged(offset=await log.append(value), value=value.decode())
            case 6:
                lease = await engine.leases.renew(lease)
                acknowledged(lease=lease.name, revision=lease.revision)
            case 7:
                info = await engine.blobs.put(blob(number))
                acknowledged(blob=info.digest, number=number)


async def main(location: str, count: int) -> None:
    engine = await open_engine(location)
    jobs, done = await engine.queue("jobs"), await engine.queue("done")
    numbers = itertools.count()
    await asyncio.gather(*(work(engine, jobs, done, worker, numbers, count) for worker in range(WORKERS)))
    await engine.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
