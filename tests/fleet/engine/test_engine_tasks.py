"""Tasks that must end, also those that lose a cancellation; waits that a bell ends early."""

from __future__ import annotations

import asyncio

from worlds import ManualClock

from wasmote_fleet.engine.tasks import end, sleep_or_bell


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


async def test_sleep_or_bell_ends_by_whichever_comes_first() -> None:
    clock, bell = ManualClock(), asyncio.Event()

    def wait() -> asyncio.Task[bool]:
        return asyncio.create_task(sleep_or_bell(60, bell, clock))

    before = asyncio.all_tasks()
    slept = wait()
    await passes()
    clock.advance(59)
    await passes()
    assert not slept.done()
    clock.advance(1)
    assert not await slept

    rung = wait()
    await passes()
    bell.set()
    assert await rung and bell.is_set()
    assert await wait()  # it rang before
    assert asyncio.all_tasks() == before  # nobody still sleeps or listens


async def test_sleep_or_bell_is_cancelled_also_while_the_bell_rings() -> None:
    for turns in range(10):  # of the loop, from the bell to the cancellation
        bell = asyncio.Event()
        waiting = asyncio.create_task(sleep_or_bell(60, bell, ManualClock()))
        await passes()
        bell.set()
        await passes(turns)
        if waiting.done():
            break
        waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled(), turns
    assert 2 < turns < 9


async def passes(turns: int = 5) -> None:
    """Let every task run until it waits."""
    for _ in range(turns):
        await asyncio.sleep(0)
