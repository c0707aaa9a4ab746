"""Who answers on a serial port: the bootloader in an STM32's ROM, a wasmote node, MicroPython, or nobody."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wasmote.adapters import micropython
from wasmote.adapters.boards import Board
from wasmote.adapters.serial_line import SerialLine
from wasmote.protocol import stm32_boot as boot
from wasmote.protocol.stm32_boot import BootError, BootInfo

BAUD = 115200
STM32_FLASH = 0x08000000  # where its flash memory begins, on every STM32 with this bootloader
_NODE_S = 1.0


@dataclass(frozen=True)
class Node:
    """device: its /d."""

    device: dict[str, Any]

    @property
    def text(self) -> str:
        return f"wasmote {self.device.get('fw', '')}".strip()


@dataclass(frozen=True)
class Bootloader:
    """An STM32 in the bootloader of its ROM."""

    info: BootInfo

    @property
    def text(self) -> str:
        locked = ", locked" if self.info.locked else ""
        return f"bootloader {self.info.version_text} of an {self.info.chip_text}{locked}"


Resident = Node | Bootloader | micropython.Identity


def ask(port: str) -> Resident | None:
    """Who is there; None: nobody answers. A program of MicroPython is interrupted by it. Raises LocalError (the port
    cannot be used) and UnreachableError (MicroPython answers, but not to mpremote)."""
    with SerialLine(port, BAUD, parity="E") as line:
        # First of all, as a bootloader takes the first byte for the measure of the line. To the others 7F is nothing.
        found = _ask_bootloader(line)
        if found is not None:
            return found
        line.configure(BAUD, "N")
        if line.wait_hello(_NODE_S, lambda _text: None) is not None:
            device = line.get_device(_NODE_S)
            if device is not None:
                return Node(device)
    # mpremote takes no rfc2217:// port.
    if "://" not in port and micropython.probe(port):
        return micropython.identify(port)
    return None


def _ask_bootloader(line: SerialLine) -> Bootloader | None:
    try:
        line.discard()
        line.run(boot.synchronise(rounds=1))
        info = line.run(boot.identify())
        locked = line.run(boot.is_locked(STM32_FLASH))
    except BootError:
        return None
    return Bootloader(BootInfo(info.version, info.commands, info.chip_id, locked))


def fitting_boards(found: Resident, boards: Iterable[Board]) -> list[str]:
    """Names of the boards that this may be: a node says it, a chip ID or the chip that MicroPython names is a hint."""
    if isinstance(found, Node):
        return [str(found.device["board"])] if found.device.get("board") else []
    if isinstance(found, Bootloader):
        return [one.name for one in boards if found.info.chip_id in one.flash.get("chip_ids", ())]
    machine = found.machine.lower()
    return [one.name for one in boards if re.search(rf"\b{re.escape(one.chip.lower())}\b", machine)]
