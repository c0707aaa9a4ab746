"""`wasmote fleet keys`: who may do what on a server that others reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.errors import InputError, LocalError
from wasmote_fleet.cli.data import data_option
from wasmote_fleet.engine import DataInUse, open_engine
from wasmote_fleet.gateway.keys import Keys, Role

T = TypeVar("T")
ROLES = [role.word for role in Role]


@click.group(name="keys")
def command() -> None:
    """Keys for HTTP at other addresses than loopback.

    Roles: read looks, call also calls functions, deploy also changes the fleet. The commands open the data themselves:
    to make or remove a key, a server on the same SQLite file must be stopped.
    """


@base_command()
@click.argument("role", type=click.Choice(ROLES))
@click.option("--label", default="", help="Whose it is, for the list.")
@data_option
def add(session: Session, role: str, label: str, data: str) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    key = _with_keys(data, lambda keys: keys.add(Role[role.upper()], label=label), "make the key")
    session.output.emit({"key": key, "role": role, "label": label}, key)


@base_command(name="list")
@data_option
def list_keys(session: Session, data: str) -> None:
    """List the keys, without their secrets."""
    rows = [
        {"id": key.id, "role": key.role.word, "label": key.label, "made_at": key.made_at}
        for key in _with_keys(data, lambda keys: keys.list(), "list the keys", look_only=True)
    ]
    session.output.table(
        rows,
        {"id": "ID", "role": "ROLE", "label": "LABEL"},
        empty="no keys yet: `wasmote fleet keys add ROLE` makes one",
    )


@base_command()
@click.argument("key_id", metavar="ID")
@data_option
def rm(session: Session, key_id: str, data: str) -> None:
    """Make a key worthless. ID is what the list shows: the middle part of the key."""
    if not _with_keys(data, lambda keys: keys.remove(key_id), "remove the key"):
        raise InputError(f"there is no key {key_id}", next_step="`wasmote fleet keys list` shows them")
    session.output.emit({"removed": key_id}, f"removed {key_id}")


for _name, _command in (("add", add), ("list", list_keys), ("rm", rm)):
    command.add_command(_command, _name)


def _with_keys(data: str, work: Callable[[Keys], Awaitable[T]], what: str, *, look_only: bool = False) -> T:
    """what: the work, for a person. look_only: it changes nothing, so it can be done beside a server."""

    async def run() -> T:
        if "://" not in data:
            await asyncio.to_thread(Path(data).parent.mkdir, parents=True, exist_ok=True)
        try:
            engine = await open_engine(data)
        except DataInUse:
            if not look_only:
                raise
            engine = await open_engine(data, look_only=True)
        try:
            return await work(Keys(engine))
        finally:
            await engine.close()

    try:
        return asyncio.run(run())
    except DataInUse as error:
        raise LocalError(
            error.message, cause=error.cause, next_step=f"stop the server, {what}, and start it again"
        ) from None
