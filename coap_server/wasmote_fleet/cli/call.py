"""`wasmote fleet call`: a function of a node, through the server."""

from __future__ import annotations

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.cli.calls import print_stream, read_input
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options


@base_command(context_settings={"ignore_unknown_options": True})
@click.argument("node")
@click.argument("function", metavar="NAME[/EXPORT]")
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option("--in", "in_file", metavar="FILE", help="Input of an export of bytes; - is standard input.")
@click.option("--out", "out_file", metavar="FILE", help="Where its output goes; otherwise standard output.")
@click.option(
    "--timeout", type=click.FloatRange(0.1, 300), metavar="SECONDS", help="When to give up; otherwise 30."
)
@server_options
def command(
    session: Session,
    node: str,
    function: str,
    args: tuple[str, ...],
    in_file: str | None,
    out_file: str | None,
    timeout: float | None,
    server: str,
    key: str | None,
) -> None:
    """Call a function on NODE and print its result. ARGS are the numbers that it takes: decimal, 0x..., for floats also
    nan and inf."""
    if in_file is not None and args:
        raise InputError("an export takes numbers or an input, not both", next_step="leave out one of them")
    name, _, export = function.partition("/")
    path = ("nodes", node, "functions", name, *([export] if export else []))
    query = {} if timeout is None else {"timeout_s": f"{timeout:g}"}
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
    if response.headers.get("content-type", "").startswith("application/json"):
        result = response.json()
        numbers = result["value"] if isinstance(result["value"], list) else [result["value"]]
        session.output.emit(result, " ".join(str(number) for number in numbers))
    else:
        ms = round(response.elapsed.total_seconds() * 1000, 1)
        print_stream(session, response.content, out_file, ms)
