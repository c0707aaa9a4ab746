"""`wasmote fleet nodes`: the fleet."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("node", required=False)
@click.option("--rm", "remove", is_flag=True, help="Let NODE go; nothing changes on it.")
@server_options
def command(session: Session, node: str | None, remove: bool, server: str, key: str | None) -> None:
    """List the fleet's nodes, or the functions on NODE."""
    client = Client(server, key)
    if remove:
        if node is None:
            raise InputError("--rm is for one node", next_step="name it: wasmote fleet nodes NODE --rm")
        client.request("DELETE", "nodes", node)
        session.output.emit({"removed": node}, f"{node} left the fleet")
    elif node is None:
        nodes = client.get("nodes")["nodes"]
        rows = [
            {**found, "board": found["device"].get("board"), "fw": found["device"].get("fw")}
            for found in nodes
        ]
        session.output.table(
            rows, {"id": "NODE", "uri": "ADDRESS", "board": "BOARD", "fw": "FIRMWARE"}, value=nodes
        )
    else:
        found = client.get("nodes", node, "functions")["functions"]
        rows = [{**function, "exports": " ".join(function["exports"])} for function in found]
        session.output.table(rows, {"name": "FUNCTION", "size": "BYTES", "exports": "EXPORTS"}, value=found)
