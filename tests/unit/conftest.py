"""The node's codecs for Python tests: a shared library of the same sources, by the system's C compiler."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import filelock
import pytest
from codec_library import CodecLibrary

from wasmote.adapters.project import Project
from wasmote.adapters.sources import ensure_sources, read_pins

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ["coap/msg.c", "base/cbor.c", "base/sink.c"]


def _compiler() -> list[str]:
    command = shlex.split(os.environ.get("CC", "")) or ["cc"]
    if shutil.which(command[0]) is None:
        pytest.skip(f"the codec library needs a C compiler: there is no '{command[0]}'")
    return command


@pytest.fixture(scope="session")
def codec() -> CodecLibrary:
    """The node's CoAP and CBOR codecs. Undefined behaviour in them aborts the test run."""
    project = Project.find()
    pins = [pin for pin in read_pins(project.firmware / "third_party.toml") if pin.name == "zcbor"]
    (zcbor,) = ensure_sources(pins, project.third_party)
    folder = project.build / "tests"
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libwasmote_test.so"
    unit = ROOT / "tests" / "unit"
    options = ["-std=c11", "-O1", "-g", "-w", "-fPIC", "-shared", "-DZCBOR_CANONICAL"]
    options += ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    includes = [project.firmware / "include", project.firmware / "src", unit / "support", zcbor / "include"]
    files = [unit / "capi.c", unit / "support" / "test_port.c"]
    files += [project.firmware / "src" / name for name in SOURCES]
    files += [zcbor / "src" / f"zcbor_{name}.c" for name in ("common", "decode", "encode")]
    with filelock.FileLock(folder / ".lock"):
        fresh = library.with_suffix(f".{os.getpid()}")
        subprocess.run(
            [*_compiler(), *options, *(f"-I{path}" for path in includes), *files, "-o", fresh], check=True
        )
        fresh.replace(library)  # whoever has the old one open keeps it
        return CodecLibrary(library)
