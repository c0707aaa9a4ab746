"""The WebAssembly core test suite, converted by wabt's wast2json, as a list of commands for each file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from native_validator import ROOT

FEATURES = ("--disable-reference-types", "--disable-bulk-memory", "--disable-simd")
RUNNER = Path("conformance") / "conformance_runner"  # in a build with tests

# Modules that are refused for one or two of their functions: they run again without these, by name or export. What else
# the file has is not looked at again.
AGAIN_WITHOUT = {
    "call": ("$return-from-long-argument-list-helper", '"return-from-long-argument-list"'),
    "loop": ('"break-value"', '"break-multi-value"'),
}
_CALLS = ("module", "action", "assert_return", "assert_trap", "assert_exhaustion")


def suite_dir() -> Path:
    """Where the .wast files are: $WASMOTE_SPEC_DIR, or ../shared/wasm-spec beside the repository."""
    return Path(os.environ.get("WASMOTE_SPEC_DIR", ROOT.parent / "shared" / "wasm-spec"))


def missing() -> str | None:
    """Why the suite cannot run here, or None."""
    if not any(suite_dir().glob("*.wast")):
        return f"no WebAssembly core test suite (.wast files) in {suite_dir()}; WASMOTE_SPEC_DIR names another folder"
    if shutil.which("wast2json") is None:
        return "wast2json is missing (Debian package wabt)"
    return None


def files() -> list[Path]:
    """All .wast files, by name."""
    return sorted(suite_dir().glob("*.wast"))


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a .wast file. kind is wast2json's; path is set where the command has a binary module."""

    kind: str
    line: int
    path: Path | None
    fields: dict[str, Any]

    @property
    def module(self) -> bytes | None:
        return None if self.path is None else self.path.read_bytes()


@contextlib.contextmanager
def converted(wast: Path) -> Iterator[list[Command]]:
    """The commands of a file; the modules are files until the end of the context. Modules as text, in
    assert_malformed, have no binary."""
    with _listed(wast) as found:
        yield found


@contextlib.contextmanager
def converted_without(wast: Path, names: Iterable[str]) -> Iterator[list[Command]]:
    """The same for the modules and calls of a file, without these functions and what calls them. Line numbers stay."""
    text = wast.read_text()
    for name in names:
        text = _blanked(
            text, re.compile(rf"\((func (\(export )?|assert_\w+ \(invoke ){re.escape(name)}(?=[\s)])")
        )
    with tempfile.TemporaryDirectory() as folder:
        rest = Path(folder) / wast.name
        rest.write_text(text)
        with _listed(rest) as found:
            yield [command for command in found if command.kind in _CALLS]


def _blanked(text: str, start: re.Pattern[str]) -> str:
    """text with spaces in place of each list that begins so."""
    while found := start.search(text):
        depth, at = 0, found.start()
        while True:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
            if depth == 0:
                break
        text = text[: found.start()] + re.sub(r"[^\n]", " ", text[found.start() : at]) + text[at:]
    return text


@contextlib.contextmanager
def _listed(wast: Path) -> Iterator[list[Command]]:
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "out.json"
        subprocess.run(["wast2json", *FEATURES, str(wast), "-o", str(listing)], check=True)
        found = []
        for fields in json.loads(listing.read_text())["commands"]:
            binary = "filename" in fields and fields.get("module_type", "binary") == "binary"
            path = listing.parent / fields["filename"] if binary else None
            found.append(Command(fields["type"], fields["line"], path, fields))
        yield found
