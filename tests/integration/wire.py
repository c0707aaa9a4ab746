"""The other end of an emulated Ethernet cable: frames made and read here, byte by byte.

    async with Wire() as wire, Emulator(board, image, network=wire.qemu_options()) as node:
        await wire.arrived(lambda frame: ...)
        wire.send(wire.udp("10.0.0.1", NODE, 5683, payload))

QEMU's socket network carries each frame in a UDP datagram of this machine. The wire answers ARP and neighbour
solicitations for its own addresses, and DHCP if it is told to, as a network would.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

MAC = bytes.fromhex("02000000aa01")
BROADCAST = b"\xff" * 6
IP4, ARP, IP6 = 0x0800, 0x0806, 0x86DD
UDP, ICMP6 = 17, 58
OWN4 = "10.1.0.1"
OWN6 = "fe80::aa01"
GROUP4 = "224.0.1.187"  # All CoAP Nodes, RFC 7252, 12.8
GROUP6 = "ff02::fd"
COAP = 5683


def packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def group_mac(address: str) -> bytes:
    """RFC 1112, 6.4; RFC 2464, 7."""
    raw = packed(address)
    if len(raw) == 4:
        return b"\x01\x00\x5e" + bytes([raw[1] & 0x7F]) + raw[2:]
    return b"\x33\x33" + raw[12:]


def ethernet(to: bytes, kind: int, payload: bytes) -> bytes:
    return to + MAC + kind.to_bytes(2, "big") + payload


def ipv4(source: str, to: str, protocol: int, payload: bytes, *, flags_and_offset: int = 0) -> bytes:
    head = struct.pack(
        "!BBHHHBBH4s4s",
        *(0x45, 0, 20 + len(payload), 7, flags_and_offset, 64, protocol, 0, packed(source), packed(to)),
    )
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:] + payload


def ipv6(source: str, to: str, protocol: int, payload: bytes, *, hops: int = 255) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + packed(source) + packed(to) + payload


def with_checksum(source: str, to: str, protocol: int, data: bytes, at: int) -> bytes:
    """data with the checksum over itself and the pseudo-header at this place (RFC 768; RFC 8200, 8.1)."""
    if ":" in source:
        pseudo = packed(source) + packed(to) + struct.pack("!II", len(data), protocol)
    else:
        pseudo = packed(source) + packed(to) + struct.pack("!HH", protocol, len(data))
    found = checksum(pseudo + data) or 0xFFFF
    return data[:at] + found.to_bytes(2, "big") + data[at + 2 :]


def udp(source: str, to: str, payload: bytes, *, port: int = 40000, to_port: int = COAP) -> bytes:
    """The IP packet of a datagram."""
    data = struct.pack("!HHHH", port, to_port, 8 + len(payload), 0) + payload
    data = with_checksum(source, to, UDP, data, 6)
    return (ipv6 if ":" in source else ipv4)(source, to, UDP, data)


def icmp6(source: str, to: str, body: bytes) -> bytes:
    """body: type, code, two zeros, and the rest."""
    return ipv6(source, to, ICMP6, with_checksum(source, to, ICMP6, body, 2))


def router_advertisement(prefix: str) -> bytes:
    """A packet: a router at OWN6, and a prefix of 64 bits for addresses (RFC 4861, 4.2 and 4.6)."""
    head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    link = bytes([1, 1]) + MAC
    option = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 86400, 14400, 0) + packed(prefix)
    return icmp6(OWN6, "ff02::1", head + link + option)


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram from the node."""

    source: str
    to: str
    port: int
    payload: bytes


def read_datagram(frame: bytes) -> Datagram | None:
    """The datagram in a frame, its checksum verified; None if it is something else."""
    kind = int.from_bytes(frame[12:14], "big")
    packet = frame[14:]
    if kind == IP4 and packet[9] == UDP:
        assert checksum(packet[:20]) == 0
        source, to = (str(ipaddress.ip_address(packet[at : at + 4])) for at in (12, 16))
        data = packet[20 : int.from_bytes(packet[2:4], "big")]
    elif kind == IP6 and packet[6] == UDP:
        source, to = (str(ipaddress.ip_address(packet[at : at + 16])) for at in (8, 24))
        data = packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
    else:
        return None
    assert with_checksum(source, to, UDP, data[:6] + b"\0\0" + data[8:], 6)[6:8] == data[6:8]
    return Datagram(source, to, int.from_bytes(data[2:4], "big"), data[8:])


