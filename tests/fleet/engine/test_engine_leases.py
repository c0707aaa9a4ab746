"""Leases, on every driver."""

from __future__ import annotations

import asyncio

import pytest
from worlds import PATIENCE_S, World

from wasmote_fleet.engine import Change, ChangeKind, Engine, Holding, LeaseLost, SnapshotEnd, holding


async def test_one_holds_it(world: World, engine: Engine) -> None:
    lease = await engine.leases.acquire("nodes/1", "me", 5)
    assert lease is not None
    assert lease.expires_at == world.clock.time() + 5
    assert await engine.leases.acquire("nodes/1", "you", 5) is None
    assert await engine.leases.acquire("nodes/1", "me", 5) is None
    assert await engine.leases.get("nodes/1") == Holding("nodes/1", "me", lease.token)
    assert await engine.leases.get("nodes/2") is None
    other = await engine.leases.acquire("nodes/2", "you", 5)
    assert other is not None
    assert await engine.leases.held("nodes/") == [
        Holding("nodes/1", "me", lease.token),
        Holding("nodes/2", "you", other.token),
    ]


async def test_renewed_it_lasts(world: World, engine: Engine) -> None:
    lease = await engine.leases.acquire("a", "me", 2)
    assert lease is not None
    for _ in range(3):
        await world.pass_time(1.0)
        renewed = await engine.leases.renew(lease)
        assert renewed.token == lease.token and renewed.expires_at == world.clock.time() + 2
        lease = renewed
    held = await engine.leases.get("a")
    assert held is not None and held.token == lease.token
    assert await engine.leases.acquire("a", "you", 2) is None


async def test_expired_it_is_lost_and_the_next_token_is_higher(world: World, engine: Engine) -> None:
    mine = await engine.leases.acquire("a", "me", 1)
    assert mine is not None
    async with engine.leases.watch() as changes:
        first = await asyncio.wait_for(anext(changes), PATIENCE_S)
        assert isinstance(first, Change) and holding(first) == Holding("a", "me", mine.token)
        assert isinstance(await asyncio.wait_for(anext(changes), PATIENCE_S), SnapshotEnd)
        await world.pass_time(1.1)
        gone = await asyncio.wait_for(anext(changes), PATIENCE_S)
        assert isinstance(gone, Change) and (gone.kind, gone.key) == (ChangeKind.EXPIRE, "a")
    yours = await engine.leases.acquire("a", "you", 100)
    assert yours is not None and yours.token > mine.token
    with pytest.raises(LeaseLost):
        await engine.leases.renew(mine)
    assert await engine.leases.release(mine) is False
    assert await engine.leases.get("a") == Holding("a", "you", yours.token)


async def test_released_it_is_free_at_once(engine: Engine) -> None:
    mine = await engine.leases.acquire("a", "me", 100)
    assert mine is not None
    mine = await engine.leases.renew(mine)
    assert await engine.leases.release(mine) is True
    assert await engine.leases.release(mine) is False
    yours = await engine.leases.acquire("a", "you", 100)
    assert yours is not None and yours.token > mine.token
    with pytest.raises(LeaseLost):
        await engine.leases.renew(mine)


async def test_of_many_one_gets_it(engine: Engine) -> None:
    got = await asyncio.gather(*(engine.leases.acquire("a", f"h{number}", 100) for number in range(20)))
    assert len([lease for lease in got if lease is not None]) == 1


async def test_tokens_go_up_after_compact_and_restart(world: World, engine: Engine) -> None:
    mine = await engine.leases.acquire("a", "me", 100)
    assert mine is not None and await engine.leases.release(mine)
    await engine.leases.compact(0)
    await engine.close()
    engine = await world.open()
    yours = await engine.leases.acquire("a", "you", 100)
    assert yours is not None and yours.token > mine.token
