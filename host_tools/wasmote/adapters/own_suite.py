"""The tests that come with the tools."""

from __future__ import annotations

from importlib import resources

from wasmote.protocol.conformance.own import parse
from wasmote.protocol.conformance.suite import File


def read() -> list[File]:
    """Every rule of the validator, and what modules of a generator do."""
    return parse((resources.files("wasmote") / "data" / "conformance.txt").read_text(encoding="utf-8"))
