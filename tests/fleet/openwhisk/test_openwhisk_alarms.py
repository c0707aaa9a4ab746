"""Alarms: when they are due, and the clock that fires them, with time that the tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from worlds import World

from wasmote_fleet.compat.openwhisk import alarms
from wasmote_fleet.compat.openwhisk.alarms import Alarm, AlarmError, due, made, updated
from wasmote_fleet.compat.openwhisk.clock import LEASE, LEASE_S, AlarmClock
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Engine

DAY_MS = 24 * 3600 * 1000
NOW_MS = 1_800_000_000_000  # 2027-01-15 08:00:00 UTC, a Friday


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def moments(alarm: Alarm, count: int) -> list[str]:
    found, moment = [], alarm.next_ms
    while moment is not None and len(found) < count:
        found.append(datetime.fromtimestamp(moment / 1000, UTC).strftime("%d %H:%M:%S"))
        moment = alarm.after(moment)
    return found


@pytest.mark.parametrize(
    ("feed", "parameters", "expected"),
    [
        ("alarm", {"cron": "*/30 * * * *"}, ["15 08:30:00", "15 09:00:00"]),
        ("alarm", {"cron": "*/20 * * * * *"}, ["15 08:00:20", "15 08:00:40"]),
        ("alarm", {"cron": "0 9 8 * *"}, ["08 09:00:00", "08 09:00:00"]),
        ("alarm", {"cron": "0 9 * * *", "timezone": "Europe/Vienna"}, ["16 08:00:00", "17 08:00:00"]),
        ("alarm", {"cron": "0 * * * *", "startDate": at("2027-01-16")}, ["16 00:00:00", "16 01:00:00"]),
        ("alarm", {"cron": "0 * * * *", "stopDate": "2027-01-15T09:30:00.000Z"}, ["15 09:00:00"]),
        ("alarm", {"cron": "0 0 30 2 *"}, []),
        ("interval", {"minutes": 90}, ["15 08:00:00", "15 09:30:00"]),
        (
            "interval",
            {"minutes": "5", "startDate": at("2027-01-15T12:01:00")},
            ["15 12:01:00", "15 12:06:00"],
        ),
        ("once", {"date": "2027-01-20T12:30:00Z"}, ["20 12:30:00"]),
    ],
)
def test_when_an_alarm_is_due(feed: str, parameters: Doc, expected: list[str]) -> None:
    if parameters.get("cron") == "0 0 30 2 *":
        with pytest.raises(AlarmError):
            made(feed, "t", parameters, NOW_MS)
        return
    alarm = made(feed, "t", parameters, NOW_MS)
    count = 1 if feed == "once" else 2
    assert moments(alarm, count) == expected
    assert Alarm.decode(alarm.encode()) == alarm


def test_payloads() -> None:
    cron = {"cron": "* * * * *"}
    assert made("alarm", "t", cron, NOW_MS).payload == {}
    assert made("alarm", "t", {**cron, "trigger_payload": "text"}, NOW_MS).payload == {"payload": "text"}
    alarm = made("alarm", "t", {**cron, "trigger_payload": {"a": 1}}, NOW_MS)
    assert updated(alarm, {"cron": "0 0 * * *"}, NOW_MS).payload == {"a": 1}
    with pytest.raises(AlarmError, match="no updatable parameters"):
        updated(alarm, {"color": "red"}, NOW_MS)
    with pytest.raises(AlarmError, match="must be greater than the startDate"):
        updated(alarm, {"startDate": NOW_MS + DAY_MS, "stopDate": NOW_MS + 1000}, NOW_MS)


def test_due() -> None:
    alarm = made("alarm", "t", {"cron": "*/10 * * * * *", "maxTriggers": 3}, NOW_MS)
    assert due(alarm, NOW_MS + 9_999) == (None, alarm)
    moment, alarm = due(alarm, NOW_MS + 10_005)
    assert (moment, alarm.next_ms, alarm.fired) == (NOW_MS + 10_000, NOW_MS + 20_000, 1)
    # Of those that were missed a short time ago the last one counts.
    moment, alarm = due(alarm, NOW_MS + 55_000)
    assert (moment, alarm.next_ms, alarm.fired) == (NOW_MS + 50_000, NOW_MS + 60_000, 2)
    # A server that was away for a day does not fire for all of it.
    moment, alarm = due(alarm, NOW_MS + DAY_MS + 5_000)
    assert (moment, alarm.fired, alarm.next_ms) == (NOW_MS + DAY_MS, 3, None)  # maxTriggers


def test_due_after_a_long_time() -> None:
    hourly = made("alarm", "t", {"cron": "0 * * * *"}, NOW_MS)
    late = NOW_MS + DAY_MS + 30 * 60_000
    assert due(hourly, late) == (None, hourly.changed(next_ms=NOW_MS + DAY_MS + 3_600_000))
    once = made("once", "t", {"date": NOW_MS + 1000}, NOW_MS)
    moment, after = due(once, late)
    assert (moment, after.next_ms, after.fired) == (NOW_MS + 1000, None, 1)
    stopped = made("alarm", "t", {"cron": "0 * * * *", "stopDate": NOW_MS + 4_000_000}, NOW_MS)
    assert due(stopped, late) == (None, stopped.changed(next_ms=None))
    assert alarms.LATE_S == 60.0


class Fired:
    """What the clock enqueued, by the job's id as the queue knows it."""

    def __init__(self) -> None:
        self.jobs: dict[str, Doc] = {}
        self.told = 0
        self.tidied = 0

    async def enqueue(self, job: Doc, id: str) -> None:
        self.told += 1
        self.jobs.setdefault(id, job)

    async def tidy(self) -> None:
        self.tidied += 1


