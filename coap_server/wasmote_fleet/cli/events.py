"""`wasmote fleet events`: what happened to nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError, UnreachableError
from wasmote_fleet.cli.client import Client, server_options

_AGAIN_S = 1.0


@base_command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--after", type=click.IntRange(min=0), metavar="OFFSET", help="Only those behind this one.")
@click.option(
    "-n",
    "limit",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="How many of those that there are; otherwise 100.",
)
@server_options
def command(
    session: Session, follow: bool, after: int | None, limit: int | None, server: str, key: str | None
) -> None:
    """Show what happened to nodes: joined, up, silent (it missed a beat), down (two), left, unknown (its server died),
    rebooted.

    With -f and --json each event is a line. It goes on where it was when the server starts again.
    """
    if follow and limit is not None:
        raise InputError("-f shows all that happens", next_step="leave out -n; --after OFFSET begins earlier")
    client = Client(server, key)
    if follow:
        for event in _follow(client, after):
            session.output.emit(event, _line(event))
        return
    query = {"wait": "false", "limit": str(limit or 100)}
    if after is not None:
        query["after"] = str(after)
    events = client.get("events", query=query)["events"]
    columns = {
        "offset": "OFFSET", "time": "AT", "node": "NODE", "kind": "WHAT", "boot": "BOOT", "server": "SEEN BY",
        "cause": "CAUSE",
    }  # fmt: skip
    empty = (
        "no events yet: `wasmote fleet adopt URI`, or a node that registers, makes the first ones"
        if after is None
        else f"no events after {after} yet: -f waits for them"
    )
    session.output.table(
        [{**event, "time": _time(event)} for event in events], columns, value=events, empty=empty
    )


def _follow(client: Client, after: int | None) -> Iterator[dict[str, Any]]:
    """Each event; from a server that is away for a moment, too, once it was there."""
    connected = False
    while True:
        try:
            for event in client.stream("events", query={} if after is None else {"after": str(after)}):
                connected = True
                if event is not None:
                    after = event["offset"]
                    yield event
        except UnreachableError:
            if not connected:
                raise
        time.sleep(_AGAIN_S)


def _line(event: dict[str, Any]) -> str:
    cause = f" ({event['cause']})" if event["cause"] else ""
    return f"{_time(event)} {event['node']} {event['kind']}{cause}"


def _time(event: dict[str, Any]) -> str:
    return datetime.fromtimestamp(event["at"]).astimezone().strftime("%Y-%m-%d %H:%M:%S")
