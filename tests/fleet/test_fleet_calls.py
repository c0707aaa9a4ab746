"""Calls that wait for a server that speaks with the node."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from worlds import SqliteWorld

from wasmote.adapters.validator import Validator
from wasmote.errors import UnreachableError
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.registry import Record, Registry
from wasmote_fleet.repository import Repository

PATIENCE_S = 10.0
AWAY = Record("a", "a", "serial:/dev/that-is-not-plugged-in", adopted=True)  # nobody will speak with it


async def passes(turns: int) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)


async def test_a_call_that_waits_is_cancelled_also_while_news_comes(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    engine = await world.open()
    validator = Validator.load()
    await engine.kv.put(AWAY.key, AWAY.encode())
    try:
        async with (
            Registry(engine) as registry,
            Gateway(registry, Repository(engine, validator), validator, engine) as gateway,
        ):
            for turns in range(10):  # of the loop, from the news to the cancellation
                call = asyncio.create_task(gateway.call("a", "f", None, None, deadline_s=60))
                await passes(10)
                registry._news.tell()
                await passes(turns)
                call.cancel()
                await asyncio.wait({call}, timeout=PATIENCE_S)
                assert call.cancelled(), turns
            with pytest.raises(UnreachableError, match="no server speaks with it"):
                await gateway.call("a", "f", None, None, deadline_s=0.2)
    finally:
        await world.end()
