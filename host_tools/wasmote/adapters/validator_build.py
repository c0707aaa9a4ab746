"""Compiles the node's validator (firmware/src/wasm/validate*.c) to WebAssembly, for the tools: docs/VALIDATOR.md.

Used by the tools in a checkout and by the build of a wheel, so it needs nothing but Python and ziglang. The bytes
depend on the sources and the compiler's version only.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from wasmote.errors import BuildError, MissingError

FILE_NAME = "validator.wasm"
# Any engine runs this: no imports, and nothing that wasm3 0.5.0 or an old browser lacks.
_OPTIONS = (
    *("-target", "wasm32-freestanding", "-mcpu=mvp", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-DWM_LIMITS_AT_RUN_TIME", '-DWM_CONFIG_FILE="validator/wm_config_validator.h"'),
    *("-I", ".", "-I", "include", "-I", "src", "-isystem", "validator/include"),
    *("-Wl,--no-entry", "-Wl,--gc-sections", "-Wl,--strip-all", "-Wl,-z,stack-size=8192"),
)


def sources(firmware: Path) -> list[str]:
    """What is compiled, relative to firmware."""
    found = sorted(path.name for path in (firmware / "src" / "wasm").glob("validate*.c"))
    names = ["refused.c", *found]
    return ["validator/validator.c", "validator/defaults.c", *(f"src/wasm/{name}" for name in names)]


def digest(firmware: Path) -> str:
    """Of everything that the bytes depend on, as far as it is in this checkout, and of the compiler's version. Raises
    MissingError without a compiler."""
    files = [firmware / name for name in sources(firmware)]
    for folder in ("include/wasmote", "src/base", "src/wasm", "validator", "validator/include"):
        files += sorted((firmware / folder).glob("*.h"))
    found = hashlib.sha256(repr((_OPTIONS, _compiler_version())).encode())
    for file in files:
        data = file.read_bytes()
        found.update(f"{file.relative_to(firmware).as_posix()} {len(data)}\n".encode() + data)
    return found.hexdigest()


def compile_validator(firmware: Path, out: Path) -> None:
    """Write the module to out; readers see an old one or the new one, whole. Raises BuildError, MissingError."""
    _compiler_version()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        made = Path(folder).resolve() / FILE_NAME
        command = [sys.executable, "-m", "ziglang", "cc", *_OPTIONS, *sources(firmware), "-o", str(made)]
        done = subprocess.run(command, cwd=firmware, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not made.is_file():
            raise BuildError(
                "cannot compile the validator",
                cause=done.stderr.strip() or f"zig ended with {done.returncode}",
                next_step="undo the last change of firmware/src/wasm, or correct it",
            )
        made.chmod(0o644)
        made.replace(out)


def _compiler_version() -> str:
    try:
        return metadata.version("ziglang")
    except metadata.PackageNotFoundError:
        raise MissingError(
            "the C compiler for WebAssembly (ziglang) is missing",
            cause="it compiles the validator of modules",
            next_step="`pip install -e .` in the checkout again",
        ) from None
