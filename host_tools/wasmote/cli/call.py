"""wasmote call: run a function on a node."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.calls import print_result, read_input
from wasmote.cli.node import open_node, run
from wasmote.errors import InputError
from wasmote.node import CallResult


# A negative number looks like an option; it is none.
@make_command(context_settings={"ignore_unknown_options": True})
@click.argument("function", metavar="NAME[/EXPORT]")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--in", "in_file", metavar="FILE", help="Input stream of a bytes export; - is standard input.")
@click.option(
    "--out", "out_file", metavar="FILE", help="Where the output stream goes; otherwise standard output."
)
@click.option("--fetch", is_flag=True, help="Run a pure export on a fresh instance.")
@click.option(
    "--background", is_flag=True, help="Start a job and print its id; `wasmote jobs ID` has the result."
)
@click.option("--id", "job_id", metavar="ID", help="The id of the --background job. One id never runs twice.")
def command(
    session: Session,
    function: str,
    args: tuple[str, ...],
    in_file: str | None,
    out_file: str | None,
    fetch: bool,
    background: bool,
    job_id: str | None,
) -> None:
    """Call a function and print its result.

    EXPORT is a name, or :N for the export with index N, as `wasmote info NAME` shows it; without one the function's
    default is called. ARGS are the numbers that it takes: decimal, 0x..., for floats also nan and inf. An export of
    bytes reads --in and writes --out. Exit code 4 is a trap, 5 an error of the function's own, 7: it may have run.
    """
    if background and fetch:
        raise InputError("--background and --fetch exclude each other", next_step="leave out one of them")
    if job_id is not None and not background:
        raise InputError("--id is for --background", next_step="add --background")
    if background and out_file is not None:
        raise InputError("--background has no output yet", next_step="`wasmote jobs ID --out FILE` writes it")
    data = read_input(in_file)
    if background:
        chosen = run(_start(session, function, args, data, job_id))
        session.output.emit({"job": chosen}, chosen)
        return
    try:
        result = run(_call(session, function, args, data, fetch))
    except KeyboardInterrupt:
        session.output.note(
            "the node may go on with it: `wasmote jobs` shows, `wasmote jobs ID --cancel` ends it"
        )
        raise
    print_result(session, result, out_file)


async def _call(
    session: Session, function: str, args: tuple[str, ...], data: bytes | None, fetch: bool
) -> CallResult:
    async with open_node(session) as node:
        return await node.call(function, args, input=data, fetch=fetch)


async def _start(
    session: Session, function: str, args: tuple[str, ...], data: bytes | None, job_id: str | None
) -> str:
    async with open_node(session) as node:
        return await node.start(function, args, input=data, job_id=job_id)
