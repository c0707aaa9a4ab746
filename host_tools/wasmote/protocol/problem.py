"""Problem details (RFC 9290) as a node sends them (docs/PROTOCOL.md, 6), and what a person can do about
them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

from wasmote.protocol import messages
from wasmote.protocol.imports import offered_by
from wasmote.protocol.messages import Reply
from wasmote.protocol.module import function_name

ENTRY = "tag:wasmote,2026:p"
_TITLE, _DETAIL = -1, -2
MODULE_REFUSED = "module refused"  # the title of every 4.22 of a module
_MANY = 12  # names that a sentence takes

WASM_FLAGS = (
    "-mcpu=mvp+sign_ext+nontrapping_fptoint+bulk_memory+multivalue+mutable_globals"
    " -Wl,-z,stack-size=2048 -Wl,--export=__heap_base"
)

_TITLES = {
    messages.BAD_REQUEST: "bad request",
    messages.UNAUTHORIZED: "not authorized",
    messages.BAD_OPTION: "an option is not understood",
    messages.FORBIDDEN: "forbidden",
    messages.NOT_FOUND: "not found",
    messages.METHOD_NOT_ALLOWED: "method not allowed",
    messages.NOT_ACCEPTABLE: "not available in this format",
    messages.INCOMPLETE: "the transfer has a gap",
    messages.CONFLICT: "conflict",
    messages.PRECONDITION_FAILED: "precondition failed",
    messages.TOO_LARGE: "too large",
    messages.UNSUPPORTED_FORMAT: "unsupported content format",
    messages.UNPROCESSABLE: "invalid module",
    messages.TOO_MANY_REQUESTS: "too many requests",
    messages.SERVER_ERROR: "failed",
    messages.UNAVAILABLE: "busy",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """An error reply. ``members`` are those of PROTOCOL.md 6; what a reply does not carry is absent."""

    code: int
    title: str
    detail: str = ""
    members: dict[str, Any] = field(default_factory=dict)

    @property
    def code_text(self) -> str:
        return messages.code_text(self.code)

    @property
    def trap(self) -> str | None:
        value = self.members.get("trap")
        return str(value) if value is not None else None

    @property
    def import_name(self) -> str | None:
        """`module.name` of the import that is missing or has another signature."""
        value = self.members.get("import")
        if isinstance(value, list | tuple):
            return ".".join(str(part) for part in value)
        return str(value) if value is not None else None

    @property
    def reply_forgotten(self) -> bool:
        """A repeated request was carried out before, and its reply is lost (docs/PROTOCOL.md, 2)."""
        return self.code == messages.SERVER_ERROR and self.trap is None and self.title == "reply forgotten"

    @property
    def status(self) -> int | None:
        """The application's own status, where the function itself reported an error."""
        value = self.members.get("status")
        return value if isinstance(value, int) else None

    @property
    def output(self) -> bytes:
        """What the application wrote before it reported an error, its first 256 bytes."""
        value = self.members.get("output")
        return value if isinstance(value, bytes) else b""

    @property
    def text(self) -> str:
        """Title and detail in one line."""
        return f"{self.title}: {self.detail}" if self.detail else self.title

    def text_of(self, module: bytes | None) -> str:
        """The same, and where in the module it is wrong: function, its name in the source, offset; as far as the node
        says. module: the bytes that it speaks of, for the name."""
        function, offset = self.members.get("index"), self.members.get("offset")
        parts = []
        if isinstance(function, int):
            name = None if module is None else function_name(module, function)
            parts.append(f"in function {function}" + (f" '{name}'" if name else ""))
        if isinstance(offset, int):
            parts.append(f"at byte {offset}")
        return f"{self.text}, {' '.join(parts)}" if parts else self.text


