"""`wasmote conformance --emulated`: the same tests on one board after the other, each in its emulator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasmote.adapters import build as builder
from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.conformance import run_file
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.conformance_output import tests_failed
from wasmote.cli.node import tuning
from wasmote.cli.output import Bar
from wasmote.errors import InputError, WasmoteError
from wasmote.node import Node
from wasmote.protocol.conformance.results import FileResult, NodeResult, total
from wasmote.protocol.conformance.suite import File

_READY_S = 60.0  # CI's machines are busy
_REAPED_S = 5.0  # from a process's last packet until the system has told its parent that it ended


@dataclass
class BoardRun:
    """One board: what came out, and what kept it from being asked everything."""

    result: NodeResult
    error: WasmoteError | None = None


def emulated_boards(project: Project, names: Sequence[str]) -> list[Board]:
    """The boards of these names, or all that have an emulator. Raises InputError."""
    if not names:
        return [board for board in list_boards(project) if board.emulate]
    boards = [find_board(project, name) for name in dict.fromkeys(names)]
    for board in boards:
        if not board.emulate:
            raise InputError(
                f"{board.name} has no emulator",
                cause=f"boards that have one: {', '.join(each.name for each in emulated_boards(project, ()))}",
                next_step="name one of these; a real board is tested by `wasmote -t TARGET conformance`",
            )
    return boards


def run_boards(
    session: Session, project: Project, boards: Sequence[Board], files: Sequence[File]
) -> list[BoardRun]:
    """Build each board's image and hold its node against the files. What goes wrong with one board does not keep the
    others from being tested."""
    runs = []
    for board in boards:
        one = BoardRun(NodeResult(board.name))
        try:
            with session.output.progress(f"build {board.name}") as bar:
                image = builder.build(project, board, progress=bar, log=session.output.warning)
            with session.output.progress(f"conformance {board.name}", total=len(files), unit="files") as bar:
                asyncio.run(_run(session, board, image, files, one.result.files, bar))
        except WasmoteError as err:
            one.error, one.result.stopped = err, str(err)
        runs.append(one)
    return runs


async def _run(
    session: Session, board: Board, image: Path, files: Sequence[File], results: list[FileResult], bar: Bar
) -> None:
    """results grows by what came out of each file, so that it stays if the node does not."""
    emulator = Emulator(board, image, on_text=session.output.note, ready_timeout_s=_READY_S)
    async with emulator:
        ended = asyncio.create_task(emulator.wait())
        testing = asyncio.create_task(_test(session, emulator, files, results, bar))
        try:
            await asyncio.wait((ended, testing), return_when=asyncio.FIRST_COMPLETED)
            if testing.done() and testing.exception() is not None:
                # A node that ends is refused by its port before it has been reaped: its end is then the cause.
                await asyncio.wait((ended,), timeout=_REAPED_S)
            if ended.done():
                raise WasmoteError(
                    f"the node of {board.name} ended by itself with {ended.result()}",
                    cause=f"after {len(results)} results",
                    next_step=f"see above what it said; `wasmote emulate {board.name}` runs it by hand",
                )
            testing.result()
        finally:
            for task in (ended, testing):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, WasmoteError):
                    await task
    if emulator.exit_status:
        raise WasmoteError(
            f"the node of {board.name} ended with {emulator.exit_status} when it was stopped",
            cause="see above",
            next_step="report what it said: it should have ended with 0",
        )


async def _test(
    session: Session, emulator: Emulator, files: Sequence[File], results: list[FileResult], bar: Bar
) -> None:
    assert emulator.uri is not None
    node = Node(emulator.uri, tuning=tuning(session), on_silence=session.output.note)
    async with node:
        for done, file in enumerate(files, 1):
            results += await run_file(node.client, file)
            bar.update(done)


def raise_failures(runs: Sequence[BoardRun]) -> None:
    """Raises FailedError if a test failed, else what kept the first board from being tested, if anything did."""
    stopped = [f"{run.result.name}: {run.result.stopped}" for run in runs if run.error is not None]
    wrong = [f"{run.result.name}: {line}" for run in runs for line in total(run.result.files).wrong]
    if wrong:
        commands = sum(total(run.result.files).commands for run in runs)
        raise tests_failed(wrong, commands, also=stopped)
    for run in runs:
        if run.error is not None:
            raise WasmoteError(
                f"{len(stopped)} of {len(runs)} boards could not be tested to the end",
                cause="\n".join(stopped),
                next_step=run.error.next_step,
                exit_code=run.error.exit_code,
            )
