"""[flash] of board.toml (boards/README.md), checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wasmote.adapters.boards import Board
from wasmote.errors import InputError
from wasmote.protocol.stm32_flash import Sector

STM32_UART, DFU, OPENOCD, ST_FLASH, ESPTOOL = "stm32-uart", "dfu", "openocd", "st-flash", "esptool"
METHODS = (STM32_UART, DFU, OPENOCD, ST_FLASH, ESPTOOL)
SERIAL_METHODS = (STM32_UART, ESPTOOL)

_LINES = ("", "dtr", "rts", "!dtr", "!rts")


@dataclass(frozen=True)
class EspFile:
    """A file of an ESP's image and its offset in the flash memory. path: relative to the build folder."""

    offset: int
    path: Path


@dataclass(frozen=True)
class FlashConfig:
    """methods: those that fit the board, the one to prefer first. enter, leave: what a person does so that the
    bootloader runs, and so that the image does. tables: the method's own tables."""

    methods: tuple[str, ...]
    origin: int
    chip_ids: tuple[int, ...] = ()
    sectors: tuple[Sector, ...] = ()
    enter: str = ""
    leave: str = ""
    baud: int = 115200
    reset_line: str = ""
    boot0_line: str = ""
    pins: tuple[str, ...] = ()
    shares_port: bool = True  # the node talks where the bootloader listens
    dfu_usb: str = ""
    dfu_alt: int = 0
    openocd_config: tuple[str, ...] = ()
    esp_chip: str = ""
    esp_baud: int = 460800
    esp_files: tuple[EspFile, ...] = ()
    esp_load_ram: bool = False
    programmers: tuple[str, ...] = field(default=())


def read_flash_config(board: Board) -> FlashConfig:
    """Raises InputError where the table is wrong, or where the board has none."""
    if not board.flash:
        raise InputError(
            f"{board.name} is not flashed",
            cause="its board.toml has no [flash]",
            next_step=f"`wasmote emulate {board.name}` runs it on this machine"
            if board.emulate
            else "see its README for how its image gets onto it",
        )
    try:
        return _read(board)
    except (KeyError, TypeError, ValueError, AttributeError) as err:
        raise InputError(
            f"[flash] of {board.name} is wrong", cause=f"{err!r}", next_step="see boards/README.md"
        ) from err


def _read(board: Board) -> FlashConfig:
    flash = board.flash
    methods = tuple(str(name) for name in flash["methods"])
    if not methods or set(methods) - set(METHODS):
        raise ValueError(f"methods: {', '.join(methods)}; known: {', '.join(METHODS)}")
    origin = int(board.memory.get("flash", {}).get("origin", 0))
    uart: Mapping[str, Any] = flash.get(STM32_UART, {})
    dfu: Mapping[str, Any] = flash.get(DFU, {})
    esp: Mapping[str, Any] = flash.get(ESPTOOL, {})
    lines = str(uart.get("reset", "")), str(uart.get("boot0", ""))
    if set(lines) - set(_LINES):
        raise ValueError(f"control lines: {lines}; known: {_LINES}")
    if ESPTOOL in methods and "chip" not in esp:
        raise ValueError("[flash.esptool] has no chip")
    return FlashConfig(
        methods=methods,
        origin=origin,
        chip_ids=tuple(int(number) for number in flash.get("chip_ids", ())),
        sectors=_sectors(flash.get("sectors", ()), origin),
        enter=str(flash.get("enter", "")),
        leave=str(flash.get("leave", "")),
        baud=int(uart.get("baud", 115200)),
        reset_line=lines[0],
        boot0_line=lines[1],
        pins=tuple(f"{line['uart']} (TX {line['tx']}, RX {line['rx']})" for line in uart.get("lines", ())),
        shares_port=_shares_port(board.links.get("serial"), uart.get("lines", ())),
        dfu_usb=str(dfu.get("usb", "")),
        dfu_alt=int(dfu.get("alt", 0)),
        openocd_config=tuple(str(name) for name in flash.get(OPENOCD, {}).get("config", ())),
        esp_chip=str(esp.get("chip", "")),
        esp_baud=int(esp.get("baud", 460800)),
        esp_files=tuple(EspFile(int(one["offset"]), Path(one["file"])) for one in esp.get("files", ())),
        esp_load_ram=bool(esp.get("load_ram", False)),
        programmers=tuple(str(name) for name in board.usb.get("programmer", ())),
    )


def _shares_port(node: Any, lines: Any) -> bool:
    """The node's pins are among the bootloader's; True where board.toml does not tell."""
    if not isinstance(node, Mapping) or "tx" not in node or not lines:
        return True
    return any((line["tx"], line["rx"]) == (node["tx"], node["rx"]) for line in lines)


def _sectors(groups: Any, origin: int) -> tuple[Sector, ...]:
    sectors: list[Sector] = []
    address = origin
    for group in groups:
        for _ in range(int(group["count"])):
            sectors.append(Sector(len(sectors), address, int(group["bytes"])))
            address += int(group["bytes"])
    return tuple(sectors)
