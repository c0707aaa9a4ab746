"""The engine as the rest of the server sees it: a driver, and what is made of its buckets."""

from __future__ import annotations

from pathlib import Path

from wasmote.errors import MissingError
from wasmote_fleet.engine.blobs import Blobs
from wasmote_fleet.engine.clock import Clock, SystemClock
from wasmote_fleet.engine.errors import EngineError
from wasmote_fleet.engine.interface import (
    Calls,
    Driver,
    EngineInfo,
    KeyValue,
    Log,
    Queue,
    QueuePolicy,
)
from wasmote_fleet.engine.leases import Leases

# Deletions that a watch can still catch up with.
REMEMBER_DELETIONS_S = 24 * 3600.0


class Engine:
    """kv: the fleet's keys and values. Others are made or asked for by name; the same name is the same thing."""

    def __init__(self, driver: Driver, clock: Clock, kv: KeyValue, leases: KeyValue, blobs: KeyValue) -> None:
        self._driver = driver
        self.clock = clock
        self.kv = kv
        self.leases = Leases(leases, clock)
        self.blobs = Blobs(blobs, clock)

    @classmethod
    async def start(cls, driver: Driver, clock: Clock) -> Engine:
        """An engine on a driver that is open."""
        buckets = [await driver.bucket(name) for name in ("fleet", "leases", "blobs")]
        return cls(driver, clock, *buckets)

    @property
    def calls(self) -> Calls:
        """Requests and replies between servers."""
        return self._driver.calls

    async def queue(self, name: str, policy: QueuePolicy = QueuePolicy()) -> Queue:  # noqa: B008
        """The queue of this name."""
        return await self._driver.queue(name, policy)

    async def log(self, name: str) -> Log:
        """The log of this name."""
        return await self._driver.log(name)

    async def info(self) -> EngineInfo:
        """What keeps the data, and what an acknowledged write survives."""
        return await self._driver.info()

    async def compact(self) -> None:
        """Forget old deletions; for the server to call every hour or so. Any of several servers may."""
        await self.kv.compact(REMEMBER_DELETIONS_S)
        await self.leases.compact(REMEMBER_DELETIONS_S)
        await self.blobs.compact(0)

    async def close(self) -> None:
        """As Driver.close."""
        await self._driver.close()


async def open_engine(location: str, *, clock: Clock | None = None, look_only: bool = False) -> Engine:
    """The engine at a file (made if it is not there: SQLite) or a NATS server (nats://host:port, several separated by
    commas; #NAME behind it keeps fleets that share a server apart). look_only: to read a file that another process has
    open; a NATS server is for many anyway. Raises DataInUse, DataUnusable, EngineUnavailable, MissingError."""
    clock = clock or SystemClock()
    if "://" in location:
        if not location.startswith(("nats://", "tls://")):
            raise EngineError(
                f"no engine for {location}", next_step="give a file, or nats://host:port for a NATS server"
            )
        try:
            from wasmote_fleet.engine.jetstream.driver import JetStreamDriver
        except ModuleNotFoundError as err:
            raise MissingError(
                f"a NATS server needs the Python package {err.name}, which is not installed",
                next_step="pip install 'wasmote[fleet]', or in a checkout ./dev setup wasmote fleet",
            ) from None
        return await Engine.start(await JetStreamDriver.open(location, clock), clock)
    from wasmote_fleet.engine.sqlite.driver import SqliteDriver

    return await Engine.start(await SqliteDriver.open(Path(location), clock, look_only=look_only), clock)
