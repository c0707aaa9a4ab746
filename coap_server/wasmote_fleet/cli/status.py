"""`wasmote fleet status`: what the server is and has."""

from __future__ import annotations

from typing import Any

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote_fleet.cli.client import Client, server_options


@base_command()
@server_options
def command(session: Session, server: str, key: str | None) -> None:
    """Say what the server is and has."""
    status = Client(server, key).get("status")
    engine = status["engine"]
    rows = [
        {"what": "version", "is": status["version"]},
        {"what": "server", "is": status["server"]},
        {"what": "nodes", "is": _nodes(status)},
        {"what": "functions", "is": str(status["functions"])},
        {"what": "requests at nodes", "is": str(status["requests_at_nodes"])},
        {"what": "queued calls", "is": str(status["requests_queued"])},
        {"what": "data", "is": f"{engine['driver']} {engine['version']}, {engine['location']}"},
        {"what": "a write survives", "is": engine["durability"]},
    ]
    session.output.table(rows, {"what": "WHAT", "is": "IS"}, value=status)


def _nodes(status: dict[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in status["states"].items() if count)
    return f"{status['nodes']}: {states}" if states else "0"
