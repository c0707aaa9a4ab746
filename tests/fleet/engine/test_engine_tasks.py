"""Tasks that must end, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from wasmote_fleet.engine.tasks import end


async def test_end_waits_for_all_and_tells_them_again() -> None:
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                lost += 1
                if lost == 2:
                    raise

    async def fails() -> None:
        raise ValueError("not our business")

    tasks = [asyncio.create_task(work()) for work in (deaf, fails)]
    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    await asyncio.sleep(0)
    await end(*tasks, done)
    assert lost == 2 and all(task.done() for task in tasks)
    await end()
