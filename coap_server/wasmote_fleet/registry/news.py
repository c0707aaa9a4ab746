"""That something has changed, for many who wait: what it was they look up themselves."""

from __future__ import annotations

import asyncio


class News:
    """version: another number after each tell()."""

    def __init__(self) -> None:
        self.version = 0
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self.version += 1
        self._told.set()
        self._told = asyncio.Event()

    async def wait(self) -> None:
        """Until the next tell()."""
        await self._told.wait()
