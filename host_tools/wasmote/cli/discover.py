"""wasmote discover: find nodes."""

from __future__ import annotations

import contextlib

import click

from wasmote.adapters.coap import parse_address
from wasmote.adapters.discover import DEFAULT_TIMEOUT_S, Found, discover
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import run, tuning
from wasmote.protocol.target import COAP_PORT


@make_command()
@click.argument("addresses", nargs=-1, metavar="[coap://HOST[:PORT]]...")
@click.option("--port", type=click.IntRange(1, 65535), default=COAP_PORT, help="UDP port that is asked.")
@click.option("--interface", "interfaces", multiple=True, metavar="NAME", help="Only on this interface.")
@click.option(
    "--timeout", "timeout_s", type=float, default=DEFAULT_TIMEOUT_S, show_default=True, metavar="SECONDS"
)
@click.option("--no-multicast", is_flag=True, help="Ask only the addresses given.")
def command(
    session: Session,
    addresses: tuple[str, ...],
    port: int,
    interfaces: tuple[str, ...],
    timeout_s: float,
    no_multicast: bool,
) -> None:
    """Look for nodes: by multicast on every interface, and at the addresses given. Prints each as it answers."""
    targets = [parse_address(text, port) for text in addresses]
    found = run(_discover(session, targets, port, interfaces, timeout_s, not no_multicast))
    if not found:
        session.output.note(
            "no node answered; multicast does not cross routers: give the address of one, wasmote discover coap://HOST"
        )


async def _discover(
    session: Session,
    targets: list[tuple[str, int]],
    port: int,
    interfaces: tuple[str, ...],
    timeout_s: float,
    multicast: bool,
) -> int:
    seen: set[tuple[str, str]] = set()
    patience = tuning(session) if session.ack_timeout_s is not None else None
    search = discover(
        targets, multicast=multicast, port=port, interfaces=interfaces, timeout_s=timeout_s, tuning=patience
    )
    async with contextlib.aclosing(search) as nodes:
        async for node in nodes:
            if (node.ep, node.address) not in seen:
                seen.add((node.ep, node.address))
                _print(session, node)
    return len(seen)


def _print(session: Session, node: Found) -> None:
    board, firmware = node.device.get("board", ""), node.device.get("fw", "")
    value = {"ep": node.ep, "address": node.address, "board": board, "fw": firmware}
    session.output.emit(value, f"{node.ep}  {node.address}  {board} {firmware}".rstrip())
