"""node.py and adapters/coap.py against a scripted node that is slow, silent, busy or forgetful."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

import cbor2
import pytest
from aiocoap import Message
from fakes import Answer, Functions, ScriptedNode, Seen, problem, serial_server, udp_server

from wasmote.errors import (
    ApplicationError,
    InputError,
    LocalError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
)
from wasmote.node import Node, Tuning

GET, POST, PUT, DELETE, FETCH = 1, 2, 3, 4, 5
FAST = Tuning(ack_timeout_s=0.03, max_retransmit=2)


@pytest.fixture
def functions() -> Functions:
    return Functions()


@pytest.fixture
def scripted(functions: Functions) -> ScriptedNode:
    return ScriptedNode(functions)


# ---- calls ----


async def test_node_calls_with_numbers(scripted: ScriptedNode) -> None:
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        assert (await node.call("add", [20, "0x16"])).value == 42
        assert (await node.call("add/add", [-5, 2**62])).value == 2**62 - 5
        assert (await node.call("two/b")).value == (-3, 0.5)
        assert (await node.call("two/a")).value is None
        fetched = await node.call("pure", [0.1], fetch=True)
        assert fetched.value == pytest.approx(0.1)
    assert [int(seen.method) for seen in scripted.complete][-1] == FETCH
    # The signature is read once for each function.
    assert [seen.path for seen in scripted.complete if seen.method == GET] == [
        ("f", "add"),
        ("f", "two"),
        ("f", "pure"),
    ]


@pytest.mark.parametrize(
    ("function", "args", "data", "words"),
    [
        ("add", [1], None, "takes 2 arguments"),
        ("add", [1, "x"], None, "argument 2 (i64): 'x' is not an integer"),
        ("add", [2**32, 1], None, "argument 1 (i32)"),
        ("add", [], b"in", "takes numbers"),
        ("wc", [1], None, "takes bytes"),
        ("two", [], None, "no default export"),
        ("add/sub", [], None, "no export 'sub'"),
        ("bad name", [], None, "no function name"),
        (".x", [], None, "no function name"),
        ("x" * 32, [], None, "no function name"),
    ],
)
async def test_node_refuses_before_anything_is_sent(
    scripted: ScriptedNode, function: str, args: list[int | str], data: bytes | None, words: str
) -> None:
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(InputError) as caught:
            await node.call(function, args, input=data)
    assert words in str(caught.value) and caught.value.next_step
    assert all(seen.method == GET for seen in scripted.complete)


@pytest.mark.parametrize("size", [0, 1024, 1025, 20_000])
@pytest.mark.parametrize("szx", [6, 2])
async def test_node_streams_any_size_both_ways(scripted: ScriptedNode, size: int, szx: int) -> None:
    scripted.szx = szx
    data = bytes(range(97, 123)) * (size // 26 + 1)
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        result = await node.call("wc", input=data[:size])
    assert result.value == data[:size].upper()
    tags = {message.opt.request_tag for message in scripted.requests if message.opt.block1}
    assert len(tags) == (1 if size > 1024 else 0)


async def test_node_a_trap_and_an_application_error_are_told_apart(
    scripted: ScriptedNode, functions: Functions
) -> None:
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        functions.special = lambda seen: (
            problem(0xA0, "trap", "out of fuel in 'add'", trap="fuel", function="add", quota=1000)
            if seen.method == POST
            else None
        )
        with pytest.raises(TrapError) as trap:
            await node.call("add", [1, 2])
        assert "fuel" in str(trap.value) and "'add'" in str(trap.value) and "app.toml" in trap.value.next_step
        assert trap.value.details["quota"] == 1000
        functions.special = lambda seen: (
            problem(0x84, "application error", status=404, output=b"no such key\n")
            if seen.method == POST
            else None
        )
        with pytest.raises(ApplicationError) as said:
            await node.call("wc", input=b"x")
        assert said.value.status == 404 and "no such key" in str(said.value)
        functions.special = lambda seen: problem(0x84, "not found") if seen.method == POST else None
        with pytest.raises(RefusedError):
            await node.call("wc", input=b"x")


# ---- silence ----


async def test_node_unreachable_is_reported_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    async with Node(f"coap://127.0.0.1:{port}") as node:
        with pytest.raises(UnreachableError, match="refused") as caught:
            await node.device()
        with pytest.raises(UnreachableError):
            await node.push(b"x", name="x")
    assert time.monotonic() - began < 1.0
    assert "wasmote" in caught.value.next_step


async def test_node_silence_ends_and_says_what_was_tried(scripted: ScriptedNode) -> None:
    async with udp_server(scripted, lambda _way, _data: True) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(UnreachableError, match="no answer"):
            await node.device()
        assert node.traffic.unanswered == FAST.attempts


async def test_node_a_long_silence_is_told(scripted: ScriptedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmote.adapters.coap.SILENCE_S", 0.05)
    told: list[str] = []
    async with (
        udp_server(scripted, lambda _way, _data: True) as uri,
        Node(uri, tuning=FAST, on_silence=told.append) as node,
    ):
        with pytest.raises(UnreachableError):
            await node.device()
    assert f"GET /d from {uri} after 0.05 s" in told[0] and "then 2 more tries" in told[0]
    assert "after 0.1 s" in told[1] and "then 2 more tries" in told[1]
    assert any("then 1 more try" in text for text in told) and "then" not in told[-1]


async def test_node_a_prompt_answer_is_not_commented(
    scripted: ScriptedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasmote.adapters.coap.SILENCE_S", 0.3)
    told: list[str] = []
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST, on_silence=told.append) as node:
        await node.call("add", [1, 2])
        await asyncio.sleep(0.5)
    assert told == []


def drop_replies_to(method: int, count: int) -> Callable[[str, bytes], bool]:
    """Loses all replies to the first `count` message IDs of a method."""
    mids: list[int] = []

    def drop(way: str, data: bytes) -> bool:
        message = Message.decode(data)
        if way == "in":
            if int(message.code) == method and message.mid not in mids:
                mids.append(message.mid)
            return False
        return message.mid in mids[:count]

    return drop


async def test_node_a_call_that_may_have_run_is_not_repeated(scripted: ScriptedNode) -> None:
    async with udp_server(scripted, drop_replies_to(POST, 99)) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(UnansweredError, match="may have run"):
            await node.call("add", [1, 2])
    assert sum(seen.method == POST for seen in scripted.complete) == 1
    assert scripted.duplicates == FAST.max_retransmit


async def test_node_an_idempotent_call_is_repeated(scripted: ScriptedNode) -> None:
    async with udp_server(scripted, drop_replies_to(POST, 1)) as uri, Node(uri, tuning=FAST) as node:
        assert (await node.call("wc", input=b"abc")).value == b"ABC"
        assert node.traffic.unanswered == 1
    assert sum(seen.method == POST for seen in scripted.complete) == 2


async def test_node_an_idempotent_call_without_any_answer_may_have_run(scripted: ScriptedNode) -> None:
    async with udp_server(scripted, drop_replies_to(POST, 99)) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(UnansweredError, match="may have run") as caught:
            await node.call("wc", input=b"abc")
        assert "once or twice is the same" in caught.value.next_step
    assert sum(seen.method == POST for seen in scripted.complete) == FAST.attempts


@pytest.mark.parametrize(("function", "error"), [("add", UnansweredError), ("wc", UnreachableError)])
async def test_node_that_is_closed_in_the_middle_of_a_call(
    scripted: ScriptedNode, function: str, error: type[Exception]
) -> None:
    """The message was sent, so a call that must not be repeated may have run."""
    async with udp_server(scripted, drop_replies_to(POST, 99)) as uri:
        node = Node(uri, tuning=Tuning(ack_timeout_s=10))
        await node.open()
        call = node.call("add", [1, 2]) if function == "add" else node.call("wc", input=b"abc")
        task = asyncio.create_task(call)
        async with asyncio.timeout(5):
            while True:
                if any(seen.method == POST for seen in scripted.complete):
                    break
                await asyncio.sleep(0.01)
        await node.close()
        with pytest.raises(error):
            await asyncio.wait_for(task, 5)
        assert sum(seen.method == POST for seen in scripted.complete) == 1


async def test_node_push_resumes_at_the_last_acknowledged_block(
    scripted: ScriptedNode, functions: Functions
) -> None:
    module = bytes(range(256)) * 20
    silent: set[int] = set()

    def drop(way: str, data: bytes) -> bool:
        message = Message.decode(data)
        if way == "in" and message.opt.block1 is not None and message.opt.block1.block_number == 3:
            # Block 3 never arrives under its first message ID, however often it is sent.
            silent.add(message.mid)
            return message.mid == min(silent, key=list(silent).index) and len(silent) == 1
        return False

    async with udp_server(scripted, drop) as uri, Node(uri, tuning=FAST) as node:
        pushed = await node.push(module, name="x")
    assert functions.modules["x"] == module
    assert (pushed.created, pushed.resumed, pushed.restarted) == (True, 1, 0)
    numbers = [message.opt.block1.block_number for message in scripted.requests if message.opt.block1]
    assert numbers == [0, 1, 2, 3, 4]


async def test_node_push_starts_again_when_the_node_forgot(
    scripted: ScriptedNode, functions: Functions
) -> None:
    module = bytes(5000)
    forgot: list[int] = []

    def before(message: Message) -> Answer | None:
        block = message.opt.block1
        if block is not None and block.block_number == 2 and not forgot:
            forgot.append(1)
            return problem(0x88, "the transfer is not known")
        return None

    scripted.before = before
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        pushed = await node.push(module, name="x")
    assert functions.modules["x"] == module and pushed.restarted == 1


async def test_node_push_if_new_survives_a_lost_last_reply(
    scripted: ScriptedNode, functions: Functions
) -> None:
    # The scripted node runs a repeated last block again, so the condition fails because of the push itself.
    async with udp_server(scripted, drop_replies_to(PUT, 1)) as uri, Node(uri, tuning=FAST) as node:
        pushed = await node.push(b"module", name="x", if_new=True)
        assert pushed.created
        functions.modules["y"] = b"another"
        with pytest.raises(RefusedError, match=r"4\.12"):
            await node.push(b"module", name="y", if_new=True)


async def test_node_push_too_large_names_the_limit(scripted: ScriptedNode) -> None:
    scripted.before = lambda message: Answer(0x8D, size1=4096) if message.opt.block1 else None
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(RefusedError) as caught:
            await node.push(bytes(70_000), name="x")
    assert "70000" in str(caught.value) and "4096" in str(caught.value) and "rm" in caught.value.next_step


async def test_node_push_missing_import_is_named(scripted: ScriptedNode, functions: Functions) -> None:
    functions.special = lambda seen: (
        problem(0x96, "invalid module", "import not found", reason="import", **{"import": ["env", "puts"]})
        if seen.method == PUT
        else None
    )
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(RefusedError) as caught:
            await node.push(bytes(3000), name="x")
    assert "env.puts" in caught.value.next_step and caught.value.details["import"] == ["env", "puts"]


async def test_node_reports_progress(scripted: ScriptedNode) -> None:
    steps: list[tuple[int, int]] = []
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        await node.push(bytes(2500), name="x", progress=lambda done, total: steps.append((done, total)))
    assert steps == [(0, 2500), (1024, 2500), (2048, 2500), (2500, 2500)]


# ---- busy ----


async def test_node_waits_for_a_busy_node_and_says_so(scripted: ScriptedNode, functions: Functions) -> None:
    busy = [problem(0xA3, "busy"), problem(0x9D, "rate limit")]
    for answer in busy:
        answer.max_age = 0
    functions.special = lambda seen: busy.pop() if busy and seen.method in (POST, PUT) else None
    delays: list[str] = []
    async with (
        udp_server(scripted) as uri,
        Node(uri, tuning=FAST, on_delay=lambda _seconds, why: delays.append(why)) as node,
    ):
        assert (await node.call("add", [1, 2])).value == 3
        assert node.traffic.busy == 2 and node.traffic.delayed_s > 0
        assert len(delays) == 2 and "busy" in delays[0]
        again = problem(0xA3, "busy")
        again.max_age = 0
        busy.append(again)
        assert (await node.push(bytes(3000), name="x")).delayed_s > 0


async def test_node_does_not_repeat_a_call_that_reported_429(
    scripted: ScriptedNode, functions: Functions
) -> None:
    """4.29 may be the function's own status: then it ran."""
    calls: list[Seen] = []

    def report(seen: Seen) -> Answer | None:
        if seen.method != POST:
            return None
        calls.append(seen)
        return problem(0x9D, "application error", status=429)

    functions.special = report
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(ApplicationError) as caught:
            await node.call("add", [1, 2])
        assert caught.value.status == 429
        assert len(calls) == 1 and node.traffic.busy == 0


