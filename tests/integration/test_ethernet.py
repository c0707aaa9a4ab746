"""A chip with an IP stack of its own: the emulated Cortex-M4 `mps2_an386` on QEMU's user network, on a wire whose
other end is made here, and, for root, on a network of the kernel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiocoap
import cbor2
import pytest
from foreign import LIBCOAP, LibcoapClient
from lossy import LossyRelay, Weather
from nodes import app, host_port, metrics, module, padded
from support import MPS2, built
from wire import (
    ARP,
    BROADCAST,
    COAP,
    GROUP4,
    GROUP6,
    IP4,
    IP6,
    OWN4,
    OWN6,
    UDP,
    Wire,
    ethernet,
    group_mac,
    ipv4,
    packed,
    read_datagram,
    router_advertisement,
    udp,
    with_checksum,
)

from wasmote.adapters.boards import find_board
from wasmote.adapters.coap import Tuning
from wasmote.adapters.emulator import Emulator, own_address
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.errors import ExitCode, InputError, LocalError
from wasmote.node import Node
from wasmote.protocol import links
from wasmote.protocol.messages import PUT

pytestmark = pytest.mark.slow

QEMU_MAC = "525400123456"
NODE4 = "10.1.0.2"
NODE6 = "fe80::5054:ff:fe12:3456"
SETTINGS = f"{NODE4}/24 {OWN4}"
PING, PONG = b"\x40\0", b"\x70\0"
DISCOVER = b"\x50\x01%b" + b"\xbb.well-known\x04core"  # NON GET
READY_S = 60.0


@dataclass
class Chip:
    """uri: over Ethernet, or of the bridge where the network leads elsewhere. said: lines of diagnostics."""

    uri: str
    bridge_uri: str
    said: list[str]

    async def line(self, pattern: str, timeout_s: float = 30.0) -> re.Match[str]:
        """The first line that has this."""
        async with asyncio.timeout(timeout_s):
            while True:
                for line in list(self.said):
                    if found := re.search(pattern, line):
                        return found
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def chip(
    *arguments: str, network: list[str] | None = None, settings: str | None = None
) -> AsyncIterator[Chip]:
    board = find_board(Project.find(), MPS2)
    if find_tool(board.emulate["command"][0]) is None:
        pytest.skip(f"{board.emulate['command'][0]} is not installed")
    said: list[str] = []
    emulator = Emulator(
        board,
        built(MPS2),
        arguments=arguments,
        network=network,
        settings=settings,
        on_text=said.append,
        ready_timeout_s=READY_S,
    )
    async with emulator:
        assert emulator.uri is not None and emulator.bridge_uri is not None
        yield Chip(emulator.uri, emulator.bridge_uri, said)
    crashed = [line for line in said if line.startswith(("panic:", "fault:"))]
    assert not crashed
    assert sum(line.startswith("wasmote ") for line in said) == 1, "the chip has started again"


@contextlib.asynccontextmanager
async def on_a_wire(settings: str | None = SETTINGS) -> AsyncIterator[tuple[Wire, Chip]]:
    async with Wire() as wire, chip(network=wire.qemu_options(), settings=settings) as node:
        await node.line(r"address coap://\[FE80")  # it waits until duplicate address detection is over
        yield wire, node


# ---- addresses ----


async def test_ethernet_by_dhcp() -> None:
    """An address from QEMU's DHCP server; the serial line is a second way to the same node."""
    async with chip() as node:
        assert node.uri != node.bridge_uri
        assert (await node.line(r"address coap://([0-9.]+)"))[1] == "10.0.2.15"
        async with Node(node.uri) as ethernet_, Node(node.bridge_uri) as serial:
            await ethernet_.push(app("counter"), name="counter")
            assert (await ethernet_.call("counter/add", [40])).value == 40
            assert (await serial.call("counter/add", [2])).value == 42
            info = await ethernet_.device()
            assert (info["board"], info["ep"]) == (MPS2, f"mps2-{QEMU_MAC}")


