"""`wasmote flash`: an image onto a board, and the node's first words."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from wasmote.adapters import build as builder
from wasmote.adapters import micropython
from wasmote.adapters.boards import Board, find_board
from wasmote.adapters.esp import Esp
from wasmote.adapters.flash_choice import Way, choose
from wasmote.adapters.flash_config import (
    DFU,
    ESPTOOL,
    METHODS,
    OPENOCD,
    ST_FLASH,
    STM32_UART,
    FlashConfig,
    read_flash_config,
)
from wasmote.adapters.flash_image import flat, read_segments
from wasmote.adapters.ports import serial_ports, usb_devices
from wasmote.adapters.programmers import Programmer
from wasmote.adapters.project import Project
from wasmote.adapters.serial_line import SerialLine
from wasmote.adapters.stm32_uart import Stm32Uart
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.output import Bar, Output
from wasmote.errors import InputError, UnansweredError, UnreachableError, WasmoteError
from wasmote.protocol.stm32_boot import BootError, Progress

_STAGES = {"compare": "compare with", "erase": "erase", "write": "write", "verify": "read back"}


@dataclass
class Job:
    """One run: what is asked for, and (result) what has been done so far. given: what --image names, else None."""

    session: Session
    board: Board
    config: FlashConfig
    way: Way
    image: Path
    given: Path | None
    baud: int | None
    node_port: str
    node_baud: int
    unlock: bool
    dry_run: bool
    wait_s: float
    save_to: Path | None
    discard: bool
    result: dict[str, Any] = field(default_factory=dict)


class Stages:
    """A bar for each stage of the work, one after the other."""

    def __init__(self, output: Output, board: str) -> None:
        self._output, self._board = output, board
        self._stage = ""
        self._bar: Bar | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def close(self) -> None:
        """End the last bar."""
        self._stack.close()

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self._stage:
            self._stack.close()
            self._stage = progress.stage
            text = f"{_STAGES.get(progress.stage, progress.stage)} {self._board}"
            self._bar = self._stack.enter_context(
                self._output.progress(text, total=progress.total, unit="bytes")
            )
        assert self._bar is not None
        self._bar.update(progress.done)


@make_command()
@click.argument("board")
@click.option("--port", "-p", metavar="PORT", help="Its serial port; otherwise the one that looks like it.")
@click.option(
    "--node-port",
    metavar="PORT",
    help="The serial port on which the node talks, where that is another one: for its first words.",
)
@click.option(
    "--method", "-m", type=click.Choice(METHODS), help="Otherwise the first that fits and is there."
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="An ELF file, or a binary for the start of the flash memory. Otherwise the board's own, which is built first.",
)
@click.option("--build/--no-build", "build_first", default=True, help="Build the board's image first.")
@click.option(
    "--baud", type=click.IntRange(min=300), help="Rate for flashing. Otherwise what board.toml says."
)
@click.option(
    "--unlock", is_flag=True, help="Take the chip's protection off first. A locked chip ERASES ITSELF for it."
)
@click.option(
    "--dry-run", is_flag=True, help="Go to the bootloader, compare, write nothing, and start what is there."
)
@click.option(
    "--save-files",
    "save_to",
    type=click.Path(file_okay=False, path_type=Path),
    help="A board that runs MicroPython: copy its files into this folder first.",
)
@click.option(
    "--discard-files", is_flag=True, help="A board that runs MicroPython: its files are not wanted."
)
@click.option(
    "--wait",
    "wait_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="For the node's first words; 0 does not wait.",
)
def command(
    session: Session,
    board: str,
    port: str | None,
    node_port: str | None,
    method: str | None,
    image: Path | None,
    build_first: bool,
    baud: int | None,
    unlock: bool,
    dry_run: bool,
    save_to: Path | None,
    discard_files: bool,
    wait_s: float,
) -> None:
    """Flash BOARD: build its image, write it, read it back, start it, and print what the node says about itself.

    The way is picked from board.toml and from what is connected: the bootloader of an STM32 on a serial port
    (stm32-uart) or on USB (dfu-util), a debug probe (openocd, st-flash), esptool for an ESP. What the chip holds
    already is not written again, so a run that was cut off goes on where it was."""
    project = Project.find()
    found = find_board(project, board)
    config = read_flash_config(found)
    way = choose(found, config, port=port, method=method, ports=serial_ports(), usb=usb_devices())
    serial = found.links.get("serial")
    job = Job(
        session=session,
        board=found,
        config=config,
        way=way,
        image=_image(session, project, found, image, build_first),
        given=image,
        baud=baud,
        node_port=node_port or ("" if way.method == STM32_UART and not config.shares_port else way.port),
        node_baud=int(serial["baud"]) if isinstance(serial, dict) and "baud" in serial else 115200,
        unlock=unlock,
        dry_run=dry_run,
        wait_s=wait_s,
        save_to=save_to,
        discard=discard_files,
    )
    job.result = {"board": board, "method": way.method, "port": way.port or None, "image": str(job.image)}
    began_s = time.monotonic()
    session.output.note(f"flash {board} by {way.method}{f' on {way.port}' if way.port else ''}")
    _METHODS[way.method](job)
    job.result["seconds"] = round(time.monotonic() - began_s, 1)
    session.output.emit(job.result, _text(job.result))


def _image(session: Session, project: Project, board: Board, given: Path | None, build_first: bool) -> Path:
    if given is not None:
        return given
    image = builder.image_path(project, board)
    if not build_first:
        if not image.is_file():
            raise InputError(
                f"{board.name} has not been built",
                next_step=f"`wasmote build {board.name}`, or leave out --no-build",
            )
        return image
    with session.output.progress(f"build {board.name}") as bar:
        return builder.build(project, board, progress=bar, log=session.output.warning)


# ---- an STM32 on a serial port ----


def _flash_stm32_uart(job: Job) -> None:
    output = job.session.output
    segments = read_segments(job.image, job.config.origin)
    with Stages(output, job.board.name) as stages, contextlib.ExitStack() as stack:

        def open_chip() -> Stm32Uart:
            return stack.enter_context(
                Stm32Uart(
                    job.way.port,
                    job.board.name,
                    job.config,
                    baud=job.baud,
                    progress=stages,
                    note=output.note,
                )
            )

        chip = open_chip()
        try:
            info = chip.connect(unlock=job.unlock)
        except UnreachableError:
            chip.line.close()
            if not _leave_micropython(job):
                raise
            chip = open_chip()
            with _back_to_micropython(job, chip):
                info = chip.connect(unlock=job.unlock)
        output.note(f"{info.chip_text}, bootloader {info.version_text}")
        job.result["chip_id"] = info.chip_id
        with _back_to_micropython(job, chip):
            plan, differing = chip.compare(segments)
        job.result |= {"bytes": plan.image_bytes, "differing": [one.number for one in differing]}
        if not job.dry_run:
            try:
                report = chip.flash(plan, differing)
            except KeyboardInterrupt:
                if chip.unfinished:
                    output.warning(f"{job.board.name} has no whole image now: flash it again")
                raise
            job.result |= {
                "written": report.written_bytes,
                "unchanged": report.unchanged_bytes,
                "erased": report.erased_sectors,
                "repeated": report.repeated,
                "verified": True,
            }
        reset = chip.start(job.config.origin if job.dry_run else plan.start)
        if not reset and job.config.leave:
            output.note(f"it has been started; so that it starts by itself: {job.config.leave}")
        stages.close()
        if job.node_port == job.way.port:
            _greet(job, chip.line)  # on the line that is open, so that no word is missed
        else:
            chip.line.close()
            _greet_on_port(job)


# ---- a board that runs MicroPython ----


def _leave_micropython(job: Job) -> bool:
    """Where MicroPython answers: say what it is, save its files, and send the chip to its bootloader. False: it does
    not answer. Raises InputError where files would be lost that nobody has spoken of."""
    output, port = job.session.output, job.way.port
    if "://" in port or not micropython.probe(port, job.node_baud):
        return False
    found = micropython.identify(port)
    output.note(f"{port} runs {found.text}")
    files = micropython.list_files(port)
    job.result["micropython"] = {**found.raw, "files": [one.path for one in files]}
    if job.save_to is not None:
        with output.progress(f"save files to {job.save_to}", total=len(files), unit="files") as bar:
            micropython.save_files(port, job.save_to, files, bar.update)
    elif files and not job.discard and not job.dry_run:
        raise InputError(
            f"the board on {port} holds {len(files)} files of MicroPython, and flashing erases them",
            cause=f"it runs {found.text}: {', '.join(one.path for one in files[:8])}",
            next_step="--save-files FOLDER copies them first; --discard-files goes on without",
        )
    if job.way.method in (STM32_UART, DFU):
        micropython.to_bootloader(port)
        output.note("it has been sent to its bootloader")
    return True


@contextlib.contextmanager
def _back_to_micropython(job: Job, chip: Stm32Uart) -> Iterator[None]:
    """What fails before anything was written leaves a board that ran MicroPython running it again."""
    try:
        yield
    except (WasmoteError, KeyboardInterrupt):
        if "micropython" in job.result and not chip.unfinished:
            with contextlib.suppress(WasmoteError, BootError):
                chip.start(job.config.origin)
                job.session.output.note("the board runs MicroPython again")
        raise


# ---- an ESP, through esptool ----


def _flash_esp(job: Job) -> None:
    output, config = job.session.output, job.config
    files = _esp_files(job)
    with Stages(output, job.board.name) as stages:
        chip = Esp(
            job.way.port,
            job.board.name,
            config,
            job.baud or config.esp_baud,
            progress=stages,
            note=output.note,
        )
        _leave_micropython(job)
        if job.unlock:
            output.note("an ESP has no protection that could be taken off: its fuses are for ever")
        chip.check()
        job.result["bytes"] = sum(path.stat().st_size for _, path in files)
        if job.dry_run:
            return
        if config.esp_load_ram and job.given is None:
            chip.load_ram(files[0][1])
        else:
            chip.write(files)
            job.result["verified"] = True
    _greet_on_port(job)


def _esp_files(job: Job) -> list[tuple[int, Path]]:
    """Offsets and files: what --image names goes to the first offset."""
    files = job.config.esp_files
    if job.given is not None:
        return [(files[0].offset if files else 0, job.given)]
    folder = job.image.parent
    found = [(one.offset, folder / one.path) for one in files] or [(0, job.image)]
    for _, path in found:
        if not path.is_file():
            raise InputError(
                f"{path} is not there",
                cause=f"board.toml of {job.board.name} names it as a part of the image",
                next_step=f"build it: `wasmote build {job.board.name}`",
            )
    return found


# ---- a chip behind dfu-util, openocd or st-flash ----


def _flash_by_programmer(job: Job) -> None:
    output = job.session.output
    address, data = flat(read_segments(job.image, job.config.origin))
    if job.unlock or job.dry_run:
        raise InputError(
            f"{job.way.method} has no --unlock and no --dry-run",
            next_step="leave them out, or take --method stm32-uart",
        )
    job.result["bytes"] = len(data)
    if job.way.port:
        _leave_micropython(job)
    with Stages(output, job.board.name) as stages:
        programmer = Programmer(job.board.name, job.config, address, data, progress=stages, note=output.note)
        {DFU: programmer.dfu, OPENOCD: programmer.openocd, ST_FLASH: programmer.st_flash}[job.way.method]()
    job.result["verified"] = True
    _greet_on_port(job)


# ---- the node's first words ----


def _greet_on_port(job: Job) -> None:
    """Open the node's port for its first words, if one is known."""
    if job.wait_s == 0 or job.dry_run:
        return
    if not job.node_port:
        why = "the node talks on other pins than the bootloader" if job.way.port else "no port was named"
        job.session.output.note(f"{why}, so its first words are not waited for (--node-port)")
        return
    with SerialLine(job.node_port, job.node_baud) as line:
        _greet(job, line)


