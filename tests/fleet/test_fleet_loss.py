"""A bad network between the server and its nodes: 20 % of all datagrams are lost, each way, others come twice or late.

The timers are those of tests/integration/test_lossy.py: the RFC's algorithm on a faster clock. With 16 retransmissions
everything gets through; with 2 one message in twenty stays unanswered, and what may not be repeated must say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fleet_server import FleetServer, fleet_server

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS / "fleet" / "registry"), str(TESTS / "integration")]
from fleet_world import node  # noqa: E402
from lossy import LossyRelay, Weather  # noqa: E402
from nodes import host_port, padded  # noqa: E402

from wasmote.adapters.tools import need_tool  # noqa: E402
from wasmote.node import Node  # noqa: E402
from wasmote.protocol.section import Section, with_section  # noqa: E402

pytestmark = pytest.mark.slow
NAMES = ("a", "b", "c", "d")
LOSS = 0.2
ACK_TIMEOUT_S = 0.05
BEAT_S = 1.0
CALLERS = 16
OTHER_CALLS = 400
MODULE_BYTES = 8 * 1024
PATIENCE_S = 120
# square may be repeated. mark(id) may not: it says how often this id was marked, and seen(id) tells it afterwards.
WORK = """(module (memory (export "memory") 1)
  (func (export "square") (param $n i32) (result i32) (i32.mul (local.get $n) (local.get $n)))
  (func (export "mark") (param $id i32) (result i32)
    (i32.store8 (local.get $id) (i32.add (i32.load8_u (local.get $id)) (i32.const 1)))
    (i32.load8_u (local.get $id)))
  (func (export "seen") (param $id i32) (result i32) (i32.load8_u (local.get $id))))"""


@functools.cache
def work() -> bytes:
    module = subprocess.run(
        [need_tool("wat2wasm"), "--output=-", "-"], input=WORK.encode(), capture_output=True, check=True
    ).stdout
    return with_section(
        module, Section(name="work", heap=OTHER_CALLS, pure=("square",), idempotent=("seen",))
    )


@dataclass
class Fleet:
    """relays: the way to each node through the weather. direct: around it."""

    server: FleetServer
    relays: dict[str, LossyRelay]
    direct: dict[str, Node]
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(CALLERS))

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and JSON."""

        def request() -> tuple[int, Any]:
            response = self.server.request(method, f"/api/v1/{path}", **options)
            return response.status_code, response.json()

        return await asyncio.get_running_loop().run_in_executor(self.pool, request)

    async def deploy(self, size: int) -> str:
        """Publish work with so many bytes, deploy it to all nodes, each of which is one function's favourite, and wait;
        the SHA-256 of the module."""
        status, published = await self.ask(
            "PUT",
            "functions/work",
            params={"version": str(size)},
            data=padded(work(), size),
            headers={"Content-Type": "application/wasm"},
        )
        assert status in (200, 201), published
        pairs = zip(NAMES, (*NAMES[1:], NAMES[0]), strict=True)
        functions = [
            {"name": f"on-{first}", "function": "work", "nodes": [first, second], "count": 2}
            for first, second in pairs
        ]
        spec = {"id": "lossy", "functions": functions}
        status, applied = await self.ask("PUT", "deployments/lossy", json=spec)
        assert status in (200, 201), applied
        status, progress = await self.ask(
            "GET", "deployments/lossy/progress", params={"wait_s": str(PATIENCE_S / 3)}
        )
        assert (progress["phase"], progress["ready"]) == ("ready", 2 * len(NAMES)), progress
        found: str = published["sha256"]
        return found


@contextlib.asynccontextmanager
async def fleet(folder: Path, max_retransmit: int) -> AsyncIterator[Fleet]:
    """A server, and nodes that it reaches through the weather."""
    timers = ("--ack-timeout-ms", str(int(ACK_TIMEOUT_S * 1000)), "--max-retransmit", str(max_retransmit))
    patience = ("--ack-timeout", str(ACK_TIMEOUT_S), "--max-retransmit", str(max_retransmit))
    async with contextlib.AsyncExitStack() as stack:
        relays, direct = {}, {}
        for number, name in enumerate(NAMES):
            uri = (await stack.enter_async_context(node(name, *timers))).uri
            assert uri is not None
            relays[name] = await stack.enter_async_context(
                LossyRelay(host_port(uri), Weather(loss=LOSS, seed=number))
            )
            direct[name] = await stack.enter_async_context(Node(uri))
        with contextlib.ExitStack() as blocking:
            running = fleet_server(folder / "fleet.db", "--beat", str(BEAT_S), patience=patience)
            made = Fleet(blocking.enter_context(running), relays, direct)
            try:
                for name, relay in relays.items():
                    status, adopted = await made.ask("POST", "nodes", json={"uri": relay.uri})
                    assert (status, adopted.get("id")) == (201, name), adopted
                yield made
            finally:
                # In a thread: the relays go on meanwhile.
                await asyncio.to_thread(blocking.close)
                made.pool.shutdown(wait=False)


async def many(count: int, call: Callable[[int], Any]) -> list[Any]:
    """CALLERS at a time."""
    todo = iter(range(count))
    results: list[Any] = [None] * count

    async def caller() -> None:
        for number in todo:
            results[number] = await call(number)

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return results


@pytest.mark.parametrize(("max_retransmit", "repeatable_calls"), [(16, 1000), (2, 400)])
async def test_loss_between_server_and_nodes(
    tmp_path: Path, max_retransmit: int, repeatable_calls: int
) -> None:
    async with fleet(tmp_path, max_retransmit) as fleet_, asyncio.timeout(2 * PATIENCE_S):
        # Deployments come to their end: a new one, and another version in its place.
        for size in (MODULE_BYTES, MODULE_BYTES + 100):
            digest = await fleet_.deploy(size)
            for name, direct in fleet_.direct.items():
                assert (await direct.info(f"on-{name}")).sha256.hex() == digest

        # Calls that may be repeated end right.
        async def square(number: int) -> None:
            path = f"deployments/lossy/functions/on-{NAMES[number % len(NAMES)]}/square"
            status, body = await fleet_.ask("POST", path, json=[number])
            assert (status, body.get("value")) == (200, number * number), body

        await many(repeatable_calls, square)

        # Others end right, or as reported; whatever is reported, nothing ran twice.
        async def mark(number: int) -> bool:
            path = f"deployments/lossy/functions/on-{NAMES[number % len(NAMES)]}/mark"
            status, body = await fleet_.ask("POST", path, json=[number])
            if status == 200:
                assert body["value"] == 1
                return True
            assert (status, body["type"].rpartition("/")[2]) == (504, "unanswered"), body
            assert "may have run" in body["title"]
            return False

        answered = await many(OTHER_CALLS, mark)
        marks = [0] * OTHER_CALLS
        for name, direct in fleet_.direct.items():
            functions = [link.name for link in await direct.ls()]
            assert len(functions) == 2 and f"on-{name}" in functions
            for function in functions:
                for number in range(OTHER_CALLS):
                    if function.endswith(NAMES[number % len(NAMES)]):
                        marks[number] += int((await direct.call(f"{function}/seen", [number])).numbers[0])
        for number, ran in enumerate(marks):
            assert ran == 1 if answered[number] else ran <= 1, (number, ran)
        if max_retransmit == 16:
            assert all(answered)
        else:
            assert 1 <= answered.count(False) <= OTHER_CALLS // 4
        for relay in fleet_.relays.values():
            assert relay.lost > repeatable_calls * LOSS / len(NAMES)