async def test_node_does_not_wait_for_ever(scripted: ScriptedNode, functions: Functions) -> None:
    answer = problem(0xA3, "busy", "compacting")
    answer.max_age = 1000
    functions.special = lambda seen: answer if seen.method == POST else None
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(RefusedError, match="compacting"):
            await asyncio.wait_for(node.call("add", [1, 2]), 5)


async def test_node_a_busy_last_block_comes_again_and_then_the_whole(
    scripted: ScriptedNode, functions: Functions
) -> None:
    busy = [problem(0xA3, "busy") for _ in range(5)]
    for answer in busy:
        answer.max_age = 0

    def before(message: Message) -> Answer | None:
        block = message.opt.block1
        return busy.pop() if busy and block is not None and block.block_number == 1 else None

    scripted.before = before
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        pushed = await node.push(bytes(2000), name="x")
    numbers = [message.opt.block1.block_number for message in scripted.requests]
    assert numbers == [0, 1, 1, 1, 0, 1, 1, 1]
    assert functions.modules["x"] == bytes(2000) and pushed.restarted == 1


async def test_node_a_running_call_is_not_sent_anew(scripted: ScriptedNode, functions: Functions) -> None:
    """Its last block is unanswered, then answered with `busy`: it may be running, so only that block comes again."""
    answer = problem(0xA3, "busy", "this call is still running")
    answer.max_age = 0
    silent: list[int] = []

    def drop(way: str, data: bytes) -> bool:
        message = Message.decode(data)
        last = way == "in" and message.opt.block1 is not None and not message.opt.block1.more
        if last and (not silent or message.mid == silent[0]):
            silent.append(message.mid)
            return True
        return False

    def before(message: Message) -> Answer | None:
        return answer if message.opt.block1 is not None and not message.opt.block1.more else None

    scripted.before = before
    patient = Tuning(ack_timeout_s=0.03, max_retransmit=2, busy_wait_s=0.5)
    async with udp_server(scripted, drop) as uri, Node(uri, tuning=patient) as node:
        with pytest.raises(UnansweredError, match="may have run"):
            await node.call("once", input=bytes(2000))
    assert (
        sum(
            message.opt.block1 is not None and message.opt.block1.block_number == 0
            for message in scripted.requests
        )
        == 1
    )


