"""`wasmote fleet action-proxy`: OpenWhisk's runtime protocol."""

from __future__ import annotations

import asyncio

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote_fleet.server.action_proxy import serve
from wasmote_fleet.server.addresses import Address, parse_listen


@base_command()
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="In a container 0.0.0.0, so that the platform reaches it. There are no keys: who reaches it can use it.",
)
@click.option(
    "--pool",
    default="16M",
    show_default=True,
    metavar="BYTES",
    help="Memory for the function; a suffix k or M is understood.",
)
def command(session: Session, port: int, host: str, pool: str) -> None:
    """Be the runtime of OpenWhisk actions of kind wasm, in a node of its own on this machine.

    POST /init takes a module once, POST /run calls it with parameters. What it logs goes to stdout and stderr, with the
    line that ends each activation's. Runs until Ctrl-C or SIGTERM.
    """
    at = Address(parse_listen(host, port).host, port)

    def started(where: str) -> None:
        session.output.note(f"action proxy at {where}")

    asyncio.run(serve(at, pool=pool, started=started))
