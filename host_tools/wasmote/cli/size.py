"""`wasmote size`"""

from __future__ import annotations

import asyncio
from typing import Any

import click

from wasmote.adapters import build as builder
from wasmote.adapters.boards import Board, find_board, list_boards
from wasmote.adapters.code_cost import CodeCost, code_cost
from wasmote.adapters.image import ImageSize, image_size
from wasmote.adapters.link_map import LibrarySize, library_size
from wasmote.adapters.project import Project
from wasmote.adapters.stack_probe import StackUse, probe_stack
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import BuildError, InputError

# Bars: toolchain -> bytes; bytes.
VALIDATOR_TEXT_BYTES = {"arm-none-eabi": 12 * 1024}
VALIDATOR_STACK_BYTES = 1024
IP_STACK = "wm_lwip"  # of boards with Ethernet: a library of firmware/cmake/third_party.cmake
VALIDATOR = (r"/src/wasm/validate\w*\.c$", "wm_validate")


@make_command()
@click.argument("board", required=False)
@click.option("--build", "build_first", is_flag=True, help="Build what is not there or not up to date.")
@click.option("--stack", is_flag=True, help="Measure the worst stack too: runs each chip in its emulator.")
def command(session: Session, board: str | None, build_first: bool, stack: bool) -> None:
    """Flash and RAM of built images in bytes, against the budgets in board.toml. Over budget is an error.

    --stack drives each emulated chip as deep as requests and functions can, and reads how much of its C stack that
    took. It also tells what the validator takes: its text, and its C stack on its deepest path.
    """
    project = Project.find()
    if board is None:
        boards = [each for each in list_boards(project) if each.tier != "source"]
    else:
        boards = [find_board(project, board)]
    rows: list[dict[str, Any]] = []
    over: list[str] = []
    for each in boards:
        image = builder.image_path(project, each)
        if build_first:
            with session.output.progress(f"build {each.name}") as bar:
                builder.build(project, each, progress=bar, log=session.output.warning)
        elif not image.is_file():
            if board is not None:
                step = "`wasmote boards` lists those that are built here"
                if each.tier != "source":
                    step = f"`wasmote build {each.name}`"
                raise InputError(f"{each.name} has not been built", next_step=step)
            session.output.note(f"{each.name}: not built")
            continue
        found = image_size(image)
        use: StackUse | None = None
        if stack and each.emulate and not each.is_host:
            with session.output.progress(f"stack of {each.name}") as bar:
                use = asyncio.run(probe_stack(each, image, describe=bar.describe))
        cost: CodeCost | None = None
        if stack and not each.is_host:
            cost = code_cost(image.parent, *VALIDATOR)
        ip_stack: LibrarySize | None = None
        if "udp" in each.links and not each.is_host:
            ip_stack = library_size(image.with_suffix(".map"), IP_STACK)
        rows.append(
            {
                "board": each.name,
                "text": found.text,
                "data": found.data,
                "bss": found.bss,
                "flash": found.flash,
                "static_ram": found.static_ram,
                "stack": found.stack,
                "stack_used": use.used_bytes if use else None,
                "nesting": min(use.nesting.values()) if use else None,
                "validator": cost.text if cost else None,
                "validator_stack": cost.stack if cost else None,
                "pool": found.pool,
                "lwip_text": ip_stack.text if ip_stack else None,
                "lwip_static_ram": ip_stack.static_ram if ip_stack else None,
                "budget": dict(each.budget),
            }
        )
        over += over_budget(each, found, use) + over_bars(each, cost)
    columns = {"board": "BOARD", "text": "TEXT", "data": "DATA", "bss": "BSS", "flash": "FLASH"}
    columns |= {"static_ram": "STATIC RAM", "stack": "STACK"}
    columns |= {"stack_used": "USED"} if stack else {}
    columns |= {"pool": "POOL"}
    columns |= {"validator": "VALIDATOR", "validator_stack": "ITS STACK"} if stack else {}
    session.output.table(rows, columns)
    for row in rows:
        if row["lwip_text"] is not None:
            session.output.note(
                f"{row['board']}: of it lwIP: {row['lwip_text']} bytes of text, {row['lwip_static_ram']} of static RAM"
            )
    if stack:
        bars = ", ".join(f"{bar} bytes of text with {name}" for name, bar in VALIDATOR_TEXT_BYTES.items())
        session.output.note(f"the validator may take {bars}, and {VALIDATOR_STACK_BYTES} of stack")
    if over:
        raise BuildError(
            "over budget",
            cause="\n".join(over),
            next_step="make it smaller, or change [budget] in board.toml",
        )


def over_bars(board: Board, cost: CodeCost | None) -> list[str]:
    """A line for each bar that the validator does not keep."""
    if cost is None:
        return []
    text = VALIDATOR_TEXT_BYTES.get(board.toolchain, cost.text)
    return [
        f"{board.name}: the validator takes {value} bytes of {what}, at most {bar} are wanted"
        for what, value, bar in (("text", cost.text, text), ("stack", cost.stack, VALIDATOR_STACK_BYTES))
        if value > bar
    ]


def over_budget(board: Board, size: ImageSize, use: StackUse | None = None) -> list[str]:
    """A line for each limit of board.toml that the image does not keep, or its stack as it was measured."""
    at_most = {"text_bytes": size.text, "static_ram_bytes": size.static_ram, "stack_bytes": size.stack}
    lines = [
        f"{board.name}: {key} is {value}, budget {board.budget[key]}"
        for key, value in at_most.items()
        if value > board.budget.get(key, value)
    ]
    least = board.budget.get("pool_bytes_min", 0)
    if size.pool < least:
        lines.append(f"{board.name}: pool is {size.pool}, at least {least} is wanted")
    if use is not None:
        free, least = size.stack - use.used_bytes, board.budget.get("stack_free_bytes_min", 0)
        if free < least:
            lines.append(
                f"{board.name}: {use.used_bytes} of {size.stack} bytes of stack were used: {free} are free, at least "
                f"{least} is wanted"
            )
        lines += [
            f"{board.name}: blocks deeper than {use.nesting[kind]} are refused by the engine, not by the validator: "
            f"WM_MODULE_NESTING is more than the stack has room for ({kind}: {text})"
            for kind, text in use.refusals.items()
            if "this node's stack" in text
        ]
    return lines