def decode(reply: Reply) -> Problem:
    """The problem in an error reply. A payload that is no problem document becomes the detail, if it is
    text."""
    title = _TITLES.get(reply.code, f"refused with {reply.code_text}")
    if reply.content_format == messages.FORMAT_PROBLEM:
        return _from_cbor(reply.code, title, reply.payload)
    if reply.content_format in (None, 0):
        try:
            return Problem(reply.code, title, reply.payload.decode("utf-8"))
        except UnicodeDecodeError:
            pass
    return Problem(reply.code, title)


def decode_entry(code: int, entry: object) -> Problem:
    """The problem in a job's representation: the decoded map of section 6."""
    title = _TITLES.get(code, f"failed with {messages.code_text(code)}")
    return _from_map(code, title, entry)


def _from_cbor(code: int, title: str, payload: bytes) -> Problem:
    try:
        return _from_map(code, title, cbor2.loads(payload))
    except Exception:  # whatever cbor2 raises: an unreadable explanation must not hide the code
        return Problem(code, title)


def _from_map(code: int, title: str, document: object) -> Problem:
    if not isinstance(document, dict):
        return Problem(code, title)
    members = document.get(ENTRY)
    return Problem(
        code,
        str(document.get(_TITLE) or title),
        str(document.get(_DETAIL) or ""),
        dict(members) if isinstance(members, dict) else {},
    )


def next_step(problem: Problem, device: Mapping[str, Any] | None = None) -> str:
    """What the person can do, in one or two sentences. device: `/d` of the node, where it is at hand."""
    if problem.trap is not None:
        return after_trap(problem.trap) or "run the function locally with `wasmote run` to find the cause"
    by_code = {
        messages.BAD_REQUEST: "correct the request as the text above says",
        messages.NOT_FOUND: "`wasmote ls` shows the functions of this node, `wasmote info NAME` the exports of one",
        messages.METHOD_NOT_ALLOWED: "`wasmote info NAME` shows the exports, and which of them are pure",
        messages.PRECONDITION_FAILED: "look at what is there with `wasmote info NAME`, then try again with its ETag"
        " (--if-match) or without a condition",
        messages.INCOMPLETE: "send it again: the node no longer has the blocks before",
        messages.UNAUTHORIZED: "this node is provisioned: it needs a key (OSCORE)",
        messages.TOO_MANY_REQUESTS: "wait, then try again",
        messages.UNAVAILABLE: "wait until its call has ended, then try again; `wasmote jobs` shows it, and"
        " `wasmote jobs ID --cancel` ends it",
    }
    if problem.code == messages.UNPROCESSABLE:
        return _after_invalid(problem, device or {})
    if problem.code == messages.TOO_LARGE:
        return _after_too_large(problem)
    # The tools ask for nothing else that a node of their version refuses.
    return by_code.get(
        problem.code, "compare the firmware (`wasmote info`) with this tool (`wasmote --version`)"
    )


def after_trap(kind: str) -> str:
    """What the person can do about a trap of this kind (docs/PROTOCOL.md, 6); "" where nothing useful can be said."""
    steps = {
        "fuel": "raise `fuel` in the app's app.toml if the function needs that long, or look for a loop without end",
        "stack-native": "use less recursion, or raise `native` in the app's app.toml where it is below the node's limit"
        " (`wasmote info`)",
        "stack-wasm": "raise `stack` in the app's app.toml, or use less recursion",
        "memory": "the function read or wrote outside its memory: look for a wrong pointer or index",
        "memory-quota": "raise `heap` in the app's app.toml: the function used memory beyond its quota",
        "output": "raise `output` in the app's app.toml: the function wrote more than its quota",
        "log": "write fewer log lines, or raise `log` in the app's app.toml: lines a second",
        "div-zero": "the function divided by zero: check its arguments",
        "int-overflow": "the result of a division, or a float, did not fit an integer: check the arguments",
        "int-convert": "NaN or a float did not fit an integer: check the arguments",
        "table": "the function called through a pointer to no function: look for one that was overwritten",
        "null-call": "the function called through a null pointer: look for one that was not set",
        "signature": "the function called through a pointer to a function of another type: look for a wrong cast",
        "unreachable": "the function ended itself (a failed assertion, a trap in its source, undefined behaviour)",
        "cancelled": "the job was cancelled; start it again if its result is still wanted",
    }
    return steps.get(kind, "")


