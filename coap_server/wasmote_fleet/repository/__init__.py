"""The function repository: immutable modules by digest, and names and versions that point at them."""

from wasmote_fleet.repository.modules import ExportInfo, ImportInfo, ModuleInfo, describe
from wasmote_fleet.repository.repository import (
    MAX_MODULE_BYTES,
    VERSION_PATTERN,
    Published,
    Repository,
    UnknownFunction,
    Version,
    VersionTaken,
)

__all__ = [
    "MAX_MODULE_BYTES",
    "VERSION_PATTERN",
    "ExportInfo",
    "ImportInfo",
    "ModuleInfo",
    "Published",
    "Repository",
    "UnknownFunction",
    "Version",
    "VersionTaken",
    "describe",
]
