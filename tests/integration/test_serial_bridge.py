"""One serial node, many UDP clients: the host's node behind its pseudo-terminal, reached through the bridge."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiocoap
import cbor2
import pytest
import pytest_asyncio
from nodes import HOST, STM32, app, metrics, module, padded, running
from support import built

from wasmote.adapters import boards, build
from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.errors import LocalError
from wasmote.node import Node, Tuning

COAP_CLIENT = shutil.which("coap-client-notls") or shutil.which("coap-client")
TUNING = Tuning(ack_timeout_s=1.0)


@dataclass
class Serial:
    bridge: SerialBridge
    emulator: Emulator
    texts: list[str]

    @property
    def uri(self) -> str:
        host, port = self.bridge.address
        return f"coap://{host}:{port}"


@pytest_asyncio.fixture
async def serial() -> AsyncIterator[Serial]:
    """A bridge to a fresh host node with sanitizers, over its pseudo-terminal."""
    board = boards.find_board(Project.find(), HOST)
    image = built(HOST, build.Variant(sanitize=True))
    texts: list[str] = []
    async with Emulator(board, image, serial=True) as emulator:
        assert emulator.serial_device is not None
        async with SerialBridge(emulator.serial_device, on_text=texts.append) as bridge:
            yield Serial(bridge, emulator, texts)
    assert emulator.exit_status == 0


async def test_bridge_everything_works_through_it(serial: Serial) -> None:
    async with Node(serial.uri, tuning=TUNING) as node:
        assert (await node.push(app("fib"), name="fib")).created
        assert (await node.call("fib", [20])).value == 6765
        large = padded(app("wordcount"), 20_000)
        await node.push(large, name="wc")
        assert hashlib.sha256(await node.fetch_module("wc")).digest() == (await node.info("wc")).sha256
        assert hashlib.sha256(large).digest() == (await node.info("wc")).sha256
        text = b"one two three\n" * 3000
        assert (await node.call("wc", input=text)).value.split() == [b"3000", b"9000", b"42000"]  # type: ignore[union-attr]
        assert {one.name for one in await node.ls()} == {"fib", "wc"}
        await node.rm("fib")
        assert (await node.device())["board"] == "host"
    assert serial.bridge.dropped_frames == 0


async def test_bridge_serial_target_brings_its_own(serial: Serial) -> None:
    await serial.bridge.close()
    assert serial.emulator.serial_device is not None
    async with Node(f"serial:{serial.emulator.serial_device}", tuning=TUNING) as node:
        await node.push(app("fib"), name="fib")
        assert (await node.call("fib", [10])).value == 55


@pytest.mark.slow
async def test_bridge_a_second_program_on_the_device_is_refused(serial: Serial) -> None:
    assert serial.emulator.serial_device is not None
    with pytest.raises(LocalError, match="another program") as caught:
        async with SerialBridge(serial.emulator.serial_device):
            pass
    assert "close" in caught.value.next_step


async def test_bridge_many_clients_call_without_cross_talk(serial: Serial) -> None:
    async def client(number: int) -> None:
        async with Node(serial.uri, tuning=TUNING) as node:
            for step in range(20):
                text = f"client {number} step {step}\n".encode() * (1 + number * 9)
                got = await node.call("crc32", input=text)
                assert got.output.decode().strip().lower().removeprefix("0x") == f"{zlib.crc32(text):08x}"

    async with Node(serial.uri, tuning=TUNING) as node:
        await node.push(app("crc32"), name="crc32")
    await asyncio.gather(*(client(number) for number in range(8)))
    assert serial.bridge.stats.requests >= 160


@pytest.mark.slow
async def test_bridge_eight_clients_of_a_chip_lose_nothing() -> None:
    """Requests and replies of up to a kilobyte, more of them at once than the chip's receive ring could hold."""
    # So patient that only a lost frame could make a client repeat itself.
    patient = Tuning(ack_timeout_s=15.0)

    async def client(uri: str, number: int) -> None:
        async with Node(uri, tuning=patient) as node:
            for step in range(12):
                data = bytes(
                    (number * 31 + step * 7 + at) & 0xFF
                    for at in range(1 + (number * 131 + step * 337) % 1024)
                )
                assert (await node.call("echo", input=data)).output == data
            assert await node.fetch_module("echo") == module("echo")
            assert node.traffic.unanswered == 0

    async with running(STM32) as uri, asyncio.timeout(120), Node(uri, tuning=patient) as node:
        await node.push(module("echo"), name="echo")
        await asyncio.gather(*(client(uri, number) for number in range(8)))
        measured = await metrics(node)
    lost = {name: measured[name] for name in ("rx/bad", "dup", "retransmit", "unanswered")}
    assert lost == dict.fromkeys(lost, 0)
    assert measured["calls"] == 8 * 12


