from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from nats_server import NatsServer
from worlds import NatsWorld, SqliteWorld, World

from wasmote_fleet.engine import Engine


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    yield server
    server.stop()


@pytest_asyncio.fixture(params=["sqlite", "jetstream"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made: World
    if request.param == "sqlite":
        made = SqliteWorld(tmp_path)
    else:
        made = NatsWorld(request.getfixturevalue("nats_server"))
    yield made
    await made.end()


@pytest_asyncio.fixture
async def engine(world: World) -> Engine:
    return await world.open()