def _greet(job: Job, line: SerialLine) -> None:
    """Wait for the hello on a line that is open already, so that none is missed, and ask for `/d`."""
    if job.wait_s == 0 or job.dry_run:
        return
    output = job.session.output
    line.configure(job.node_baud, "N")
    with output.progress("wait for the node"):
        hello = line.wait_hello(job.wait_s, lambda text: output.note(f"node: {text}"))
        device = None if hello is None else line.get_device(job.wait_s)
    if device is None:
        what = "it said nothing" if hello is None else "it does not answer GET /d"
        raise UnansweredError(
            f"{job.board.name} is flashed, but its node is not heard on {line.url}",
            cause=f"{what} in {job.wait_s:g} s at {job.node_baud} baud",
            next_step=f"reset the board{f' ({job.config.leave})' if job.config.leave else ''},"
            f" then `wasmote -t {line.url} info`; `wasmote monitor {line.url}` shows what it says",
            details=job.result,
        )
    job.result |= {"hello": hello, "device": device}


def _text(result: dict[str, Any]) -> str:
    lines = []
    if "written" in result:
        lines.append(
            f"{result['board']}: {result['written']} bytes written and read back,"
            f" {result['unchanged']} were there already, {result['seconds']} s"
        )
    elif "differing" in result:
        count = len(result["differing"])
        lines.append(
            f"{result['board']}: {count} sectors would be written"
            if count
            else f"{result['board']}: up to date"
        )
    else:
        lines.append(f"{result['board']}: flashed and verified, {result['seconds']} s")
    if result.get("device"):
        lines += [f"  {key}: {_short(value)}" for key, value in result["device"].items()]
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_short(item) for item in value)
    return value.hex() if isinstance(value, bytes) else str(value)


_METHODS: dict[str, Callable[[Job], None]] = {
    STM32_UART: _flash_stm32_uart,
    ESPTOOL: _flash_esp,
    DFU: _flash_by_programmer,
    OPENOCD: _flash_by_programmer,
    ST_FLASH: _flash_by_programmer,
}
