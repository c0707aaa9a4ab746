"""Time for whatever expires: injected, so that tests need not wait."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time: what is stored with it must mean the same after a restart."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC. Any thread may ask."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return when delay_s have passed."""
        ...


class SystemClock:
    """This machine's clock. When it is set back, what should expire lives longer by as much."""

    def time(self) -> float:
        return time.time()

    async def sleep(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
