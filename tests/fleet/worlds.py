"""Where the suite's engines live: the same tests run in each of these worlds."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Protocol

import nats
from nats_server import NatsServer

from wasmote_fleet.engine import Engine, open_engine

PATIENCE_S = 15.0


class ManualClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self._now = 1_800_000_000.0
        self._sleeping: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self._now

    async def sleep(self, delay_s: float) -> None:
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        self._sleeping.append((self._now + delay_s, future))
        await future

    def advance(self, delay_s: float) -> None:
        self._now += delay_s
        due = [future for at, future in self._sleeping if at <= self._now]
        self._sleeping = [(at, future) for at, future in self._sleeping if at > self._now]
        for future in due:
            if not future.done():
                future.set_result(None)


class World(Protocol):
    """A place for engines. shared: several may be open at once."""

    clock: ManualClock
    shared: bool

    async def open(self) -> Engine:
        """An engine on this world's data."""

    async def pass_time(self, delay_s: float) -> None:
        """Let what lasts delay_s come to its end, for the engine's clock and for whatever else counts time."""

    async def end(self) -> None:
        """Close the engines and throw the data away."""


class SqliteWorld:
    shared = False

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.path = folder / "fleet.db"
        self._engines: list[Engine] = []

    async def open(self) -> Engine:
        engine = await open_engine(str(self.path), clock=self.clock)
        self._engines.append(engine)
        return engine

    async def pass_time(self, delay_s: float) -> None:
        self.clock.advance(delay_s)
        await asyncio.sleep(0)

    async def end(self) -> None:
        for engine in self._engines:
            await engine.close()


class NatsWorld:
    shared = True

    def __init__(self, server: NatsServer) -> None:
        self.clock = ManualClock()
        self.server = server
        self.fleet = f"t{secrets.token_hex(6)}"
        self._engines: list[Engine] = []

    async def open(self) -> Engine:
        engine = await open_engine(f"{self.server.url}#{self.fleet}", clock=self.clock)
        self._engines.append(engine)
        return engine

    async def pass_time(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.clock.advance(delay_s)

    async def end(self) -> None:
        for engine in self._engines:
            await engine.close()
        client = await nats.connect(self.server.url)
        manager = client.jsm()
        for stream in await manager.streams_info():
            name = stream.config.name or ""
            if self.fleet in name:
                await manager.delete_stream(name)
        await client.close()
