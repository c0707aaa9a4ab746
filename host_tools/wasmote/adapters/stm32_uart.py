"""Flashing an STM32 through the bootloader in its ROM, on a serial port (protocol/stm32_boot.py, stm32_flash.py).

with Stm32Uart(port, board, config) as chip:
    chip.connect()
    report = chip.flash(segments)
    chip.start(origin)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from wasmote.adapters.flash_config import FlashConfig
from wasmote.adapters.serial_line import LinkLost, SerialLine
from wasmote.errors import InputError, RefusedError, UnfinishedError, UnreachableError, WasmoteError
from wasmote.protocol import stm32_boot as boot
from wasmote.protocol import stm32_flash
from wasmote.protocol.stm32_boot import BootError, BootInfo, Garbled, Progress, Refused, Silent
from wasmote.protocol.stm32_flash import ImageError, Plan, Report, Segment, VerifyError

T = TypeVar("T")

_RESET_S = 0.1
_AFTER_RESET_S = 0.1
_UNLOCK_ROUNDS = 40
_IDENTIFY_ATTEMPTS = 3
_NODE_S = 1.5  # for a node to answer a ping
AGAIN = "run the same command again: it goes on with what is not there yet"


def check_chip(info: BootInfo, port: str, board_name: str, config: FlashConfig) -> None:
    """Raises InputError where this is not the board's chip."""
    if not config.chip_ids or info.chip_id in config.chip_ids:
        return
    wanted = " or ".join(f"{boot.CHIPS.get(one, 'ID')} (0x{one:03x})" for one in config.chip_ids)
    raise InputError(
        f"the chip on {port} is not that of {board_name}",
        cause=f"it is {info.chip_text}; {board_name} has {wanted}",
        next_step="nothing was written: name the board that is connected (`wasmote boards`), or another --port",
    )


