"""Between wasmiot's queries, results and files, and a function's numbers or streams. Sans-IO.

| the function is | it takes | it gives |
|---|---|---|
| one of numbers | the query's values | one number, as the text that JSON has for it |
| `() -> i32`, with a JSON answer | nothing | its number: what a node calls its status |
| one of bytes | a file, or nothing | a file, or text |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from wasmote.errors import ApplicationError, WasmoteError
from wasmote.protocol import values
from wasmote.protocol.answers import CallResult
from wasmote_fleet.compat.wasmiot import multipart
from wasmote_fleet.compat.wasmiot.bodies import FILE_TYPES, JSON, Endpoint, Function
from wasmote_fleet.compat.wasmiot.errors import BadBody, BadCall, CannotRun
from wasmote_fleet.repository import ModuleInfo
from wasmote_fleet.repository.modules import ExportInfo

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Output:
    """What a call gave: text is a JSON value, or there is a file, or neither."""

    text: str | None = None
    file: str | None = None
    data: bytes = field(default=b"", repr=False)

    def result(self, *, readme: bool) -> Any:
        """As wasmiot's history has it: today's supervisor gives [text, files], and what its README says is the number
        itself. readme: the deployment had the README's form."""
        if readme and self.file is None:
            try:
                return json.loads(self.text or "null")
            except (ValueError, RecursionError):
                return self.text
        return [self.text, None if self.file is None else [self.file]]


def check(function: Function, module: ModuleInfo) -> ExportInfo:
    """The export that is meant. Raises CannotRun where no call could ever succeed."""
    name = f"{function.module}/{function.name}"
    found = next((each for each in module.exports if each.name == function.name), None)
    if found is None:
        have = ", ".join(each.name for each in module.exports) or "none"
        raise CannotRun(
            f"the module '{function.module}' has no function '{function.name}'",
            cause=f"its exports: {have}",
            next_step="correct the name, or upload the module that has it",
        )
    signature = values.signature_text(found.params, found.results)
    inputs = (*function.deployment, *function.execution)
    why = ""
    if found.kind == "numbers":
        if inputs or function.output or function.endpoint.media_type in FILE_TYPES:
            why = f"{signature} takes and gives numbers; files are for exports that read and write streams"
        elif len(function.endpoint.parameters) not in (0, len(found.params)):
            why = f"it is described with {len(function.endpoint.parameters)} parameters, and is {signature}"
        elif len(found.results) > 1:
            why = f"{signature} gives several numbers, and wasmiot has room for one"
    elif (inputs or function.output) and any(each.name == "path_open" for each in module.imports):
        why = "it opens its files by WASI, and a node has none: it gives them as `wasmote.input` and `output`"
    elif len(inputs) > 1:
        why = (
            f"it has {len(inputs)} input files ({', '.join(inputs)}), and a node's function reads one stream"
        )
    elif len(function.output) > 1:
        why = f"it has {len(function.output)} output files, and a node's function writes one stream"
    elif function.endpoint.parameters:
        why = f"{signature} reads a stream, and is described with parameters"
    if not why and function.endpoint.media_type not in (JSON, *FILE_TYPES):
        why = f"its answer is '{function.endpoint.media_type}'; {JSON} and these are known: {', '.join(FILE_TYPES)}"
    if not why and function.endpoint.media_type in FILE_TYPES and not function.output:
        why = f"its answer is '{function.endpoint.media_type}', and no output file is named"
    if why:
        raise CannotRun(
            f"{name} cannot be run here", cause=why, next_step="describe it as the node can run it"
        )
    return found


def arguments(
    function: Function, export: ExportInfo, query: Sequence[tuple[str, str]]
) -> list[values.Argument]:
    """The numbers of a query: by the names of the description where all are there, otherwise in their order; more than
    the function takes are left out, as wasmiot does. Raises BadCall."""
    name = f"{function.module}/{function.name}"
    given: dict[str, str] = {}
    for key, value in query:
        given.setdefault(key, value)
    named = function.endpoint.parameters
    found = (
        [given[key] for key in named] if named and all(key in given for key in named) else [*given.values()]
    )
    wanted = len(export.params)
    if len(found) < wanted:
        missing = [key for key in named if key not in given]
        raise BadCall(
            f"{name} takes {wanted} argument{'' if wanted == 1 else 's'}, got {len(found)}",
            cause=f"missing: {', '.join(missing)}" if missing else "they are the values of the query",
            next_step="add them to the query",
        )
    try:
        return list(values.parse_arguments(export.params, [text.strip() for text in found[:wanted]]))
    except values.ArgumentError as error:
        raise BadCall(
            f"{name}: {error}",
            cause=f"its signature is {values.signature_text(export.params, export.results)}",
            next_step="correct the query",
        ) from None


def is_status(function: Function, export: ExportInfo) -> bool:
    """Whether a node takes the function's number for a status, and it is meant as a result."""
    return export.kind == "bytes" and bool(export.results) and function.endpoint.media_type == JSON


def output(function: Function, export: ExportInfo, result: CallResult) -> Output:
    """What a call gave."""
    if export.kind == "numbers":
        if not result.numbers:
            return Output(text="null")
        kind, number = result.results[0], result.numbers[0]
        # An integer is written with all its digits, as Python's json does it there.
        return Output(text=json.dumps(number if isinstance(number, int) else values.to_json(kind, number)))
    if function.output:
        return Output(file=function.output[0], data=result.output)
    if is_status(function, export) and not result.output:
        return Output(text="0")
    try:
        return Output(text=result.output.decode() or "null")
    except UnicodeDecodeError:
        return Output(text=json.dumps(result.output.decode("latin-1")))


def status_output(function: Function, export: ExportInfo, error: WasmoteError) -> Output | None:
    """The number that a node took for a status; None if error is another one."""
    if isinstance(error, ApplicationError) and is_status(function, export):
        return Output(text=str(error.status))
    return None


# ---- the next call of a chain ----


@dataclass(frozen=True, slots=True)
class NextCall:
    """A request to send."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


def next_call(to: Endpoint, given: Output) -> NextCall:
    """The request that carries an output on. Raises CannotRun."""
    url = to.url.rstrip("/") + to.path
    headers: dict[str, str] = {}
    body = b""
    if given.text is not None:
        if to.parameters:
            url += f"?{quote(to.parameters[0], safe='')}={quote(given.text, safe='')}"
        elif given.text != "null":
            raise CannotRun(
                f"the output cannot go to {url}",
                cause="what is called next takes no parameter",
                next_step="correct the deployment",
            )
    if given.file is not None:
        part = multipart.Part(given.file, given.data, given.file, OCTETS)
        headers["Content-Type"], body = multipart.encode([part])
    return NextCall(to.method.upper(), url, headers, body)


def result_url(status: int, body: bytes) -> str:
    """Where the next device puts its result. Raises BadBody with what it said instead."""
    said: Any = None
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = body[:200].decode("utf-8", "replace")
    url = said.get("resultUrl") if isinstance(said, dict) else None
    if 200 <= status < 300 and isinstance(url, str):
        return url
    why = str(said.get("result") if isinstance(said, dict) else said)
    # In a long chain the reason stands at the end, behind what each device says of the next one.
    why = why if len(why) <= 300 else "..." + why[-300:]
    raise BadBody(
        "the next device of the chain did not do its part",
        cause=f"it answered {status}: {why}",
        next_step="look at that device",
    )
