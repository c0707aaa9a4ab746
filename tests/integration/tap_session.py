"""tap_session.py IMAGE: run in a network namespace of its own by test_ethernet.py. Makes a tap, starts the emulator on
it, uses the node over IPv6, and prints what came back as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiocoap
import cbor2
from foreign import LibcoapClient
from nodes import app

from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project

TAP = "tap0"
LINK_LOCAL = "fe80::5054:ff:fe12:3456"
STATIC = "2001:db8::77"
LEISURE_S = 8.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdout=sys.stderr)


async def discovered() -> list[str]:
    """Who answers a GET of /.well-known/core at ff02::fd."""
    loop = asyncio.get_running_loop()
    found = set()
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        message = b"\x50\x01\x0f\x01\xbb.well-known\x04core"
        await loop.sock_sendto(sock, message, ("ff02::fd", 5683, 0, socket.if_nametoindex(TAP)))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEISURE_S):
                while True:
                    data, address = await loop.sock_recvfrom(sock, 2048)
                    if b"</d>" in data:
                        found.add(address[0].partition("%")[0])
                        break
    return sorted(found)


async def session(image: Path) -> dict[str, Any]:
    ip("tuntap", "add", TAP, "mode", "tap")
    ip("link", "set", "lo", "up")
    ip("link", "set", TAP, "up")
    ip("-6", "address", "add", "2001:db8::1/64", "dev", TAP, "nodad")
    addresses: set[str] = set()
    valid = asyncio.Event()

    def on_text(line: str) -> None:
        print(line, file=sys.stderr)
        addresses.add(line)
        if any("FE80" in each for each in addresses) and any("2001:DB8" in each for each in addresses):
            valid.set()

    emulator = Emulator(
        find_board(Project.find(), "mps2_an386"),
        image,
        network=["-nic", f"tap,model=lan9118,ifname={TAP},script=no,downscript=no"],
        settings=f"10.1.0.2/24 {STATIC}",
        on_text=on_text,
        ready_timeout_s=60,
    )
    async with emulator, asyncio.timeout(90):
        await valid.wait()
        static = LibcoapClient(f"coap://[{STATIC}]")
        put = await static.request("PUT", "/f/fib", app("fib"), format=42, block=512)
        called = await static.request("POST", "/f/fib", cbor2.dumps([20]), format=60)
        async with static.observe("/d/m") as notifications:
            first = await asyncio.wait_for(notifications.get(), 20)
        local = LibcoapClient(f"coap://[{LINK_LOCAL}%{TAP}]")
        near = await local.request("POST", "/f/fib", cbor2.dumps([10]), format=60)
        context = await aiocoap.Context.create_client_context(transports=["simple6"])
        message = aiocoap.Message(
            code=aiocoap.POST, uri=f"coap://[{STATIC}]/f/fib", payload=cbor2.dumps([12]), content_format=60
        )
        reply = await context.request(message).response
        await context.shutdown()
        return {
            "static": {
                "put": put.code,
                "called": [called.code, cbor2.loads(called.payload)],
                "observed": [first.code, first.observe is not None],
            },
            "link_local": {"called": [near.code, cbor2.loads(near.payload)]},
            "aiocoap": {"called": [str(reply.code), cbor2.loads(reply.payload)]},
            "discovered": await discovered(),
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(session(Path(sys.argv[1])))))
