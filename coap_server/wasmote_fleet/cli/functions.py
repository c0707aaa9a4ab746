"""`wasmote fleet functions`: what is published."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError
from wasmote.protocol.values import signature_text
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@click.argument("name", required=False)
@click.option(
    "--version", "version", metavar="VERSION", help="Of NAME; otherwise the latest, or all for --rm."
)
@click.option("--rm", "remove", is_flag=True, help="Forget NAME; nodes keep what they have.")
@server_options
def command(
    session: Session, name: str | None, version: str | None, remove: bool, server: str, key: str | None
) -> None:
    """List the functions in the repository, or describe one."""
    client = Client(server, key)
    query = {} if version is None else {"version": version}
    if name is None:
        if remove or version is not None:
            raise InputError("--rm and --version are for one function", next_step="name it")
        found = client.get("functions")["functions"]
        rows = [{**function, "sha256": function["sha256"][:16]} for function in found]
        session.output.table(
            rows,
            {"name": "FUNCTION", "version": "LATEST", "sha256": "SHA-256"},
            value=found,
            empty="nothing is published yet: `wasmote fleet publish APP` does that",
        )
    elif remove:
        client.request("DELETE", "functions", name, query=query)
        session.output.emit(
            {"removed": name, "version": version}, f"{name} {version or ''}".rstrip() + " removed"
        )
    else:
        function = client.get("functions", name, query=query)
        module = function["module"]
        lines = [f"{name} {function['version']}: {module['size']} bytes, sha256 {function['sha256']}"]
        for export in module["exports"]:
            words = [word for word in ("pure", "idempotent") if export[word]]
            default = ["default"] if export["name"] == module["default"] else []
            lines.append(
                "  "
                + " ".join(
                    [
                        export["name"] + signature_text(export["params"], export["results"]),
                        *[f"[{word}]" for word in default + words],
                    ]
                )
            )
        lines += [f"  imports {wanted['module']}.{wanted['name']}" for wanted in module["imports"]]
        lines.append("  versions: " + " ".join(found["version"] for found in function["versions"]))
        session.output.emit(function, "\n".join(lines))
