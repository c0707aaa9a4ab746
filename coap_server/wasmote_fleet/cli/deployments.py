"""`wasmote fleet deployments`: what is deployed."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options
from wasmote_fleet.cli.rollout import end_of, follow, summary


@base_command()
@click.argument("id", required=False)
@click.option("--rm", "remove", is_flag=True, help="Remove ID from all nodes.")
@click.option("--rollback", is_flag=True, help="Make ID what it was before the last change.")
@click.option("--no-wait", is_flag=True, help="With --rm and --rollback: do not wait for the nodes.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=600.0,
    metavar="SECONDS",
    help="How long to wait; otherwise 600.",
)
@server_options
def command(
    session: Session,
    id: str | None,
    remove: bool,
    rollback: bool,
    no_wait: bool,
    timeout_s: float,
    server: str,
    key: str | None,
) -> None:
    """List the deployments, or show one: where its functions run, and what is in the way."""
    client = Client(server, key)
    if id is None:
        if remove or rollback:
            raise InputError("--rm and --rollback are for one deployment", next_step="name it")
        found = client.get("deployments")["deployments"]
        rows = [
            {
                **one["progress"],
                "functions": len(one["spec"]["functions"]),
                "ready": f"{one['progress']['ready']}/{one['progress']['wanted']}",
            }
            for one in found
        ]
        columns = {
            "id": "DEPLOYMENT", "phase": "PHASE", "ready": "READY", "failed": "FAILED", "functions": "FUNCTIONS",
            "generation": "GENERATION", "cause": "CAUSE",
        }  # fmt: skip
        session.output.table(
            rows, columns, value=found, empty="nothing is deployed yet: `wasmote fleet deploy FILE` does that"
        )
        return
    if remove and rollback:
        raise InputError("--rm and --rollback exclude each other", next_step="choose one")
    if remove:
        client.request("DELETE", "deployments", id)
    elif rollback:
        client.request("POST", "deployments", id, "rollback")
    if (remove or rollback) and not no_wait:
        progress = follow(session, client, id, timeout_s)
        end_of(progress, timeout_s)
        session.output.emit({"id": id, "progress": progress}, summary(progress))
    elif remove:
        session.output.emit({"id": id, "removing": True}, f"{id}: removing")
    else:
        one = client.get("deployments", id)
        progress = one["progress"]
        lines = [summary(progress, one["spec"])]
        lines += [
            f"  chain {chain['name']}: {', '.join(chain['steps'])}" for chain in one["spec"].get("chains", ())
        ]
        lines += [f"  {progress['cause']}"] if progress["cause"] else []
        session.output.emit(one, "\n".join(lines))