async def test_node_a_forgotten_reply_is_no_trap(scripted: ScriptedNode, functions: Functions) -> None:
    forgotten = [problem(0xA0, "reply forgotten"), problem(0xA0, "reply forgotten")]
    functions.special = lambda seen: forgotten.pop() if forgotten and seen.method == POST else None
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        with pytest.raises(UnansweredError):
            await node.call("add", [1, 2])
        assert (await node.call("wc", input=b"x")).value == b"X"
    assert not forgotten


# ---- the rest ----


async def test_node_lists_functions(scripted: ScriptedNode) -> None:
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        assert [(one.name, one.size_bytes, one.exports) for one in await node.ls()] == [
            ("add", 5, ("add",)),
            ("wc", 7, ()),
        ]


async def test_node_a_job_is_started_once_over_a_lost_reply(
    scripted: ScriptedNode, functions: Functions
) -> None:
    async with udp_server(scripted, drop_replies_to(PUT, 1)) as uri, Node(uri, tuning=FAST) as node:
        job = await node.start("add", [2, 3])
        assert list(functions.jobs) == [job]
        assert (await node.job_result(job)).value == 5


@pytest.mark.parametrize("payload", [b"\xff", b"", cbor2.dumps([1, 2, 3]), cbor2.dumps("text")])
async def test_node_unreadable_answers_are_refusals(
    scripted: ScriptedNode, functions: Functions, payload: bytes
) -> None:
    functions.special = lambda seen: (
        Answer(0x45, payload, 60) if seen.path[0] == "d" or seen.method == POST else None
    )
    async with udp_server(scripted) as uri, Node(uri, tuning=FAST) as node:
        for request in (node.device(), node.metrics(), node.call("add", [1, 2])):
            with pytest.raises(RefusedError, match="cannot be read"):
                await request