async def settle(until: Any, world: World, step_s: float = 0.0) -> None:
    """Let tasks run until it is so; time passes in small steps."""
    async with asyncio.timeout(20):
        while not until():
            await asyncio.sleep(0.02)
            if step_s:
                await world.pass_time(step_s)


@pytest_asyncio.fixture
async def engines(world: World) -> AsyncIterator[list[Engine]]:
    yield [await world.open() for _ in range(2 if world.shared else 1)]


async def test_the_clock_fires(world: World, engines: list[Engine]) -> None:
    """Of two servers one does; when it goes, the other one."""
    fired = Fired()
    stores = [Entities(engine, "alarms") for engine in engines]
    clocks = [
        AlarmClock(engine, store, fired.enqueue, fired.tidy)
        for engine, store in zip(engines, stores, strict=True)
    ]
    now_ms = int(world.clock.time() * 1000)
    alarm = made("alarm", "tick", {"cron": "*/2 * * * * *", "trigger_payload": {"a": 1}}, now_ms)
    await stores[0].put("tick", lambda _: alarm.encode())
    for clock in clocks:
        await clock.start()
    await settle(lambda: fired.tidied == 1, world)
    assert fired.jobs == {}
    await settle(lambda: len(fired.jobs) >= 3, world, 0.5)
    assert fired.told == len(fired.jobs)
    assert {job["trigger"] for job in fired.jobs.values()} == {"tick"}
    assert next(iter(fired.jobs.values()))["payload"] == {"a": 1}

    # An alarm that is made while the clock sleeps wakes it.
    late_ms = int(world.clock.time() * 1000) + 1000
    once = made("once", "later", {"date": late_ms, "deleteAfterFire": "rules"}, late_ms - 1000)
    await stores[-1].put("later", lambda _: once.encode())
    await settle(lambda: any(job["trigger"] == "later" for job in fired.jobs.values()), world, 0.5)
    assert [job["then"] for job in fired.jobs.values() if job["trigger"] == "later"] == ["rules"]

    holder = await engines[0].leases.get(LEASE)
    assert holder is not None
    await clocks[0].close()
    if world.shared:
        count = len(fired.jobs)
        await settle(lambda: len(fired.jobs) > count, world, min(1.0, LEASE_S / 3))
        successor = await engines[1].leases.get(LEASE)
        assert successor is not None
        await clocks[1].close()
    count = len(fired.jobs)
    await world.pass_time(2.5)
    await asyncio.sleep(0.1)
    assert len(fired.jobs) == count
    assert fired.told == count
