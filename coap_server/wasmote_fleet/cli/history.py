"""`wasmote fleet history`: queued calls and chains, what became of them, and their results."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError
from wasmote_fleet.cli.client import Client, server_options
from wasmote_fleet.cli.results import print_response

_STATES = ["queued", "running", "done", "failed", "may-have-run", "cancelled"]
_OPEN = ("queued", "running")
_WAIT_S = 30
_LOOK_S = 1.0
_PAGE = 200


@base_command()
@click.argument("request", required=False, metavar="[ID]")
@click.option(
    "-f",
    "--follow",
    is_flag=True,
    help="With ID: wait for its end, and print its result. Without: what comes and ends, until Ctrl-C.",
)
@click.option("--out", "out_file", metavar="FILE", help="With -f: where an output stream goes.")
@click.option("--cancel", is_flag=True, help="End ID. It stays in the history.")
@click.option("--rm", "remove", is_flag=True, help="Forget ID; one that has not ended is cancelled.")
@click.option("--deployment", metavar="ID", help="Only its calls.")
@click.option("--state", type=click.Choice(_STATES), help="Only those.")
@click.option("-n", "limit", type=click.IntRange(1, 10_000), default=20, help="How many; otherwise 20.")
@server_options
def command(
    session: Session,
    request: str | None,
    follow: bool,
    out_file: str | None,
    cancel: bool,
    remove: bool,
    deployment: str | None,
    state: str | None,
    limit: int,
    server: str,
    key: str | None,
) -> None:
    """List queued calls and chains, the newest first; or show the one with this ID: each of its hops, with node, time
    and outcome.

    A call that failed makes `-f ID` end as `call` would have.
    """
    if request is None and (cancel or remove or out_file is not None):
        raise InputError("--cancel, --rm and --out are for one request", next_step="give its ID")
    if out_file is not None and not follow:
        raise InputError("--out is for the result", next_step="add -f")
    client = Client(server, key)
    filters = {
        name: value for name, value in (("deployment", deployment), ("state", state)) if value is not None
    }
    if request is None:
        if follow:
            for found in _news(client, filters):
                session.output.emit(found, _line(found))
        else:
            listed = _newest(client, filters, limit)
            columns = {
                "id": "ID",
                "at": "AT",
                "what": "CALL",
                "state": "STATE",
                "hops": "HOPS",
                "said": "RESULT",
            }
            session.output.table(
                [_row(each) for each in listed],
                columns,
                value=listed,
                empty="none of the queued calls is such a one: `wasmote fleet history` lists all"
                if filters
                else "no queued calls: `wasmote fleet call --queue` makes one, and each call of a chain is one",
            )
    elif cancel or remove:
        _end(session, client, request, remove)
    elif follow:
        _wait(session, client, request)
        print_response(session, client.request("GET", "requests", request, "result"), out_file)
    else:
        found = client.get("requests", request)
        session.output.emit(found, "\n".join(_lines(found)))


def _end(session: Session, client: Client, request: str, remove: bool) -> None:
    found = client.get("requests", request)
    if found["state"] in _OPEN:
        found = client.request("DELETE", "requests", request).json()
    if remove:
        client.request("DELETE", "requests", request)
        session.output.emit({"removed": request}, f"{request} is forgotten")
    else:
        session.output.emit(found, f"{request} is {found['state']}")


def _wait(session: Session, client: Client, request: str) -> None:
    """Until it has ended; its hops go to stderr as they come."""
    told = 0
    while True:
        found = client.get("requests", request, query={"wait_s": str(_WAIT_S)})
        ended = [hop for hop in found["hops"] if hop["ended_at"] is not None]
        for hop in ended[told:]:
            session.output.note(_hop(hop))
        told = max(told, len(ended))
        if found["state"] not in _OPEN:
            return


def _newest(client: Client, filters: dict[str, str], limit: int) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = []
    before: str | None = None
    while len(listed) < limit:
        query = filters | {"limit": str(min(_PAGE, limit - len(listed)))}
        page = client.get("requests", query=query if before is None else query | {"before": before})
        listed += page["requests"]
        before = page["before"]
        if before is None:
            break
    return listed


def _news(client: Client, filters: dict[str, str]) -> Iterator[dict[str, Any]]:
    """Requests when they come and when their state changes. Of very many at once, the newest."""
    query = filters | {"limit": str(_PAGE)}
    known = {each["id"]: each["state"] for each in client.get("requests", query=query)["requests"]}
    while True:
        time.sleep(_LOOK_S)
        listed = client.get("requests", query=query)["requests"]
        for each in reversed(listed):
            if known.get(each["id"]) != each["state"]:
                yield each
        known = {each["id"]: each["state"] for each in listed}


def _what(found: dict[str, Any]) -> str:
    """As `call` names it."""
    target = found["target"]
    name = target.get("chain") or "/".join(
        part for part in (target.get("function"), target.get("export")) if part
    )
    return f"{target['deployment']}:{name}" if "deployment" in target else f"{target['node']} {name}"


def _said(found: dict[str, Any]) -> str:
    """The result, or why there is none, in a few words."""
    result, error = found["result"], found["error"]
    if error is not None:
        return str(error["title"])
    if result is None:
        return ""
    if "bytes" in result:
        return f"{result['bytes']} bytes"
    value = result["value"]
    return " ".join(str(each) for each in value) if isinstance(value, list) else str(value)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": found["id"],
        "at": _time(found["queued_at"]),
        "what": _what(found),
        "state": found["state"],
        "hops": len(found["hops"]) + found["hops_left_out"],
        "said": _said(found),
    }


def _line(found: dict[str, Any]) -> str:
    said = _said(found)
    return f"{_time(time.time())} {found['id']} {_what(found)} {found['state']}{f': {said}' if said else ''}"


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{_what(found)}: {found['state']}"
    yield f"  queued   {_time(found['queued_at'])}, until {_time(found['deadline_at'])}"
    if found["led_by"]:
        of = f", of {found['parent']}" if found["parent"] else ""
        yield f"  led by   {found['led_by']} calls{of}"
    for hop in found["hops"]:
        yield f"  {_hop(hop)}"
    if found["hops_left_out"]:
        yield f"  {found['hops_left_out']} more, which are not kept"
    if found["state"] in _OPEN and len(found["steps"]) > 1:
        yield f"  next     {found['steps'][found['step']]}"
    if _said(found):
        yield f"  {'error' if found['error'] else 'result'}    {_said(found)}"
    if found["error"]:
        yield f"           {found['error'].get('detail', '')}".rstrip()


def _hop(hop: dict[str, Any]) -> str:
    if hop["ended_at"] is None:
        return f"{_time(hop['began_at'])} {hop['function']} on {hop['node']}: runs"
    ms = (hop["ended_at"] - hop["began_at"]) * 1000
    cause = f" ({hop['cause']})" if hop["cause"] else ""
    return f"{_time(hop['began_at'])} {hop['function']} on {hop['node']}: {hop['outcome']} after {ms:.0f} ms{cause}"


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
