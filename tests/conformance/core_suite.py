"""The WebAssembly core test suite, converted by wabt's wast2json, as a list of commands for each file."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from native_validator import ROOT

FEATURES = ("--disable-reference-types", "--disable-bulk-memory", "--disable-simd")
RUNNER = Path("conformance") / "conformance_runner"  # in a build with tests


def suite_dir() -> Path:
    """Where the .wast files are: $WASMOTE_SPEC_DIR, or ../shared/wasm-spec beside the repository."""
    return Path(os.environ.get("WASMOTE_SPEC_DIR", ROOT.parent / "shared" / "wasm-spec"))


def missing() -> str | None:
    """Why the suite cannot run here, or None."""
    if not any(suite_dir().glob("*.wast")):
        return f"the core test suite is not at {suite_dir()} (WASMOTE_SPEC_DIR)"
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
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "out.json"
        subprocess.run(["wast2json", *FEATURES, str(wast), "-o", str(listing)], check=True)
        found = []
        for fields in json.loads(listing.read_text())["commands"]:
            binary = "filename" in fields and fields.get("module_type", "binary") == "binary"
            path = listing.parent / fields["filename"] if binary else None
            found.append(Command(fields["type"], fields["line"], path, fields))
        yield found
