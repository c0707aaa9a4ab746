"""Where the WebAssembly core test suite is, and what tests need to run it in process."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from native_validator import ROOT

RUNNER = Path("conformance") / "conformance_runner"  # in a build with tests


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
