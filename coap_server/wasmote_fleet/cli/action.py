"""`wasmote fleet action`: OpenWhisk's actions on this server, without OpenWhisk's own client."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click
import requests

from wasmote.adapters import apps
from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import ExitCode, InputError, RefusedError, UnansweredError, WasmoteError
from wasmote.protocol.values import json_integer
from wasmote_fleet.cli.client import Client, server_options

F = TypeVar("F", bound=Callable[..., Any])
_HOME = ("namespaces", "_")
_LOOK_S = 0.2
# What the response of an activation says, as an exit code.
_ENDED = {
    "application error": ExitCode.APPLICATION,
    "action developer error": ExitCode.TRAP,
    "whisk internal error": ExitCode.UNREACHABLE,
}


@click.group(name="action")
def command() -> None:
    """Actions as OpenWhisk has them: a function that takes an object of parameters and gives an object.

    docs/compatibility.md has what an export gets and gives, and the annotations. OpenWhisk's own clients work with this
    server, too.
    """


def _parameters(function: F) -> F:
    """-p and --params, as `pairs` and `file`."""
    pairs = click.option(
        "-p",
        "--param",
        "pairs",
        nargs=2,
        multiple=True,
        metavar="NAME VALUE",
        help="A parameter. VALUE is JSON, or a text where it is none.",
    )
    file = click.option(
        "--params",
        "file",
        type=click.File("rb"),
        metavar="FILE",
        help="An object of parameters; - is standard input.",
    )
    return pairs(file(function))


@base_command()
@click.argument("name")
@click.argument("source", metavar="APP|FILE.wasm|A,B,...")
@click.option("--sequence", is_flag=True, help="The action is a sequence of actions, A,B,...")
@click.option("--main", metavar="EXPORT", help="Otherwise `main`, the module's default, or its only one.")
@click.option("--web", is_flag=True, help="Also as a web action: /api/v1/web/guest/default/NAME.json.")
@click.option("-a", "--annotation", "annotations", nargs=2, multiple=True, metavar="NAME VALUE")
@_parameters
@server_options
def put(
    session: Session,
    name: str,
    source: str,
    sequence: bool,
    main: str | None,
    web: bool,
    annotations: tuple[tuple[str, str], ...],
    pairs: tuple[tuple[str, str], ...],
    file: Any,
    server: str,
    key: str | None,
) -> None:
    """Create an action, or make it what is said now: a function, or a sequence of actions. Parameters are the ones that
    an invocation does not give."""
    if sequence:
        executed: dict[str, Any] = {
            "kind": "sequence",
            "components": [f"/_/{part.strip()}" for part in source.split(",")],
        }
    else:
        compiled = apps.load(source)
        code = base64.b64encode(apps.with_default_section(compiled, compiled.name)).decode()
        executed = {"kind": "wasm", "binary": True, "code": code} | ({"main": main} if main else {})
    body = {
        "exec": executed,
        "parameters": _key_values(_object(pairs, file)),
        "annotations": _key_values(_object(annotations, None) | ({"web-export": True} if web else {})),
    }
    client = Client(server, key)
    done = client.request(
        "PUT", *_HOME, "actions", *_entity(name), query={"overwrite": "true"}, json=body
    ).json()
    session.output.emit(done, f"{name} {done['version']}: {done['exec']['kind']}")


@base_command(name="list")
@server_options
def list_actions(session: Session, server: str, key: str | None) -> None:
    """List the actions."""
    found = Client(server, key).get(*_HOME, "actions", query={"limit": "200"})
    rows = [
        {
            "name": "/".join([*one["namespace"].split("/")[1:], one["name"]]),
            "version": one["version"],
            "kind": next((pair["value"] for pair in one["annotations"] if pair["key"] == "exec"), ""),
        }
        for one in found
    ]
    columns = {"name": "ACTION", "version": "VERSION", "kind": "KIND"}
    session.output.table(
        rows, columns, value=found, empty="no actions yet: `wasmote fleet action put NAME APP` makes one"
    )


@base_command()
@click.argument("name")
@server_options
def show(session: Session, name: str, server: str, key: str | None) -> None:
    """Show an action: what it runs, its parameters, annotations and limits."""
    found = Client(server, key).get(*_HOME, "actions", *_entity(name), query={"code": "false"})
    session.output.emit(found, json.dumps(found, indent=2))


@base_command()
@click.argument("name")
@server_options
def rm(session: Session, name: str, server: str, key: str | None) -> None:
    """Remove an action, and its function from the nodes."""
    Client(server, key).request("DELETE", *_HOME, "actions", *_entity(name))
    session.output.emit({"removed": name}, f"{name}: removed")


@base_command()
@click.argument("name")
@_parameters
@click.option("--no-wait", is_flag=True, help="Only hand it over, and print the activation's id.")
@server_options
def invoke(
    session: Session,
    name: str,
    pairs: tuple[tuple[str, str], ...],
    file: Any,
    no_wait: bool,
    server: str,
    key: str | None,
) -> None:
    """Invoke an action and print its result."""
    client = Client(server, key)
    response = client.request(
        "POST",
        *_HOME,
        "actions",
        *_entity(name),
        query={"blocking": "false" if no_wait else "true"},
        json=_object(pairs, file),
        answers=(500, 502),
    )
    made = _record(response)
    if no_wait or response.status_code == 202:
        session.output.emit(made, made["activationId"])
        if not no_wait:
            session.output.note("it is not done yet")
        session.output.note(f"`wasmote fleet action result {made['activationId']}` waits for its result")
        return
    _print_result(session, made)


@base_command()
@click.argument("activation", metavar="ID")
@click.option("--timeout", "timeout_s", type=click.FloatRange(0), default=300.0, metavar="SECONDS")
@server_options
def result(session: Session, activation: str, timeout_s: float, server: str, key: str | None) -> None:
    """Wait for the end of an activation, and print its result."""
    client = Client(server, key)
    until = time.monotonic() + timeout_s
    while True:
        response = client.request("GET", *_HOME, "activations", activation, answers=(404,))
        if response.status_code == 200:
            _print_result(session, response.json())
            return
        if time.monotonic() >= until:
            raise UnansweredError(
                f"activation {activation} has not ended",
                cause="it runs, or there is none of this id, or it ended more than 24 hours ago",
                next_step="`wasmote fleet action activations` lists those that ended",
            )
        time.sleep(_LOOK_S)


@base_command()
@click.argument("name", required=False)
@click.option("-n", "limit", type=click.IntRange(1, 200), default=30, help="How many; otherwise 30.")
@server_options
def activations(session: Session, name: str | None, limit: int, server: str, key: str | None) -> None:
    """List what was invoked and has ended, of all actions or of NAME, the latest first."""
    query = {"limit": str(limit)} | ({} if name is None else {"name": name})
    found = Client(server, key).get(*_HOME, "activations", query=query)
    rows = [
        {
            "id": one["activationId"],
            "name": one["name"],
            "start": datetime.fromtimestamp(one["start"] / 1000).isoformat(" ", "seconds"),
            "ms": one.get("duration", ""),
            "status": ("success", *_ENDED)[one.get("statusCode", 0)],
        }
        for one in found
    ]
    columns = {"id": "ACTIVATION", "name": "ACTION", "start": "START", "ms": "MS", "status": "STATUS"}
    session.output.table(rows, columns, value=found, empty="nothing has ended in the last 24 hours")


@base_command()
@click.argument("activation", metavar="ID")
@server_options
def logs(session: Session, activation: str, server: str, key: str | None) -> None:
    """Show what the function logged during an activation."""
    found = Client(server, key).get(*_HOME, "activations", activation, "logs")
    session.output.emit(found, "\n".join(found["logs"]))


def _entity(name: str) -> tuple[str, ...]:
    """[PACKAGE/]NAME as segments of a path."""
    return tuple(name.split("/"))


def _object(pairs: tuple[tuple[str, str], ...], file: Any) -> dict[str, Any]:
    """The parameters. Raises InputError."""
    found: Any = {}
    if file is not None:
        try:
            found = json.loads(file.read(), parse_int=json_integer)
        except ValueError as error:
            raise InputError(f"{file.name} is no JSON", cause=str(error), next_step="correct it") from None
        if not isinstance(found, dict):
            raise InputError(f"{file.name} is no JSON object", next_step='write it as {"name": value}')
    for name, text in pairs:
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return dict(found)


def _key_values(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in found.items()]


def _record(response: requests.Response) -> dict[str, Any]:
    """The activation in a response. Raises WasmoteError."""
    body = response.json()
    if isinstance(body, dict) and "activationId" in body:
        return body
    raise RefusedError(
        str(body.get("error", response.text)), next_step="look with `wasmote fleet status` and `nodes`"
    )


def _print_result(session: Session, record: dict[str, Any]) -> None:
    """Raises WasmoteError for an activation that did not end well."""
    response = record["response"]
    if not response["success"]:
        error = response["result"].get("error", response["result"])
        raise WasmoteError(
            f"{record['name']}: {response['status']}",
            cause=error if isinstance(error, str) else json.dumps(error),
            next_step=f"`wasmote fleet action logs {record['activationId']}` has what the function said",
            exit_code=_ENDED.get(response["status"], ExitCode.REFUSED),
            details={"activation": record},
        )
    session.output.emit(record, json.dumps(response["result"], indent=2, ensure_ascii=False))


for _command in (put, list_actions, show, rm, invoke, result, activations, logs):
    command.add_command(_command)
