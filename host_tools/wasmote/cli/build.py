"""`wasmote build`"""

from __future__ import annotations

from dataclasses import asdict

import click

from wasmote.adapters import build as builder
from wasmote.adapters.boards import find_board, list_boards
from wasmote.adapters.image import image_size
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError


@make_command()
@click.argument("board", required=False)
@click.option("--all", "every", is_flag=True, help="Every board but those of the tier `source`.")
@click.option("--sanitize", is_flag=True, help="With address and undefined behaviour sanitizers (host).")
@click.option(
    "--fetch",
    is_flag=True,
    help="Only fetch the third-party C sources: those of BOARD, of all boards, or else those that all share.",
)
def command(session: Session, board: str | None, every: bool, sanitize: bool, fetch: bool) -> None:
    """Build the image of BOARD into build/BOARD.

    The third-party C sources are fetched through your pip and apt configuration, verified by SHA-256 and unpacked into
    build/third_party first.
    """
    project = Project.find()
    if [every, board is not None].count(True) != 1 and not (fetch and not every and board is None):
        raise InputError("name one board, or give --all", next_step="`wasmote boards` lists them")
    if fetch:
        ports = [find_board(project, board).port] if board else []
        if every:
            ports = [each.port for each in list_boards(project)]
        with session.output.progress("fetch") as bar:
            builder.fetch_sources(project, ports, progress=bar)
        session.output.emit({"folder": str(project.third_party)}, str(project.third_party))
        return
    if board is None:
        boards = [each for each in list_boards(project) if each.tier != "source"]
    else:
        boards = [find_board(project, board)]
    variant = builder.Variant(sanitize=sanitize)
    built = []
    for each in boards:
        with session.output.progress(f"build {each.name}") as bar:
            image = builder.build(project, each, variant, progress=bar, log=session.output.warning)
        size = image_size(image)
        built.append({"board": each.name, "image": str(image), **asdict(size)})
        if not session.output.json:
            session.output.emit(None, f"{image}\n  text {size.text}, data {size.data}, bss {size.bss} bytes")
    if session.output.json:
        session.output.emit(built)
