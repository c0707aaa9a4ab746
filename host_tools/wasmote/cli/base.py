"""What every command file uses: the `command` decorator, and the Session that a command receives.

    @command(summary="the functions on a node")
    @click.argument("name", required=False)
    def ls(session: Session, name: str | None) -> None:
        target = session.target()
        session.output.table(...)

`--json` and `--quiet` are options of every command, before or behind its name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import click

from wasmote.adapters.config import load_config
from wasmote.cli.output import Output
from wasmote.errors import InputError
from wasmote.protocol.target import Target, parse_target

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Session:
    """One run of the command line: where results go, which node is meant, and how patient to be (None: the defaults of
    adapters/coap.py)."""

    output: Output = field(default_factory=Output)
    target_text: str | None = None
    ack_timeout_s: float | None = None
    max_retransmit: int | None = None
    block_bytes: int | None = None

    @functools.cached_property
    def target_names(self) -> Mapping[str, str]:
        """[targets] of the user's configuration."""
        return load_config().targets

    def target(self) -> Target:
        """The node of -t/--target or WASMOTE_TARGET. Raises InputError if there is none."""
        if not self.target_text:
            raise InputError(
                "no target given",
                cause="this command talks to a node",
                next_step="give -t coap://host:port (or a serial device, or a name from the configuration), or set "
                "WASMOTE_TARGET. `wasmote emulate host` runs a node here; `wasmote discover` looks for some.",
            )
        return parse_target(self.target_text, self.target_names)


class WasmoteCommand(click.Command):
    """A command with the options that all commands share."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(
            [
                click.Option(
                    ["--json"], is_flag=True, expose_value=False, callback=_set_json, help="Results as JSON."
                ),
                click.Option(
                    ["-q", "--quiet"],
                    is_flag=True,
                    expose_value=False,
                    callback=_set_quiet,
                    help="No progress, no notes.",
                ),
            ]
        )


def _set_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).output.json = True


def _set_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Session).output.quiet = True


def command(name: str | None = None, **attrs: Any) -> Callable[[F], click.Command]:
    """Like click.command; the function gets the Session as its first argument."""

    def wrap(function: F) -> click.Command:
        made: click.Command = click.command(name, cls=WasmoteCommand, **attrs)(
            click.make_pass_decorator(Session)(function)
        )
        return made

    return wrap
