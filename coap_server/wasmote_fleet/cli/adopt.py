"""`wasmote fleet adopt`: take a node into the fleet."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("uri", metavar="TARGET")
@server_options
def command(session: Session, uri: str, server: str, key: str | None) -> None:
    """Take the node at TARGET into the fleet: coap://host:port, or a serial device of the server's machine. A name from
    the configuration is looked up here."""
    target = session.target_names.get(uri, uri)
    response = Client(server, key).request("POST", "nodes", json={"uri": target})
    node = response.json()
    created = response.status_code == 201
    session.output.emit(
        {**node, "created": created},
        f"{node['id']} {'adopted' if created else 'was in the fleet already'}: {node['uri']}",
    )
