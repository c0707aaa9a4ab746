"""Whether a node is still where it said it was: one short question, before somebody else gets its name."""

from __future__ import annotations

import asyncio

from wasmote.adapters.coap import CoapClient, Tuning
from wasmote.errors import WasmoteError
from wasmote.protocol import answers, messages
from wasmote.protocol.messages import Request
from wasmote.protocol.target import parse_target

PATIENCE_S = 1.5
_TUNING = Tuning(ack_timeout_s=0.25, max_retransmit=2, attempts=1, busy_wait_s=0.0)  # three messages


async def answers_as(base: str, ep: str) -> bool:
    """Whether a node called ep answers at base. A port that is closed says so at once, if the machine is up; from one
    where nothing is, nothing comes for PATIENCE_S."""
    try:
        target = parse_target(base)
        if target.kind != "udp":
            return False
        async with (
            asyncio.timeout(PATIENCE_S),
            CoapClient(target.host, target.port, tuning=_TUNING) as client,
        ):
            reply = await client.request(Request(messages.GET, ("d",)), repeatable=True)
        return reply.ok and answers.cbor_map(reply).get("ep") == ep
    except (WasmoteError, TimeoutError):
        return False