async def test_ethernet_with_settings() -> None:
    """Addresses from the line of settings: no DHCP request leaves the chip."""
    async with Wire() as wire, chip(network=wire.qemu_options(), settings=SETTINGS + " 2001:db8::77") as node:
        await node.line(re.escape(f"address coap://{NODE4}"))
        await node.line(re.escape("address coap://[2001:DB8::77]"))
        await node.line("address .*FE80")
        assert (await wire.ask(OWN4, NODE4, PING + b"\x01\x02")).payload == PONG + b"\x01\x02"
        source = "2001:db8::1"
        reply = await wire.ask(source, "2001:db8::77", PING + b"\x01\x03")
        assert (reply.source, reply.payload) == ("2001:db8::77", PONG + b"\x01\x03")
        # A peer beyond the gateway: the reply goes to the gateway's hardware address.
        assert (await wire.ask("192.0.2.9", NODE4, PING + b"\x01\x04")).payload == PONG + b"\x01\x04"
        found = [read_datagram(frame) for frame in wire.frames]
        assert not [datagram for datagram in found if datagram is not None and datagram.port == 67]


async def test_ethernet_settings_on_the_user_network() -> None:
    async with chip(settings="10.0.2.77/24 10.0.2.2") as node, Node(node.uri) as client:
        assert (await node.line(r"address coap://([0-9.]+)"))[1] == "10.0.2.77"
        assert (await client.device())["board"] == MPS2


WRONG_WORDS = ["10.0.2.300/24", "10.0.2.15/33", "10.0.2.15/", "10.0.2.15/2x", "here", "fe80:::1", "1/2/3"]


@pytest.mark.parametrize("word", WRONG_WORDS)
async def test_ethernet_wrong_settings_are_told_and_dhcp_is_used(word: str, tmp_path: Path) -> None:
    file = tmp_path / "settings"
    file.write_text(f"wasmote-net {word}\n")
    device = [each.format(settings=file) for each in find_board(Project.find(), MPS2).emulate["settings"]]
    async with Wire() as wire, chip(*device, network=wire.qemu_options()) as node:
        told = await node.line("network settings: no address: (.*)")
        assert word.startswith(told[1])

        def asks_for_an_address(frame: bytes) -> bool:
            found = read_datagram(frame)
            return found is not None and found.port == 67

        await wire.arrived(asks_for_an_address)


@pytest.mark.parametrize("word", WRONG_WORDS)
def test_ethernet_wrong_settings_are_refused_by_the_tools(word: str) -> None:
    with pytest.raises(InputError, match="no address for a node"):
        own_address(f"{word} 10.0.2.2")


def test_ethernet_settings_have_an_address_for_the_port_forwarding() -> None:
    assert own_address("fe80::1 10.0.2.77/24 10.0.2.2") == "10.0.2.77"
    assert own_address("2001:db8::1") == ""


