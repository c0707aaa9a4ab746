"""`wasmote new-board`"""

from __future__ import annotations

from pathlib import Path

import click

from wasmote.adapters.board_skeleton import make_board
from wasmote.adapters.boards import find_board, list_boards
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError


@make_command()
@click.argument("name")
@click.option("--like", metavar="BOARD", help="The board to start from.")
@click.option("--chip", metavar="CHIP", help="Start from a board with this chip, such as stm32f405.")
@click.option("--title", metavar="TEXT", help="What it is, in one line.")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of boards that gets it, one of WASMOTE_BOARDS. Otherwise boards/ of the repository.",
)
def command(
    session: Session, name: str, like: str | None, chip: str | None, title: str | None, into: Path | None
) -> None:
    """Start the board NAME from one that is there: a folder with board.toml and a README.

    What differs between the two boards is then yours to write into board.toml: clock, pins, LED, memory. The
    steps are in firmware/PORTING.md, the schema in boards/README.md.
    """
    project = Project.find()
    if (like is None) == (chip is None):
        raise InputError(
            "name the board to start from",
            next_step="give --like BOARD or --chip CHIP; `wasmote boards` lists boards and chips",
        )
    if like is not None:
        model = find_board(project, like)
    else:
        fitting = [board for board in list_boards(project) if chip and board.chip.startswith(chip.lower())]
        if not fitting:
            raise InputError(
                f"no board has the chip '{chip}'",
                cause=f"chips: {', '.join(sorted({board.chip for board in list_boards(project)}))}",
                next_step="start from a board with a chip of the same family: --like BOARD",
            )
        model = fitting[0]
    if model.is_host:
        raise InputError(f"{model.name} is no chip", next_step="name another board")
    board = make_board(model, name, title or f"{name}, made from {model.name}", into or project.boards)
    session.output.note(
        f"made from {model.name}. Next: clock, pins, LED and memory in board.toml, `wasmote build {name}`, the README"
        + (
            ", and a line in boards/README.md"
            if into is None
            else f". WASMOTE_BOARDS must name {into.resolve()}"
        )
    )
    session.output.emit({"board": name, "folder": str(board.folder)}, str(board.folder))
