"""The command `wasmote`: its global options, its list of commands, and how errors become texts and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

import click

from wasmote import __version__
from wasmote.cli.base import Session
from wasmote.cli.lazy import LazyGroup
from wasmote.errors import ExitCode, WasmoteError

# Only these lines change when a command is added.
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Boards": {
        "boards": ("boards", "list the boards and how far each is proven"),
        "build": ("build", "build a board's image"),
        "flash": ("flash", "write a board's image, verify it, and hear the node"),
        "provision": ("provision", "say what is on a port, save its files, start its bootloader"),
        "monitor": ("monitor", "show what a node says, over unplugging and resets"),
        "size": ("size", "flash and RAM of built images against their budgets"),
        "new-board": ("new_board", "start a board from one that is there"),
        "emulate": ("emulate", "run a node on this machine"),
    },
    "Apps": {
        "new": ("new", "start an app from a skeleton"),
        "compile": ("compile", "compile an app, a C or a .wat file to WebAssembly"),
        "run": ("run", "call an app's export on this machine"),
    },
    "Functions": {
        "push": ("push", "install or replace a function"),
        "ls": ("ls", "list the functions on a node"),
        "info": ("info", "describe a node or a function"),
        "call": ("call", "call a function"),
        "jobs": ("jobs", "calls in the background"),
        "logs": ("logs", "print a node's log"),
        "rm": ("rm", "remove functions"),
    },
    "Nodes": {
        "discover": ("discover", "look for nodes"),
        "bridge": ("bridge", "connect a serial node to UDP"),
        "conformance": ("conformance", "prove by tests that a node runs WebAssembly as it must"),
    },
    "First steps": {
        "demo": ("demo", "see it all work on a host node and an emulated STM32F405"),
    },
}


class MainGroup(LazyGroup):
    """All of `wasmote`."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of stdout left (`wasmote ls | head`): no error, and Python must not complain at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.OK

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])


@click.command(
    cls=MainGroup,
    sections=COMMANDS,
    package="wasmote.cli",
    plugins="Fleet",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "-t",
    "--target",
    envvar="WASMOTE_TARGET",
    metavar="TARGET",
    help="The node: coap://host:port, a serial device, or a name from the configuration. Also WASMOTE_TARGET.",
)
@click.option("--json", "as_json", is_flag=True, help="Results as JSON on stdout, errors as JSON on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no notes.")
@click.option(
    "--ack-timeout",
    type=click.FloatRange(min=0.001),
    metavar="SECONDS",
    help="First wait for an acknowledgement; it doubles with each retransmission. Otherwise 2.",
)
@click.option(
    "--max-retransmit",
    type=click.IntRange(0, 20),
    metavar="N",
    help="Retransmissions of a message. Otherwise 4.",
)
@click.option(
    "--block",
    type=click.Choice(["16", "32", "64", "128", "256", "512", "1024"]),
    metavar="BYTES",
    help="Largest block of a transfer, 16 to 1024. Otherwise 1024.",
)
@click.version_option(__version__, "--version", message="wasmote %(version)s")
@click.pass_context
def cli(
    ctx: click.Context,
    target: str | None,
    as_json: bool,
    quiet: bool,
    ack_timeout: float | None,
    max_retransmit: int | None,
    block: str | None,
) -> None:
    """Push, call and replace WebAssembly functions on microcontrollers."""
    session = ctx.ensure_object(Session)
    session.target_text = target
    session.ack_timeout_s = ack_timeout
    session.max_retransmit = max_retransmit
    session.block_bytes = None if block is None else int(block)
    session.output.json = session.output.json or as_json
    session.output.quiet = session.output.quiet or quiet


def run(args: list[str] | None = None) -> int:
    """Run one command line; returns the exit code. Nothing but a bug's traceback (WASMOTE_DEBUG=1) escapes."""
    session = Session()
    try:
        result = cli.main(args=args, prog_name="wasmote", standalone_mode=False, obj=session)
        return result if isinstance(result, int) else ExitCode.OK
    except WasmoteError as err:
        session.output.error(err)
        return err.exit_code
    except click.ClickException as err:
        if session.output.json:
            session.output.error(
                WasmoteError(
                    err.format_message(),
                    next_step="`wasmote --help`, or behind a command --help",
                    exit_code=ExitCode.USAGE,
                )
            )
        else:
            err.show()
        return ExitCode.USAGE
    except (KeyboardInterrupt, click.Abort):
        session.output.note("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as err:
        if os.environ.get("WASMOTE_DEBUG"):
            traceback.print_exc()
        session.output.error(
            WasmoteError(
                "a bug in wasmote",
                cause=f"{type(err).__name__}: {err}",
                next_step="run it again with WASMOTE_DEBUG=1 and report what it prints",
            )
        )
        return ExitCode.INTERNAL


def main() -> None:
    """The entry point of the command."""
    sys.exit(run())
