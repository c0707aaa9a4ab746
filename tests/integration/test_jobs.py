"""Jobs: calls in the background. While one runs, the node answers everything that does not need the engine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import cbor2
import pytest
from nodes import HOST, STM32, app, host_port, metrics, module, running

from wasmote.adapters.coap import CoapClient, Tuning
from wasmote.errors import RefusedError, TrapError
from wasmote.node import Job, Node
from wasmote.protocol import messages
from wasmote.protocol.messages import DELETE, GET, POST, PUT, Reply, Request
from wasmote.protocol.push import PushRejected
from wasmote.protocol.section import Section, with_section

BOTH = [HOST, pytest.param(STM32, marks=pytest.mark.slow)]
# Far more than a test takes: seconds on the host, minutes on the emulated chip. The node cuts it to its own limit.
ENDLESS_FUEL = 4_000_000_000
# Answers at once also when the node is busy.
IMPATIENT = Tuning(busy_wait_s=0, reply_timeout_s=20.0)


def endless() -> bytes:
    return with_section(module("forever"), Section(name="forever", abi=1, fuel=ENDLESS_FUEL))


@pytest.fixture(params=BOTH)
async def uri(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with running(request.param) as address, asyncio.timeout(60):
        async with Node(address) as node:
            await node.push(endless(), name="forever")
            await node.push(app("counter"), name="counter")
        yield address


@contextlib.asynccontextmanager
async def plain_client(uri: str) -> AsyncIterator[CoapClient]:
    """A client that gives every reply as it comes."""
    async with CoapClient(*host_port(uri), tuning=IMPATIENT) as client:
        yield client


async def state(node: Node, job_id: str, wanted: str) -> None:
    """Wait for a job to be in this state."""
    while (job := await node.job(job_id)).state != wanted:
        assert not job.finished, job
        await asyncio.sleep(0.01)


async def ping(uri: str) -> bytes:
    """What comes back to an empty confirmable message (RFC 7252, 4.3)."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(host_port(uri))
        await loop.sock_sendall(sock, b"\x40\x00\x12\x34")
        return await asyncio.wait_for(loop.sock_recv(sock, 64), 5)


async def test_job_leaves_the_node_answering(uri: str) -> None:
    async with Node(uri) as node, plain_client(uri) as client:
        await node.start("forever", job_id="long")
        await state(node, "long", "running")
        began = time.monotonic()
        assert (await node.device())["limits"]["functions"] > 0
        assert await ping(uri) == b"\x70\x00\x12\x34"
        assert (await metrics(node))["functions"] == 2
        assert {link.name for link in await node.ls()} == {"forever", "counter"}
        assert await node.fetch_module("counter") == app("counter")
        assert (await node.job("long")).state == "running"
        assert time.monotonic() - began < 5

        # What may not happen now is refused with the time after which a retry makes sense ...
        busy = [
            Request(PUT, ("f", "counter"), app("counter"), content_format=42),
            Request(DELETE, ("f", "forever")),
        ]
        for request in busy:
            reply = await client.request(request, repeatable=True)
            assert (request.text, reply.code_text) == (request.text, "5.03")
            assert reply.max_age_s is not None
            assert 1 <= reply.max_age_s <= 60
        # ... and calls wait for their turn, whichever function they are of.
        waiting = asyncio.create_task(node.call("counter/add", [1]))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await node.cancel_job("long")
        assert (await waiting).value == 1
        await state(node, "long", "cancelled")
        assert (await node.job("long")).raw["problem"]["tag:wasmote,2026:p"]["trap"] == "cancelled"
        with pytest.raises(TrapError, match="cancelled"):
            await node.job_result("long")

        # The place is free again, and so is the function.
        assert not (await node.push(endless(), name="forever")).created
        assert (await node.metrics()) is not None


async def test_job_id_is_taken_once(uri: str) -> None:
    """A retry of a start never doubles a job, whatever has become of it."""
    async with Node(uri) as node, plain_client(uri) as client:
        start = Request(
            PUT, ("j", "once"), b"\x81\x05", query=("f=counter/add",), content_format=60, if_none_match=True
        )
        assert (await client.request(start, repeatable=False)).code == messages.CREATED
        assert (await node.job_result("once")).value == 5
        for _ in range(3):
            with pytest.raises(PushRejected) as rejected:
                await client.request(start, repeatable=False)
            assert rejected.value.reply.code == messages.PRECONDITION_FAILED
        assert (await node.call("counter/get")).value == 5
        assert [job.id for job in await node.jobs()] == ["once"]

        await node.start("forever", job_id="long")
        with pytest.raises(RefusedError) as refused:
            await node.start("counter/add", [1], job_id="long")
        assert refused.value.details["code"] == "4.12"
        await node.cancel_job("long")
        await state(node, "long", "cancelled")
        with pytest.raises(RefusedError):
            await node.start("counter/add", [1], job_id="long")
        # Forgotten, its id may be used again.
        await node.cancel_job("long")
        await node.start("counter/add", [1], job_id="long")
        assert (await node.job_result("long")).value == 6

        with pytest.raises(PushRejected) as rejected:
            await client.request(Request(PUT, ("j", "other"), query=("f=counter/get",)), repeatable=False)
        assert rejected.value.reply.code == messages.BAD_REQUEST  # without If-None-Match


