"""`wasmote fleet publish`: put a function into the repository."""

from __future__ import annotations

import click

from wasmote.adapters import apps
from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.node import check_name
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("source", metavar="APP|FILE")
@click.option("--name", help="The function's name. Otherwise the module's own, or the file's.")
@click.option("--version", "version", help="Otherwise the module's own, or the first digits of its SHA-256.")
@click.option("--bare", is_flag=True, help="Send a module without a `wasmote` section as it is.")
@click.option("--replace", is_flag=True, help="Also if this version is another module now.")
@server_options
def command(
    session: Session,
    source: str,
    name: str | None,
    version: str | None,
    bare: bool,
    replace: bool,
    server: str,
    key: str | None,
) -> None:
    """Publish a function: its latest version is from now on this module.

    An app (a folder with app.toml, or a name from wasm_apps) or a .c or .wat file is compiled first. The server
    validates the module as a node does.
    """
    compiled = apps.load(source)
    chosen = name or compiled.name
    check_name(chosen)
    module = compiled.data if bare else apps.with_default_section(compiled, chosen)
    query = {} if version is None else {"version": version}
    if replace:
        query["replace"] = "true"
    published = (
        Client(server, key)
        .request("PUT", "functions", chosen, query=query, data=module, content_type="application/wasm")
        .json()
    )
    session.output.emit(
        published,
        f"{chosen} {published['version']} {'published' if published['created'] else 'is the latest'}:"
        f" {published['module']['size']} bytes, sha256 {published['sha256'][:16]}",
    )
