"""How parameters become a function's input, and what it gives becomes a result. Sans-IO.

An export of bytes gets the parameters as a JSON object in UTF-8, or the object that `url` names; its output must be a
JSON object. An export of numbers gets the parameters that the annotation `parameter-names` names, in order, else the
list `args`; its result is `{"result": N}`.

`result-style: code-res` is for applications that answer `{"code": 200, "res": N}`: numbers as that, and what goes wrong
as a result, too: res is -1 for an object that cannot be read, -2 for a missing argument, -3 for a function that
fails.
"""

from __future__ import annotations

from typing import Any

from wasmote.errors import (
    ApplicationError,
    InputError,
    RefusedError,
    TrapError,
    UnansweredError,
    WasmoteError,
)
from wasmote.protocol import values
from wasmote.protocol.answers import CallResult
from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.actions import Action, ExportFacts, counted, parameter_names
from wasmote_fleet.compat.openwhisk.activations import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    WHISK_ERROR,
    Outcome,
    failed,
    success,
)
from wasmote_fleet.compat.openwhisk.errors import OVERLOADED, Rejected
from wasmote_fleet.gateway.errors import DeadlinePassed, Overloaded
from wasmote_fleet.requests import MayHaveRun, NoPlace, TooLate

Numbers = list[int | float | str]

UNREADABLE, NO_ARGUMENT, NO_RESULT = -1, -2, -3
_SHOWN_CHARS = 200
NO_JSON = "The action did not produce a valid JSON response"


class MissingArgument(InputError):
    """The invocation lacks what the export takes."""


class UnreadableObject(WasmoteError):
    """What `url` names could not be fetched."""


def code_res(action: Action) -> bool:
    return bool(action.annotation("result-style") == "code-res")


def url_of(action: Action, args: dict[str, Any]) -> str | None:
    """The object to fetch; None: the parameters are the input. Only for exports of bytes, and not where the annotation
    `fetch-url` says false; where it says "required" there must be one. Raises MissingArgument."""
    wanted = action.annotation("fetch-url")
    if action.export.kind != "bytes" or wanted is False:
        return None
    url = args.get("url")
    if isinstance(url, str) and url.startswith(("http://", "https://")):
        return url
    if wanted == "required":
        raise MissingArgument(
            "the parameter 'url' is missing",
            cause="it names the object that is the input",
            next_step="give it as a text that begins with http:// or https://",
        )
    return None


def with_object(action: Action, args: dict[str, Any], data: bytes) -> bytes:
    """The input when the object was fetched: its bytes; with the annotation `url-parameters`, in front of them the
    other parameters as a JSON object on a line of its own."""
    if not action.says("url-parameters"):
        return data
    others = {key: value for key, value in args.items() if key != "url"}
    return jsons.encode(others) + b"\n" + data


def input_of(action: Action, args: dict[str, Any]) -> Numbers | bytes:
    """Raises MissingArgument, InputError."""
    export = action.export
    if export.kind == "bytes":
        return jsons.encode(args)
    names = parameter_names(action.annotations, export)
    if names is None:
        given = args.get("args", [])
        if not isinstance(given, list):
            raise InputError(
                "the parameter 'args' is no list", next_step="give the numbers in order, such as [1, 2.5]"
            )
        if len(given) != len(export.params):
            raise MissingArgument(
                f"'{export.name}' takes {counted(len(export.params), 'number')}, and 'args' has {len(given)}",
                cause="the action has no annotation 'parameter-names'",
                next_step="give them in order as 'args', or name them by 'parameter-names'",
            )
        found = given
    else:
        missing = [name for name in names if name not in args]
        if missing:
            raise MissingArgument(
                f"the parameter '{missing[0]}' is missing",
                cause=f"the action takes {', '.join(names)}",
                next_step="give all of them",
            )
        found = [args[name] for name in names]
    return [_number(export, index, value) for index, value in enumerate(found)]


def _number(export: ExportFacts, index: int, value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(
            f"argument {index + 1} of '{export.name}' is neither a number nor a text",
            next_step="give a number; an i64 beyond 2^53, NaN and the infinities as texts",
        )
    return value


def outcome_of(action: Action, result: CallResult) -> Outcome:
    """What a call gave."""
    if result.kind == "bytes":
        return _bytes_outcome(action, result.output)
    converted = [
        values.to_json(kind, value) for kind, value in zip(result.results, result.numbers, strict=True)
    ]
    value = converted[0] if len(converted) == 1 else converted
    return success({"code": 200, "res": value} if code_res(action) else {"result": value})


def _bytes_outcome(action: Action, output: bytes) -> Outcome:
    try:
        value = jsons.parse(output) if output else None
    except Rejected:
        value = None
    if not isinstance(value, dict):
        shown = output[:_SHOWN_CHARS].decode("utf-8", "replace")
        text = NO_JSON + (f": {shown}" if shown else ".")
        if code_res(action):
            return success({"code": 500, "res": NO_RESULT, "message": text})
        return failed(DEVELOPER_ERROR, text)
    return success(value)


def outcome_of_error(action: Action, error: WasmoteError) -> Outcome:
    """What a call that gave no result is recorded as."""
    text = action.in_its_words(error)
    if code_res(action) and (found := _code_res(error)) is not None:
        return success({"code": 500, "res": found, "message": text})
    if isinstance(error, ApplicationError):
        return Outcome(APPLICATION_ERROR, {"error": text, "status": error.status})
    if isinstance(error, TrapError):
        return failed(DEVELOPER_ERROR, text)
    if isinstance(error, Overloaded) or (isinstance(error, NoPlace) and error.busy):
        return failed(WHISK_ERROR, f"{OVERLOADED} {text}", busy=True)
    if isinstance(error, MayHaveRun | UnansweredError | DeadlinePassed | TooLate | NoPlace):
        return failed(WHISK_ERROR, text)
    if isinstance(error, UnreadableObject | InputError):
        return failed(APPLICATION_ERROR, text)
    if isinstance(error, RefusedError):
        return failed(DEVELOPER_ERROR, text)
    return failed(WHISK_ERROR, text)


def timed_out(action: Action) -> Outcome:
    """The time limit passed."""
    text = f"The action exceeded its time limits of {action.limits.timeout_ms} milliseconds."
    if code_res(action):
        return success({"code": 500, "res": NO_RESULT, "message": text})
    return failed(DEVELOPER_ERROR, text)


def _code_res(error: WasmoteError) -> int | None:
    if isinstance(error, UnreadableObject):
        return UNREADABLE
    if isinstance(error, MissingArgument):
        return NO_ARGUMENT
    if isinstance(error, TrapError | ApplicationError):
        return NO_RESULT
    return None
