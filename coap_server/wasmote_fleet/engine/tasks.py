"""Tasks that are ended, and waits that end early."""

from __future__ import annotations

import asyncio
from typing import Any

from wasmote_fleet.engine.clock import Clock

_AGAIN_S = 1.0


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel them and wait until they are done. Told again if need be: Python 3.11's wait_for loses a cancellation that
    comes at the moment when what it waits for is done."""
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _done, left = await asyncio.wait(left, timeout=_AGAIN_S)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # or asyncio complains that nobody asked


async def sleep_or_bell(delay_s: float, bell: asyncio.Event, clock: Clock) -> bool:
    """Until delay_s have passed by the clock, or until the bell rings; whether it rang. It stays set. Not by wait_for:
    who is cancelled while the bell rings is cancelled."""
    waits = [asyncio.ensure_future(clock.sleep(delay_s)), asyncio.ensure_future(bell.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*waits)
    return bell.is_set()
