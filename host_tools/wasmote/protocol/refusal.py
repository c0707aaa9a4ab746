"""What a node's error reply means to a person: the WasmoteError for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasmote.errors import ApplicationError, RefusedError, TrapError, WasmoteError
from wasmote.protocol import messages, problem
from wasmote.protocol.messages import Reply
from wasmote.protocol.module import function_name


def error_from_reply(
    reply: Reply,
    what: str,
    *,
    module: bytes | None = None,
    steps: Mapping[int, str] | None = None,
    device: Mapping[str, Any] | None = None,
) -> WasmoteError:
    """The error that an error reply stands for. what: what did not happen, in a few words; module: the body that
    was sent; steps: what a person can do, by code, where the request knows better than the reply; device: `/d` of the
    node, where it is at hand."""
    found = problem.decode(reply)
    if reply.code == messages.TOO_LARGE and module is not None:
        size_bytes = len(module)
        fits = f", {reply.size1_bytes} would fit" if reply.size1_bytes is not None else ""
        found = problem.Problem(
            found.code, found.title, found.detail or f"{size_bytes} bytes{fits}", found.members
        )
        if fits and fits not in found.detail:
            found = problem.Problem(
                found.code, found.title, f"{found.detail} ({size_bytes} bytes{fits})", found.members
            )
    return error_from_problem(found, what, module=module, steps=steps, device=device)


def error_from_problem(
    found: problem.Problem,
    what: str,
    *,
    module: bytes | None = None,
    steps: Mapping[int, str] | None = None,
    device: Mapping[str, Any] | None = None,
) -> WasmoteError:
    """The error that a problem document stands for: the application's, a trap, or a refusal. module: what was refused,
    where that is a module. device: as above."""
    step = (steps or {}).get(found.code) or problem.next_step(found, device)
    details = {"code": found.code_text, "title": found.title, "detail": found.detail, **found.members}
    cause = f"{found.text_of(module)} ({found.code_text})"
    if module is not None and isinstance(function := found.members.get("index"), int):
        details["function_name"] = function_name(module, function)
    if found.import_name is not None:
        cause += f": {found.import_name}"
    if found.status is not None and found.code >> 5 == 4:
        said = found.output.decode("utf-8", errors="replace").strip()
        return ApplicationError(
            f"{what}: the function reported status {found.status}",
            status=found.status,
            cause=said or found.detail,
            next_step="this is the function's own answer to its input; its documentation says what it means",
            details=details,
        )
    if found.code == messages.SERVER_ERROR:
        function = found.members.get("function")
        where = f" in '{function}'" if function else ""
        quota = f", quota {found.members['quota']}" if "quota" in found.members else ""
        if found.trap:
            cause = f"trap '{found.trap}'{where}{quota}: {found.detail or found.title} (5.00)"
        return TrapError(what, cause=cause, next_step=step, details=details)
    if found.members.get("restarted"):
        cause += "; the old version had to be stopped meanwhile and runs again with fresh memory"
    return RefusedError(what, cause=cause, next_step=step, details=details)
