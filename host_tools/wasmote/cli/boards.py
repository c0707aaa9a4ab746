"""`wasmote boards`"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from wasmote.adapters import port_probe
from wasmote.adapters.boards import TIERS, Board, list_boards
from wasmote.adapters.ports import (
    MICROPYTHON_USB,
    SerialPort,
    guess_boards,
    ids,
    serial_ports,
    usb_devices,
)
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError, WasmoteError


@make_command()
@click.option(
    "--connected", is_flag=True, help="What is connected instead: serial ports, probes, bootloaders."
)
@click.option(
    "--probe",
    is_flag=True,
    help="With --connected: ask each port who is there. A MicroPython program is interrupted by that.",
)
@click.option("--port", "more", multiple=True, metavar="PORT", help="With --connected: this port too.")
def command(session: Session, connected: bool, probe: bool, more: tuple[str, ...]) -> None:
    """List the boards, and how far each is proven.

    "emulated" runs in an emulator (or as a process) in CI, "built" is only built there, "source" builds where the
    vendor's SDK is. None of the three means that it ran on hardware: the board's README says so where it did.

    With --connected: what is plugged in, and which boards it may be by its USB id. An id is a hint; --probe asks.
    """
    boards = list_boards(Project.find())
    if connected:
        _list_connected(session, boards, more, probe=probe)
        return
    if probe or more:
        raise InputError("--probe and --port go with --connected", next_step="add --connected")
    rows = [
        {
            "name": board.name,
            "tier": board.tier,
            "chip": board.chip,
            "links": ", ".join(link for link, there in board.links.items() if there),
            "title": board.title,
        }
        for board in boards
    ]
    session.output.table(
        [{**row, "tier": TIERS[row["tier"]]} for row in rows],
        {"name": "BOARD", "tier": "TIER", "chip": "CHIP", "links": "LINKS", "title": "WHAT"},
        value=rows,
    )


def _list_connected(session: Session, boards: Sequence[Board], more: Sequence[str], *, probe: bool) -> None:
    ports = [*serial_ports(), *(SerialPort(name) for name in more)]
    rows = []
    for port in ports:
        row: dict[str, Any] = {
            "port": port.device,
            "usb": port.usb,
            "boards": guess_boards(port, boards),
            "runs": "MicroPython, by its USB id" if port.usb in MICROPYTHON_USB else "",
            "what": port.text,
        }
        if probe:
            with session.output.progress(f"ask {port.device}"):
                row |= _ask(port.device, boards)
        rows.append(row)
    for usb in usb_devices():
        for kind, text in (("programmer", "debug probe"), ("bootloader", "chip in its bootloader")):
            fitting = [board.name for board in boards if usb in ids(board, kind)]
            if fitting:
                rows.append({"port": "", "usb": usb, "boards": fitting, "runs": "", "what": text})
    if not rows:
        session.output.note("nothing is connected that could be a board")
    session.output.table(
        [{**row, "boards": ", ".join(row["boards"])} for row in rows],
        {"port": "PORT", "usb": "USB", "boards": "MAY BE", "runs": "RUNS", "what": "WHAT"},
        value=rows,
    )


def _ask(port: str, boards: Sequence[Board]) -> dict[str, Any]:
    """Who answers on a port, and which boards that may be."""
    try:
        found = port_probe.ask(port)
    except WasmoteError as err:
        return {"runs": f"? ({err.cause or err.message})"}
    if found is None:
        return {}
    fitting = port_probe.fitting_boards(found, boards)
    return {"runs": found.text, **({"boards": fitting} if fitting else {})}
