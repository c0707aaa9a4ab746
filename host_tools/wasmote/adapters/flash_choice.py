"""Which way an image goes onto a board: what board.toml allows, and what is connected and installed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wasmote.adapters.boards import Board
from wasmote.adapters.flash_config import (
    DFU,
    OPENOCD,
    SERIAL_METHODS,
    ST_FLASH,
    FlashConfig,
)
from wasmote.adapters.ports import SerialPort, ids
from wasmote.adapters.tools import find_tool, need_tool
from wasmote.errors import InputError, LocalError

TOOLS = {DFU: "dfu-util", OPENOCD: "openocd", ST_FLASH: "st-flash"}
# ST-LINK/V2, V2-1 and V3 in their variants, where a board names no programmer of its own.
ST_LINKS = (
    "0483:3748",
    "0483:374b",
    "0483:3752",
    "0483:374d",
    "0483:374e",
    "0483:374f",
    "0483:3753",
    "0483:3754",
)


@dataclass(frozen=True)
class Way:
    """method, and the serial port for it; "" where it needs none."""

    method: str
    port: str = ""


def choose(
    board: Board,
    config: FlashConfig,
    *,
    port: str | None,
    method: str | None,
    ports: Sequence[SerialPort],
    usb: Sequence[str],
) -> Way:
    """The way for this run. Raises InputError (this method is not the board's), MissingError (its tool is not
    installed) and LocalError (nothing that fits is here)."""
    if method is not None and method not in config.methods:
        raise InputError(
            f"{board.name} is not flashed by {method}",
            cause=f"its board.toml says: {', '.join(config.methods)}",
            next_step="leave out --method, or give one of these",
        )
    if method in TOOLS:
        need_tool(TOOLS[method])
    candidates = [method] if method else list(config.methods)
    if port is not None:
        for candidate in candidates:
            if candidate in SERIAL_METHODS:
                return Way(candidate, port)
        if method is not None:
            return Way(method, port)
        raise InputError(
            f"{board.name} is not flashed through a serial port",
            cause=f"its board.toml says: {', '.join(config.methods)}",
            next_step="leave out --port, or name the way with --method: the port then serves for the node's hello",
        )
    obstacles = []
    for candidate in candidates:
        way, obstacle = _try(candidate, board, config, ports, usb, asked=method is not None)
        if way is not None:
            return way
        obstacles.append(f"{candidate}: {obstacle}")
    raise LocalError(
        f"nothing here to flash {board.name} with",
        cause="\n".join(obstacles),
        next_step=_next_step(board, config, ports),
    )


def _next_step(board: Board, config: FlashConfig, ports: Sequence[SerialPort]) -> str:
    if ports and any(one in SERIAL_METHODS for one in config.methods):
        return f"name its serial port: `wasmote flash {board.name} --port {ports[0].device}`"
    return "connect the board (`wasmote boards --connected` shows what is there)"


def _try(
    method: str,
    board: Board,
    config: FlashConfig,
    ports: Sequence[SerialPort],
    usb: Sequence[str],
    *,
    asked: bool,
) -> tuple[Way | None, str]:
    if method in SERIAL_METHODS:
        known = ids(board, "serial")
        fitting = [one for one in ports if one.usb and one.usb in known]
        if len(fitting) == 1:
            return Way(method, fitting[0].device), ""
        if fitting:
            return None, f"several ports may be this board: {', '.join(one.device for one in fitting)}"
        return None, "no serial port here looks like this board's" if known else "no serial port was named"
    if find_tool(TOOLS[method]) is None:
        return None, f"{TOOLS[method]} is not installed"
    if asked:
        return Way(method), ""  # the tool itself looks for the device
    wanted = (config.dfu_usb,) if method == DFU else ids(board, "programmer") or ST_LINKS
    if not set(wanted) & set(usb):
        what = "the chip is not in its USB bootloader" if method == DFU else "no debug probe is connected"
        return None, f"{what} ({', '.join(wanted)})"
    return Way(method), ""
