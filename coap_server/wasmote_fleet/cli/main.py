"""The group `wasmote fleet`, which `wasmote` finds by the entry point of that name."""

from __future__ import annotations

import click

from wasmote.cli.lazy import LazyGroup

# Only these lines change when a command is added.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Server": {
        "engine": ("engine", "what keeps the fleet's data, and what an acknowledged write survives"),
    },
}


@click.command(
    cls=LazyGroup,
    name="fleet",
    sections=COMMANDS,
    package="wasmote_fleet.cli",
    extra="fleet",
    short_help="many nodes as one system",
)
def command() -> None:
    """Many nodes as one system."""
