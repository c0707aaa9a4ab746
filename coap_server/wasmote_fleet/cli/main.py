"""The group `wasmote fleet`, which `wasmote` finds by the entry point of that name."""

from __future__ import annotations

import click

from wasmote.cli.lazy import LazyGroup

# Only these lines change when a command is added.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": ("demo", "see a fleet at work: a chain over three nodes, one of which dies"),
    },
    "Server": {
        "serve": ("serve", "run a fleet server"),
        "action-proxy": ("action_proxy", "be the runtime of an OpenWhisk action"),
        "status": ("status", "what the server is and has"),
        "keys": ("keys", "who may do what on a server that others reach"),
        "engine": ("engine", "what keeps the fleet's data, and what an acknowledged write survives"),
    },
    "Nodes": {
        "adopt": ("adopt", "take a node into the fleet"),
        "nodes": ("nodes", "the fleet's nodes, and what is on one"),
        "events": ("events", "what happened to nodes"),
    },
    "Functions": {
        "publish": ("publish", "put a function into the repository"),
        "functions": ("functions", "what is published"),
        "push": ("push", "install a published function on a node"),
        "deploy": ("deploy", "say what should run where, and see it come about"),
        "deployments": ("deployments", "what is deployed, and how far it is"),
        "call": ("call", "call a function of a deployment or on a node, or a chain"),
        "history": ("history", "queued calls and chains: what became of them, and their results"),
        "action": ("action", "OpenWhisk's actions: parameters in, a result out"),
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
