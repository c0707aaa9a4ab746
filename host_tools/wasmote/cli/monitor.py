"""`wasmote monitor`: what a node says, over unplugging and resets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

import click

from wasmote.adapters.ports import serial_ports
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import run, tuning
from wasmote.errors import LocalError, MissingError, UnansweredError, UnreachableError
from wasmote.node import LogLine, Node
from wasmote.protocol.target import Target, parse_target

_RETRY_S = 0.5
_FIRST_S = 3.0
_READY_S = 3.0


@make_command()
@click.argument("port", required=False)
@click.option("--baud", type=click.IntRange(min=300), help="Baud rate; also PORT@BAUD. Otherwise 115200.")
@click.option("--no-log", is_flag=True, help="Diagnostics only: ask the node for nothing.")
def command(session: Session, port: str | None, baud: int | None, no_log: bool) -> None:
    """Show what the node at PORT says: its diagnostics and its log, until Ctrl-C.

    PORT is a serial device, or any other target; without it -t counts, or the one serial port that is here. When the
    device is unplugged, or the node restarts, this waits until it is back and goes on.
    """
    target = _target(session, port)
    if baud is not None and target.kind == "serial":
        target = Target("serial", device=target.device, baud=baud)
    run(Monitor(session, target, log=not no_log).run())


def _target(session: Session, port: str | None) -> Target:
    if port is not None:
        return parse_target(port, session.target_names)
    if session.target_text:
        return session.target()
    here = serial_ports()
    if len(here) != 1:
        found = ", ".join(one.device for one in here)
        raise LocalError(
            "which port?",
            cause=f"serial ports here: {found}" if found else "there is no serial port on this machine",
            next_step="wasmote monitor PORT",
        )
    return Target("serial", device=here[0].device)


class Monitor:
    """Follows one node; knows which lines of its log it has shown."""

    def __init__(
        self, session: Session, target: Target, *, log: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._session, self._target, self._log = session, target, log
        self._clock = clock
        self._next = 0
        self._lost = False
        self._opened = False
        self._silent = False

    async def run(self) -> None:
        """Until it is cancelled. Raises LocalError if the device could not be opened even once."""
        began_s = self._clock()
        while True:
            try:
                await self._follow()
            except MissingError:
                raise
            except LocalError as err:
                # A name that is wrong will not get right by waiting; a board that is being plugged in does.
                if not self._opened and self._clock() - began_s > _FIRST_S:
                    raise
                self._say_lost(str(err))
            except (UnreachableError, UnansweredError) as err:
                self._say_lost(str(err))
            await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        """From opening the link to its end."""
        node = Node(
            self._target,
            tuning=tuning(self._session),
            on_text=self._text,
            on_delay=lambda _seconds, _why: None,
            ready_timeout_s=0.0 if not self._log else _READY_S,
        )
        try:
            async with node:
                self._say_back()
                ended = asyncio.create_task(node.wait_closed())
                shown = asyncio.create_task(self._show_log(node) if self._log else asyncio.Event().wait())
                try:
                    await asyncio.wait((ended, shown), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (ended, shown):
                        if not task.done():
                            task.cancel()
                            with contextlib.suppress(asyncio.CancelledError):
                                await task
                for task in (ended, shown):
                    if not task.cancelled():
                        task.result()
        except UnreachableError:
            if self._target.kind != "serial":
                raise
            # The device is there and the node says nothing: what it says in time must be seen all the same.
            self._opened = True
            if not self._silent:
                self._silent = True
                self._session.output.note(f"no node answers on {self._target} yet: waiting")
            return

    async def _show_log(self, node: Node) -> None:
        _lines, following = await node.log(self._next)
        if following < self._next:
            self._next = 0  # it has restarted, and its numbers began again
        lines = node.logs(self._next, follow=True)
        try:
            async for line in lines:
                self._line(line)
        finally:
            await lines.aclose()

    def _text(self, text: str) -> None:
        self._session.output.emit({"text": text}, f"node: {text}")

    def _line(self, line: LogLine) -> None:
        self._next = line.number + 1
        source = f"{line.source}: " if line.source else ""
        self._session.output.emit(
            {
                "number": line.number,
                "ms": line.at_ms,
                "level": line.level_name,
                "source": line.source,
                "text": line.text,
            },
            f"{line.at_ms / 1000:10.3f} {line.level_name:7} {source}{line.text}",
        )

    def _say_lost(self, why: str) -> None:
        if not self._lost:
            self._lost = True
            self._session.output.note(f"{why}: waiting until it is back")

    def _say_back(self) -> None:
        if self._lost or not self._opened:
            self._session.output.note(f"connected to {self._target}")
        self._opened, self._lost, self._silent = True, False, False