@pytest.mark.slow
async def test_bridge_simultaneous_uploads_to_one_name_stay_apart(serial: Serial) -> None:
    modules = [padded(app("fib"), 9000 + 500 * number) for number in range(2)]

    async def push(module: bytes) -> bytes | None:
        async with Node(serial.uri, tuning=TUNING) as node:
            return (await node.push(module, name="same")).etag

    etags = await asyncio.gather(*(push(module) for module in modules))
    assert {etag[:4] for etag in etags if etag} == {hashlib.sha256(module).digest()[:4] for module in modules}
    async with Node(serial.uri, tuning=TUNING) as node:
        assert await node.fetch_module("same") in modules
        measured = {entry.name: entry.value for entry in await node.metrics()}
    assert measured["uploads/evicted"] == 0


async def test_bridge_observations_of_two_clients_end_apart(serial: Serial) -> None:
    """The metrics are observed twice; one client leaves, the other hears on."""
    async with (
        Node(serial.uri, tuning=TUNING) as one,
        Node(serial.uri, tuning=TUNING) as two,
        Node(serial.uri, tuning=TUNING) as caller,
    ):
        await caller.push(app("fib"), name="fib")
        first, second = one.watch_metrics(), two.watch_metrics()
        await anext(first)
        await anext(second)

        async def hear(watch: AsyncIterator[list[object]], calls: int) -> None:
            while True:
                measured = {entry.name: entry.value for entry in await anext(watch)}  # type: ignore[attr-defined]
                if measured["f/fib/calls"] >= calls:
                    return

        await caller.call("fib", [5])
        await asyncio.wait_for(asyncio.gather(hear(first, 1), hear(second, 1)), 10)  # type: ignore[arg-type]
        await first.aclose()
        for _ in range(3):
            await caller.call("fib", [5])
        await asyncio.wait_for(hear(second, 4), 10)  # type: ignore[arg-type]
        await second.aclose()


@pytest.mark.slow
async def test_bridge_log_is_followed_by_number(serial: Serial) -> None:
    async with Node(serial.uri, tuning=TUNING) as node, Node(serial.uri, tuning=TUNING) as other:
        log = node.logs(follow=True)
        seen = [await asyncio.wait_for(anext(log), 5)]
        for name in ("a", "b", "c"):
            await other.push(app("fib"), name=name)
        while not seen[-1].text.endswith("'c'"):
            seen.append(await asyncio.wait_for(anext(log), 10))
        await log.aclose()
    numbers = [line.number for line in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.slow
@pytest.mark.skipif(COAP_CLIENT is None, reason="libcoap's client is not installed (libcoap3-bin)")
@pytest.mark.parametrize("block", [64, 256, 1024])
async def test_bridge_libcoap_clients_at_the_same_time(serial: Serial, tmp_path: Path, block: int) -> None:
    """coap-client's first token is always the same; it cuts the upload itself."""

    async def run(*words: str) -> bytes:
        assert COAP_CLIENT is not None
        process = await asyncio.create_subprocess_exec(
            COAP_CLIENT, "-B", "10", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        return out

    module = padded(app("fib"), 3000)
    file = tmp_path / "fib.wasm"
    file.write_bytes(module)
    puts = [
        run("-m", "put", "-t", "42", "-b", str(block), "-f", str(file), f"{serial.uri}/f/{name}")
        for name in "abc"
    ]
    await asyncio.gather(*puts)
    for name in "abc":
        (tmp_path / "args").write_bytes(cbor2.dumps([20]))
        out = tmp_path / f"out-{name}"
        await run(
            "-m",
            "post",
            "-t",
            "60",
            "-f",
            str(tmp_path / "args"),
            "-o",
            str(out),
            f"{serial.uri}/f/{name}/fib",
        )
        assert cbor2.loads(out.read_bytes()) == 6765
    back = tmp_path / "back.wasm"
    await run("-m", "get", "-A", "42", "-b", str(block), "-o", str(back), f"{serial.uri}/f/b")
    assert back.read_bytes() == module
    assert b"/f/a" in await run("-m", "get", f"{serial.uri}/f")


@pytest.mark.slow
async def test_bridge_plain_aiocoap_client(serial: Serial) -> None:
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        request = aiocoap.Message(
            code=aiocoap.PUT, uri=f"{serial.uri}/f/fib", payload=padded(app("fib"), 5000)
        )
        request.opt.content_format = 42
        assert (await context.request(request).response).code == aiocoap.CREATED
        call = aiocoap.Message(code=aiocoap.POST, uri=f"{serial.uri}/f/fib/fib", payload=cbor2.dumps([10]))
        call.opt.content_format = 60
        assert cbor2.loads((await context.request(call).response).payload) == 55
        got = await context.request(
            aiocoap.Message(code=aiocoap.GET, uri=f"{serial.uri}/f/fib", accept=42)
        ).response
        assert got.payload == padded(app("fib"), 5000)
    finally:
        await context.shutdown()


async def test_bridge_ends_when_the_node_does(serial: Serial) -> None:
    await serial.emulator.stop()
    with pytest.raises(LocalError, match="ended"):
        await asyncio.wait_for(serial.bridge.wait_closed(), 5)
