"""boards/: every board.toml is whole, agrees with its linker script, and its README states the tier."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BOARDS = sorted(path.parent for path in (ROOT / "boards").glob("*/board.toml"))
_UNITS = {"": 1, "K": 1024, "M": 1024 * 1024}


def _size(text: str) -> int:
    match = re.fullmatch(r"(0x[0-9a-f]+|\d+)([KM]?)", text)
    assert match is not None, text
    return int(match[1], 0) * _UNITS[match[2]]


def _toml(board: Path) -> dict[str, Any]:
    return tomllib.loads((board / "board.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_board_files_are_there(board: Path) -> None:
    data = _toml(board)
    assert data["name"] == board.name
    assert data["tier"] in ("emulated", "built", "source")
    assert (ROOT / "firmware/ports" / data["port"] / "port.cmake").is_file()
    if data["toolchain"] != "host":
        assert (ROOT / "firmware/cmake" / f"{data['toolchain']}.cmake").is_file()
        limits = {"text_bytes", "static_ram_bytes", "stack_bytes", "stack_free_bytes_min", "pool_bytes_min"}
        assert set(data["budget"]) == limits
    if data["tier"] == "emulated":
        assert "{image}" in " ".join(data["emulate"]["command"])
    readme = (board / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"\*\*Tier: {data['tier']}", readme)
    assert "## Known gaps" in readme
    assert f"[{board.name}]({board.name}/README.md)" in (ROOT / "boards/README.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize(
    "board", [b for b in BOARDS if (b / "link.ld").is_file()], ids=lambda board: board.name
)
def test_board_memory_is_the_linker_scripts(board: Path) -> None:
    data = _toml(board)
    script = (board / "link.ld").read_text(encoding="utf-8")
    regions = {
        name.lower(): {"origin": _size(origin), "size": _size(length)}
        for name, origin, length in re.findall(
            r"^\s*(\w+) \(\w+\)\s*: ORIGIN = (\w+), LENGTH = (\w+)$", script, re.MULTILINE
        )
    }
    assert regions == data["memory"]
    stack = re.search(r"^wm_stack_bytes = (\w+);", script, re.MULTILINE)
    assert stack is not None
    assert _size(stack[1]) == data["budget"]["stack_bytes"]
    least = re.search(r"ASSERT\(wm_pool_top - wm_pool_bottom >= (\w+)", script)
    assert least is not None
    assert _size(least[1]) == data["budget"]["pool_bytes_min"]
