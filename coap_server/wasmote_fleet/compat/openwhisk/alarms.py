"""Alarms: the feeds of /whisk.system/alarms, as their parameters say when, and what is kept of them. Sans-IO.

`alarm` fires by a cron expression of five fields, or of six with seconds in front, in UTC or a time zone; `interval`
each so many minutes; `once` at a date. What is due is told by due(): moments that passed long before, while no server
ran, are left out, but the one of `once`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from wasmote_fleet.compat.openwhisk.store import Doc

FEEDS = ("alarm", "interval", "once")
DELETE_AFTER_FIRE = ("false", "true", "rules")
LATE_S = 60.0  # so late an alarm still fires
_FAR_MS = 253_402_300_799_000  # the year 9999
UPDATABLE = (
    "trigger_payload", "cron", "timezone", "minutes", "date", "deleteAfterFire", "startDate", "stopDate",
    "maxTriggers", "strict",
)  # fmt: skip


class AlarmError(Exception):
    """The parameters are wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of a trigger. Times are ms since 1970. next_ms: when it fires next; None: never again. fired: how
    often it did. strict is kept and has no effect: alarms fire at the full second."""

    trigger: str
    feed: str
    payload: dict[str, Any]
    cron: str | None = None
    timezone: str | None = None
    minutes: int | None = None
    date_ms: int | None = None
    delete_after_fire: str = "false"
    start_ms: int | None = None
    stop_ms: int | None = None
    max_triggers: int = -1
    strict: bool = True
    fired: int = 0
    next_ms: int | None = None
    changed_ms: int = 0

    def encode(self) -> Doc:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def decode(cls, doc: Doc) -> Alarm:
        return cls(**doc)

    def changed(self, **changes: Any) -> Alarm:
        return Alarm(**{**self.encode(), **changes})

    def after(self, at_ms: int) -> int | None:
        """The first moment after at_ms; None if there is none."""
        if 0 <= self.max_triggers <= self.fired:
            return None
        found = self._after(max(at_ms, (self.start_ms or 0) - 1))
        if found is None or (self.stop_ms is not None and found >= self.stop_ms):
            return None
        return found

    def _after(self, at_ms: int) -> int | None:
        if self.feed == "once":
            return self.date_ms if self.fired == 0 else None
        if self.feed == "interval":
            assert self.minutes is not None
            step = self.minutes * 60_000
            first = self.start_ms if self.start_ms is not None else self.changed_ms
            return first if at_ms < first else first + ((at_ms - first) // step + 1) * step
        assert self.cron is not None
        zone = UTC if self.timezone is None else ZoneInfo(self.timezone)
        try:
            found = next(CronSim(self.cron, datetime.fromtimestamp(at_ms / 1000, zone)))
        except (StopIteration, CronSimError):
            return None
        return int(found.timestamp() * 1000)

    def config(self) -> Doc:
        """As the feeds' READ tells it."""
        said: Doc = {
            "name": self.trigger,
            "namespace": "guest",
            "payload": self.payload,
            "strict": self.strict,
        }
        if self.feed == "once":
            said |= {"date": self.date_ms, "deleteAfterFire": self.delete_after_fire}
        else:
            said |= {"startDate": self.start_ms, "stopDate": self.stop_ms, "maxTriggers": self.max_triggers}
            said |= {"minutes": self.minutes} if self.feed == "interval" else {"cron": self.cron}
            if self.timezone is not None:
                said["timezone"] = self.timezone
        return said

    def status(self) -> Doc:
        at = datetime.fromtimestamp(self.changed_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "active": self.next_ms is not None,
            "dateChanged": self.changed_ms,
            "dateChangedISO": at,
            "fired": self.fired,
        }


def made(feed: str, trigger: str, parameters: Doc, now_ms: int) -> Alarm:
    """A new alarm. Raises AlarmError."""
    needed = {"alarm": "cron", "interval": "minutes", "once": "date"}[feed]
    if not parameters.get(needed):
        names = {"alarm": "alarms", "interval": "interval", "once": "alarms once"}
        raise AlarmError(f"{names[feed]} trigger feed is missing the {needed} parameter")
    return _filled(Alarm(trigger, feed, {}, changed_ms=now_ms), parameters, now_ms)


def updated(alarm: Alarm, parameters: Doc, now_ms: int) -> Alarm:
    """The alarm with some parameters changed. Raises AlarmError."""
    if not any(name in parameters for name in UPDATABLE):
        raise AlarmError("no updatable parameters were specified")
    return _filled(alarm, parameters, now_ms)


