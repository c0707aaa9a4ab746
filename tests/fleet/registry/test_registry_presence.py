"""The state machine of one node: beats, the lack of them, reboots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote_fleet.registry.presence import Beat, Change, Presence, State

NOW = 1_800_000_000.0


def beat(at: float, up_s: float, boot: int = 0, rtt_s: float = 0.01) -> Beat:
    return Beat(at - rtt_s, at, boot, up_s)


def fresh(beat_s: float = 5.0) -> Presence:
    return Presence(State.JOINED, beat_s=beat_s)


def test_presence_a_life() -> None:
    node = fresh()
    assert node.answered(beat(NOW, 10)) == [Change.UP]
    assert node.answered(beat(NOW + 5, 15)) == []
    assert node.missed() == [Change.SILENT]
    assert node.answered(beat(NOW + 15, 25)) == [Change.UP]
    assert node.missed() == [Change.SILENT]
    assert node.missed() == [Change.DOWN]
    assert node.missed() == []
    assert node.answered(beat(NOW + 40, 50)) == [Change.UP]
    assert node.state is State.UP


@pytest.mark.parametrize("state", [State.JOINED, State.UNKNOWN])
def test_presence_one_that_never_answered_goes_down(state: State) -> None:
    node = Presence(state, beat_s=5)
    assert node.missed() == [Change.SILENT]
    assert node.missed() == [Change.DOWN]


def test_presence_taken_over_goes_on_where_it_was() -> None:
    silent = Presence(State.SILENT, beat_s=5, boot=0, began_at=NOW)
    assert silent.missed() == [Change.DOWN]
    down = Presence(State.DOWN, beat_s=5, boot=0, began_at=NOW)
    assert down.missed() == []
    up = Presence(State.UNKNOWN, beat_s=5, boot=0, began_at=NOW - 10)
    assert up.answered(beat(NOW, 10)) == [Change.UP]


def test_presence_reboot_by_counter() -> None:
    node = fresh()
    node.answered(beat(NOW, 100, boot=3))
    assert node.answered(beat(NOW + 5, 105, boot=4)) == [Change.REBOOTED]
    assert node.boot == 4
    assert node.answered(beat(NOW + 10, 110, boot=4)) == []


@pytest.mark.parametrize("up_before_s", [1.0, 30.0, 3e5, 4e6])
def test_presence_reboot_by_uptime(up_before_s: float) -> None:
    node = fresh()
    node.answered(beat(NOW, up_before_s))
    assert node.missed() == [Change.SILENT]
    # It was gone for a second, and has now been up for longer than before, where that was not long.
    assert node.answered(beat(NOW + 5, 4)) == [Change.REBOOTED, Change.UP]
    assert node.answered(beat(NOW + 10, 9)) == []


def test_presence_reboot_while_nobody_looked() -> None:
    """A server that takes over has only what was written at the last boot, here ten days ago."""
    node = Presence(State.UP, beat_s=5, boot=0, began_at=NOW - 864_000)
    assert node.answered(beat(NOW, 30)) == [Change.REBOOTED]


def test_presence_49_days_are_no_reboot() -> None:
    wrap_s = 2**32 / 1000
    node = fresh()
    node.answered(beat(NOW, wrap_s - 3))
    assert node.answered(beat(NOW + 5, 2)) == []
    assert node.answered(beat(NOW + 5 + 3600, 3602)) == []
    assert node.answered(beat(NOW + 90_000, 1)) == [Change.REBOOTED]


@given(
    st.lists(st.tuples(st.floats(0.1, 600), st.floats(0, 4.9), st.booleans()), min_size=1, max_size=60),
    st.floats(-5e-3, 5e-3),
)
def test_presence_late_answers_and_a_wrong_clock_are_no_reboot(
    steps: list[tuple[float, float, bool]], drift: float
) -> None:
    node = fresh()
    at = NOW
    for pause_s, rtt_s, lost in steps:
        at += pause_s + rtt_s
        if lost:
            node.missed()
            continue
        asked_at = at - rtt_s / 2  # when it read its clock, which runs a little wrong
        up_s = 50 + (asked_at - NOW) * (1 + drift)
        assert Change.REBOOTED not in node.answered(Beat(at - rtt_s, at, 0, up_s))


def test_presence_asks_less_often_who_is_down() -> None:
    node = fresh(beat_s=5)
    pauses = []
    for _ in range(8):
        node.missed()
        pauses.append(node.pause_s(0.0))
    assert pauses == [5, 5, 10, 20, 40, 60, 60, 60]
    assert node.pause_s(1.0) == pytest.approx(51)
    slow = fresh(beat_s=300)
    for _ in range(8):
        slow.missed()
    assert slow.pause_s(0.0) == 300
