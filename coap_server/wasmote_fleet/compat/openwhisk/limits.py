"""OpenWhisk's limits: per action, and of the namespace."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wasmote_fleet.compat.openwhisk.errors import bad_request, malformed, too_large, too_many

MB = 1 << 20
TIMEOUT_MS = (100, 60_000, 300_000)  # least, default, most
MEMORY_MB = (128, 256, 512)
LOGS_MB = (0, 10, 10)
MAX_PARAMETERS_BYTES = MB
MAX_RESULT_BYTES = MB
MAX_CODE_BYTES = MB  # what the repository takes; OpenWhisk's own is 48 MB
MAX_COMPONENTS = 50  # actions that a sequence runs, those of sequences in it included
COLD_START_S = 30.0  # for a function on its way to a node, before its time limit begins
MAX_WAIT_MS = 60_000  # that a blocking invocation waits
INVOCATIONS_A_MINUTE = 120
FIRES_A_MINUTE = 60
AT_ONCE = 100
MAX_ENTITIES = 1000  # of each kind
LIST_DEFAULT = 30
LIST_MOST = 200


@dataclass(frozen=True, slots=True)
class ActionLimits:
    """memory: kept and shown; what a function has on its node is said in its module, and bounded by the node."""

    timeout_ms: int = TIMEOUT_MS[1]
    memory_mb: int = MEMORY_MB[1]
    logs_mb: int = LOGS_MB[1]
    concurrency: int = 1

    def as_json(self) -> dict[str, int]:
        return {
            "timeout": self.timeout_ms,
            "memory": self.memory_mb,
            "logs": self.logs_mb,
            "concurrency": self.concurrency,
        }


def parse_limits(value: Any, before: ActionLimits) -> ActionLimits:
    """What a body says, over what was before. Raises Rejected."""
    if value is None:
        return before
    if not isinstance(value, dict):
        raise malformed("limits malformed!")
    timeout = _whole(value, "timeout", before.timeout_ms)
    memory = _whole(value, "memory", before.memory_mb)
    logs = _whole(value, "logs", before.logs_mb)
    concurrency = _whole(value, "concurrency", before.concurrency)
    unit = "milliseconds"
    if timeout < TIMEOUT_MS[0]:
        raise bad_request(f"timeout {timeout} {unit} below allowed threshold of {TIMEOUT_MS[0]} {unit}")
    if timeout > TIMEOUT_MS[2]:
        raise bad_request(f"timeout {timeout} {unit} exceeds allowed threshold of {TIMEOUT_MS[2]} {unit}")
    _check_size("memory", memory, MEMORY_MB)
    _check_size("logs", logs, LOGS_MB)
    if concurrency != 1:
        relation = "exceeds" if concurrency > 1 else "below"
        raise bad_request(f"concurrency {concurrency} {relation} allowed threshold of 1")
    return ActionLimits(timeout, memory, logs, concurrency)


def _whole(value: dict[str, Any], name: str, before: int) -> int:
    found = value.get(name)
    if found is None:
        return before
    if isinstance(found, bool) or not isinstance(found, int):
        raise malformed(f"{name} limit must be a whole number")
    return found


def _check_size(name: str, size_mb: int, bounds: tuple[int, int, int]) -> None:
    if size_mb < bounds[0]:
        raise bad_request(f"{name} size {size_mb} MB below allowed threshold of {bounds[0]} MB")
    if size_mb > bounds[2]:
        raise bad_request(f"{name} size {size_mb} MB exceeds allowed threshold of {bounds[2]} MB")


def check_size(what: str, is_bytes: int, allowed_bytes: int) -> None:
    """Raises Rejected (413)."""
    if is_bytes > allowed_bytes:
        raise too_large(what, is_bytes, allowed_bytes)


@dataclass
class _Minute:
    number: int = 0
    count: int = 0


class Throttle:
    """Invocations and fires of this server. now: seconds. Minutes are those of the clock, as OpenWhisk's are."""

    def __init__(
        self,
        now: Callable[[], float],
        *,
        invocations: int = INVOCATIONS_A_MINUTE,
        fires: int = FIRES_A_MINUTE,
        at_once: int = AT_ONCE,
    ) -> None:
        self._now = now
        self.invocations = invocations
        self.fires = fires
        self.at_once = at_once
        self._invoked = _Minute()
        self._fired = _Minute()
        self._running = 0

    def invoked(self) -> None:
        """Count an invocation. Raises Rejected (429) beyond the limit."""
        self._count(self._invoked, self.invocations)

    def fired(self) -> None:
        """Count a trigger that fires. Raises Rejected (429) beyond the limit."""
        self._count(self._fired, self.fires)

    def _count(self, minute: _Minute, allowed: int) -> None:
        now = self._now()
        number = int(now // 60)
        if minute.number != number:
            minute.number, minute.count = number, 0
        minute.count += 1
        if minute.count > allowed:
            raise too_many(
                f"Too many requests in the last minute (count: {minute.count}, allowed: {allowed}).",
                retry_after_s=int(60 - now % 60) + 1,
            )

    def check_room(self, queued: int) -> None:
        """Raises Rejected (429) if no other activation may begin. queued: those that wait or run as jobs."""
        count = self._running + queued
        if count >= self.at_once:
            raise too_many(
                f"Too many concurrent requests in flight (count: {count}, allowed: {self.at_once}).",
                retry_after_s=1,
            )

    @contextlib.contextmanager
    def one_more(self) -> Iterator[None]:
        """Counts an activation that a client waits for, while it runs."""
        self._running += 1
        try:
            yield
        finally:
            self._running -= 1
