"""The node's validator as a shared library: firmware/src/wasm/validate*.c, compiled for this machine."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "conformance"

REASONS = ("malformed", "invalid", "limit", "unsupported")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What wm_validate said. reason is None for a module that is accepted, else one of REASONS."""

    reason: str | None
    text: str = ""
    function: int = -1
    offset: int = -1

    @property
    def accepted(self) -> bool:
        return self.reason is None

    @property
    def valid(self) -> bool:
        """Nothing wrong was found, though the node may not run it."""
        return self.reason not in ("malformed", "invalid")


class _Span(ctypes.Structure):
    _fields_ = (("ptr", ctypes.c_char_p), ("len", ctypes.c_size_t))


class _Refused(ctypes.Structure):
    _fields_ = (
        ("reason", ctypes.c_int),
        ("text", ctypes.c_char_p),
        ("function", ctypes.c_int32),
        ("offset", ctypes.c_int32),
        ("import_module", _Span),
        ("import_name", _Span),
        ("need_bytes", ctypes.c_size_t),
    )


class Validator:
    """wm_validate with the limits of a chip ("chip": the defaults) or of a process ("host")."""

    def __init__(self, limits: str = "chip") -> None:
        self.limits = limits
        lib = ctypes.CDLL(str(_build(limits)))
        self._scratch_bytes = int(lib.conformance_scratch_bytes())
        self._scratch = (ctypes.c_uint64 * (self._scratch_bytes // 8 + 1))()
        self._validate = lib.wm_validate
        self._validate.argtypes = (_Span, ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(_Refused))

    def __call__(self, module: bytes) -> Verdict:
        refused = _Refused()
        span = _Span(module, len(module))
        code = self._validate(span, self._scratch, ctypes.sizeof(self._scratch), ctypes.byref(refused))
        if code == 0:
            return Verdict(None)
        if code != -10:  # WM_ERR_UNSUPPORTED
            raise RuntimeError(f"wm_validate returned {code}")
        return Verdict(REASONS[refused.reason], refused.text.decode(), refused.function, refused.offset)


def _build(limits: str) -> Path:
    """Compile the library if a source is newer. The compiler is $CC or cc."""
    sources = [*sorted((ROOT / "firmware/src/wasm").glob("validate*.c")), Path(__file__).with_name("port.c")]
    headers = [*(ROOT / "firmware/include/wasmote").glob("*.h"), *(ROOT / "firmware/src/wasm").glob("*.h")]
    config = ROOT / "firmware/ports/host/wm_config_host.h"
    library = BUILD / f"libvalidate-{limits}.so"
    newest = max(path.stat().st_mtime for path in [*sources, *headers, config])
    if library.exists() and library.stat().st_mtime > newest:
        return library
    BUILD.mkdir(parents=True, exist_ok=True)
    command = [os.environ.get("CC", "cc"), "-std=c11", "-O2", "-g", "-shared", "-fPIC", "-Wall", "-Wextra"]
    command += [f"-I{ROOT}/firmware/include", f"-I{ROOT}/firmware/src"]
    if limits == "host":
        command.append(f'-DWM_CONFIG_FILE="{config}"')
    scratch = library.with_suffix(f".{os.getpid()}")  # several workers may build it at once
    subprocess.run([*command, "-o", str(scratch), *map(str, sources)], check=True)
    scratch.rename(library)
    return library
