"""`wasmote fleet call`: a function of a deployment or of a node, or a chain, through the server."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.cli.calls import read_input
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options
from wasmote_fleet.cli.results import print_response


@base_command(context_settings={"ignore_unknown_options": True})
@click.argument("target", metavar="DEPLOYMENT:NAME[/EXPORT] | NODE NAME[/EXPORT]")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[ARGS]...")
@click.option("--in", "in_file", metavar="FILE", help="Input of an export of bytes; - is standard input.")
@click.option("--out", "out_file", metavar="FILE", help="Where its output goes; otherwise standard output.")
@click.option("--chain", is_flag=True, help="NAME is a chain of DEPLOYMENT.")
@click.option("--queue", is_flag=True, help="Only hand it over, and print the request's id.")
@click.option(
    "--id", "rid", metavar="ID", help="With --queue: the id. Asking twice is asking once: the first."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 3600),
    metavar="SECONDS",
    help="When to give up; otherwise 30, with --queue 60. Without --queue 300 at most.",
)
@server_options
def command(
    session: Session,
    target: str,
    words: tuple[str, ...],
    in_file: str | None,
    out_file: str | None,
    chain: bool,
    queue: bool,
    rid: str | None,
    timeout: float | None,
    server: str,
    key: str | None,
) -> None:
    """Call a function and print its result. ARGS are the numbers that it takes: decimal, 0x..., for floats also nan and
    inf.

    DEPLOYMENT:NAME is a function of a deployment, at the first of its places that takes the call; NODE NAME is one on
    that node.
    """
    path, args = _path(target, words, chain)
    if in_file is not None and args:
        raise InputError("an export takes numbers or an input, not both", next_step="leave out one of them")
    if rid is not None and not queue:
        raise InputError("--id is for queued calls", next_step="add --queue, or leave it out")
    if queue and out_file is not None:
        raise InputError(
            "a queued call has no output yet", next_step="`wasmote fleet history ID -f --out FILE` has it"
        )
    query = {} if timeout is None else {"timeout_s": f"{timeout:g}"}
    if queue:
        query["queued"] = "true"
    if rid is not None:
        query["id"] = rid
    client = Client(server, key)
    data = read_input(in_file)
    if data is not None:
        response = client.request(
            "POST", *path, query=query, data=data, content_type="application/octet-stream"
        )
    elif args:
        response = client.request("POST", *path, query=query, json=list(args))
    else:
        response = client.request("POST", *path, query=query)
    if queue:
        made = response.json()
        session.output.emit(made, made["id"])
        session.output.note(f"`wasmote fleet history {made['id']} -f` waits for its result")
    else:
        print_response(session, response, out_file)


def _path(target: str, words: tuple[str, ...], chain: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The path of what is called, and the arguments. Raises InputError."""
    deployment, colon, name = target.partition(":")
    if not colon:
        if chain:
            raise InputError("chains belong to deployments", next_step="write it as DEPLOYMENT:CHAIN --chain")
        if not words:
            raise InputError(
                f"what is to be called on '{target}'?",
                next_step="write NODE NAME, or DEPLOYMENT:NAME for a function of a deployment",
            )
        name, words = words[0], words[1:]
    if chain:
        return ("deployments", deployment, "chains", name), words
    function, _, export = name.partition("/")
    if not function or not deployment:
        raise InputError(
            f"'{target}' names no function", next_step="write DEPLOYMENT:NAME or DEPLOYMENT:NAME/EXPORT"
        )
    where = ("deployments", deployment) if colon else ("nodes", target)
    return (*where, "functions", function, *([export] if export else [])), words
