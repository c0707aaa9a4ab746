"""Records of what ran. Sans-IO but for Activations, which keeps them.

ow/activations/<id> is a record; ow/started/<hour>/<start>-<name's hash>-<id> is how the newest are found first. Both
are forgotten after KEEP_S. A record that says `until` has begun and not ended: after that time whoever reads it knows
that the server which ran it is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.bodies import KeyValues
from wasmote_fleet.compat.openwhisk.errors import not_found
from wasmote_fleet.compat.openwhisk.limits import MAX_RESULT_BYTES
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name
from wasmote_fleet.compat.openwhisk.store import PREFIX, Doc, Vault
from wasmote_fleet.engine import Engine, NotFound, RevisionConflict

KEEP_S = 24 * 3600.0
GRACE_S = 10.0  # after its deadline, for the server that runs an activation to write how it ended
_HOUR_S = 3600
SUCCESS, APPLICATION_ERROR, DEVELOPER_ERROR, WHISK_ERROR = 0, 1, 2, 3
_STATUS = ("success", "application error", "action developer error", "whisk internal error")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an activation gave. status: one of the four. result: a JSON object. busy: nothing ran, because there is too
    much to do."""

    status: int
    result: dict[str, Any]
    busy: bool = False
    logs: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return self.status == SUCCESS


def success(result: dict[str, Any]) -> Outcome:
    """A result; one with a member `error` is the action's own error, and one that is too large is, too."""
    size = jsons.size_of(result)
    if size > MAX_RESULT_BYTES:
        return failed(
            APPLICATION_ERROR,
            "The action produced a response that exceeded the allowed length: "
            f"{size} > {MAX_RESULT_BYTES} bytes.",
        )
    return Outcome(APPLICATION_ERROR if "error" in result else SUCCESS, result)


def failed(status: int, error: Any, *, busy: bool = False) -> Outcome:
    return Outcome(status, {"error": error}, busy)


def response_json(outcome: Outcome) -> Doc:
    """As activation records and /result have it."""
    return {
        "result": outcome.result,
        "status": _STATUS[outcome.status],
        "success": outcome.ok,
    }


@dataclass(frozen=True, slots=True)
class Activation:
    """start_ms, end_ms: since 1970; end_ms is None for a trigger's, and for one that runs. until_ms: by when one that
    runs has ended, None for one that has."""

    id: str
    name: Name
    version: str
    start_ms: int
    end_ms: int | None
    outcome: Outcome | None
    annotations: KeyValues = field(default_factory=list)
    logs: tuple[str, ...] = ()
    cause: str | None = None
    until_ms: int | None = None

    def as_json(self) -> Doc:
        """As clients get it."""
        doc: Doc = {
            "activationId": self.id,
            "annotations": self.annotations,
            "logs": list(self.logs),
            "name": self.name.name,
            "namespace": NAMESPACE,
            "publish": False,
            "response": response_json(self.outcome or Outcome(SUCCESS, {})),
            "start": self.start_ms,
            "subject": NAMESPACE,
            "version": self.version,
        }
        if self.cause is not None:
            doc["cause"] = self.cause
        if self.end_ms is not None:
            doc |= {"end": self.end_ms, "duration": self.end_ms - self.start_ms}
        return doc

    def summary(self) -> Doc:
        """As lists have it."""
        doc = self.as_json()
        del doc["response"], doc["logs"], doc["subject"]
        if self.end_ms is not None and self.outcome is not None:
            doc["statusCode"] = self.outcome.status
        return doc

    def encode(self) -> Doc:
        outcome = self.outcome
        return {
            "id": self.id,
            "name": [self.name.namespace, self.name.package, self.name.name],
            "version": self.version,
            "start": self.start_ms,
            "end": self.end_ms,
            "outcome": None if outcome is None else [outcome.status, outcome.result],
            "annotations": self.annotations,
            "logs": list(self.logs),
            "cause": self.cause,
            "until": self.until_ms,
        }

    @classmethod
    def decode(cls, doc: Doc) -> Activation:
        kept = doc["outcome"]
        return cls(
            doc["id"],
            Name(*doc["name"]),
            doc["version"],
            doc["start"],
            doc["end"],
            None if kept is None else Outcome(kept[0], kept[1]),
            doc["annotations"],
            tuple(doc["logs"]),
            doc["cause"],
            doc["until"],
        )


