"""`wasmote fleet nodes`: the fleet."""

from __future__ import annotations

import time
from typing import Any

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("node", required=False)
@click.option("--rm", "remove", is_flag=True, help="Let NODE go; nothing changes on it.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="Give NODE a label; repeatable.")
@click.option("--beat", type=click.FloatRange(0.1, 3600), metavar="SECONDS", help="How often NODE is asked.")
@click.option("--discover", is_flag=True, help="Look for nodes by multicast and mDNS; `adopt` takes one in.")
@server_options
def command(
    session: Session,
    node: str | None,
    remove: bool,
    discover: bool,
    labels: tuple[str, ...],
    beat: float | None,
    server: str,
    key: str | None,
) -> None:
    """List the fleet's nodes, or the functions on NODE.

    STATE: up; silent (it missed a beat), down (two); joined (not heard of yet); left (its registration ended); unknown
    (no server speaks with it now). With --label or --beat, NODE is changed. --label NAME= takes a label away.
    """
    client = Client(server, key)
    if discover:
        if node is not None or remove or labels or beat is not None:
            raise InputError("--discover goes alone", next_step="leave out the rest")
        _discover(session, client)
    elif node is None:
        if remove or labels or beat is not None:
            raise InputError(
                "--rm, --label and --beat are for one node", next_step="name it: wasmote fleet nodes NODE"
            )
        nodes = client.get("nodes")["nodes"]
        columns = {
            "id": "NODE", "state": "STATE", "for": "FOR", "uri": "ADDRESS", "board": "BOARD", "fw": "FIRMWARE",
            "labels": "LABELS",
        }  # fmt: skip
        session.output.table(
            [_row(found) for found in nodes],
            columns,
            value=nodes,
            empty="no nodes yet: `wasmote fleet adopt URI` takes one in, `wasmote emulate host --register URI` is one",
        )
    elif remove:
        client.request("DELETE", "nodes", node)
        session.output.emit({"removed": node}, f"{node} left the fleet")
    elif labels or beat is not None:
        wanted: dict[str, Any] = {} if beat is None else {"beat_s": beat}
        if labels:
            wanted["labels"] = _labels(client.get("nodes", node)["labels"], labels)
        changed = client.request("PATCH", "nodes", node, json=wanted).json()
        session.output.emit(
            changed, f"{node}: {_text(changed['labels']) or 'no labels'}, asked every {changed['beat_s']:g} s"
        )
    else:
        found = client.get("nodes", node, "functions")["functions"]
        rows = [{**function, "exports": " ".join(function["exports"])} for function in found]
        session.output.table(
            rows,
            {"name": "FUNCTION", "size": "BYTES", "exports": "EXPORTS"},
            value=found,
            empty=f"no functions yet: `wasmote fleet push {node} NAME` installs a published one",
        )


def _discover(session: Session, client: Client) -> None:
    session.output.note("looking for nodes, 6 to 8 s")
    answer = client.request("POST", "discovery").json()
    for problem in answer["problems"]:
        session.output.warning(problem)
    rows = [
        {**found, "how": " ".join(found["how"]), "node": found["node"] or "-"} for found in answer["found"]
    ]
    columns = {
        "ep": "NODE",
        "uri": "ADDRESS",
        "name": "ANNOUNCED AS",
        "how": "FOUND BY",
        "node": "IN THE FLEET AS",
    }
    session.output.table(rows, columns, value=answer["found"], empty="no node answered")


def _row(node: dict[str, Any]) -> dict[str, Any]:
    device = node["device"]
    return {
        **node,
        "for": duration(time.time() - node["since"]),
        "board": device.get("board"),
        "fw": device.get("fw"),
        "labels": _text(node["labels"]),
    }


def _text(labels: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(labels.items()))


def _labels(before: dict[str, str], given: tuple[str, ...]) -> dict[str, str]:
    labels = dict(before)
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise InputError(f"'{text}' is no label", next_step="write NAME=VALUE, or NAME= to take it away")
        labels[name] = value
    return {name: value for name, value in labels.items() if value}


def duration(seconds: float) -> str:
    """For a person: the two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