@pytest.mark.parametrize(
    ("board", "words", "says"),
    [
        ("netduinoplus2", "10.0.2.77/24", "for a chip with Ethernet"),
        (MPS2, "10.0.2.77/99", "no address for a node"),
    ],
)
def test_ethernet_command_line_refuses_addresses(board: str, words: str, says: str) -> None:
    built(board)
    command = [sys.executable, "-m", "wasmote", "emulate", board, "--udp", "0", "--net", words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.USAGE
    assert says in done.stderr
    assert "next: " in done.stderr


async def test_ethernet_port_in_use_is_named() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        emulator = Emulator(find_board(Project.find(), MPS2), built(MPS2), udp_port=port)
        with pytest.raises(LocalError, match=f"cannot use UDP port {port}"):
            await emulator.start()


async def test_ethernet_takes_an_ipv6_address_from_a_router() -> None:
    """SLAAC (RFC 4862), without root: the router is this test."""
    async with on_a_wire() as (wire, node):
        wire.send(router_advertisement("2001:db8:1::"), group_mac("ff02::1"))
        await node.line(re.escape("address coap://[2001:DB8:1:0:5054:FF:FE12:3456]"))
        own = "2001:db8:1:0:5054:ff:fe12:3456"
        reply = await wire.ask("2001:db8:2::9", own, PING + b"\x07\x07")
        assert (reply.source, reply.payload) == (own, PONG + b"\x07\x07")


async def test_ethernet_cable_is_pulled_and_put_back(tmp_path: Path) -> None:
    """The node says so, and is there again afterwards."""
    monitor = tmp_path / "qmp"
    option = ("-qmp", f"unix:{monitor},server=on,wait=off")
    async with Wire() as wire, chip(*option, network=wire.qemu_options(), settings=SETTINGS) as node:
        await node.line("address .*FE80")
        reader, writer = await asyncio.open_unix_connection(monitor)

        async def order(command: str, **arguments: object) -> None:
            writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            while "return" not in (reply := json.loads(await reader.readline())):
                assert "error" not in reply, reply

        await order("qmp_capabilities")
        await order("set_link", name="wire", up=False)
        await node.line("network cable disconnected")
        with pytest.raises(TimeoutError):
            await wire.ask(OWN4, NODE4, PING + b"\x11\x01", timeout_s=1, tries=1)
        told = node.said.count("network cable connected")
        await order("set_link", name="wire", up=True)
        async with asyncio.timeout(20):
            while node.said.count("network cable connected") == told:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        for source, own in ((OWN4, NODE4), (OWN6, NODE6)):
            assert (await wire.ask(source, own, PING + b"\x11\x02", tries=10, timeout_s=1)).payload[
                0
            ] == PONG[0]
        writer.close()
        await writer.wait_closed()


# ---- discovery ----


async def test_ethernet_multicast_discovery() -> None:
    """A group's member answers from an address of its own, within the leisure time, never an error (RFC 7252 8.2)."""
    async with on_a_wire() as (wire, _node):
        for number, (source, group, own) in enumerate(((OWN4, GROUP4, NODE4), (OWN6, GROUP6, NODE6))):
            mid = bytes([9, number])
            reply = await wire.ask(source, group, DISCOVER % mid, hardware=group_mac(group), timeout_s=10)
            assert reply.source == own
            assert reply.payload[1] == 0x45  # 2.05
            found = links.parse(reply.payload.partition(b"\xff")[2].decode())
            assert "/d" in {link.target for link in found}
        nothing = b"\x50\x01\x09\x09\xb4none"
        with pytest.raises(TimeoutError):
            await wire.ask(OWN4, GROUP4, nothing, hardware=group_mac(GROUP4), timeout_s=7, tries=1)
        # What is for a group that the node has not joined passes by.
        with pytest.raises(TimeoutError):
            await wire.ask(
                OWN4, "224.0.1.99", PING + b"\1\1", hardware=group_mac("224.0.1.99"), timeout_s=1, tries=1
            )
        # The groups were announced: MLD (type 131 or 143 behind a router alert), and IGMP.
        assert [frame for frame in wire.frames if frame[12:14] == b"\x08\x00" and frame[23] == 2]
        assert [
            frame
            for frame in wire.frames
            if frame[12:14] == b"\x86\xdd" and frame[62:63] in (b"\x83", b"\x8f")
        ]


# ---- use ----


class AiocoapClient:
    """Plain aiocoap, as its users use it. `async with`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri

    async def __aenter__(self) -> AiocoapClient:
        self._context = await aiocoap.Context.create_client_context(transports=["simple6"])
        # aiocoap 0.4.17 makes a socket for each of the first requests that are begun at once, and closes only one.
        assert (await self.request(aiocoap.GET, "/d")).code == aiocoap.CONTENT
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._context.shutdown()

    def message(self, code: aiocoap.Code, path: str, payload: bytes = b"", **options: int) -> aiocoap.Message:
        return aiocoap.Message(code=code, uri=self._uri + path, payload=payload, **options)

    async def request(
        self, code: aiocoap.Code, path: str, payload: bytes = b"", **options: int
    ) -> aiocoap.Message:
        return await self._context.request(self.message(code, path, payload, **options)).response

    def start(self, message: aiocoap.Message) -> aiocoap.protocol.Request:
        return self._context.request(message)


def stamped(number: int) -> bytes:
    """A module that answers with this number, of four blocks."""
    return padded(module("stamp").replace(b"VERS", struct.pack("<I", number)), 3500)


async def test_ethernet_libcoap_and_aiocoap_replace_under_load() -> None:
    """coap-client and aiocoap push version after version while aiocoap calls and observes: no call fails, none is
    answered by a version that is not there."""
    if shutil.which(LIBCOAP) is None:
        pytest.skip(f"{LIBCOAP} is not installed (Debian's libcoap3-bin)")
    rounds = 100
    async with chip() as node, AiocoapClient(node.uri) as aio, asyncio.timeout(180):
        libcoap = LibcoapClient(node.uri)
        assert (await libcoap.request("PUT", "/f/stamp", stamped(0), format=42, block=1024)).code == "2.01"
        sent = acknowledged = 0
        done = False
        answers: list[int] = []

        async def call() -> None:
            while not done:
                oldest = acknowledged
                reply = await aio.request(aiocoap.POST, "/f/stamp", cbor2.dumps([]), content_format=60)
                if reply.code == aiocoap.SERVICE_UNAVAILABLE:
                    await asyncio.sleep(0.05)
                    continue
                assert reply.code == aiocoap.CHANGED
                answers.append(cbor2.loads(reply.payload))
                assert oldest <= answers[-1] <= sent

        callers = [asyncio.create_task(call()) for _ in range(2)]
        message = aio.message(aiocoap.GET, "/d/m", observe=0)
        watching = aio.start(message)
        notifications = 0

        async def watch() -> None:
            nonlocal notifications
            await watching.response
            async for notification in watching.observation:
                assert notification.code == aiocoap.CONTENT
                notifications += 1

        watcher = asyncio.create_task(watch())
        for number in range(1, rounds + 1):
            sent = number
            if number % 2:
                put = await libcoap.request("PUT", "/f/stamp", stamped(number), format=42, block=1024)
                assert put.code == "2.04"
            else:
                reply = await aio.request(aiocoap.PUT, "/f/stamp", stamped(number), content_format=42)
                assert reply.code == aiocoap.CHANGED
            acknowledged = number
            called = await libcoap.request("POST", "/f/stamp", cbor2.dumps([]), format=60)
            assert (called.code, cbor2.loads(called.payload)) == ("2.04", number)
        done = True
        await asyncio.gather(*callers)
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher
        assert len(answers) >= rounds
        assert len(set(answers)) >= rounds / 2
        assert notifications >= 3
        async with Node(node.uri) as client:
            found = await metrics(client)
        assert found["traps"] == 0
        assert found["f/stamp/calls"] == len(answers) + rounds


@pytest.mark.parametrize("loss", [0.1, 0.2])
async def test_ethernet_with_packet_loss(loss: float) -> None:
    """Loss each way, doubled and late datagrams between the client and the emulated network: each call runs once."""
    tuning = Tuning(ack_timeout_s=0.3, max_retransmit=12)
    calls, clients, size = 60, 4, 10 * 1024
    async with chip() as node, LossyRelay(host_port(node.uri), Weather(loss=loss, seed=1)) as relay:
        async with asyncio.timeout(180), Node(relay.uri, tuning=tuning) as client:
            await client.push(app("counter"), name="counter")
            await client.push(padded(app("fib"), size), name="fib")
            assert (await client.call("fib/fib", [20])).value == 6765
            assert len(relay.messages(PUT)) >= 1 + size // 1024

            async def add() -> list[object]:
                async with Node(relay.uri, tuning=tuning) as one:
                    return [(await one.call("counter/add", [1])).value for _ in range(calls // clients)]

            parts = await asyncio.gather(*(add() for _ in range(clients)))
            assert sorted(str(value) for part in parts for value in part) == sorted(
                str(number) for number in range(1, calls + 1)
            )
        assert relay.lost > calls * loss / 2
        assert relay.doubled > 0
        async with Node(node.bridge_uri) as direct:
            assert (await direct.call("counter/get")).value == calls


# ---- what no proper peer sends ----


async def test_ethernet_drops_what_is_too_long_or_in_pieces() -> None:
    """The largest message fits a frame: a longer datagram and every fragment is dropped, and nothing is kept."""
    async with on_a_wire() as (wire, node), Node(node.bridge_uri) as serial:
        before = (await metrics(serial))["rx/bad"]
        largest = 1280  # WM_COAP_MESSAGE_BYTES
        # An unknown elective option makes a ping that is no ping: answered by Reset all the same.
        for length, answered in ((largest, True), (largest + 1, False), (1472, False)):
            message = b"\x40\x01\x0a" + bytes([length & 0xFF]) + b"\xe2" + (2100 - 269).to_bytes(2, "big")
            message += b"xx\xff" + b"x" * (length - len(message) - 3)
            try:
                await wire.ask(OWN4, NODE4, message, timeout_s=2, tries=1)
            except TimeoutError:
                assert not answered
            else:
                assert answered
        whole = udp(OWN4, NODE4, PING + b"\x0b\x01" + b"")[20:]
        for flags in (0x2000, 0x0001):
            wire.send(ipv4(OWN4, NODE4, UDP, whole, flags_and_offset=flags))
        fragment = b"\x11\0\0\1" + b"\0\0\0\7" + whole
        wire.send(
            struct.pack("!IHBB", 6 << 28, len(fragment), 44, 64) + packed(OWN6) + packed(NODE6) + fragment
        )
        since = len(wire.frames)
        assert (await wire.ask(OWN4, NODE4, PING + b"\x0b\x02")).payload == PONG + b"\x0b\x02"
        late = [read_datagram(frame) for frame in wire.frames[since:]]
        assert PONG + b"\x0b\x01" not in [datagram.payload for datagram in late if datagram]
        assert (await metrics(serial))["rx/bad"] >= before + 2


def _garbage(dice: random.Random, mac: bytes) -> bytes:
    """A frame that is partly right: so that it gets past the first check, and each time a little further."""
    to = dice.choice((mac, BROADCAST, group_mac(GROUP6), group_mac("224.0.0.1"), dice.randbytes(6)))
    shape = dice.randrange(7)
    if shape == 0:
        return dice.randbytes(dice.randrange(1, 1600))
    if shape == 1:
        return ethernet(
            to,
            dice.choice((ARP, IP4, IP6, 0x8100, dice.randrange(65536))),
            dice.randbytes(dice.randrange(1500)),
        )
    if shape == 2:  # UDP with a right checksum around any bytes: for the CoAP endpoint
        packet = udp(
            OWN4,
            NODE4,
            dice.randbytes(dice.randrange(200)),
            to_port=dice.choice((COAP, 68, 67, dice.randrange(65536))),
        )
        return ethernet(to, IP4, packet)
    if shape == 3:  # neighbour discovery, router advertisements, MLD queries, with options of any length
        body = bytes([dice.choice((130, 133, 134, 135, 136, 137)), 0, 0, 0]) + dice.randbytes(
            dice.randrange(120)
        )
        packet = with_checksum(OWN6, NODE6, 58, body, 2)
        return ethernet(
            to,
            IP6,
            struct.pack("!IHBB", 6 << 28, len(packet), 58, 255) + packed(OWN6) + packed(NODE6) + packet,
        )
    if shape == 4:  # DHCP replies, IGMP
        reply = (
            b"\x02\x01\x06\0" + dice.randbytes(232) + b"\x63\x82\x53\x63" + dice.randbytes(dice.randrange(64))
        )
        data = struct.pack("!HHHH", 67, 68, 8 + len(reply), 0) + reply
        return ethernet(to, IP4, ipv4(OWN4, NODE4, dice.choice((UDP, 2, 1)), data))
    good = bytearray(
        dice.choice((
            ethernet(mac, IP4, udp(OWN4, NODE4, PING + b"\x0c\x0c")),
            ethernet(mac, IP6, udp(OWN6, NODE6, PING + b"\x0c\x0d")),
            ethernet(group_mac("ff02::1"), IP6, router_advertisement("2001:db8:3::")),
            ethernet(
                BROADCAST,
                ARP,
                b"\0\1\x08\0\6\4\0\1" + dice.randbytes(6) + packed(OWN4) + bytes(6) + packed(NODE4),
            ),
        ))
    )  # fmt: skip
    if shape == 5:
        return bytes(good[: dice.randrange(1, len(good))])
    for _ in range(dice.randrange(1, 6)):
        good[dice.randrange(len(good))] = dice.randrange(256)
    return bytes(good)


@pytest.mark.parametrize("settings", [SETTINGS, None], ids=["static", "dhcp"])
async def test_ethernet_survives_garbage(settings: str | None) -> None:
    """Frames of any kind, by the thousand: the node neither crashes nor loses memory, and answers afterwards."""
    dice = random.Random(4)
    async with on_a_wire(settings) as (wire, node), Node(node.bridge_uri) as serial:
        await serial.push(app("counter"), name="counter")
        before = (await metrics(serial))["ram/free"]
        assert wire.mac is not None
        for turn in range(1, 61):
            for _ in range(50):
                wire.raw(_garbage(dice, wire.mac))
            if turn % 10 == 0:
                assert (await serial.call("counter/add", [1])).value == turn // 10
            await asyncio.sleep(0.02)
        address = bytes.fromhex(QEMU_MAC)
        if settings:
            reply = await wire.ask(OWN4, NODE4, PING + b"\x0d\x01", hardware=address, timeout_s=10)
            assert reply.payload == PONG + b"\x0d\x01"
        reply = await wire.ask(OWN6, NODE6, PING + b"\x0d\x02", hardware=address, timeout_s=10)
        assert reply.payload == PONG + b"\x0d\x02"
        assert (await metrics(serial))["ram/free"] == before


async def test_ethernet_under_a_flood_still_serves_the_serial_line() -> None:
    """Frames faster than the chip takes them: they are dropped; a function that runs is called from the other link."""
    async with on_a_wire() as (wire, node), Node(node.bridge_uri) as serial:
        await serial.push(app("counter"), name="counter")
        flood = ethernet(BROADCAST, IP4, udp(OWN4, "10.1.0.255", bytes(600), to_port=9))
        stop = False

        async def pour() -> None:
            while not stop:
                for _ in range(20):
                    wire.raw(flood)
                await asyncio.sleep(0.002)

        pouring = asyncio.create_task(pour())
        for number in range(1, 21):
            assert (await serial.call("counter/add", [1])).value == number
        stop = True
        await pouring
        assert (await wire.ask(OWN4, NODE4, PING + b"\x0e\x01", timeout_s=10)).payload == PONG + b"\x0e\x01"


# ---- IPv6 on a network of the kernel ----


def _why_no_tap() -> str | None:
    """Why this machine lets nobody make a network of its own, or None."""
    for tool in ("unshare", "ip"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if os.geteuid() != 0:
        return "a tap in a network namespace needs root"
    tried = subprocess.run(
        ["unshare", "--net", "ip", "tuntap", "add", "tap0", "mode", "tap"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"no tap here: {tried.stderr.strip()}"


def test_ethernet_ipv6_on_a_tap() -> None:
    """tap_session.py in a network namespace: coap-client and aiocoap reach the node at its link-local and its static
    address, and by the group ff02::fd."""
    if (why := _why_no_tap()) is not None:
        pytest.skip(why)
    if shutil.which(LIBCOAP) is None:
        pytest.skip(f"{LIBCOAP} is not installed (Debian's libcoap3-bin)")
    image = built(MPS2)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, Path(__file__).parent / "tap_session.py", str(image)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["static"] == {"put": "2.01", "called": ["2.04", 6765], "observed": ["2.05", True]}
    assert said["link_local"] == {"called": ["2.04", 55]}
    assert said["aiocoap"] == {"called": ["2.04 Changed", 144]}
    assert said["discovered"] == ["fe80::5054:ff:fe12:3456"]
