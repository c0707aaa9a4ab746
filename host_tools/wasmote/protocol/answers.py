"""What a node's resources answer (docs/PROTOCOL.md, 3), decoded.

Every decoder takes a successful reply and raises RefusedError for one that it cannot read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import cbor2

from wasmote.errors import RefusedError
from wasmote.protocol import links, senml, values
from wasmote.protocol.messages import Reply
from wasmote.protocol.senml import Measurement

EXPORT_NAME_MAX_BYTES = 63  # in a path (docs/PROTOCOL.md, 4)
_FINISHED = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Export:
    """An export that can be called. kind: "numbers" or "bytes"; index: its place in the export section, None where the
    node does not say."""

    name: str
    params: tuple[str, ...]
    results: tuple[str, ...]
    kind: str
    pure: bool = False
    idempotent: bool = False
    index: int | None = None

    @property
    def signature(self) -> str:
        return values.signature_text(self.params, self.results)

    @property
    def repeatable(self) -> bool:
        """Declared so that calling it twice is as good as once."""
        return self.pure or self.idempotent

    @property
    def ref(self) -> str:
        """How a path or a person names it: by its name, or as `:N` where the name cannot be in a path."""
        fits = 1 <= len(self.name.encode()) <= EXPORT_NAME_MAX_BYTES and self.name[0] not in ":."
        return self.name if fits or self.index is None else f":{self.index}"


@dataclass(frozen=True)
class FunctionInfo:
    """What a node says about a function. raw: all of it. default: the name of the export that is called when none is
    named, None for none."""

    name: str
    version: str
    size_bytes: int
    sha256: bytes
    default: str | None
    exports: tuple[Export, ...]
    raw: Mapping[str, Any] = field(repr=False)
    etag: bytes | None = None

    def find(self, ref: str) -> Export | None:
        """The export of this name, or of this `:N`. An index wins over a name that looks like one."""
        if ref.startswith(":") and ref[1:].isdecimal():
            for export in self.exports:
                if export.index == int(ref[1:]):
                    return export
        return next((export for export in self.exports if export.name == ref), None)


@dataclass(frozen=True)
class FunctionLink:
    """A line of the function list. exports: how each is named in a call (Export.ref)."""

    name: str
    size_bytes: int
    exports: tuple[str, ...]


@dataclass(frozen=True)
class LogLine:
    """A line of the node's log. level: 0 error, 1 warning, 2 info, 3 debug; source: a function, or "" for the
    node."""

    number: int
    at_ms: int
    level: int
    source: str
    text: str

    @property
    def level_name(self) -> str:
        names = ("error", "warning", "info", "debug")
        return names[self.level] if 0 <= self.level < len(names) else str(self.level)


@dataclass(frozen=True)
class Job:
    """A job. state: queued, running, done, failed or cancelled. raw: all that the node says."""

    id: str
    function: str
    export: str
    state: str
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def finished(self) -> bool:
        return self.state in _FINISHED


@dataclass(frozen=True)
class CallResult:
    """What a call gave: numbers (results names their types) or bytes (output)."""

    kind: str
    results: tuple[str, ...]
    numbers: tuple[int | float, ...]
    output: bytes
    elapsed_s: float

    @property
    def value(self) -> int | float | bytes | tuple[int | float, ...] | None:
        """bytes; or the number, None for none, a tuple for several."""
        if self.kind == "bytes":
            return self.output
        if len(self.numbers) == 1:
            return self.numbers[0]
        return self.numbers or None


def cbor_map(reply: Reply) -> dict[str, Any]:
    """A CBOR map, such as `/d`."""
    decoded = _cbor(reply)
    if not isinstance(decoded, dict):
        raise _unreadable("the node's answer", "it is not a CBOR map")
    return decoded


def function_info(name: str, reply: Reply) -> FunctionInfo:
    """`/f/{name}`; name stands in where the node does not say it."""
    raw = cbor_map(reply)
    try:
        return FunctionInfo(
            name=str(raw.get("name", name)),
            version=str(raw.get("version", "")),
            size_bytes=int(raw.get("size", 0)),
            sha256=bytes(raw.get("sha256", b"")),
            default=raw.get("default"),
            exports=tuple(_export(entry) for entry in raw.get("exports", ())),
            raw=raw,
            etag=reply.etag,
        )
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise _unreadable(f"the description of '{name}'", repr(error)) from error


def function_links(reply: Reply) -> list[FunctionLink]:
    """`/f`, in the node's order."""
    sizes: dict[str, int] = {}
    exports: dict[str, list[str]] = {}
    for link in resource_links(reply):
        path = link.target.strip("/").split("/")
        if len(path) < 2 or path[0] != "f":
            continue
        if len(path) == 2:
            sizes[path[1]] = int(link.attributes["sz"]) if link.attributes.get("sz", "").isdigit() else 0
            exports.setdefault(path[1], [])
        else:
            exports.setdefault(path[1], []).append(unquote(path[2]))
    return [FunctionLink(name, size, tuple(exports[name])) for name, size in sizes.items()]


def resource_links(reply: Reply) -> list[links.Link]:
    """A link list."""
    try:
        return links.parse(reply.payload.decode("utf-8"))
    except ValueError as error:
        raise _unreadable("the node's list of links", str(error)) from error


def log_lines(reply: Reply) -> tuple[list[LogLine], int]:
    """`/d/log`: lines, and the number that the next one will get."""
    raw = cbor_map(reply)
    try:
        lines = [
            LogLine(int(n), int(ms), int(level), str(source), str(text))
            for n, ms, level, source, text in raw["lines"]
        ]
        return lines, int(raw["next"])
    except (TypeError, ValueError, KeyError) as error:
        raise _unreadable("the node's log", repr(error)) from error


def job(raw: Mapping[str, Any]) -> Job:
    """A job's map."""
    try:
        return Job(
            str(raw["id"]), str(raw.get("f", "")), str(raw.get("export", "")), str(raw.get("state", "")), raw
        )
    except KeyError as error:
        raise _unreadable("the node's job", repr(error)) from error


def jobs(reply: Reply) -> list[Job]:
    """`/j`."""
    decoded = _cbor(reply)
    if not isinstance(decoded, list) or not all(isinstance(entry, dict) for entry in decoded):
        raise _unreadable("the node's list of jobs", "it is not an array of maps")
    return [job(entry) for entry in decoded]


def measurements(reply: Reply) -> list[Measurement]:
    """`/d/m`."""
    try:
        return senml.decode(reply.payload)
    except senml.SenmlError as error:
        raise _unreadable("the node's list of measurements", str(error)) from error


def _cbor(reply: Reply) -> Any:
    try:
        return cbor2.loads(reply.payload)
    except Exception as error:  # cbor2 raises many kinds on bytes from the wire
        raise _unreadable("the node's answer", f"it is not CBOR: {error}") from error


def _export(entry: Mapping[str, Any]) -> Export:
    index = entry.get("index")
    return Export(
        name=str(entry["name"]),
        params=tuple(entry.get("params", ())),
        results=tuple(entry.get("results", ())),
        kind=str(entry.get("kind", "numbers")),
        pure=bool(entry.get("pure", False)),
        idempotent=bool(entry.get("idempotent", False)),
        index=None if index is None else int(index),
    )


def _unreadable(what: str, cause: str) -> RefusedError:
    return RefusedError(
        f"{what} cannot be read",
        cause=cause,
        next_step="check that the address is a wasmote node's, and that its version fits this tool's",
    )
