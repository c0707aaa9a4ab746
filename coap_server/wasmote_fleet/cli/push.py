"""`wasmote fleet push`: a function of the repository to nodes."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("node")
@click.argument("function")
@click.option("--version", "version", help="Otherwise the latest.")
@click.option("--as", "name", metavar="NAME", help="Its name on the node. Otherwise FUNCTION.")
@server_options
def command(
    session: Session,
    node: str,
    function: str,
    version: str | None,
    name: str | None,
    server: str,
    key: str | None,
) -> None:
    """Install FUNCTION on NODE, or replace what is there while it is in use."""
    body = {"function": function} if version is None else {"function": function, "version": version}
    pushed = (
        Client(server, key).request("PUT", "nodes", node, "functions", name or function, json=body).json()
    )
    session.output.emit(
        pushed,
        f"{pushed['name']} on {node} {'created' if pushed['created'] else 'replaced'}: {function} {pushed['version']},"
        f" {pushed['size']} bytes, {pushed['ms']:g} ms",
    )
