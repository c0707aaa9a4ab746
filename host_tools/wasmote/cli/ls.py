"""wasmote ls: the functions on a node."""

from __future__ import annotations

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import open_node, run
from wasmote.node import FunctionLink


@make_command()
def command(session: Session) -> None:
    """List the functions on a node."""
    found = run(_ls(session))
    rows = [{"name": one.name, "size": one.size_bytes, "exports": " ".join(one.exports)} for one in found]
    value = [{"name": one.name, "size": one.size_bytes, "exports": list(one.exports)} for one in found]
    session.output.table(
        rows,
        {"name": "NAME", "size": "BYTES", "exports": "EXPORTS"},
        value=value,
        empty="no functions yet: `wasmote push APP` installs one",
    )


async def _ls(session: Session) -> list[FunctionLink]:
    async with open_node(session) as node:
        return await node.ls()
