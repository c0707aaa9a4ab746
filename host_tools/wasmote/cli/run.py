"""`wasmote run`"""

from __future__ import annotations

import click

from wasmote.adapters import apps
from wasmote.adapters.local import Call, Outcome, difference, expected_call, run_calls
from wasmote.adapters.validator import Validator
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.calls import print_result, read_input
from wasmote.cli.compile import parse_defines
from wasmote.errors import ApplicationError, InputError, TrapError
from wasmote.protocol import problem
from wasmote.protocol.answers import CallResult
from wasmote.protocol.imports import SENSORS
from wasmote.protocol.section import default_export
from wasmote.protocol.values import ArgumentError, parse_arguments

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
@click.option(
    "--sensor",
    "sensors",
    multiple=True,
    metavar="NAME=VALUE",
    help="What a sensor says; 0 if it is not told.",
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
    sensors: tuple[str, ...],
    timeout_s: float,
    check: bool,
) -> None:
    """Call an export of APP on this machine: an app, a folder, or a .wasm, .wat or .c file.

    The engine is the node's; a time limit stands in for fuel. EXPORT may be left out where the app has a default.
    """
    made = apps.load(app, defines=parse_defines(define))
    _validate(session, made)
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
                f"{app} has no default export",
                cause=f"it exports {', '.join(exports) or 'no function'}",
                next_step=f"name one: wasmote run {app} {next(iter(exports), 'EXPORT')}",
            )
        name = found
    if name not in exports:
        raise InputError(
            f"{app} has no export '{name}'",
            cause="it exports "
            + (", ".join(f"{each}{kind}" for each, kind in exports.items()) or "no function"),
            next_step="name one of these",
        )
    kind = exports[name]
    if kind.is_bytes and arguments:
        raise InputError(
            f"{made.name}/{name} takes bytes, not arguments",
            cause=f"its signature is {kind}",
            next_step="give its input with --in FILE, or --in - for standard input",
        )
    if not kind.is_bytes and in_file is not None:
        raise InputError(
            f"{made.name}/{name} takes numbers, not an input stream",
            cause=f"its signature is {kind}",
            next_step="give its arguments behind its name",
        )
    try:
        values = parse_arguments(kind.params, arguments)
    except ArgumentError as err:
        raise InputError(
            f"{made.name}/{name}: {err}",
            cause=f"its signature is {kind}",
            next_step="give numbers that these types can hold",
        ) from err
    call = Call(name, values, read_input(in_file) or b"", _sensors(sensors))
    outcome = run_calls(made, [call], timeout_s=timeout_s)[0]
    for level, text in outcome.log:
        session.output.note(f"log {_LEVELS[level] if 0 <= level < len(_LEVELS) else level}: {text}")
    if outcome.trap is not None:
        raise TrapError(
            f"{made.name}/{name} failed: {outcome.trap}", cause=outcome.detail, next_step=_advice(outcome)
        )
    status = int(outcome.results[0]) if kind.is_bytes and outcome.results else 0
    if status != 0:
        raise ApplicationError(
            f"{made.name}/{name} failed: the function reported status {status}",
            status=status,
            cause=outcome.output[:256].decode("utf-8", "replace"),
            next_step="this is the function's own answer to its input; its documentation says what it means",
        )
    if kind.is_bytes:
        result = CallResult("bytes", (), (), outcome.output, outcome.seconds)
    else:
        result = CallResult("numbers", kind.results, outcome.results, b"", outcome.seconds)
    print_result(session, result, out_file)


def _validate(session: Session, made: apps.Compiled) -> None:
    """What a node's validator says. The engine here is the node's, so it survives as little; but it runs in a process
    of its own, which may try what is only beyond a limit. Raises InputError."""
    validator = Validator.load()
    refused = validator.check(made.data, validator.default_limits)
    if refused is None:
        return
    text = refused.text_of(made.data)
    if refused.members["reason"] != "limit":
        step = problem.next_step(refused)
        raise InputError(f"{made.name} does not load", cause=text, next_step=step, details=refused.members)
    session.output.warning(f"a node with the usual limits refuses {made.name}: {text}")


def _check(session: Session, made: apps.Compiled, timeout_s: float) -> None:
    expects = made.app.expect if made.app else ()
    if not expects:
        raise InputError(
            f"{made.name} says nothing about what it must answer", next_step="add [[expect]] to app.toml"
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
            f"{made.name} does not answer as expected",
            status=len(wrong),
            cause="\n".join(wrong),
            next_step="correct the source, or [[expect]] in app.toml",
        )
    left = len(expects) - len(local)
    note = f", {left} left to a node (fuel)" if left else ""
    session.output.emit(
        {"name": made.name, "checked": len(local)}, f"{made.name}: {len(local)} as expected{note}"
    )


def _sensors(given: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in SENSORS or not _is_number(value):
            raise InputError(
                f"--sensor {text}: expected NAME=VALUE",
                cause=f"the sensors are {', '.join(SENSORS)}",
                next_step="such as --sensor temperature=21.5",
            )
        found[name] = float(value)
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        try:
            int(text, 0)
        except ValueError:
            return False
    return True


def _advice(outcome: Outcome) -> str:
    kind = outcome.trap or ""
    local = {
        "time": "give it more with --timeout; on a node its fuel would end it",
        "crash": "the module is probably invalid: check it with `wasm-validate`; a node refuses such a module",
    }
    return local.get(kind) or problem.after_trap(kind) or "look for the cause in its source"
