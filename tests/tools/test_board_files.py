"""boards/: every board.toml is whole, agrees with its linker script and board.h, and its README with all of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from wasmote.adapters.board_skeleton import facts_table, make_board
from wasmote.adapters.boards import find_board, list_boards, read_board
from wasmote.adapters.project import Project
from wasmote.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent
BOARDS = sorted(path.parent for path in (ROOT / "boards").glob("*/board.toml"))
STM32F4 = [
    board for board in BOARDS if 'port = "stm32f4"' in (board / "board.toml").read_text(encoding="utf-8")
]
GENERATOR = ROOT / "firmware/ports/stm32f4/generate.py"
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
    assert (ROOT / "firmware/ports" / data["port"]).is_dir()
    if data["tier"] != "source":
        assert (ROOT / "firmware/ports" / data["port"] / "port.cmake").is_file()
    if data["tier"] != "source" and data["toolchain"] != "host":
        assert (ROOT / "firmware/cmake" / f"{data['toolchain']}.cmake").is_file()
        limits = {"text_bytes", "static_ram_bytes", "stack_bytes", "stack_free_bytes_min", "pool_bytes_min"}
        assert set(data["budget"]) == limits
    if data["tier"] == "emulated":
        assert "{image}" in " ".join(data["emulate"]["command"])
    assert f"[{board.name}]({board.name}/README.md)" in (ROOT / "boards/README.md").read_text(
        encoding="utf-8"
    )
    assert f"`{board.name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_board_readme_says_what_board_toml_says(board: Path) -> None:
    data = _toml(board)
    readme = (board / "README.md").read_text(encoding="utf-8")
    assert readme.startswith(f"# {board.name}: ")
    assert re.search(rf"\*\*Tier: {data['tier']}", readme)
    sections = re.findall(r"^## (.*)$", readme, re.MULTILINE)
    assert "Known gaps" in sections
    if data["toolchain"] == "host":
        return
    assert {"Wiring", "First flash"} <= set(sections)
    facts = facts_table(read_board(board / "board.toml"))
    assert facts in readme, f"boards/{board.name}/README.md needs this table, made from board.toml:\n{facts}"
    if data["tier"] != "emulated":
        assert re.search(r"\*\*not\*\* run|ran on hardware", readme), "say whether it ever ran"
    commands = "\n".join(re.findall(r"^    (.*)$", readme, re.MULTILINE))
    assert f"wasmote build {board.name}" in commands or f"idf.py set-target {data['chip']} " in commands
    methods = data.get("flash", {}).get("methods", [])
    for name, options in re.findall(r"\bwasmote flash (\w+)([^`\n]*)", readme):
        assert name == board.name
        asked = re.search(r"--method (\S+)", options)
        assert (asked[1] in methods) if asked else ("stm32-uart" in methods or "esptool" in methods)
    assert all(method in readme for method in methods)
    for image in re.findall(r"build/(\w+)/", readme):
        assert image == board.name


@pytest.mark.parametrize("board", STM32F4, ids=lambda board: board.name)
def test_board_flash_table_is_whole(board: Path) -> None:
    data = _toml(board)
    flash = data["flash"]
    assert {"dfu", "openocd", "st-flash"} <= set(flash["methods"])
    assert ("stm32-uart" in flash["methods"]) == ("stm32-uart" in flash)
    assert sum(unit["count"] * unit["bytes"] for unit in flash["sectors"]) == data["memory"]["flash"]["size"]
    # AN2606: product ids of the F4's boot loaders.
    ids = {"stm32f405": 0x413, "stm32f407": 0x413, "stm32f429": 0x419, "stm32f411": 0x431}
    assert flash["chip_ids"] == [ids[data["chip"][:9]]]
    assert flash["enter"] and flash["leave"] and flash.get("stm32-uart", {"lines": True})["lines"]
    assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", flash["dfu"]["usb"])
    for found in data["usb"].values():
        assert all(re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", usb) for usb in found)


@pytest.mark.parametrize(
    "board", [b for b in BOARDS if (b / "link.ld").is_file() or b in STM32F4], ids=lambda board: board.name
)
def test_board_memory_is_the_linker_scripts(board: Path, tmp_path: Path) -> None:
    data = _toml(board)
    folder = board if (board / "link.ld").is_file() else _generated(board, tmp_path)
    script = (folder / "link.ld").read_text(encoding="utf-8")
    regions = {
        name.lower(): {"origin": _size(origin), "size": _size(length)}
        for name, origin, length in re.findall(
            r"^\s*(\w+) \(\w+\)\s*: ORIGIN = (\w+), LENGTH = (\w+)$", script, re.MULTILINE
        )
    }
    used = {name: region for name, region in data["memory"].items() if region.get("use", True)}
    assert regions == {
        name: {key: region[key] for key in ("origin", "size")} for name, region in used.items()
    }
    stack = re.search(r"^wm_stack_bytes = (\w+);", script, re.MULTILINE)
    assert stack is not None
    assert _size(stack[1]) == data["budget"]["stack_bytes"]
    least = re.search(r"ASSERT\(wm_pool_top - wm_pool_bottom >= (\w+)", script)
    assert least is not None
    assert _size(least[1]) == data["budget"]["pool_bytes_min"]


# ---- board.h of the STM32F4 ----


def _generate(board: Path, into: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(GENERATOR), str(board / "board.toml"), str(into)],
        capture_output=True,
        text=True,
        check=False,
    )


def _generated(board: Path, into: Path) -> Path:
    done = _generate(board, into)
    assert done.returncode == 0, done.stderr
    return into


def _macros(header: Path) -> dict[str, str]:
    text = re.sub(r"/\*.*?\*/", "", header.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {name: value.strip() for name, value in re.findall(r"^#define (\w+) (.*)$", text, re.MULTILINE)}


def _number(text: str) -> int:
    return int(text.rstrip("u"), 0)


@pytest.mark.parametrize("board", STM32F4, ids=lambda board: board.name)
def test_stm32f4_registers_give_the_clock_of_board_toml(board: Path, tmp_path: Path) -> None:
    """What the registers mean, worked out from their fields as RM0090 7.3 describes them."""
    data = _toml(board)
    macros = _macros(_generated(board, tmp_path) / "board.h")
    inputs = {"BOARD_PLLCFGR": 16_000_000}
    if data["clock"]["source"] != "internal":
        inputs["BOARD_PLLCFGR_HSE"] = data["clock"]["hz"]
    assert ("BOARD_PLLCFGR_HSE" in macros) == (len(inputs) == 2)
    for name, hz in inputs.items():
        word = _number(macros[name])
        m, n, p, q = word & 63, word >> 6 & 511, (word >> 16 & 3) * 2 + 2, word >> 24 & 15
        assert bool(word >> 22 & 1) == (name == "BOARD_PLLCFGR_HSE")
        assert hz % m == 0
        assert hz // m * n // p == _number(macros["BOARD_CORE_HZ"])
        assert hz // m * n // q == 48_000_000
    core = _number(macros["BOARD_CORE_HZ"])
    slow, fast = (50, 100) if data["chip"].startswith("stm32f411") else (42, 84)
    assert core // _number(macros["BOARD_APB1_DIVISOR"]) <= slow * 1_000_000
    assert core // _number(macros["BOARD_APB2_DIVISOR"]) <= fast * 1_000_000
    divisors = {0: 1, 4: 2, 5: 4, 6: 8, 7: 16}
    cfgr = _number(macros["BOARD_CFGR_APB"])
    assert divisors[cfgr >> 10 & 7] == _number(macros["BOARD_APB1_DIVISOR"])
    assert divisors[cfgr >> 13 & 7] == _number(macros["BOARD_APB2_DIVISOR"])
    assert _number(macros["BOARD_FLASH_WAIT"]) == (3 if data["chip"].startswith("stm32f411") else 5)
    assert ("BOARD_PWR_VOS" in macros) == data["chip"].startswith("stm32f411")
    assert _number(macros["BOARD_RANDOM"]) == (not data["chip"].startswith("stm32f411"))
    # 16 MHz too, where no PLL starts: the rate is within the 2 % that a UART bears.
    divisor = _number(macros[macros["BOARD_UART_DIVISOR"]])
    for hz in (core, 16_000_000):
        brr = (hz // divisor + 57600) // 115200
        assert abs(hz / divisor / brr / 115200 - 1) < 0.02


@pytest.mark.parametrize("board", STM32F4, ids=lambda board: board.name)
def test_stm32f4_pins_are_those_of_board_toml(board: Path, tmp_path: Path) -> None:
    data = _toml(board)
    macros = _macros(_generated(board, tmp_path) / "board.h")
    pins = {"BOARD_TX": data["links"]["serial"]["tx"], "BOARD_RX": data["links"]["serial"]["rx"]}
    if "led" in data:
        pins["BOARD_LED"] = data["led"]["pin"]
        number = int(data["led"]["pin"][2:])
        lit, dark = (number, number + 16) if data["led"]["lit"] == "high" else (number + 16, number)
        assert (_number(macros["BOARD_LED_ON"]), _number(macros["BOARD_LED_OFF"])) == (1 << lit, 1 << dark)
    for name, text in pins.items():
        port, number = (_number(part.strip()) for part in macros[name].split(","))
        assert text == f"P{chr(ord('A') + (port - 0x40020000) // 0x400)}{number}"


@pytest.mark.parametrize(
    ("line", "wrong", "says"),
    [
        ('chip = "stm32f405rg"', 'chip = "stm32h743zi"', "chips.toml"),
        ("n = 336", "n = 400", "core's clock"),
        ("n = 336", "n = 433", "pll.n"),
        ("m = 12", "m = 24", "PLL's input"),
        ("m = 12", "m = 7", "whole"),
        ("q = 7", "q = 6", "48,000,000"),
        ("p = 2", "p = 3", "2, 4, 6 or 8"),
        ("hz = 12_000_000\n", "", "clock.hz"),
        ('source = "crystal"', 'source = "quartz"', "crystal or external"),
        ('115200, uart = "USART3"', '115200, uart = "USART9"', "USART6"),
        ('tx = "PB10", rx = "PB11" }\n\n[led]', 'tx = "PA9", rx = "PB11" }\n\n[led]', "PB10, PC10, PD8"),
        ('pin = "PC1"', 'pin = "C1"', "like PA9"),
        ('lit = "high"', 'lit = "on"', "high or low"),
        ("count = 7", "count = 6", "flash.sectors"),
        ("[clock]", "[clocks]", "'clock' is missing"),
        ("unique_id", "unique", "'unique_id' is missing"),
        ("module_nesting = 64", "module_nestling = 64", "config_default.h"),
        ("module_nesting = 64", "module_nesting = '64'", "number"),
    ],
)
def test_stm32f4_generator_refuses(line: str, wrong: str, says: str, tmp_path: Path) -> None:
    text = (ROOT / "boards/feather_stm32f405/board.toml").read_text(encoding="utf-8")
    assert text.count(line) == 1
    (tmp_path / "board.toml").write_text(text.replace(line, wrong), encoding="utf-8")
    done = _generate(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_stm32f4_generator_leaves_alone_what_is_the_same(tmp_path: Path) -> None:
    first = _generated(STM32F4[0], tmp_path)
    times = {file.name: os.utime(file, (1, 1)) for file in first.iterdir()}
    assert set(times) == {"board.h", "limits.h", "link.ld"}
    _generated(STM32F4[0], tmp_path)
    assert [file.stat().st_mtime for file in first.iterdir()] == [1, 1, 1]


# ---- new-board ----


def test_new_board_is_whole_and_claims_nothing(tmp_path: Path) -> None:
    like = find_board(Project.find(), "netduinoplus2")
    board = make_board(like, "my_board", 'A "quoted" \\ board', tmp_path)
    assert (board.name, board.tier, board.chip) == ("my_board", "built", like.chip)
    assert board.title == 'A "quoted" \\ board'
    assert not board.emulate and like.emulate
    assert board.flash == like.flash and board.budget == like.budget
    readme = (board.folder / "README.md").read_text(encoding="utf-8")
    assert facts_table(board) in readme
    assert "**Tier: built in CI" in readme and "**not** run" in readme and "## Known gaps" in readme
    assert _generate(board.folder, tmp_path / "out").returncode == 0
    with pytest.raises(InputError, match="there already"):
        make_board(like, "my_board", "again", tmp_path)
    with pytest.raises(InputError, match="no name"):
        make_board(like, "My-Board", "again", tmp_path)


def test_boards_elsewhere_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project.find()
    like = find_board(project, "blackpill_f411ce")
    make_board(like, "another", "Another", tmp_path)
    with pytest.raises(InputError, match="no such board"):
        find_board(project, "another")
    monkeypatch.setenv("WASMOTE_BOARDS", str(tmp_path))
    assert find_board(project, "another").folder == tmp_path / "another"
    assert "another" in [board.name for board in list_boards(project)]
    make_board(like, "host", "A second one of this name", tmp_path)
    with pytest.raises(InputError, match="two boards"):
        list_boards(project)
