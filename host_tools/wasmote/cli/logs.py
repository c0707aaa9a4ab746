"""wasmote logs: a node's log."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import open_node, run
from wasmote.node import LogLine


@make_command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines, until Ctrl-C.")
@click.option("--from", "from_number", type=click.IntRange(min=0), default=0, help="The first line's number.")
def command(session: Session, follow: bool, from_number: int) -> None:
    """Print the node's log: what functions and the node itself said."""
    run(_logs(session, follow, from_number))


async def _logs(session: Session, follow: bool, from_number: int) -> None:
    expected = from_number
    async with open_node(session) as node:
        lines = node.logs(from_number, follow=follow)
        try:
            async for line in lines:
                if expected and line.number > expected:
                    session.output.note(
                        f"{line.number - expected} lines were overwritten before they could be read"
                    )
                expected = line.number + 1
                _print(session, line)
        finally:
            await lines.aclose()


def _print(session: Session, line: LogLine) -> None:
    value = {
        "number": line.number,
        "ms": line.at_ms,
        "level": line.level_name,
        "source": line.source,
        "text": line.text,
    }
    source = f"{line.source}: " if line.source else ""
    session.output.emit(value, f"{line.at_ms / 1000:10.3f} {line.level_name:7} {source}{line.text}")
