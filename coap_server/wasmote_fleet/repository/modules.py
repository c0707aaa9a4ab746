"""What the repository knows about a module: read from its bytes once, kept as JSON."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Self

from wasmote.protocol.module import parse_module
from wasmote.protocol.section import default_export, section_of


@dataclass(frozen=True, slots=True)
class ExportInfo:
    """An exported function. kind: "numbers" or "bytes" (docs/PROTOCOL.md, 4). index: in the export section."""

    name: str
    index: int
    params: tuple[str, ...]
    results: tuple[str, ...]
    kind: str
    pure: bool
    idempotent: bool


@dataclass(frozen=True, slots=True)
class ImportInfo:
    """What a node must offer. params and results: None unless kind is "func"."""

    module: str
    name: str
    kind: str
    params: tuple[str, ...] | None
    results: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """A module. digest: SHA-256, 64 hexadecimal digits. name, version, default: what its `wasmote` section says, None
    for nothing; default is the export that a call without one means."""

    digest: str
    size_bytes: int
    name: str | None
    version: str | None
    default: str | None
    exports: tuple[ExportInfo, ...]
    imports: tuple[ImportInfo, ...]

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps(asdict(self), ensure_ascii=False).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What encode() gave."""
        raw: dict[str, Any] = json.loads(data)
        exports = tuple(
            ExportInfo(**{**e, "params": tuple(e["params"]), "results": tuple(e["results"])})
            for e in raw.pop("exports")
        )
        imports = tuple(
            ImportInfo(**{**i, "params": _types(i["params"]), "results": _types(i["results"])})
            for i in raw.pop("imports")
        )
        return cls(**raw, exports=exports, imports=imports)


def _types(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def describe(data: bytes) -> ModuleInfo:
    """The description of a valid module. Raises ModuleError, SectionError."""
    module = parse_module(data)
    section = section_of(module)
    pure = section.pure if section else ()
    idempotent = section.idempotent if section else ()
    exports = []
    for export in module.exports:
        if export.kind != "func":
            continue
        kind = module.signature(export.item)
        exports.append(
            ExportInfo(
                export.name,
                export.index,
                kind.params,
                kind.results,
                "bytes" if kind.is_bytes else "numbers",
                export.name in pure,
                export.name in idempotent,
            )
        )
    imports = []
    for wanted in module.imports:
        type_ = None if wanted.type_index is None else module.types[wanted.type_index]
        imports.append(
            ImportInfo(
                wanted.module,
                wanted.name,
                wanted.kind,
                None if type_ is None else type_.params,
                None if type_ is None else type_.results,
            )
        )
    name = section.name if section else None
    return ModuleInfo(
        hashlib.sha256(data).hexdigest(),
        len(data),
        name,
        section.version if section else None,
        default_export(module, section, name or ""),
        tuple(exports),
        tuple(imports),
    )
