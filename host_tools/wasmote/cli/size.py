"""`wasmote size`"""

from __future__ import annotations

from typing import Any

import click

from wasmote.adapters import build as builder
from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.image import ImageSize, image_size
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import BuildError, InputError


@make_command()
@click.argument("board", required=False)
@click.option("--build", "build_first", is_flag=True, help="Build what is not there or not up to date.")
def command(session: Session, board: str | None, build_first: bool) -> None:
    """Flash and RAM of built images in bytes, against the budgets in board.toml. Over budget is an error."""
    project = Project.find()
    boards = list_boards(project) if board is None else [find_board(project, board)]
    rows: list[dict[str, Any]] = []
    over: list[str] = []
    for each in boards:
        image = builder.image_path(project, each)
        if build_first:
            with session.output.progress(f"build {each.name}") as bar:
                builder.build(project, each, progress=bar, log=session.output.warning)
        elif not image.is_file():
            if board is not None:
                raise InputError(f"{each.name} has not been built", next_step=f"`wasmote build {each.name}`")
            session.output.note(f"{each.name}: not built")
            continue
        found = image_size(image)
        rows.append(
            {
                "board": each.name,
                "text": found.text,
                "data": found.data,
                "bss": found.bss,
                "flash": found.flash,
                "static_ram": found.static_ram,
                "stack": found.stack,
                "pool": found.pool,
                "budget": dict(each.budget),
            }
        )
        over += over_budget(each, found)
    columns = {"board": "BOARD", "text": "TEXT", "data": "DATA", "bss": "BSS", "flash": "FLASH"}
    columns |= {"static_ram": "STATIC RAM", "stack": "STACK", "pool": "POOL"}
    session.output.table(rows, columns)
    if over:
        raise BuildError(
            "over budget",
            cause="\n".join(over),
            next_step="make it smaller, or change [budget] in board.toml",
        )


def over_budget(board: Board, size: ImageSize) -> list[str]:
    """A line for each limit of board.toml that the image does not keep."""
    at_most = {"text_bytes": size.text, "static_ram_bytes": size.static_ram, "stack_bytes": size.stack}
    lines = [
        f"{board.name}: {key} is {value}, budget {board.budget[key]}"
        for key, value in at_most.items()
        if value > board.budget.get(key, value)
    ]
    least = board.budget.get("pool_bytes_min", 0)
    if size.pool < least:
        lines.append(f"{board.name}: pool is {size.pool}, at least {least} is wanted")
    return lines
