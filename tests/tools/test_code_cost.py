"""The deepest path through gcc's call graphs, and what the validator takes on a chip."""

from __future__ import annotations

import pytest
from support import STM32, built

from wasmote.adapters.boards import find_board
from wasmote.adapters.code_cost import LIBRARY_BYTES, CodeCost, code_cost, deepest
from wasmote.adapters.project import Project
from wasmote.cli.size import VALIDATOR, VALIDATOR_STACK_BYTES, VALIDATOR_TEXT_BYTES, over_bars
from wasmote.errors import BuildError


def graph(frames: dict[str, str], *calls: tuple[str, str]) -> str:
    """As gcc writes it."""
    nodes = [
        f'node: {{ title: "{name}" label: "{name}\\nfile.c:1:1\\n{frame}" }}'
        for name, frame in frames.items()
    ]
    edges = [f'edge: {{ sourcename: "{a}" targetname: "{b}" label: "file.c:2:2" }}' for a, b in calls]
    return "\n".join(['graph: { title: "file.c"', *nodes, *edges, "}"])


def test_deepest_path_goes_through_all_files() -> None:
    one = graph(
        {"entry": "40 bytes (static)", "near": "100 bytes (static)"}, ("entry", "near"), ("entry", "far")
    )
    two = graph({"far": "24 bytes (static)", "leaf": "80 bytes (static)"}, ("far", "leaf"))
    assert deepest(one, "near") == 100
    assert deepest(one + two, "entry") == 40 + 24 + 80
    library = graph({"entry": "8 bytes (static)"}, ("entry", "memset"), ("entry", "wm_port_panic"))
    assert deepest(library, "entry") == 8 + LIBRARY_BYTES


@pytest.mark.parametrize(
    "text",
    [
        graph({"entry": "8 bytes (static)", "b": "8 bytes (static)"}, ("entry", "b"), ("b", "entry")),
        graph({"entry": "8 bytes (static)"}, ("entry", "__indirect_call")),
        graph({"entry": "8 bytes (dynamic)"}),
        graph({"other": "8 bytes (static)"}),
    ],
    ids=["recursion", "pointer", "array of variable length", "no such function"],
)
def test_deepest_path_without_a_bound_is_an_error(text: str) -> None:
    with pytest.raises(BuildError):
        deepest(text, "entry")


@pytest.mark.slow
def test_validator_keeps_its_bars_on_a_cortex_m4() -> None:
    board = find_board(Project.find(), STM32)
    cost = code_cost(built(STM32).parent, *VALIDATOR)
    text = VALIDATOR_TEXT_BYTES[board.toolchain]
    # Not much less either: else a file of it has been lost.
    assert text * 3 // 4 < cost.text <= text and 200 < cost.stack <= VALIDATOR_STACK_BYTES
    assert over_bars(board, cost) == [] == over_bars(board, None)
    assert len(over_bars(board, CodeCost(text + 1, VALIDATOR_STACK_BYTES + 1))) == 2
    with pytest.raises(BuildError):
        code_cost(built(STM32).parent, "/no/such/file.c$", "wm_validate")
