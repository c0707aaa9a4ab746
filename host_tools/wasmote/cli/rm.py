"""wasmote rm: remove functions."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import hex_etag, open_node, run
from wasmote.errors import InputError
from wasmote.node import check_name


@make_command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--if-match", metavar="ETAG", help="Only if what is there has this ETag (`wasmote info`).")
def command(session: Session, names: tuple[str, ...], if_match: str | None) -> None:
    """Remove functions. That there is none of a name is no error."""
    if if_match is not None and len(names) > 1:
        raise InputError("--if-match is for one function", next_step="remove them one by one")
    for name in names:
        check_name(name)
    run(_rm(session, names, None if if_match is None else hex_etag(if_match)))
    session.output.emit({"removed": list(names)}, "\n".join(f"{name} removed" for name in names))


async def _rm(session: Session, names: tuple[str, ...], etag: bytes | None) -> None:
    async with open_node(session) as node:
        for name in names:
            await node.rm(name, if_match=etag)
