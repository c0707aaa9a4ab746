"""`wasmote provision`: what is on a port, made ready for `wasmote flash`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from wasmote.adapters import micropython, port_probe
from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.esp import Esp
from wasmote.adapters.flash_config import (
    DFU,
    ESPTOOL,
    SERIAL_METHODS,
    STM32_UART,
    FlashConfig,
    read_flash_config,
)
from wasmote.adapters.micropython import BoardFile, Identity
from wasmote.adapters.port_probe import Bootloader, Node, Resident, fitting_boards
from wasmote.adapters.ports import MICROPYTHON_USB, SerialPort, guess_boards, ids, serial_ports, usb_devices
from wasmote.adapters.project import Project
from wasmote.adapters.stm32_uart import Stm32Uart, check_chip
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError, LocalError, RefusedError, UnansweredError, UnreachableError

_START_S = 8.0  # a program that mounts its file system first


@dataclass
class Job:
    """One run: what is asked for, and (result) what has been found and done so far."""

    session: Session
    port: SerialPort
    boards: Sequence[Board]
    board: Board | None
    config: FlashConfig
    save_to: Path | None
    bootloader: bool
    back: bool
    files: list[BoardFile] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)

    @property
    def device(self) -> str:
        return self.port.device


@make_command()
@click.option("--port", "-p", required=True, metavar="PORT", help="The serial port of the board.")
@click.option(
    "--board", "-b", metavar="BOARD", help="What it is to be: the chip is checked, and an ESP is asked too."
)
@click.option(
    "--save-files",
    "save_to",
    type=click.Path(file_okay=False, path_type=Path),
    help="A board that runs MicroPython: copy its files into this folder.",
)
@click.option(
    "--bootloader", is_flag=True, help="A board that runs MicroPython: switch it to its chip's bootloader."
)
@click.option(
    "--back", is_flag=True, help="Start the program in the flash memory again (after --bootloader, too)."
)
def command(
    session: Session,
    port: str,
    board: str | None,
    save_to: Path | None,
    bootloader: bool,
    back: bool,
) -> None:
    """Find out what is on PORT, say what it is, and name the command that puts wasmote onto it.

    It knows a wasmote node, a board that runs MicroPython (whose program is interrupted), the bootloader in an
    STM32's ROM, and with --board an ESP's ROM loader. Nothing is written to the board. With --bootloader and --back,
    a board that runs MicroPython goes to its bootloader, which tells the chip's ID, and comes back.

    Keys and roles are not provisioned: nodes of this version have none. They come together with signatures.
    """
    project = Project.find()
    chosen = find_board(project, board) if board else None
    config = (
        read_flash_config(chosen)
        if chosen
        else FlashConfig(methods=(STM32_UART,), origin=port_probe.STM32_FLASH)
    )
    known = next((one for one in serial_ports() if one.device == port), SerialPort(port))
    job = Job(session, known, list_boards(project), chosen, config, save_to, bootloader, back)
    job.result = {"port": port}
    with session.output.progress(f"ask {port}"):
        found = port_probe.ask(port)
    if found is None:
        _silent(job)
    else:
        _take(job, found)
        if isinstance(found, Identity):
            _micropython(job, found)
        elif isinstance(found, Bootloader):
            _bootloader(job, found)
        else:
            _node(job, found)
    job.result["next"] = _next(job)
    session.output.emit(job.result, _text(job))


def _take(job: Job, found: Resident) -> None:
    """What runs on the board now."""
    if isinstance(found, Node):
        runs, identity = "wasmote", found.device
    elif isinstance(found, Identity):
        runs, identity = "micropython", found.raw
    else:
        runs = "bootloader"
        identity = {
            "chip_id": found.info.chip_id,
            "version": found.info.version_text,
            "locked": found.info.locked,
        }
    fitting, before = fitting_boards(found, job.boards), job.result.get("boards", [])
    if not isinstance(found, Node):  # a node knows; the others only hint, each at something else
        fitting = [one for one in fitting if one in before] or before or fitting
    job.result |= {
        "runs": runs,
        "text": found.text,
        "boards": fitting or guess_boards(job.port, job.boards),
        "identity": {**job.result.get("identity", {}), runs: identity},
    }


# ---- what may be there ----


def _silent(job: Job) -> None:
    """Nobody has answered: an ESP in its ROM loader does so to esptool only. Raises what that meets."""
    if job.board is None or ESPTOOL not in job.config.methods:
        enter = f" {job.config.enter}" if job.config.enter else ""
        more = "" if job.board else "; an ESP's ROM loader is asked only with --board"
        raise UnreachableError(
            f"nothing answers on {job.device}",
            cause=f"no wasmote node, no MicroPython and no STM32 bootloader at {port_probe.BAUD} baud{more}",
            next_step="check wires and supply and reset the board, then run the same command again;"
            f" or let the chip start its bootloader.{enter}",
        )
    _only_micropython(job, f"{job.device} is silent, so it is asked as an ESP's ROM loader")
    note = job.session.output.note
    esp = Esp(job.device, job.board.name, job.config, job.config.esp_baud, lambda _progress: None, note)
    mac = esp.check()
    job.result |= {
        "runs": "bootloader",
        "text": f"ROM loader of an {job.config.esp_chip}{f', MAC {mac}' if mac else ''}",
        "boards": [job.board.name],
        "identity": {"bootloader": {"chip": job.config.esp_chip, "mac": mac}},
    }


def _only_micropython(job: Job, what: str) -> None:
    if job.save_to is not None or job.bootloader or job.back:
        raise InputError(
            "--save-files, --bootloader and --back are for a board that runs MicroPython",
            cause=what,
            next_step="leave them out",
        )


def _node(job: Job, found: Node) -> None:
    told = next((one for one in job.boards if one.name == found.device.get("board")), None)
    if job.board is not None and told is not None and told.chip != job.board.chip:
        raise InputError(
            f"the chip on {job.device} is not that of {job.board.name}",
            cause=f"its node says that it is {told.name}, a {told.chip}; {job.board.name} has a {job.board.chip}",
            next_step="name the board that is connected, or another --port",
        )
    if job.save_to is None and not job.bootloader:
        return  # --back: a program runs already
    raise InputError(
        "--save-files and --bootloader are for a board that runs MicroPython",
        cause=f"{job.device} runs {job.result['text']}",
        next_step=f"leave them out. Its bootloader: {job.config.enter}"
        if job.config.enter
        else "leave them out",
    )


def _bootloader(job: Job, found: Bootloader) -> None:
    if job.save_to is not None:
        raise InputError(
            "files are saved while MicroPython runs",
            cause=f"{job.device} is in its bootloader",
            next_step=f"`wasmote provision --port {job.device} --back` starts the program, then run this again",
        )
    if job.board is not None:
        check_chip(found.info, job.device, job.board.name, job.config)
    if job.back:
        _start(job, found)


def _micropython(job: Job, found: Identity) -> None:
    output = job.session.output
    output.note(f"{job.device} runs {found.text}")
    job.files = micropython.list_files(job.device)
    job.result["files"] = [{"path": one.path, "bytes": one.size} for one in job.files]
    if job.save_to is not None:
        with output.progress(f"save files to {job.save_to}", total=len(job.files), unit="files") as bar:
            micropython.save_files(job.device, job.save_to, job.files, bar.update)
        job.result["saved_to"] = str(job.save_to)
    if not job.bootloader:
        return
    if found.platform.startswith("esp") or ESPTOOL in job.config.methods:
        raise InputError(
            "an ESP is not switched to its bootloader beforehand",
            cause=f"it runs {found.text}; esptool resets an ESP into its ROM loader by itself",
            next_step=f"leave out --bootloader; then {_next(job)}",
        )
    micropython.to_bootloader(job.device)
    there = _find_bootloader(job)
    if there is None:
        return
    if job.board is not None:
        try:
            check_chip(there.info, job.device, job.board.name, job.config)
        except InputError:
            _start(job, there)
            raise
    _take(job, there)
    if job.back:
        _start(job, there)


def _find_bootloader(job: Job) -> Bootloader | None:
    """The bootloader on the same port, or None: it has come up on USB. Raises UnreachableError."""
    port_gone = False
    found: Resident | None = None
    try:
        found = port_probe.ask(job.device)
    except LocalError:
        port_gone = True
    if isinstance(found, Bootloader):
        return found
    usb = next((one for one in usb_devices() if any(one in ids(b, "bootloader") for b in job.boards)), None)
    if usb is not None and found is None:
        job.result |= {"runs": "bootloader", "text": f"bootloader on USB ({usb})"}
        job.result["identity"]["bootloader"] = {"usb": usb}
        if job.back:
            raise UnreachableError(
                "the board is in its bootloader on USB, and is not started from here",
                cause=f"{usb} is not on {job.device}",
                next_step="reset the board: it starts MicroPython again",
                details=job.result,
            )
        return None
    where = "the port is gone, and no bootloader is on USB" if port_gone else "no bootloader answers there"
    raise UnreachableError(
        f"{job.device} was sent to its bootloader, which is not found",
        cause=f"it runs {found.text} still: its port may lack machine.bootloader()" if found else where,
        next_step="reset the board: it starts MicroPython again. The bootloader may listen on other pins"
        " or on USB: `wasmote boards --connected`",
        details=job.result,
    )


def _start(job: Job, found: Bootloader) -> None:
    """Start what is in the flash memory, and hear who it is."""
    if found.info.locked:
        raise RefusedError(
            f"the chip on {job.device} is locked",
            cause="readout protection is on: its bootloader starts nothing",
            next_step=job.config.leave or "reset the board with BOOT0 low",
        )
    name = job.board.name if job.board else job.device
    with Stm32Uart(job.device, name, job.config, baud=port_probe.BAUD) as chip:
        chip.start(job.config.origin)
    deadline = time.monotonic() + _START_S
    with job.session.output.progress("wait for the program"):
        while (heard := port_probe.ask(job.device)) is None and time.monotonic() < deadline:
            pass  # each ask takes seconds where nobody answers
    if heard is None or isinstance(heard, Bootloader):
        raise UnansweredError(
            f"the program on {job.device} was started, but is not heard",
            cause=f"neither MicroPython nor a wasmote node answers in {_START_S:g} s",
            next_step=job.config.leave or "let BOOT0 go low and reset the board",
            details=job.result,
        )
    _take(job, heard)
    job.session.output.note(f"{job.device} runs {heard.text}")


# ---- the next step ----


def _flashed_as(job: Job) -> list[Board]:
    if job.board is not None:
        return [job.board]
    return [one for one in job.boards if one.name in job.result["boards"] and one.flash]


def _next(job: Job) -> str:
    """The command that puts wasmote onto the board."""
    fitting = _flashed_as(job)
    if not fitting and job.result["runs"] == "wasmote":
        return f"wasmote -t {job.device} info"
    words = ["wasmote", "flash", fitting[0].name if len(fitting) == 1 else "BOARD"]
    methods = read_flash_config(fitting[0]).methods if len(fitting) == 1 else SERIAL_METHODS
    usb = job.port.usb in MICROPYTHON_USB or "usb" in job.result["identity"].get("bootloader", {})
    if usb and DFU in methods:
        words += ["--method", DFU]
    if job.result["runs"] == "micropython" or (not usb and set(methods) & set(SERIAL_METHODS)):
        words += ["--port", job.device]
    if job.result["runs"] == "micropython" and job.files:
        words += ["--discard-files"] if job.save_to else ["--save-files", "FOLDER"]
    return " ".join(words)


def _text(job: Job) -> str:
    result = job.result
    lines = [f"{job.device}: {result['text']}"]
    chip = result["identity"].get("bootloader", {}).get("chip_id")
    if chip is not None and result["runs"] != "bootloader":
        lines.append(f"  chip ID in the bootloader: 0x{chip:03x}")
    if result["runs"] == "wasmote":
        device = result["identity"]["wasmote"]
        lines += [f"  {key}: {device[key]}" for key in ("ep", "board", "chip", "sec") if key in device]
    if "files" in result:
        saved = f", saved to {result['saved_to']}" if "saved_to" in result else ""
        lines.append(f"  files: {len(job.files)}{saved}")
    names = [one.name for one in _flashed_as(job)]
    if len(names) != 1 and result["next"].startswith("wasmote flash"):
        lines.append(f"  BOARD: {' or '.join(names) or 'see `wasmote boards`'}")
    what = "a newer image" if result["runs"] == "wasmote" and names else "next"
    if what != "next" and job.config.enter:
        lines.append(f"  for its bootloader: {job.config.enter}")
    return "\n".join([*lines, f"{what}: {result['next']}"])
