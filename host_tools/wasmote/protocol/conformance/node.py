"""The steps of a script as requests to a node (docs/PROTOCOL.md), its replies as answers. Sans-IO:

    requests = run(script.steps)
    reply = None
    try:
        while True:
            request = requests.send(reply)
            reply = what the node replied to request, whatever its code; None if it may have run, and nobody knows
    except StopIteration as end:
        end.value                     # the answers, one a step

Functions are called `conformance-N` on the node; each is removed when its last call is done.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from wasmote.errors import InputError
from wasmote.protocol import messages, problem, values
from wasmote.protocol.conformance.script import Answer, Step
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.module import FuncType, Module, parse_module

NAME = "conformance-"
_PATH_MAX_BYTES = 63  # of an export's name in a path
_TOO_LITTLE = "the node has too little memory for it"
_TOO_MANY = "more parameters or results"  # than WM_CALL_VALUES
_LOST = Answer("other", text="no answer: it may have run")
_NOT_OPEN = Answer("other", text="its module is not there")

Requests = Generator[Request, Reply | None, list[Answer]]


def run(steps: Sequence[Step]) -> Requests:
    """Do the steps in order. What a call needs of a module that is not there is not asked for."""
    answers: list[Answer] = []
    read: tuple[bytes, Module] | None = None  # the module that was called last
    for step in steps:
        path = ("f", f"{NAME}{step.slot}")
        if step.verb == "open":
            request = Request(messages.PUT, path, step.module, content_format=messages.FORMAT_BYTES)
            answers.append(_opened((yield request)))
        elif step.verb == "close":
            reply = yield Request(messages.DELETE, path)
            answers.append(Answer("closed") if reply is not None and reply.ok else _other(reply))
        elif step.opened is None or answers[step.opened].verb != "open":
            answers.append(_NOT_OPEN)
        else:
            if read is None or read[0] is not step.module:
                read = step.module, parse_module(step.module)
            answers.append((yield from _call(path, read[1], step)))
    return answers


def _call(path: tuple[str, ...], module: Module, step: Step) -> Generator[Request, Reply | None, Answer]:
    export = module.export(step.export)
    if export is None or export.kind != "func":
        raise InputError(
            f"the file calls '{step.export}', which its module does not export",
            next_step="convert it again: the .wast file and its modules do not belong together",
        )
    kind = module.signature(export.item)
    payload = b"" if kind.is_bytes else values.encode_cells(kind.params, step.cells)
    content_format = messages.FORMAT_BYTES if kind.is_bytes else messages.FORMAT_CBOR
    ref = step.export if _fits_path(step.export) else f":{export.index}"
    reply = yield Request(messages.POST, (*path, ref), payload, content_format=content_format)
    return _called(kind, reply)


def _fits_path(name: str) -> bool:
    return 0 < len(name.encode()) <= _PATH_MAX_BYTES and name[0] not in ":."


def _opened(reply: Reply | None) -> Answer:
    if reply is None:
        return _LOST
    if reply.ok:
        return Answer("open")
    found = problem.decode(reply)
    reason = str(found.members.get("reason", ""))
    # Too large for the node's memory: a matter of the node, not of the module.
    if reply.code == messages.TOO_LARGE or (reason == "memory" and "asks for more memory" in found.detail):
        return Answer("refused", "limit", _TOO_LITTLE)
    if reply.code == messages.UNPROCESSABLE and reason:
        return Answer("refused", reason, found.detail)
    return _other(reply)


def _called(kind: FuncType, reply: Reply | None) -> Answer:
    if reply is None:
        return _LOST
    found = problem.decode(reply) if not reply.ok else None
    if found is not None and reply.code == messages.SERVER_ERROR and found.trap is not None:
        return Answer("trap", found.trap)
    if reply.code == messages.BAD_REQUEST and found is not None and found.detail.startswith(_TOO_MANY):
        return Answer("refused", "limit", found.detail)
    if kind.is_bytes:
        # The one result is the status: 0 for any 2.xx, and in the problem details otherwise.
        if found is not None and found.status is None:
            return _other(reply)
        status = 0 if found is None or found.status is None else found.status
        return Answer("return", cells=(status & 0xFFFFFFFF,) if kind.results else ())
    if found is not None:
        return _other(reply)
    try:
        return Answer("return", cells=tuple(values.decode_cells(kind.results, reply.payload)))
    except values.ResultError as error:
        return Answer("other", text=f"{reply.code_text} {error}")


def _other(reply: Reply | None) -> Answer:
    if reply is None:
        return _LOST
    return Answer("other", text=f"{reply.code_text} {'' if reply.ok else problem.decode(reply).text}".strip())
