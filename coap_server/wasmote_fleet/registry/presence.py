"""Whether a node is there: a state machine, fed with beats and with the lack of them. Sans-IO.

    joined --beat--> up --missed--> silent --missed--> down
                      ^------beat-----'-------beat------'

`left` and `unknown` come from outside: a registration ended; the server that spoke with the node died. Whoever takes
such a node over starts a Presence in that state, and the next beat says what is true.

A node has rebooted when its boot counter changed, or where it began later than before. /d tells for how long it has
been up; with the times of the request and of the reply that gives an interval in which it began.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MISSED_SILENT, MISSED_DOWN = 1, 2
_UP_WRAPS_S = 2**32 / 1000  # up_ms has 32 bits
_SLACK_S = 0.5  # ticks that a busy emulator loses, a step of this machine's clock
_DRIFT = 0.02  # of two clocks, as a part of the time that passed
_RARER_S = 60.0  # a node that is down is asked less and less often, down to this


class State(StrEnum):
    """What is known of a node."""

    JOINED = "joined"
    UP = "up"
    SILENT = "silent"
    DOWN = "down"
    LEFT = "left"
    UNKNOWN = "unknown"


class Change(StrEnum):
    """What happened to a node: the kinds of events."""

    JOINED = "joined"
    UP = "up"
    SILENT = "silent"
    DOWN = "down"
    LEFT = "left"
    UNKNOWN = "unknown"
    REBOOTED = "rebooted"


@dataclass(frozen=True, slots=True)
class Beat:
    """An answer of a node. sent_at, heard_at: when it was asked and when it answered, in seconds by the engine's
    clock. boot: its boot counter. up_s: how long it has been up, as it says."""

    sent_at: float
    heard_at: float
    boot: int
    up_s: float

    @property
    def began(self) -> tuple[float, float]:
        """Between which times it began."""
        return self.sent_at - self.up_s, self.heard_at - self.up_s


class Presence:
    """One node. beat_s: how often it is asked. boot and began_at: of its last boot that is known, None for none."""

    def __init__(
        self, state: State, *, beat_s: float, boot: int | None = None, began_at: float | None = None
    ) -> None:
        self.state = state
        self.beat_s = beat_s
        self.boot = boot
        self.began_at = began_at
        self.missed_in_a_row = {State.SILENT: MISSED_SILENT, State.DOWN: MISSED_DOWN}.get(state, 0)

    def answered(self, beat: Beat) -> list[Change]:
        """It answered; what that changes, in order."""
        self.missed_in_a_row = 0
        changes = [Change.REBOOTED] if self._rebooted(beat) else []
        if changes or self.boot is None or self.began_at is None:
            self.boot, self.began_at = beat.boot, beat.began[1]
        if self.state is not State.UP:
            self.state = State.UP
            changes.append(Change.UP)
        return changes

    def missed(self) -> list[Change]:
        """It did not answer for a whole beat."""
        self.missed_in_a_row += 1
        if self.missed_in_a_row == MISSED_SILENT and self.state in (State.JOINED, State.UP, State.UNKNOWN):
            self.state = State.SILENT
            return [Change.SILENT]
        if self.missed_in_a_row >= MISSED_DOWN and self.state is not State.DOWN:
            self.state = State.DOWN
            return [Change.DOWN]
        return []

    def pause_s(self, chance: float) -> float:
        """From one question to the next. chance: 0 to 1, random, so that the nodes of a fleet spread."""
        rarer = 2.0 ** min(16, max(0, self.missed_in_a_row - MISSED_DOWN))
        longest = max(self.beat_s, min(self.beat_s * rarer, _RARER_S))
        return longest * (1.0 - 0.15 * chance)

    def _rebooted(self, beat: Beat) -> bool:
        if self.boot is None or self.began_at is None:
            return False
        if self.boot != beat.boot:
            return True
        later_s = beat.began[0] - self.began_at
        # Beyond 49 days up_ms begins again at 0, which looks like a beginning 49 days later.
        slack_s = _SLACK_S + _DRIFT * abs(beat.heard_at - self.began_at)
        wraps = round(later_s / _UP_WRAPS_S)
        wrapped = wraps > 0 and abs(later_s - wraps * _UP_WRAPS_S) <= slack_s
        return later_s > slack_s and not wrapped
