"""Why a node does not fit: each reason, and the numbers at which it begins. Waves in numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote_fleet.deploy import FunctionSpec, Placed, Rollout, Wave, Where
from wasmote_fleet.deploy.hands import back_off_s
from wasmote_fleet.deploy.needs import Needs
from wasmote_fleet.deploy.placement import NodeFacts, misfit
from wasmote_fleet.deploy.waves import boundaries, wave_now
from wasmote_fleet.registry import State

A, B = "a" * 64, "b" * 64
LIMITS = {
    "module": 1000,
    "memory": 2000,
    "stack": 3000,
    "native": 400,
    "output": 500,
    "log": 60,
    "functions": 3,
}
NODE = NodeFacts(
    "n",
    labels={"room": "1"},
    imports=("wasmote", "sys"),
    abi=1,
    limits=LIMITS,
    ram_total=10_000,
    ram_free=8_000,
)
FLASH = replace(NODE, flash_total=5_000, flash_free=900)
FITS = Needs(("wasmote", "sys"), 1000, 2000, 3000, 400, 500, 60, 1)
FUNCTION = FunctionSpec("f", digest=A)


def reason(node: NodeFacts = NODE, needs: Needs = FITS, where: Where | None = None, **options: Any) -> str:
    function = FUNCTION if where is None else replace(FUNCTION, where=where)
    return misfit(function, needs, node, **{"deployment": "d", "there": None, **options})


def test_what_fits_exactly_fits() -> None:
    assert reason() == ""
    assert reason(where=Where({"room": "1"}, ("sys",), 8_000)) == ""
    assert reason(FLASH, replace(FITS, size=900), where=Where(flash=900)) == ""


@pytest.mark.parametrize(
    ("node", "needs", "where", "words"),
    [
        (replace(NODE, state=State.LEFT), FITS, None, "it left the fleet"),
        (replace(NODE, known=False), FITS, None, "it has not said yet what it can do"),
        (NODE, FITS, Where({"room": "2"}), "room is '1', '2' is wanted"),
        (NODE, FITS, Where({"floor": "2"}), "it has no label floor"),
        (NODE, FITS, Where(imports=("dht",)), "it does not offer dht (it offers sys, wasmote)"),
        (NODE, replace(FITS, imports=("env", "sys")), None, "it does not offer env"),
        (NODE, replace(FITS, abi=2), None, "its host interface is version 1, the module is for version 2"),
        (NODE, replace(FITS, size=1001), None, "the module has 1001 bytes, the node gives 1000"),
        (NODE, replace(FITS, memory=2001), None, "2001 bytes of memory, the node gives 2000"),
        (NODE, replace(FITS, stack=3001), None, "3001 bytes of stack, the node gives 3000"),
        (NODE, replace(FITS, native=401), None, "401 bytes of native, the node gives 400"),
        (NODE, replace(FITS, output=501), None, "501 bytes of output, the node gives 500"),
        (NODE, replace(FITS, log=61), None, "61 log lines a second, the node gives 60"),
        (NODE, FITS, Where(ram=10_001), "it has 10000 bytes of memory for functions, 10001 are needed"),
        (NODE, FITS, Where(ram=8_001), "it has 8000 bytes of memory free, 8001 are needed"),
        (replace(NODE, ram_free=5_999), FITS, None, "it has 5999 bytes of memory free, 6000 are needed"),
        (replace(FLASH, ram_free=4_999), replace(FITS, size=100), None, "4999 bytes of memory free, 5000"),
        (replace(NODE, functions=3), FITS, None, "it has 3 functions, and takes 3"),
        (NODE, FITS, Where(flash=1), "it has no flash for functions"),
        (FLASH, FITS, Where(flash=5_001), "it has 5000 bytes of flash for functions, 5001 are needed"),
        (FLASH, replace(FITS, size=901), None, "it has 900 bytes of flash free, 901 are needed"),
    ],
)
def test_what_does_not_fit_is_said(node: NodeFacts, needs: Needs, where: Where | None, words: str) -> None:
    assert words in reason(node, needs, where)


def test_memory_that_another_node_measured_counts() -> None:
    assert reason(known_ram=8_000) == ""
    assert "8001 are needed" in reason(known_ram=8_001)


def test_a_node_that_has_it_has_room_for_it() -> None:
    full = replace(NODE, functions=3, ram_free=0)
    assert reason(full) != ""
    assert reason(full, has_it=True) == ""


def test_names_that_others_have() -> None:
    other = Placed("n", "f", B, ("e",))
    assert reason(there=other) == "'f' is another module there, of deployment e"
    assert reason(there=other.changed(digest=A)) == ""
    assert reason(there=other.changed(deployments=("d",))) == ""
    assert "no deployment put there" in reason(found=B)
    assert reason(found=A) == ""


def test_only_candidates_are_asked() -> None:
    assert misfit(replace(FUNCTION, nodes=("m",)), FITS, NODE, deployment="d", there=None) != ""


WAVES = st.one_of(
    st.builds(Wave, st.integers(1, 50)), st.builds(lambda part: Wave(part=part), st.floats(0.001, 1.0))
)


@given(st.lists(WAVES, max_size=6), st.integers(0, 300))
def test_waves_grow_and_end_with_all(waves: list[Wave], total: int) -> None:
    ends = boundaries(Rollout(tuple(waves)), total)
    assert ends == sorted(set(ends))
    assert ends[-1:] == ([total] if total else [])
    assert all(end > 0 for end in ends)


@given(st.lists(WAVES, max_size=6), st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_a_wave_never_goes_beyond_its_end_and_always_goes_on(
    waves: list[Wave], done: int, begun: int, waiting: int
) -> None:
    names = [str(index) for index in range(done + begun + waiting)]
    rollout = Rollout(tuple(waves))
    now = wave_now(
        rollout,
        done=names[:done],
        begun=names[done : done + begun],
        waiting=names[done + begun :],
        done_at=0.0,
        now=1.0,
    )
    assert list(now.allowed[:begun]) == names[done : done + begun]
    if begun or waiting:
        assert now.allowed
        end = boundaries(rollout, len(names))[now.number - 1]
        assert done < end
        assert done + len(now.allowed) <= max(end, done + begun)


@given(st.integers(1, 100), st.floats(0, 1))
def test_back_off_grows_to_half_a_minute(attempts: int, chance: float) -> None:
    assert 0.375 <= back_off_s(attempts, chance) <= 30
    assert back_off_s(attempts + 1, 0) >= back_off_s(attempts, 0)
