"""Starts a board's folder from another board's, and writes the part of a README that board.toml decides."""

from __future__ import annotations

import json
import re
from pathlib import Path

from wasmote.adapters.boards import TIERS, Board, read_board
from wasmote.errors import InputError, LocalError

# A board's name is part of paths, of C strings and of the node's texts.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")

_README = """\
# {name}: {title}

**Tier: {tier}**: CI builds the image and checks its budget. It has **not** run on hardware, nor in an emulator.

{facts}

## Wiring

A USB-to-serial adapter of 3.3 V: its RX to the node's TX, its TX to the node's RX, ground to ground.
[Say here where on the board the two pins are.]

## First flash

    ./dev wasmote build {name}

[Say here how it is flashed, command by command.]

## Known gaps

* Nobody has run it. Made from `{like}`; everything in board.toml is to be checked against this board's schematics.
"""


def facts_table(board: Board) -> str:
    """What board.toml says of a chip, as the Markdown table that its README has to contain."""
    rows = {"tier": TIERS[board.tier], "chip": f"`{board.chip}`{_clock(board)}"}
    udp = board.links.get("udp")
    if isinstance(udp, dict):
        rows["node's Ethernet"] = f"{udp['chip']}, lwIP, UDP port 5683"
    serial = board.links.get("serial")
    if isinstance(serial, dict) and "uart" in serial:
        pins = f": TX {serial['tx']}, RX {serial['rx']}" if "tx" in serial else ""
        rows["node's serial line"] = f"{serial['uart']}{pins}, {serial['baud']} baud, 8N1"
    if board.led:
        rows["LED"] = f"{board.led['pin']}, lit when {board.led['lit']}: while the processor works"
    for name, region in board.memory.items():
        rows[name] = f"{region['size'] // 1024} KB at 0x{region['origin']:08x}{_use(board, name)}"
    if board.flash:
        rows["flashed by"] = ", ".join(board.flash["methods"])
    lines = board.flash.get("stm32-uart", {}).get("lines", [])
    if lines:
        rows["bootloader's lines"] = "; ".join(
            f"{line['uart']}: TX {line['tx']}, RX {line['rx']}" for line in lines
        )
    if "enter" in board.flash:
        rows["into the bootloader"] = board.flash["enter"]
        rows["out of it"] = board.flash["leave"]
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows.items())])


def _clock(board: Board) -> str:
    if not board.clock:
        return ""
    hz = board.clock.get("hz", 16_000_000)
    pll = board.clock["pll"]
    core = hz // pll["m"] * pll["n"] // pll["p"]
    source = {
        "internal": "oscillator inside",
        "crystal": "crystal",
        "external": "clock that the board feeds it",
    }
    return f", {core // 1_000_000} MHz from the {hz // 1_000_000} MHz {source[board.clock['source']]}"


def _use(board: Board, region: str) -> str:
    ccm = board.memory.get("ccm", {}).get("use", False)
    if region == "ccm":
        return ": stack and static data" if ccm else ", not used"
    if region == "ram":
        return ": all of it for functions" if ccm else ": stack, static data, functions"
    return ""


def _quoted(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)


def make_board(like: Board, name: str, title: str, into: Path) -> Board:
    """The folder into/name: like's files under a new name, and a README to fill in. Its tier is `built`, and it has no
    emulator. Raises InputError, LocalError."""
    if _NAME.fullmatch(name) is None:
        raise InputError(
            f"'{name}' is no name for a board",
            next_step="take up to 31 small letters, digits and underscores, a letter first",
        )
    folder = into / name
    text = (like.folder / "board.toml").read_text(encoding="utf-8")
    text = re.sub(r"^\[emulate\]\n(?:(?!\[).*\n)*", "", text, flags=re.MULTILINE)
    for key, value in {"name": name, "title": title, "tier": "built"}.items():
        line = f"{key} = {_quoted(value)}"
        text = re.sub(rf"^{key} = .*$", line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    try:
        folder.mkdir(parents=True)
        for file in sorted(like.folder.iterdir()):
            if file.is_file() and file.name not in ("board.toml", "README.md"):
                (folder / file.name).write_bytes(file.read_bytes())
        (folder / "board.toml").write_text(text, encoding="utf-8")
        board = read_board(folder / "board.toml")
        readme = _README.format(
            name=name, title=title, tier=TIERS["built"], facts=facts_table(board), like=like.name
        )
        (folder / "README.md").write_text(readme, encoding="utf-8")
    except FileExistsError as err:
        raise InputError(f"{folder} is there already", next_step="take another name") from err
    except OSError as err:
        raise LocalError(
            f"cannot write {folder}", cause=err.strerror or str(err), next_step="give another folder: --into"
        ) from err
    return board