class Wire:
    """Both ends' sockets. mac: the node's, once it has sent something. frames: all that it sent."""

    def __init__(self) -> None:
        self.mac: bytes | None = None
        self.frames: list[bytes] = []
        self._news = asyncio.Event()
        self._transport: asyncio.DatagramTransport | None = None
        self._ports = (0, 0)

    def qemu_options(self, model: str = "lan9118") -> list[str]:
        ours, its = self._ports
        return ["-nic", f"socket,id=wire,model={model},udp=127.0.0.1:{ours},localaddr=127.0.0.1:{its}"]

    async def __aenter__(self) -> Wire:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            its = probe.getsockname()[1]
        wire = self

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data: bytes, _addr: Any) -> None:
                wire._received(data)

            def error_received(self, _exc: Exception) -> None:
                """The emulator has not started, or has ended."""

        self._transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            Protocol, local_addr=("127.0.0.1", 0), remote_addr=("127.0.0.1", its)
        )
        self._ports = (self._transport.get_extra_info("sockname")[1], its)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transport is not None
        self._transport.close()
        await asyncio.sleep(0)

    def raw(self, frame: bytes) -> None:
        """Whatever it is."""
        assert self._transport is not None
        self._transport.sendto(frame)

    def send(self, packet: bytes, to: bytes | None = None) -> None:
        """An IP packet; to: a hardware address, or the node's."""
        address = to or self.mac
        assert address is not None, "the node has not said anything yet"
        self.raw(ethernet(address, IP6 if packet[0] >> 4 == 6 else IP4, packet))

    async def arrived(
        self, wanted: Callable[[bytes], bool], *, since: int = 0, timeout_s: float = 20.0
    ) -> bytes:
        """The first frame like this, from number `since` on."""
        async with asyncio.timeout(timeout_s):
            at = since
            while True:
                for frame in self.frames[at:]:
                    if wanted(frame):
                        return frame
                at = len(self.frames)
                self._news.clear()
                await self._news.wait()

    async def ask(
        self,
        source: str,
        to: str,
        message: bytes,
        *,
        hardware: bytes | None = None,
        timeout_s: float = 5.0,
        tries: int = 3,
    ) -> Datagram:
        """Send a CoAP message from port 40000 and wait for what comes to that port next. TimeoutError: nothing."""
        for last in (*[False] * (tries - 1), True):
            since = len(self.frames)
            self.send(udp(source, to, message), hardware)

            def is_reply(frame: bytes) -> bool:
                found = read_datagram(frame)
                return found is not None and found.to == source and found.port == 40000

            try:
                found = read_datagram(await self.arrived(is_reply, since=since, timeout_s=timeout_s))
            except TimeoutError:
                if last:
                    raise
            else:
                assert found is not None
                return found
        raise AssertionError

    def _received(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.mac = frame[6:12]
        kind = int.from_bytes(frame[12:14], "big")
        if kind == ARP and frame[20:22] == b"\0\x01" and frame[38:42] == packed(OWN4):
            answer = frame[14:20] + b"\0\x02" + MAC + packed(OWN4) + frame[22:32]
            self.raw(ethernet(self.mac, ARP, answer))
        if kind == IP6 and frame[20] == ICMP6 and frame[54] == 135:
            target = str(ipaddress.ip_address(frame[62:78]))
            asker = str(ipaddress.ip_address(frame[22:38]))
            if asker != "::" and target in (OWN6, "2001:db8::1"):
                body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + packed(target) + bytes([2, 1]) + MAC
                self.send(icmp6(target, asker, body))
        self._news.set()
