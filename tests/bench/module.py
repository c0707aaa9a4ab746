"""A compiled module of 20 KB, the same on every run: a CBOR library and elliptic curves, from the pinned sources of the
firmware by the pinned zig. No source of our own is in it, so its bytes stay as they are while we work."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from build import OUT, PROJECT, run

from wasmote.adapters.apps import CPU

_ECC = ("ecc_ecdsa_sign", "ecc_ecdsa_validate", "ecc_is_valid_key")


def of_20_kb() -> Path:
    """The module. All functions of both libraries are reached through one table, and two exports."""
    third_party = PROJECT.third_party
    zcbor = third_party / "zcbor-0.9.1"
    ecc = third_party / "dtlssocket-0.2.3" / "DTLSSocket" / "tinydtls" / "ecc"
    files = [zcbor / "src" / f"zcbor_{name}.c" for name in ("common", "decode", "encode")]
    names = [*_ECC]
    for file in files:
        text = file.read_text(encoding="utf-8")
        names += sorted(set(re.findall(r"^(?:bool|void) (zcbor_\w+)\(", text, re.MULTILINE)))
    folder = OUT / "module"
    folder.mkdir(parents=True, exist_ok=True)
    declared = "".join(f"extern void {name}(void);\n" for name in names)
    entries = ", ".join(names)
    (folder / "table.c").write_text(
        f"{declared}"
        f"static void (*const table[])(void) = {{{entries}}};\n"
        '__attribute__((export_name("run"))) void run(unsigned i) { table[i](); }\n'
        f'__attribute__((export_name("count"))) int count(void) {{ return {len(names)}; }}\n'
    )
    out = folder / "module.wasm"
    # The target brings the headers of a C library; nothing of it is linked but what moves memory.
    run(
        *(
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "wasm32-wasi",
            "-mexec-model=reactor",
            f"-mcpu={CPU}",
        ),
        *("-std=c11", "-Os", "-w", "-DNDEBUG", "-DZCBOR_CANONICAL", "-I", zcbor / "include", "-I", ecc),
        *(folder / "table.c", ecc / "ecc.c", *files, "-o", out),
        *("-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=2048"),
    )
    return out
