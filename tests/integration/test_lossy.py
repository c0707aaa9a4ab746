"""A bad network between the tools and a node: loss of 10, 20 and 30 % each way, doubled and reordered datagrams.

Each level runs with the RFC's algorithm on a faster clock: ACK_TIMEOUT 50 ms. With MAX_RETRANSMIT 16 everything gets
through; with the RFC's 4 some calls at 30 % stay unanswered, and must say so.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lossy import LossyRelay, Weather
from nodes import HOST, app, host_port, metrics, padded, running

from wasmote.adapters.coap import Tuning
from wasmote.errors import ExitCode, UnansweredError
from wasmote.node import Node
from wasmote.protocol.messages import POST, PUT

ACK_TIMEOUT_S = 0.05
PATIENT = Tuning(ack_timeout_s=ACK_TIMEOUT_S, max_retransmit=16)
AS_THE_RFC = Tuning(ack_timeout_s=ACK_TIMEOUT_S, max_retransmit=4, reply_timeout_s=5.0)
CLIENTS = 20
CALLS = 200
PUSHES = 10
PUSH_BYTES = 20 * 1024
BLOCKS = PUSH_BYTES // 1024
# A client sends its messages one after the other, and the seed fixes what happens to each: also how long it takes.
SEED = 1


@contextlib.asynccontextmanager
async def node_behind(weather: Weather, tuning: Tuning) -> AsyncIterator[tuple[LossyRelay, Node]]:
    """A relay in front of a fresh node with `counter`, and a way to the node around the relay."""
    options = (
        "--ack-timeout-ms",
        str(int(tuning.ack_timeout_s * 1000)),
        "--max-retransmit",
        str(tuning.max_retransmit),
    )
    async with running(HOST, *options) as uri, Node(uri) as direct:
        await direct.push(app("counter"), name="counter")
        async with LossyRelay(host_port(uri), weather) as relay, asyncio.timeout(120):
            yield relay, direct


async def add_ones(relay: LossyRelay, tuning: Tuning, calls: int) -> tuple[list[int], list[UnansweredError]]:
    """`calls` times add(1), one after the other: the answers, and the calls that were reported as unanswered."""
    answers: list[int] = []
    unanswered: list[UnansweredError] = []
    async with Node(relay.uri, tuning=tuning) as node:
        for _ in range(calls):
            try:
                value = (await node.call("counter/add", [1])).value
            except UnansweredError as error:
                unanswered.append(error)
            else:
                assert isinstance(value, int)
                answers.append(value)
    return answers, unanswered


async def many_add_ones(relay: LossyRelay, tuning: Tuning) -> tuple[list[int], list[UnansweredError]]:
    parts = await asyncio.gather(*(add_ones(relay, tuning, CALLS // CLIENTS) for _ in range(CLIENTS)))
    return [value for part, _ in parts for value in part], [error for _, part in parts for error in part]


async def check_sum(
    relay: LossyRelay, direct: Node, answers: list[int], unanswered: list[UnansweredError]
) -> None:
    """Every answered call has run exactly once, every unanswered one at most once."""
    assert len(answers) + len(unanswered) == CALLS
    assert len(set(answers)) == len(answers), "an answer came twice: a call ran for two, or ran twice"
    total = (await direct.call("counter/get")).value
    assert isinstance(total, int)
    assert max(answers) <= total
    assert len(answers) <= total <= len(answers) + len(unanswered)
    assert (await metrics(direct))["f/counter/calls"] == total + 1  # and this get
    # Each message ID has one reply, however often it was asked for: had it run again, the sum in it would differ.
    assert all(len(replies) == 1 for replies in relay.replies.values())
    posts = len(relay.messages(POST))
    assert posts == CALLS, "a call that is not idempotent was sent as a new message"


@pytest.mark.parametrize("loss", [0.1, 0.2, pytest.param(0.3, marks=pytest.mark.slow)])
async def test_lossy_calls_end_right(loss: float) -> None:
    async with node_behind(Weather(loss=loss, seed=SEED), PATIENT) as (relay, direct):
        answers, unanswered = await many_add_ones(relay, PATIENT)
        await check_sum(relay, direct, answers, unanswered)
        assert not unanswered
        assert sorted(answers) == list(range(1, CALLS + 1))
        assert relay.lost > CALLS * loss  # there was something to overcome
        assert relay.doubled > 0
        assert (await metrics(direct))["dup"] > 0


@pytest.mark.slow
async def test_lossy_calls_unanswered_are_reported() -> None:
    async with node_behind(Weather(loss=0.3, seed=SEED), AS_THE_RFC) as (relay, direct):
        answers, unanswered = await many_add_ones(relay, AS_THE_RFC)
        await check_sum(relay, direct, answers, unanswered)
        assert 1 <= len(unanswered) <= CALLS // 5  # about one in thirty
        for error in unanswered:
            assert error.exit_code == ExitCode.UNANSWERED
            assert "may have run" in error.message


async def test_lossy_call_without_replies_has_run_once() -> None:
    """The hard case for a client: every request arrives, no reply does."""
    async with node_behind(Weather(double=0, late=0), AS_THE_RFC) as (relay, direct):
        async with Node(relay.uri, tuning=AS_THE_RFC) as node:
            await node.info("counter")
            relay.deaf_to = frozenset({POST})
            with pytest.raises(UnansweredError, match="may have run"):
                await node.call("counter/add", [1])
        assert (await direct.call("counter/get")).value == 1
        sent = [header for _, header in relay.requests if header.code == POST]
        assert len(sent) == AS_THE_RFC.max_retransmit + 1
        assert len({header.mid for header in sent}) == 1


async def test_lossy_command_line_exits_with_7() -> None:
    """`call` says that it may have run; for an export that is declared idempotent it tries again."""
    async with node_behind(Weather(double=0, late=0), AS_THE_RFC) as (relay, direct):

        async def call(*words: str) -> tuple[int | None, dict[str, Any]]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "wasmote", "-t", relay.uri, "--json"),
                *("--ack-timeout", str(ACK_TIMEOUT_S), "--max-retransmit", "2", "call", *words),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            return process.returncode, json.loads(out or err.splitlines()[-1])

        assert (await call("counter/add", "1"))[0] == ExitCode.OK
        relay.deaf_to = frozenset({POST})
        status, said = await call("counter/add", "1")
        assert (status, said["exit_code"]) == (7, 7)
        assert "may have run" in said["error"]
        assert len(relay.messages(POST)) == 2
        assert (await call("counter/get"))[0] != ExitCode.OK
        assert len(relay.messages(POST)) == 2 + AS_THE_RFC.attempts
        assert (await direct.call("counter/get")).value == 2


@pytest.mark.slow
async def test_lossy_idempotent_calls_are_repeated() -> None:
    """With the RFC's four retransmissions some messages fail; what may run twice is sent again and succeeds."""
    async with node_behind(Weather(loss=0.3, seed=SEED), AS_THE_RFC) as (relay, direct):
        await direct.call("counter/add", [41])

        async def get_sums() -> int:
            async with Node(relay.uri, tuning=AS_THE_RFC) as node:
                for _ in range(CALLS // CLIENTS):
                    assert (await node.call("counter/get")).value == 41
                return node.traffic.unanswered

        repeated = sum(await asyncio.gather(*(get_sums() for _ in range(CLIENTS))))
        assert repeated > 0
        assert len(relay.messages(POST)) > CALLS
        assert all(len(replies) == 1 for replies in relay.replies.values())


async def push_all(relay: LossyRelay, direct: Node, tuning: Tuning) -> int:
    """Push under ten names at once and check what arrived; how often a push went on after a silence."""
    module = padded(app("fib"), PUSH_BYTES)

    async def push(name: str) -> int:
        async with Node(relay.uri, tuning=tuning) as node:
            done = await node.push(module, name=name)
            assert done.created
            assert done.restarted == 0
            return done.resumed

    names = [f"padded-{number}" for number in range(PUSHES)]
    resumed = sum(await asyncio.gather(*map(push, names)))
    for name in names:
        assert (await direct.info(name)).sha256 == hashlib.sha256(module).digest()
        assert (await direct.call(f"{name}/fib", [10])).value == 55
    # Nothing was sent from the start again: each block is one message, or one more for each silence.
    blocks = relay.messages(PUT)
    assert len(blocks) == PUSHES * BLOCKS + resumed
    for client in {client for client, _ in blocks}:
        numbers = [
            header.block1[0] for number, header in blocks if number == client and header.block1 is not None
        ]
        assert numbers == sorted(numbers)
        assert set(numbers) == set(range(BLOCKS))
    return resumed


@pytest.mark.parametrize(
    "loss", [0.1, pytest.param(0.2, marks=pytest.mark.slow), pytest.param(0.3, marks=pytest.mark.slow)]
)
async def test_lossy_pushes_succeed(loss: float) -> None:
    async with node_behind(Weather(loss=loss, seed=SEED), PATIENT) as (relay, direct):
        assert await push_all(relay, direct, PATIENT) == 0


@pytest.mark.slow
async def test_lossy_push_resumes_where_it_stopped() -> None:
    async with node_behind(Weather(loss=0.3, seed=SEED), AS_THE_RFC) as (relay, direct):
        assert await push_all(relay, direct, AS_THE_RFC) > 0
