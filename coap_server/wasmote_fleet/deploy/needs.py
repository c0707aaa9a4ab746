"""What a module needs of a node, read from its bytes once when it is deployed. Sans-IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from wasmote.protocol.module import parse_module
from wasmote.protocol.section import memory_bytes, section_of


@dataclass(frozen=True, slots=True)
class Needs:
    """imports: import modules. size: bytes of the module. memory: bytes of its instance's memory. stack, native,
    output, log: quotas that it asks for, None for the node's defaults. abi: of the host interface."""

    imports: tuple[str, ...] = ()
    size: int = 0
    memory: int = 0
    stack: int | None = None
    native: int | None = None
    output: int | None = None
    log: int | None = None
    abi: int | None = None

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Self:
        """What asdict() gave. Members that it does not know are left out."""
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        return cls(**known | {"imports": tuple(raw["imports"])})


def needs_of(data: bytes) -> Needs:
    """Of a valid module. Raises ModuleError, SectionError."""
    module = parse_module(data)
    section = section_of(module)
    wanted = {entry.module for entry in module.imports} | set(section.permissions if section else ())
    return Needs(
        tuple(sorted(wanted)),
        len(data),
        memory_bytes(module, section),
        *((section.stack, section.native, section.output, section.log, section.abi) if section else ()),
    )
