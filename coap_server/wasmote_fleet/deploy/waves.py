"""Which nodes a change may come to now. Pure.

A wave's nodes are worked on once all of the waves before are done with: ready, or failed. What is done with is read
from the nodes' records, so there is no position to lose: a server that starts again finds the same wave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from wasmote_fleet.deploy.spec import Rollout


@dataclass(frozen=True, slots=True)
class WaveState:
    """allowed: nodes that may be worked on, in order. number: of the wave that runs, from 1 on, of `of`. resume_at:
    when the next wave may begin, where it has to wait."""

    allowed: tuple[str, ...]
    number: int
    of: int
    resume_at: float | None = None


def boundaries(rollout: Rollout, total: int) -> list[int]:
    """How many of so many nodes each wave and those before it have; the last one has all."""
    ends: list[int] = []
    for end in accumulate(wave.of(total) for wave in rollout.waves):
        if end >= total:
            break
        ends.append(end)
    return [*ends, total] if total else []


def wave_now(
    rollout: Rollout,
    *,
    done: Sequence[str],
    begun: Sequence[str],
    waiting: Sequence[str],
    done_at: float,
    now: float,
) -> WaveState:
    """done: nodes that are ready or failed. begun: nodes that the change has come to. waiting: the others, in order.
    done_at: when the last one became ready."""
    ends = boundaries(rollout, len(done) + len(begun) + len(waiting))
    number = next((index for index, end in enumerate(ends, 1) if end > len(done)), len(ends))
    if not begun and not waiting:
        return WaveState((), number, len(ends))
    resume_at = done_at + rollout.pause_s
    if len(done) in ends and now < resume_at:
        return WaveState(tuple(begun), number, len(ends), resume_at)
    places = max(ends[number - 1] - len(done) - len(begun), 0)
    return WaveState((*begun, *waiting[:places]), number, len(ends))
