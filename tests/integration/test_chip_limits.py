"""What fits an emulated chip: its C stack under the worst that is known, and functions in its memory."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from nodes import app, metrics, running
from support import MPS2, STM32, built

from wasmote.adapters.boards import find_board
from wasmote.adapters.image import image_size
from wasmote.adapters.project import Project
from wasmote.adapters.stack_probe import probe_stack
from wasmote.adapters.tools import find_tool
from wasmote.cli.size import over_budget
from wasmote.errors import RefusedError
from wasmote.node import Node

pytestmark = pytest.mark.slow

RV32 = "qemu_virt_rv32"
STACK_FREE_BYTES = 1024
FUNCTIONS = 8
# The only operations of the engine that may call, and so hold a C frame while what follows them runs.
CALLING = {"op_Call", "op_CallIndirect", "op_WmLoop", "op_CallRawFunction"}


def _nesting(board: str) -> int:
    """WM_MODULE_NESTING of the board's port. It counts the function itself as one."""
    project = Project.find()
    port = find_board(project, board).port
    config = project.firmware / "ports" / port / f"wm_config_{port}.h"
    found = re.search(r"^#define WM_MODULE_NESTING (\d+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("name", [STM32, RV32, MPS2])
async def test_worst_stack_leaves_a_margin(name: str, say: Callable[[str], None]) -> None:
    board, image = find_board(Project.find(), name), built(name)
    if find_tool(board.emulate["command"][0]) is None:
        pytest.skip(f"{board.emulate['command'][0]} is not installed")
    use = await probe_stack(board, image)
    assert use is not None
    size = image_size(image)
    say(f"{name}: {use.used_bytes} of {size.stack} bytes of C stack; {use.after}")
    assert board.budget["stack_free_bytes_min"] >= STACK_FREE_BYTES
    assert over_budget(board, size, use) == []
    # Not less either: else the probe has stopped to reach what it is made for.
    assert use.after["requests while a function runs"] > use.after["requests"] + 512 > 4096
    assert use.nesting == dict.fromkeys(("block", "loop", "if", "else"), _nesting(name) - 1)


async def test_functions_resident_on_the_stm32(say: Callable[[str], None]) -> None:
    async with running(STM32) as uri, Node(uri) as node:
        fitted = 0
        try:
            while True:
                await node.push(app("fib"), name=f"fib{fitted}")
                fitted += 1
        except RefusedError as refused:
            why = str(refused)
        free = int((await metrics(node))["ram/free"])
        say(f"{STM32}: {fitted} functions of fib's size, {free} bytes left; then: {why}")
        assert fitted >= FUNCTIONS
        assert len(await node.ls()) == fitted
        for number in range(fitted):
            assert (await node.call(f"fib{number}/fib", [10 + number % 3])).value == (55, 89, 144)[number % 3]


@pytest.mark.parametrize(
    ("name", "objdump", "call"),
    [(STM32, "arm-none-eabi-objdump", r"\tblx\t"), (RV32, "riscv64-unknown-elf-objdump", r"\tjalr\t[a-z]")],
)
def test_operations_end_in_jumps(name: str, objdump: str, call: str) -> None:
    """An operation that called the next one would take C stack for every instruction of a function."""
    image = built(name)
    tool = find_tool(objdump)
    if tool is None:
        pytest.skip(f"{objdump} is not installed")
    listing = subprocess.run([tool, "-d", image], capture_output=True, text=True, check=True).stdout
    assert _operations(listing, call) == CALLING


def _operations(listing: str, call: str) -> set[str]:
    """Operations that call through a register."""
    calling: set[str] = set()
    seen: set[str] = set()
    function = ""
    for line in listing.splitlines():
        if start := re.match(r"[0-9a-f]+ <(\w+)", line):
            function = start[1]
            seen.add(function)
        elif function.startswith("op_") and re.search(call, line):
            calling.add(function)
    assert len([name for name in seen if name.startswith("op_")]) > 400
    return calling
