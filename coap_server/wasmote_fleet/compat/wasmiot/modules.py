"""A module that came from wasmiot, made ready for nodes. Sans-IO."""

from __future__ import annotations

import re

from wasmote.protocol.module import parse_module
from wasmote.protocol.section import Section, section_of, with_section
from wasmote.protocol.table_index import plain_table_indexes

ABI_VERSION = 1
FILE_OUTPUT_BYTES = 16 * 1024  # a node's default is less than most files


def prepared(data: bytes, name: str, *, gives_files: bool) -> bytes:
    """The module; one without a `wasmote` section gets it: its memory is cut to what it uses, and its exports are
    declared pure where they cannot be anything else, and its table indexes become plain ones. Raises ModuleError,
    SectionError."""
    module = parse_module(data)
    if section_of(module) is not None:
        return data
    pure: tuple[str, ...] = ()
    if not (module.imports or module.memories or module.globals):
        # Nothing outlives a call, and nothing outside is touched.
        pure = tuple(
            export.name
            for export in module.exports
            if export.kind == "func" and not module.signature(export.item).is_bytes
        )
    section = Section(
        name=name,
        abi=ABI_VERSION,
        heap=None if module.heap_base is None else 0,
        output=FILE_OUTPUT_BYTES if gives_files else None,
        pure=pure,
    )
    return with_section(plain_table_indexes(data), section)


def plain_name(name: str, room: int = 18) -> str:
    """What the repository and nodes take of a name."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:room] or "module"
