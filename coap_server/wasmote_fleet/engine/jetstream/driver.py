"""The JetStream driver: put together."""

from __future__ import annotations

from wasmote_fleet.engine.checks import check_name
from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import DataUnusable
from wasmote_fleet.engine.interface import Calls, EngineInfo, KeyValue, Log, Queue, QueuePolicy
from wasmote_fleet.engine.jetstream.calls import NatsCalls
from wasmote_fleet.engine.jetstream.connection import ApiError, Connection
from wasmote_fleet.engine.jetstream.kv import HORIZONS, JetStreamBucket
from wasmote_fleet.engine.jetstream.log import JetStreamLog
from wasmote_fleet.engine.jetstream.queue import JetStreamQueue


class JetStreamDriver:
    """A Driver. Use open()."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._calls = NatsCalls(connection, clock)

    @classmethod
    async def open(cls, location: str, clock: Clock) -> JetStreamDriver:
        """Raises EngineUnavailable, DataUnusable."""
        connection = await Connection.open(location)
        try:
            await JetStreamBucket(connection, HORIZONS).ensure()
        except ApiError as err:
            await connection.close()
            raise DataUnusable(
                f"{location} keeps no streams",
                cause=str(err),
                next_step="look at the server's JetStream limits",
            ) from None
        except BaseException:
            await connection.close()
            raise
        return cls(connection, clock)

    async def bucket(self, name: str) -> KeyValue:
        return await JetStreamBucket(self._connection, check_name(name, "bucket")).ensure()

    async def queue(self, name: str, policy: QueuePolicy) -> Queue:
        dead = await JetStreamBucket(self._connection, "dead").ensure()
        return await JetStreamQueue(self._connection, check_name(name, "queue"), policy, dead).ensure()

    async def log(self, name: str) -> Log:
        trims = await JetStreamBucket(self._connection, "trims").ensure()
        return await JetStreamLog(self._connection, check_name(name, "log"), trims).ensure()

    @property
    def calls(self) -> Calls:
        return self._calls

    async def info(self) -> EngineInfo:
        return EngineInfo(
            driver="jetstream",
            version=self._connection.version,
            location=self._connection.location,
            shared=True,
            durability="the end of the server process; a power cut only if its configuration has "
            "jetstream { sync_interval: always } (otherwise it syncs every 2 minutes), or with replicas elsewhere",
        )

    async def close(self) -> None:
        await self._connection.close()