def _filled(alarm: Alarm, given: Doc, now_ms: int) -> Alarm:
    changes: dict[str, Any] = {}
    if "trigger_payload" in given:
        changes["payload"] = _payload(given["trigger_payload"])
    if alarm.feed == "once" and given.get("date"):
        changes["date_ms"] = _future(given["date"], "date", now_ms)
        changes["fired"] = 0
    if given.get("deleteAfterFire") is not None:
        word = str(given["deleteAfterFire"]).strip().lower()
        if word not in DELETE_AFTER_FIRE:
            raise AlarmError("deleteAfterFire parameter must be one of [false, true, rules].")
        changes["delete_after_fire"] = word
    if alarm.feed == "interval" and given.get("minutes"):
        changes["minutes"] = _minutes(given["minutes"])
    if alarm.feed == "alarm":
        changes |= _cron(given, alarm, now_ms)
    if given.get("startDate"):
        changes["start_ms"] = _future(given["startDate"], "startDate", now_ms)
    if given.get("stopDate"):
        changes["stop_ms"] = _future(given["stopDate"], "stopDate", now_ms)
    if given.get("maxTriggers") is not None:
        changes["max_triggers"] = _count(given["maxTriggers"])
    if "strict" in given:
        changes["strict"] = str(given["strict"]).lower() == "true"
    found = alarm.changed(**changes, changed_ms=now_ms)
    if found.start_ms is not None and found.stop_ms is not None and found.stop_ms <= found.start_ms:
        raise AlarmError(
            f"stopDate parameter '{given.get('stopDate', found.stop_ms)}' must be greater than the startDate"
            f" parameter '{given.get('startDate', found.start_ms)}'"
        )
    return found.changed(next_ms=found.after(now_ms - (1 if found.feed == "interval" else 0)))


def _payload(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    if value is None:
        return {}
    return {"payload": value}


def _minutes(value: Any) -> int:
    try:
        minutes = int(str(value))
    except ValueError:
        raise AlarmError("the minutes parameter must be an integer") from None
    if not 0 < minutes <= 525_600 * 10:
        raise AlarmError("the minutes parameter must be an integer greater than zero")
    return minutes


def _count(value: Any) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise AlarmError("the maxTriggers parameter must be an integer") from None


def _cron(given: Doc, alarm: Alarm, now_ms: int) -> dict[str, Any]:
    cron, zone = given.get("cron") or alarm.cron, given.get("timezone") or alarm.timezone
    if zone is not None:
        try:
            ZoneInfo(str(zone))
        except (ValueError, OSError, KeyError):
            raise AlarmError("Invalid timezone.") from None
    try:
        CronSim(str(cron)[:200], datetime.fromtimestamp(now_ms / 1000, UTC))
    except CronSimError:
        raise AlarmError(f"cron pattern '{cron}' is not valid") from None
    return {"cron": str(cron), "timezone": None if zone is None else str(zone)}


def _future(value: Any, name: str, now_ms: int) -> int:
    """Milliseconds, of a number or of a date in ISO 8601."""
    found: float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        found = value
    elif isinstance(value, str):
        try:
            at = datetime.fromisoformat(value.strip())
            found = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp() * 1000
        except (ValueError, OverflowError):
            found = None
    if found is None or not 0 <= found <= _FAR_MS:
        raise AlarmError(f"{name} parameter '{value}' is not a valid Date")
    if found <= now_ms:
        raise AlarmError(f"{name} parameter '{value}' must be in the future")
    return int(found)


def due(alarm: Alarm, now_ms: int) -> tuple[int | None, Alarm]:
    """The moment for which to fire now, if there is one, and the alarm afterwards. Of several that passed only the last
    counts, and none that passed long ago, but `once`'s."""
    moment = alarm.next_ms
    if moment is None or moment > now_ms:
        return None, alarm
    late_ms = now_ms - int(LATE_S * 1000)
    if moment < late_ms and alarm.feed != "once":
        moment = alarm.after(late_ms)
    while moment is not None and (following := alarm.after(moment)) is not None and following <= now_ms:
        if following <= moment:
            break  # `once`
        moment = following
    if moment is None or moment > now_ms:
        return None, alarm.changed(next_ms=moment)
    fired = alarm.changed(fired=alarm.fired + 1)
    return moment, fired.changed(next_ms=fired.after(now_ms))
