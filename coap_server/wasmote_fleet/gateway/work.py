"""What the gateway is asked to do at a node, and how that, its result and its errors travel between servers (CBOR)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, cast

import cbor2

import wasmote.errors
from wasmote.errors import WasmoteError
from wasmote.node import Pushed
from wasmote.protocol.answers import CallResult, Export, FunctionInfo, FunctionLink, LogLine
from wasmote.protocol.values import Argument
from wasmote_fleet.engine import errors as engine_errors
from wasmote_fleet.gateway import errors
from wasmote_fleet.registry import errors as registry_errors
from wasmote_fleet.repository import repository

Kind = Literal["call", "push", "functions", "function", "remove", "device", "log"]
Body = Sequence[Argument] | bytes | None


@dataclass(frozen=True, slots=True)
class NodeLog:
    """Lines of a node's log, and the number that its next one gets."""

    lines: tuple[LogLine, ...]
    next: int


Result = CallResult | Pushed | FunctionInfo | list[FunctionLink] | dict[str, Any] | NodeLog | None


@dataclass(frozen=True, slots=True)
class Work:
    """One thing to do at a node. function: its name there. export, body, context: of a call. digest: of the module to
    push. number: of the first log line."""

    kind: Kind
    node: str
    function: str = ""
    export: str | None = None
    body: Body = None
    digest: str = ""
    context: str | None = None
    number: int = 0

    @property
    def wanted(self) -> str:
        """The function and its export, as Node.call() takes them."""
        return self.function if self.export is None else f"{self.function}/{self.export}"

    @property
    def text(self) -> str:
        """For a person."""
        return {
            "call": self.wanted,
            "push": f"push of {self.function}",
            "functions": "the list of functions",
            "function": f"function {self.function}",
            "remove": f"removal of {self.function}",
            "device": "the description",
            "log": "the log",
        }[self.kind]

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice is as good as once, without asking: all but calls."""
        return self.kind != "call"


def encode_work(work: Work, deadline_s: float) -> bytes:
    """deadline_s: how long there is, from its arrival."""
    return cbor2.dumps({**asdict(work), "deadline_s": deadline_s})


def decode_work(data: bytes) -> tuple[Work, float]:
    members = cbor2.loads(data)
    deadline_s = float(members.pop("deadline_s"))
    return Work(**members), deadline_s


def encode_result(result: Result) -> bytes:
    kind = type(result).__name__
    if isinstance(result, list):
        return cbor2.dumps({"list": [asdict(link) for link in result]})
    if isinstance(result, dict):
        return cbor2.dumps({"device": result})
    return cbor2.dumps({} if result is None else {kind: asdict(result)})


def encode_error(error: WasmoteError) -> bytes:
    """An error with all that its class keeps, as the nearest class that every server knows."""
    name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in _ERRORS)
    return cbor2.dumps({"error": name, "members": _plain(vars(error))})


def decode(data: bytes) -> Result:
    """The result of a reply. Raises the error that it is."""
    reply = cbor2.loads(data)
    if "error" in reply:
        raise _error(reply["error"], reply["members"])
    for name, value in reply.items():
        if name == "list":
            return [FunctionLink(**_tuples(link, "exports")) for link in value]
        if name == "device":
            return cast(dict[str, Any], value)
        if name == "CallResult":
            return CallResult(**_tuples(value, "results", "numbers"))
        if name == "NodeLog":
            return NodeLog(tuple(LogLine(**line) for line in value["lines"]), value["next"])
        if name == "Pushed":
            return Pushed(**value)
        if name == "FunctionInfo":
            exports = tuple(Export(**_tuples(export, "params", "results")) for export in value["exports"])
            return FunctionInfo(**{**value, "exports": exports})
    return None


def _tuples(members: dict[str, Any], *names: str) -> dict[str, Any]:
    return {**members, **{name: tuple(members[name]) for name in names}}


def _error(name: str, members: dict[str, Any]) -> WasmoteError:
    kind = _ERRORS.get(name, WasmoteError)
    made = kind.__new__(kind)
    Exception.__init__(made, members.get("message", ""))
    for member, value in members.items():
        setattr(made, member, value)
    if "exit_code" in members:
        made.exit_code = wasmote.errors.ExitCode(members["exit_code"])
    return made


def _plain(value: Any) -> Any:
    """As CBOR takes it: what is no number, text or bytes becomes a text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | float | bytes) or value is None:
        return value
    return int(value) if isinstance(value, int) else str(value)


_ERRORS: dict[str, type[WasmoteError]] = {
    found.__name__: found
    for module in (wasmote.errors, errors, registry_errors, repository, engine_errors)
    for found in vars(module).values()
    if isinstance(found, type) and issubclass(found, WasmoteError)
}