class Stm32Uart:
    """One chip on one port. baud: 1200 to 115200; the bootloader measures it once after each reset. progress gets
    each step of the work, note a sentence for the person now and then."""

    def __init__(
        self,
        port: str,
        board_name: str,
        config: FlashConfig,
        *,
        baud: int | None = None,
        progress: Callable[[Progress], None] = lambda _progress: None,
        note: Callable[[str], None] = lambda _text: None,
    ) -> None:
        self.port = port
        self.baud = baud or config.baud
        self._board = board_name
        self._config = config
        self._progress = progress
        self._note = note
        self._lines = tuple(line for line in (config.reset_line, config.boot0_line) if line)
        self._begun = False
        self.info: BootInfo | None = None
        self.line = SerialLine(port, self.baud, parity="E", idle=self._lines)

    def __enter__(self) -> Stm32Uart:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()

    @property
    def has_lines(self) -> bool:
        """The board's control lines reset the chip and choose what it starts."""
        return bool(self._config.reset_line and self._config.boot0_line)

    def connect(self, *, unlock: bool = False, rounds: int = 4) -> BootInfo:
        """Reach the bootloader, and see that the chip is the board's and can be written. unlock: take protection
        away, which erases a chip that is locked against reading. Raises UnreachableError, InputError (another
        chip), RefusedError (locked)."""
        if self.has_lines:
            self._reset(bootloader=True)
        self.line.discard()
        info = self._identify(rounds)
        check_chip(info, self.port, self._board, self._config)
        info = BootInfo(info.version, info.commands, info.chip_id, self._is_locked())
        if unlock:
            info = self._unlock(info)
        elif info.locked:
            raise RefusedError(
                f"the chip on {self.port} is locked",
                cause="readout protection is on: its bootloader neither reads nor writes the flash memory",
                next_step="--unlock takes the protection off; the chip ERASES ITSELF for it,"
                " whatever is on it is lost",
            )
        self.info = info
        return info

    def compare(self, segments: Sequence[Segment]) -> tuple[Plan, list[stm32_flash.Sector]]:
        """The image in blocks, and the sectors that differ from it. Raises InputError if it does not fit."""
        try:
            plan = Plan(segments, self._config.sectors)
        except ImageError as err:
            raise InputError(
                f"the image does not fit {self._board}",
                cause=str(err),
                next_step="give the image of this board with --image, or build it: "
                f"`wasmote build {self._board}`",
            ) from err
        return plan, self._run(stm32_flash.compare(plan))

    def flash(self, plan: Plan, differing: Sequence[stm32_flash.Sector]) -> Report:
        """Erase, write and read back what differs. Raises UnfinishedError when the chip is left without an
        image."""
        assert self.info is not None, "connect() first"
        self._begun = self._begun or bool(differing)
        report = self._run(stm32_flash.flash(plan, self.info, differing))
        self._begun = False
        return report

    def start(self, address: int) -> bool:
        """Start the image. False: by GO, since nothing else resets the chip; BOOT0 is as it was then."""
        if self.has_lines:
            self._reset(bootloader=False)
            return True
        self._run(boot.go(address))
        return False

    @property
    def unfinished(self) -> bool:
        """Flashing has begun: until it is done the chip has no whole image."""
        return self._begun

    # ---- the ways in ----

    def _reset(self, *, bootloader: bool) -> None:
        reset, boot0 = self._config.reset_line, self._config.boot0_line
        there = self.line.set_line(boot0, bootloader) and self.line.set_line(reset, True)
        if there:
            time.sleep(_RESET_S)
            self.line.set_line(reset, False)
            time.sleep(_AFTER_RESET_S)
            if bootloader:
                self.line.set_line(boot0, False)  # BOOT0 is looked at once, at reset
        else:
            self._note(f"{self.port} has no control lines. {self._config.enter}")

    def _identify(self, rounds: int) -> BootInfo:
        try:
            for _ in range(_IDENTIFY_ATTEMPTS - 1):
                self.line.run(boot.synchronise(rounds))
                with contextlib.suppress(Refused, Silent):  # a byte of somebody else was still on its way
                    return self.line.run(boot.identify())
            self.line.run(boot.synchronise(rounds))
            return self.line.run(boot.identify())
        except BootError as err:
            node = self._node_instead()
            if isinstance(err, Garbled) and not node:
                raise UnreachableError(
                    f"the bootloader on {self.port} cannot be understood",
                    cause=f"{err} at {self.baud} baud with even parity: it goes by another baud rate,"
                    " which it measured when another program spoke to it, or the line is noisy",
                    next_step="reset the board, so that it measures again, and run this again; or give that rate"
                    f" with --baud. {self._config.enter}",
                ) from err
            raise UnreachableError(
                f"no bootloader answers on {self.port}",
                cause=f"{err} at {self.baud} baud with even parity{node}",
                next_step=self._enter_text(),
            ) from err

    def _node_instead(self) -> str:
        """That a node runs on the chip, if one answers; what it said by itself a moment ago looks garbled."""
        with contextlib.suppress(WasmoteError):
            self.line.configure(self._config.baud, "N")
            try:
                if self.line.wait_hello(_NODE_S, lambda _text: None) is not None:
                    return ", but a wasmote node does: the chip runs its image and not the bootloader"
            finally:
                self.line.configure(self.baud, "E")
        return ""

    def _enter_text(self) -> str:
        enter = self._config.enter or "let the chip start its bootloader (BOOT0 high at reset)"
        where = f" The bootloader listens on {', '.join(self._config.pins)}" if self._config.pins else ""
        crossed = "; TX goes to the adapter's RX and RX to its TX." if self._config.pins else ""
        return f"{enter} Then run the same command again.{where}{crossed}"

    def _is_locked(self) -> bool:
        return self._run(boot.is_locked(self._config.origin))

    def _unlock(self, info: BootInfo) -> BootInfo:
        if info.locked:
            self._note("taking the readout protection off: the chip erases itself")
            self._begun = True
            self._run(boot.readout_unprotect())
        else:
            self._note("taking the write protection off")
            self._run(boot.write_unprotect())
        if self.has_lines:
            self._reset(bootloader=True)
        time.sleep(_AFTER_RESET_S)
        self.line.discard()
        self._identify(_UNLOCK_ROUNDS)
        if self._is_locked():
            raise RefusedError(
                f"the chip on {self.port} is still locked",
                cause="READOUT UNPROTECT was acknowledged without effect",
                next_step="power the board off and on, then run the same command again",
            )
        return BootInfo(info.version, info.commands, info.chip_id)

    def _run(self, steps: boot.Steps[T]) -> T:
        """An operation of a bootloader that has been reached: whatever goes wrong now has a cause of its own."""
        try:
            return self.line.run(steps, self._progress)
        except LinkLost as err:
            if not self._begun:
                raise
            raise UnfinishedError(
                f"the serial link {self.port} ended while the board was flashed",
                cause=f"{err.cause}; the chip has no whole image now, and starts none",
                next_step=f"plug the adapter in, let the chip start its bootloader, and {AGAIN}",
            ) from err
        except VerifyError as err:
            cause = str(err)
            step = f"{AGAIN[0].upper()}{AGAIN[1:]}; if that fails at the same place, the flash memory is worn out"
            if err.protected:
                cause += ": the sector takes no change, as a write-protected one"
                step = "--unlock takes the write protection off"
            raise UnfinishedError("the image was not written as it is", cause=cause, next_step=step) from err
        except BootError as err:
            kind = UnfinishedError if self._begun else UnreachableError
            why = "the bootloader fell silent" if isinstance(err, Silent) else "the line is noisy"
            raise kind(
                f"flashing through {self.port} failed" if self._begun else f"reading from {self.port} failed",
                cause=f"{err}, also when it was tried again: {why}",
                next_step=f"check the wires and the supply, reset the chip into its bootloader, and {AGAIN}",
            ) from err
