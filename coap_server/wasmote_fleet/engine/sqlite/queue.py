"""Queues in SQLite. A leased job becomes visible by time alone: nothing has to happen when a worker dies."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from wasmote_fleet.engine.checks import check_key, check_value
from wasmote_fleet.engine.errors import lease_lost
from wasmote_fleet.engine.interface import Job, QueuePolicy, QueueStats
from wasmote_fleet.engine.sqlite.database import Database

_LEASED, _DEAD = 1, 2
_FORGET = 4  # done jobs that an enqueue() forgets: more than it adds, so they do not pile up


class SqliteQueue:
    """A Queue. A Job's receipt is its number; with the attempt it names one delivery."""

    def __init__(self, db: Database, name: str, policy: QueuePolicy) -> None:
        self._db = db
        self._name = name
        self._policy = policy
        self._topic = f"queue {name}"

    async def enqueue(self, data: bytes, *, id: str) -> bool:
        check_key(id)
        check_value(data)

        def operation(connection: sqlite3.Connection) -> bool:
            now = self._db.clock.time()
            forgotten = now - self._policy.remember_s
            connection.execute(
                "DELETE FROM jobs WHERE number IN (SELECT number FROM jobs"
                " WHERE queue = ? AND state = 3 AND enqueued_at <= ? ORDER BY enqueued_at LIMIT ?)",
                (self._name, forgotten, _FORGET),
            )
            connection.execute(
                "DELETE FROM jobs WHERE queue = ? AND id = ? AND state = 3 AND enqueued_at <= ?",
                (self._name, id, forgotten),
            )
            added = connection.execute(
                "INSERT INTO jobs (queue, id, state, visible_at, attempt, enqueued_at, data)"
                " VALUES (?, ?, 0, ?, 0, ?, ?) ON CONFLICT (queue, id) DO NOTHING",
                (self._name, id, now, now, data),
            ).rowcount
            if added:
                self._db.ring(self._topic)
            return bool(added)

        return await self._db.write(operation)

    async def lease(self, limit: int = 1, *, wait_s: float = 0.0) -> list[Job]:
        deadline = self._db.clock.time() + wait_s

        def operation(connection: sqlite3.Connection) -> list[Job]:
            return self._lease(connection, limit)

        def next_visible(connection: sqlite3.Connection) -> float | None:
            (at,) = connection.execute(
                "SELECT min(visible_at) FROM jobs WHERE queue = ? AND state < 2", (self._name,)
            ).fetchone()
            return None if at is None else float(at)

        while True:
            bell = self._db.bell(self._topic)
            jobs = await self._db.write(operation)
            now = self._db.clock.time()
            if jobs or now >= deadline:
                return jobs
            at = await self._db.read(next_visible)
            await self._db.wait(bell, min(deadline, deadline if at is None else at) - now)

    def _lease(self, connection: sqlite3.Connection, limit: int) -> list[Job]:
        now = self._db.clock.time()
        jobs: list[Job] = []
        while len(jobs) < limit:
            rows = connection.execute(
                "SELECT number, id, data, attempt, enqueued_at FROM jobs"
                " WHERE queue = ? AND state < 2 AND visible_at <= ? ORDER BY visible_at, number LIMIT ?",
                (self._name, now, limit - len(jobs)),
            ).fetchall()
            if not rows:
                break
            for number, id, data, attempt, enqueued_at in rows:
                if attempt >= self._policy.max_deliveries:
                    connection.execute("UPDATE jobs SET state = 2 WHERE number = ?", (number,))
                    continue
                connection.execute(
                    "UPDATE jobs SET state = 1, attempt = attempt + 1, visible_at = ? WHERE number = ?",
                    (now + self._policy.visibility_s, number),
                )
                jobs.append(Job(id, data, attempt + 1, enqueued_at, number))
        return jobs

    async def ack(self, job: Job) -> None:
        # The row stays, without its data, so that its id is known.
        await self._settle(job, "state = 3, data = x''", ())

    async def nack(self, job: Job, *, delay_s: float = 0.0) -> None:
        if job.attempt >= self._policy.max_deliveries:
            await self._settle(job, "state = 2", ())
        else:
            await self._settle(job, "state = 0, visible_at = ?", (self._db.clock.time() + delay_s,))

    async def extend(self, job: Job) -> None:
        await self._settle(job, "visible_at = ?", (self._db.clock.time() + self._policy.visibility_s,))

    async def _settle(self, job: Job, change: str, values: tuple[float, ...]) -> None:
        def operation(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                f"UPDATE jobs SET {change}"
                " WHERE number = ? AND queue = ? AND state = 1 AND attempt = ? AND visible_at > ?",
                (*values, job.receipt, self._name, job.attempt, self._db.clock.time()),
            ).rowcount
            if not changed:
                raise lease_lost(f"job {job.id} of {self._name}")
            self._db.ring(self._topic)

        await self._db.write(operation)

    async def dead_letters(self) -> list[Job]:
        def operation(connection: sqlite3.Connection) -> list[Job]:
            return [
                Job(*row)
                for row in connection.execute(
                    "SELECT id, data, attempt, enqueued_at FROM jobs WHERE queue = ? AND state = 2"
                    " ORDER BY enqueued_at, number",
                    (self._name,),
                )
            ]

        return await self._db.read(operation)

    async def revive(self, id: str) -> bool:
        def operation(connection: sqlite3.Connection) -> bool:
            self._db.ring(self._topic)
            return bool(
                connection.execute(
                    "UPDATE jobs SET state = 0, attempt = 0, visible_at = ?"
                    " WHERE queue = ? AND id = ? AND state = 2",
                    (self._db.clock.time(), self._name, check_key(id)),
                ).rowcount
            )

        return await self._db.write(operation)

    async def discard(self, id: str) -> bool:
        def operation(connection: sqlite3.Connection) -> bool:
            return bool(
                connection.execute(
                    "UPDATE jobs SET state = 3, data = x'' WHERE queue = ? AND id = ? AND state = 2",
                    (self._name, check_key(id)),
                ).rowcount
            )

        return await self._db.write(operation)

    async def stats(self) -> QueueStats:
        def operation(connection: sqlite3.Connection) -> QueueStats:
            counts = QueueStats(0, 0, 0)
            for state, visible, count in connection.execute(
                "SELECT state, visible_at <= ?, count(*) FROM jobs WHERE queue = ? AND state < 3 GROUP BY 1, 2",
                (self._db.clock.time(), self._name),
            ):
                if state == _DEAD:
                    counts = replace(counts, dead=counts.dead + count)
                elif state == _LEASED and not visible:
                    counts = replace(counts, leased=counts.leased + count)
                else:
                    counts = replace(counts, waiting=counts.waiting + count)
            return counts

        return await self._db.read(operation)
