"""docs/BOARDS.md and its pictures: their pins, wires, commands and messages are those of board.toml and the tools."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.project import Project
from wasmote.cli.main import COMMANDS

PROJECT = Project.find()
ROOT = PROJECT.root
GUIDE = (ROOT / "docs/BOARDS.md").read_text(encoding="utf-8")
PICTURES = sorted((ROOT / "docs/images").glob("wiring-*.svg"))
SVG = "{http://www.w3.org/2000/svg}"


def wires(picture: ElementTree.Element) -> list[tuple[str, str]]:
    """Which pins each wire joins, by where it begins and ends."""
    pins = {(float(c.get("cx", 0)), float(c.get("cy", 0))): c for c in picture.iter(f"{SVG}circle")}
    found = []
    for path in picture.iter(f"{SVG}path"):
        if path.get("data-wire") is None:
            continue
        numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.get("d", ""))]
        ends = [pins[(numbers[0], numbers[1])], pins[(numbers[-2], numbers[-1])]]
        found.append((ends[0].get("data-pin", ""), ends[1].get("data-pin", "")))
    return found


@pytest.mark.parametrize("file", PICTURES, ids=lambda file: file.stem)
def test_picture_joins_the_pins_of_board_toml(file: Path) -> None:
    picture = ElementTree.parse(file).getroot()
    board = find_board(PROJECT, picture.get("data-board", ""))
    serial = board.links["serial"]
    found = wires(picture)
    boot = {("BOOT0", "3V3"), ("NRST", "GND")} if board.port == "stm32f4" else set()
    assert set(found) == {("TXD", serial["rx"]), ("RXD", serial["tx"]), ("GND", "GND")} | boot
    # Each pin has its name beside it, and its signal where one is named.
    texts = [(text.text or "").strip() for text in picture.iter(f"{SVG}text")]
    pins = {circle.get("data-pin") for circle in picture.iter(f"{SVG}circle") if circle.get("data-pin")}
    assert pins <= set(texts)
    for text in texts:
        if re.fullmatch(r"\w*ART\d [RT]X", text):
            assert text.split()[0] == serial["uart"]
    if boot:  # what it shows for flashing is a line of the chip's bootloader
        assert serial["tx"] in {line["tx"] for line in board.flash["stm32-uart"]["lines"]}
        assert "BOOT0" in board.flash["enter"] and "NRST" in board.flash["enter"]
    assert f"images/{file.name}" in GUIDE


def test_there_is_a_picture_for_both_families() -> None:
    assert [file.stem for file in PICTURES] == ["wiring-esp32c3", "wiring-stm32"]


def real(board: Board) -> bool:
    return "methods" in board.flash and board.tier != "emulated"


def test_guide_has_every_board_with_its_pins() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\w+ \| \w+) \|", GUIDE, re.MULTILINE))
    expected = {
        board.name: f"{board.links['serial']['tx']} | {board.links['serial']['rx']}"
        for board in list_boards(PROJECT)
        if real(board)
    }
    assert rows == expected
    for name, methods in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", GUIDE, re.MULTILINE):
        named = set(re.findall(r"`([\w-]+)`", methods))
        assert named and named <= set(find_board(PROJECT, name).flash["methods"])


def test_first_flash_is_five_commands_that_exist() -> None:
    section = GUIDE.partition("## First flash in five commands\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"(?:^    .+\n)+", section, re.MULTILINE)
    assert len(blocks) == 4 and all(block.count("\n") == 5 for block in blocks)
    commands = {name for section in COMMANDS.values() for name in section}
    for line in section.splitlines():
        if word := re.match(r"    \./dev wasmote (?:-t \S+ )?([a-z-]+)", line):
            assert word[1] in commands, line
        if flash := re.match(r"    \./dev wasmote flash (\w+)(.*)", line):
            methods = find_board(PROJECT, flash[1]).flash["methods"]
            asked = re.search(r"--method (\S+)", flash[2])
            assert asked[1] in methods if asked else {"stm32-uart", "esptool"} & set(methods)


def test_messages_of_the_guide_are_the_tools() -> None:
    """Each piece of a message is in the source, where a name or a port may stand between pieces."""
    folder = ROOT / "host_tools/wasmote"
    source = "\n".join(
        file.read_text(encoding="utf-8")
        for part in ("cli", "adapters")
        for file in (folder / part).glob("*.py")
    )
    section = GUIDE.partition("## What can go wrong\n")[2].partition("\n## ")[0]
    messages = re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]
    assert len(messages) > 5
    for message in messages:
        for piece in re.split(r"\.\.\.|;", message):
            assert piece.strip(" -") in source, piece