def _after_invalid(problem: Problem, device: Mapping[str, Any]) -> str:
    if problem.import_name is not None:
        return _after_import(problem, device)
    reason = problem.members.get("reason")
    if reason == "memory":
        beyond = _beyond(problem)
        wants = f"{beyond}, in bytes of memory" if beyond else "more memory than the node has"
        return f"the module wants {wants}; compile it with {WASM_FLAGS}, or use `wasmote compile`"
    if reason == "unsupported":
        return f"the module uses a feature that the node lacks; compile it with {WASM_FLAGS}, or use `wasmote compile`"
    if reason == "limit":
        return _after_limit(problem)
    if reason in ("malformed", "invalid"):
        return "the file is damaged or its compiler is at fault: build it again, and check it with `wasm-validate`"
    if reason == "start":
        return "the module's start function failed on the node: run it locally with `wasmote run`"
    return "build the module again with `wasmote compile`"


def _after_import(problem: Problem, device: Mapping[str, Any]) -> str:
    named = problem.members.get("import")
    module, name = map(str, named) if isinstance(named, list | tuple) and len(named) == 2 else ("", "")
    offered = offered_by(device)
    if offered is None:
        has = "`wasmote info` lists in `imports` the modules whose functions this node offers (docs/PROTOCOL.md, 7)"
    elif module not in offered:
        has = f"this node offers functions of the modules {', '.join(offered) or '(none)'} (docs/PROTOCOL.md, 7)"
    elif (functions := offered[module]) is None:
        has = f"this node offers functions of {module}, but not this one, or of another type (docs/PROTOCOL.md, 7)"
    elif name in functions:
        return f"on this node {module}.{name} is {functions[name]}: declare it so; wasm_apps/sdk has headers"
    elif len(functions) > _MANY:
        has = f"of {module} this node offers {len(functions)} other functions (docs/PROTOCOL.md, 7)"
    else:
        has = f"of {module} this node offers {', '.join(functions)}"
    return f"{has}: remove the call of {problem.import_name}, or link what it needs into the module"


def _beyond(problem: Problem) -> str:
    """Of a problem that the tools found in `/d`: what is asked for and what there is."""
    need, most = problem.members.get("need"), problem.members.get("most")
    return "" if need is None or most is None else f"{need}, and the node gives {most} at most"


def _after_limit(problem: Problem) -> str:
    if problem.detail.startswith("asks for") and (beyond := _beyond(problem)):
        return f"it asks for {beyond}: ask for less in the app's app.toml"
    if problem.detail.startswith("asks for"):
        return "`wasmote info` shows the limits of the node: ask for less in the app's app.toml"
    if "index" in problem.members:
        return "the module is valid but beyond a limit of the node (`wasmote info`): simplify that function"
    if problem.detail.startswith("the wasm stack is too small"):
        return "raise `stack` in the app's app.toml"
    return "the module is valid but beyond a limit of the node: `wasmote info` shows them; split it, or make it simpler"


def _after_too_large(problem: Problem) -> str:
    most = problem.members.get("most")
    if most is not None:
        return (
            f"it needs {problem.members.get('need')} bytes at least, and the node has {most} for all functions: lower"
            " `heap` and `stack` in the app's app.toml, export `__heap_base` if it does not, or make it smaller"
        )
    need, free = problem.members.get("need"), problem.members.get("free")
    sizes = f"it needs {need} bytes and {free} are free: " if need is not None and free is not None else ""
    return f"{sizes}remove a function (`wasmote rm NAME`) or make this one smaller; `wasmote info` shows the limits"
