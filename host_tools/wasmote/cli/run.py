"""`wasmote run`"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from wasmote.adapters import apps
from wasmote.adapters.local import Call, Outcome, difference, expected_call, run_calls
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.compile import parse_defines
from wasmote.errors import ApplicationError, InputError, TrapError
from wasmote.protocol.section import default_export
from wasmote.protocol.values import ArgumentError, parse_arguments, to_json, to_text

_LEVELS = ("error", "warning", "info", "debug")


@make_command(context_settings={"ignore_unknown_options": True})
@click.argument("app")
@click.argument("words", nargs=-1, metavar="[EXPORT] [ARGS]...")
@click.option(
    "--in", "in_file", metavar="FILE", help="The request of an export that reads a stream; - is stdin."
)
@click.option("--out", "out_file", metavar="FILE", help="Where its reply goes; stdout without it.")
@click.option(
    "-D", "--define", multiple=True, metavar="NAME=VALUE", help="A C macro, over those of app.toml."
)
@click.option("--timeout", "timeout_s", type=float, default=60.0, show_default=True, help="Seconds.")
@click.option("--check", is_flag=True, help="Make the calls of [[expect]] in app.toml and compare.")
def command(
    session: Session,
    app: str,
    words: tuple[str, ...],
    in_file: str | None,
    out_file: str | None,
    define: tuple[str, ...],
    timeout_s: float,
    check: bool,
) -> None:
    """Call an export of APP on this machine: an app, a folder, or a .wasm, .wat or .c file.

    The engine is the node's; a time limit stands in for fuel. EXPORT may be left out where the app has a default.
    """
    made = apps.load(app, defines=parse_defines(define))
    if check:
        _check(session, made, timeout_s)
        return
    exports = made.module.function_exports()
    arguments = list(words)
    if arguments and (arguments[0] in exports or not _is_number(arguments[0])):
        name = arguments.pop(0)
    else:
        found = default_export(made.module, made.section, made.name)
        if found is None:
            raise InputError(
                f"{app} has no default export", cause=f"it exports {', '.join(exports) or 'nothing'}"
            )
        name = found
    if name not in exports:
        raise InputError(
            f"{app} has no export '{name}'",
            cause="it exports "
            + (", ".join(f"{each}{kind}" for each, kind in exports.items()) or "no function"),
        )
    kind = exports[name]
    try:
        values = parse_arguments(kind.params, arguments)
    except ArgumentError as err:
        raise InputError(f"{made.name}/{name}: {err}", next_step=f"Its signature is {name}{kind}.") from err
    outcome = run_calls(made, [Call(name, values, _read(in_file))], timeout_s=timeout_s)[0]
    for level, text in outcome.log:
        session.output.note(f"log {_LEVELS[level] if 0 <= level < len(_LEVELS) else level}: {text}")
    if outcome.trap is not None:
        raise TrapError(
            f"{made.name}/{name} failed: {outcome.trap}", cause=outcome.detail, next_step=_advice(outcome)
        )
    if kind.is_bytes:
        _reply_bytes(session, f"{made.name}/{name}", outcome, out_file)
    else:
        json_values: list[Any] = [
            to_json(t, value) for t, value in zip(kind.results, outcome.results, strict=True)
        ]
        text = " ".join(to_text(t, value) for t, value in zip(kind.results, outcome.results, strict=True))
        session.output.emit(json_values[0] if len(json_values) == 1 else json_values, text)


def _reply_bytes(session: Session, what: str, outcome: Outcome, out_file: str | None) -> None:
    status = int(outcome.results[0]) if outcome.results else 0
    if status != 0:
        raise ApplicationError(
            f"{what} answered with status {status}",
            status=status,
            cause=outcome.output[:256].decode("utf-8", "replace"),
        )
    if out_file not in (None, "-"):
        assert out_file is not None
        try:
            Path(out_file).write_bytes(outcome.output)
        except OSError as err:
            raise InputError(f"cannot write {out_file}", cause=err.strerror or str(err)) from err
    elif session.output.json:
        try:
            session.output.emit({"output": outcome.output.decode("utf-8")})
        except UnicodeDecodeError:
            session.output.emit({"output_hex": outcome.output})
    else:
        session.output.raw(outcome.output)


def _check(session: Session, made: apps.Compiled, timeout_s: float) -> None:
    expects = made.app.expect if made.app else ()
    if not expects:
        raise InputError(
            f"{made.name} says nothing about what it must answer", next_step="Add [[expect]] to app.toml."
        )
    # Only a node has fuel; here such a call would run until the time limit.
    local = [expect for expect in expects if expect.trap != "fuel"]
    outcomes = run_calls(made, [expected_call(made, expect) for expect in local], timeout_s=timeout_s)
    wrong = []
    for number, (expect, outcome) in enumerate(zip(local, outcomes, strict=False), 1):
        if text := difference(made, expect, outcome):
            wrong.append(f"{number}. {expect.export}: {text}")
    if len(outcomes) < len(local):
        wrong.append(f"{len(local) - len(outcomes)} calls were not made")
    if wrong:
        raise ApplicationError(
            f"{made.name} does not answer as expected", status=len(wrong), cause="\n".join(wrong)
        )
    left = len(expects) - len(local)
    note = f", {left} left to a node (fuel)" if left else ""
    session.output.emit(
        {"name": made.name, "checked": len(local)}, f"{made.name}: {len(local)} as expected{note}"
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        try:
            int(text, 0)
        except ValueError:
            return False
    return True


def _read(in_file: str | None) -> bytes:
    if in_file is None:
        return b""
    if in_file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(in_file).read_bytes()
    except OSError as err:
        raise InputError(f"cannot read {in_file}", cause=err.strerror or str(err)) from err


def _advice(outcome: Outcome) -> str:
    return {
        "time": "Give it more with --timeout; on a node its fuel would end it.",
        "crash": "The module is probably invalid: check it with `wasm-validate`. A node refuses such a module.",
        "output": "Raise `output` in app.toml.",
        "stack-wasm": "Raise `stack` in app.toml, or use less recursion.",
    }.get(outcome.trap or "", "")