# ---- serial ----


async def test_node_over_a_serial_link(scripted: ScriptedNode, tmp_path: object) -> None:
    texts: list[str] = []
    async with (
        serial_server(scripted, f"{tmp_path}/serial") as url,
        Node(url, tuning=FAST, on_text=texts.append) as node,
    ):
        pushed = await node.push(bytes(range(256)) * 9, name="x")
        assert (await node.call("add", [20, 22])).value == 42
        assert await node.fetch_module("x") == bytes(range(256)) * 9
    assert pushed.created and texts == ["wasmote 0.1.0 scripted"]


async def test_node_serial_without_hello_is_found_by_ping(scripted: ScriptedNode, tmp_path: object) -> None:
    async with (
        serial_server(scripted, f"{tmp_path}/serial", hello=False) as url,
        Node(url, tuning=FAST) as node,
    ):
        assert (await node.call("add", [1, 2])).value == 3


async def test_node_serial_silence_is_reported(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wasmote.adapters.bridge._SILENCE_S", 0.1)
    told: list[str] = []
    silent = ScriptedNode(Functions())
    silent.datagram = lambda _peer, _data: None  # type: ignore[method-assign]
    async with serial_server(silent, f"{tmp_path}/serial", hello=False) as url:
        with pytest.raises(UnreachableError, match="no node answers") as caught:
            async with Node(url, ready_timeout_s=0.8, on_silence=told.append):
                pass
    assert "baud" in caught.value.next_step
    assert len(told) == 1 and url in told[0]


async def test_node_serial_device_that_does_not_exist() -> None:
    with pytest.raises(LocalError, match="no such serial device") as caught:
        async with Node("/dev/ttyNOPE7"):
            pass
    assert "serial device" in caught.value.next_step


async def test_node_datagrams_after_the_end_are_ignored() -> None:
    """As from a chatty node, or the reply to the end of an observation."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)

        def answer_and_go_on() -> None:
            request, peer = server.recvfrom(1500)
            token = request[4 : 4 + (request[0] & 15)]
            reply = bytes([0x60 | len(token), 0x84]) + request[2:4] + token  # an ACK with 4.04
            end_s = time.monotonic() + 0.1
            with contextlib.suppress(OSError):  # the client's socket is gone
                while time.monotonic() < end_s:
                    server.sendto(reply, peer)

        for _ in range(5):
            talker = asyncio.create_task(asyncio.to_thread(answer_and_go_on))
            async with Node(f"coap://127.0.0.1:{server.getsockname()[1]}") as node:
                with pytest.raises(RefusedError):
                    await node.info("any")
            await talker
    assert complaints == []
