"""tests/check_layering.py finds each kind of breach, and passes what is allowed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).resolve().parent.parent / "check_layering.py"
_SPEC = importlib.util.spec_from_file_location("check_layering", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
check_layering = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(check_layering)


def breaches(root: Path, file: str, text: str) -> list[str]:
    """Check a tree that holds a header of each layer, and this one file."""
    for header in ("base/span.h", "coap/msg.h", "link/slipmux.h", "wasm/engine.h", "functions/functions.h"):
        path = root / "firmware/src" / header
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    path = root / "firmware" / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return check_layering.check(root)


@pytest.mark.parametrize(
    ("file", "include"),
    [
        ("src/coap/a.c", '"base/span.h"'),
        ("src/coap/a.c", '"wasmote/err.h"'),
        ("src/functions/a.c", '"wasm/engine.h"'),
        ("src/base/cbor.c", '"zcbor_decode.h"'),
        ("src/base/a.c", "<string.h>"),
        ("ports/x/main.c", '"wasmote/node.h"'),
        ("ports/x/main.c", '"link/slipmux.h"'),
        ("ports/x/main.c", "<sys/socket.h>"),
    ],
)
def test_check_layering_allows(tmp_path: Path, file: str, include: str) -> None:
    assert breaches(tmp_path, file, f"#include {include}\n") == []


@pytest.mark.parametrize(
    ("file", "include", "why"),
    [
        ("src/base/a.c", '"coap/msg.h"', "may not see"),
        ("src/coap/a.c", '"wasm/engine.h"', "may not see"),
        ("src/functions/a.c", '"coap/msg.h"', "may not see"),
        ("src/coap/a.c", '"../wasm/engine.h"', "may not see"),
        ("src/coap/a.c", '"msg.h"', "without its folder"),
        ("src/coap/a.c", "<stdio.h>", "C headers"),
        ("src/coap/a.c", '"zcbor_decode.h"', "only"),
        ("src/functions/a.c", '"m3_env.h"', "only"),
        ("src/extra/a.c", '"base/span.h"', "does not know"),
        ("include/wasmote/a.h", '"base/span.h"', "not public"),
        ("ports/x/main.c", '"coap/msg.h"', "inside of the core"),
        ("ports/x/main.c", '"../../src/coap/msg.h"', "leaves the include path"),
        ("ports/x/main.c", '"wasm3.h"', "third-party"),
    ],
)
def test_check_layering_finds(tmp_path: Path, file: str, include: str, why: str) -> None:
    found = breaches(tmp_path, file, f"/* a comment\n   of two lines */\n#  include {include}\n")
    assert len(found) == 1
    assert found[0].startswith(f"firmware/{file}:3: ")
    assert why in found[0]


def test_check_layering_ignores_comments(tmp_path: Path) -> None:
    assert breaches(tmp_path, "src/base/a.c", '/*\n#include "coap/msg.h"\n*/\n') == []


def test_check_layering_holds_here() -> None:
    assert check_layering.check(_PATH.parent.parent) == []