async def test_job_observer_sees_its_states(uri: str) -> None:
    async with Node(uri) as node, plain_client(uri) as client:
        await node.start("forever", job_id="first")
        await state(node, "first", "running")
        await node.start("forever", job_id="second")
        states: list[str] = []
        changed = asyncio.Event()

        def note(reply: Reply) -> None:
            assert reply.code == messages.CONTENT
            states.append(cbor2.loads(reply.payload)["state"])
            changed.set()

        async def watch() -> None:
            async for reply in client.observe(Request(GET, ("j", "second"))):
                note(reply)

        async def seen(wanted: str) -> None:
            while wanted not in states:
                changed.clear()
                await asyncio.wait_for(changed.wait(), 10)

        watching = asyncio.create_task(watch())
        await seen("queued")
        await node.cancel_job("first")
        await seen("running")
        await node.cancel_job("second")
        await seen("cancelled")
        assert states == ["queued", "running", "cancelled"]
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


async def test_job_cancelled_while_queued_never_runs(uri: str) -> None:
    async with Node(uri) as node:
        await node.start("forever", job_id="first")
        await node.start("counter/add", [9], job_id="second")
        assert (await node.job("second")).state == "queued"
        await node.cancel_job("second")
        assert (await node.job("second")).state == "cancelled"
        await node.cancel_job("first")
        await state(node, "first", "cancelled")
        assert (await node.call("counter/get")).value == 0


async def _jobs(node: Node, count: int) -> list[Job]:
    """The node's jobs, once there are so many."""
    for _ in range(1000):
        jobs = await node.jobs()
        if len(jobs) >= count:
            break
        await asyncio.sleep(0.01)
    return jobs


async def test_job_that_somebody_waits_for_is_seen_and_cancelled(uri: str) -> None:
    async with Node(uri) as node, Node(uri) as waiting:
        running = asyncio.create_task(waiting.call("forever"))
        await _jobs(node, 1)
        queued = asyncio.create_task(waiting.call("counter/add", [9]))
        jobs = await _jobs(node, 2)
        assert [(job.function, job.state) for job in jobs] == [("forever", "running"), ("counter", "queued")]
        first, second = (job.id for job in jobs)
        assert first.startswith(".") and second.startswith(".") and first != second
        assert (await node.job(first)).state == "running"
        async with plain_client(uri) as client:
            taken = Request(
                PUT, ("j", ".12345"), b"\x80", query=("f=counter/get",), content_format=60, if_none_match=True
            )
            with pytest.raises(PushRejected) as rejected:
                await client.request(taken, repeatable=True)
            assert b"bad id" in rejected.value.reply.payload

        await node.cancel_job(second)
        await node.cancel_job(first)
        for call in (running, queued):
            with pytest.raises(TrapError, match="cancelled"):
                await asyncio.wait_for(call, 10)
        assert await node.jobs() == []
        with pytest.raises(RefusedError) as refused:
            await node.job(first)
        assert refused.value.details["code"] == "4.04"
        assert (await node.call("counter/get")).value == 0


async def test_call_of_the_function_that_runs_waits_for_its_turn(uri: str) -> None:
    async with Node(uri) as node, plain_client(uri) as client:
        await node.start("forever", job_id="long")
        await state(node, "long", "running")
        request = Request(POST, ("f", "forever"), content_format=60)
        again = asyncio.create_task(client.request(request, repeatable=False))
        jobs = await _jobs(node, 2)
        assert [(job.function, job.state) for job in jobs] == [("forever", "running"), ("forever", "queued")]
        await node.cancel_job("long")
        await state(node, jobs[1].id, "running")
        await node.cancel_job(jobs[1].id)
        assert (await asyncio.wait_for(again, 10)).code_text == "5.00"


async def test_job_places_are_bounded(uri: str) -> None:
    """Finished jobs make room, the oldest first; when all places are taken by others, there is 5.03."""
    async with Node(uri) as node, plain_client(uri) as client:
        await node.start("forever", job_id="running")
        await state(node, "running", "running")
        started = 0
        while True:
            request = Request(
                PUT,
                ("j", f"q{started}"),
                b"\x81\x01",
                query=("f=counter/add",),
                content_format=60,
                if_none_match=True,
            )
            reply = await client.request(request, repeatable=True)
            if reply.code != messages.CREATED:
                break
            started += 1
            assert started < 100
        assert reply.code_text == "5.03"
        assert reply.max_age_s is not None
        assert started >= 2
        await node.cancel_job("running")
        for number in range(started):
            assert (await node.job_result(f"q{number}", timeout_s=20)).value == number + 1
        # The place of the oldest finished one, `running`, is needed now.
        await node.start("counter/get", job_id="latest")
        assert (await node.job_result("latest")).value == started
        with pytest.raises(RefusedError) as refused:
            await node.job("running")
        assert refused.value.details["code"] == "4.04"


async def test_job_spin_fails_by_its_budget(uri: str) -> None:
    async with Node(uri) as node:
        await node.push(app("spin"), name="spin")
        job = await node.start("spin")
        with pytest.raises(TrapError) as trap:
            await node.job_result(job)
        assert trap.value.details["trap"] == "fuel"
        assert (await node.job(job)).raw["code"] == messages.SERVER_ERROR
        assert (await node.job(job)).raw["fuel"] == 1_000_000