class Activations:
    """The records in an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._vault = Vault(engine)

    async def put(self, activation: Activation) -> None:
        """Keep a record, or what became of it."""
        kv = self._engine.kv
        await kv.put(_key(activation.id), await self._vault.pack(activation.encode()), ttl_s=KEEP_S)
        if activation.until_ms is None:
            summary = jsons.encode(_brief(activation))
            await kv.put(_started_key(activation), summary, ttl_s=KEEP_S)

    async def begin(self, activation: Activation, *, again: bool) -> None:
        """Keep that one runs; again: also if that is known already. One that has ended stays."""
        value = await self._vault.pack(activation.encode())
        with contextlib.suppress(RevisionConflict):
            await self._engine.kv.put(_key(activation.id), value, ttl_s=KEEP_S, expected=None if again else 0)

    async def peek(self, id: str) -> Activation | None:
        """The record, also of one that runs. One that should have ended long ago has: its server is gone."""
        entry = await self._engine.kv.get(_key(id))
        if entry is None:
            return None
        try:
            found = Activation.decode(await self._vault.unpack(entry.value))
        except NotFound:
            return None
        if found.until_ms is None or self._engine.clock.time() * 1000 < found.until_ms + GRACE_S * 1000:
            return found
        return lost(found)

    async def get(self, id: str) -> Activation:
        """One that has ended. Raises Rejected (404)."""
        found = await self.peek(id)
        if found is None or found.until_ms is not None:
            raise not_found()
        return found

    async def newest(
        self, *, skip: int, limit: int, name: str | None, since_ms: int | None, upto_ms: int | None
    ) -> list[Activation]:
        """The newest first. name: of its action, `package/name` or `name`; records without their logs and results
        unless they are asked for one by one."""
        found: list[Activation] = []
        left = skip
        async for key in self._started(name, since_ms, upto_ms):
            if left:
                left -= 1
                continue
            entry = await self._engine.kv.get(key)
            if entry is not None:
                found.append(Activation.decode(jsons.parse(entry.value)))
            if len(found) >= limit:
                break
        return found

    async def count(self, *, skip: int, name: str | None, since_ms: int | None, upto_ms: int | None) -> int:
        number = 0
        async for _ in self._started(name, since_ms, upto_ms):
            number += 1
        return max(0, number - skip)

    async def _started(
        self, name: str | None, since_ms: int | None, upto_ms: int | None
    ) -> AsyncIterator[str]:
        now = self._engine.clock.time()
        hour, last = int(now // _HOUR_S) + 1, int((now - KEEP_S) // _HOUR_S) - 1
        wanted = None if name is None else _hash(name)
        while hour >= last:
            for key in reversed(await self._engine.kv.keys(f"{PREFIX}started/{hour}/")):
                start, hashed, _id = key.rpartition("/")[2].split("-")
                at = int(start)
                if since_ms is not None and at < since_ms:
                    return
                if (upto_ms is None or at <= upto_ms) and (wanted is None or hashed == wanted):
                    yield key
            hour -= 1


def lost(activation: Activation) -> Activation:
    """One that began, and whose server did not live to say how it ended."""
    outcome = failed(
        WHISK_ERROR, "The server that ran this activation went away: it may have run, or not to its end."
    )
    return Activation(
        activation.id,
        activation.name,
        activation.version,
        activation.start_ms,
        activation.until_ms or activation.start_ms,
        outcome,
        activation.annotations,
        (),
        activation.cause,
    )


def _brief(activation: Activation) -> Doc:
    """The record for a list: without what is large."""
    doc = activation.encode()
    if doc["outcome"] is not None:
        doc["outcome"] = [doc["outcome"][0], {}]
    doc["logs"] = []
    return doc


def _key(id: str) -> str:
    return f"{PREFIX}activations/{id}"


def _started_key(activation: Activation) -> str:
    name = activation.name
    path = f"{name.package}/{name.name}" if name.package else name.name
    hour = activation.start_ms // 1000 // _HOUR_S
    return f"{PREFIX}started/{hour}/{activation.start_ms}-{_hash(path)}-{activation.id}"


def _hash(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:12]
