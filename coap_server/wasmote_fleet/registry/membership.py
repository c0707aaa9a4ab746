"""How a node comes into the fleet, changes, and goes: by a person's word (take_in, change, remove), or by its own
registration in the directory. A person's word counts more: anyone may register under any name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasmote.errors import InputError, UnreachableError
from wasmote.protocol.target import parse_target
from wasmote_fleet.engine import Change as KeyChange
from wasmote_fleet.engine import ChangeKind, Engine
from wasmote_fleet.registry import directory
from wasmote_fleet.registry.errors import NodeExists, WrongNode
from wasmote_fleet.registry.holdings import Holdings
from wasmote_fleet.registry.keeper import Link
from wasmote_fleet.registry.ledger import Ledger, Wanted
from wasmote_fleet.registry.presence import Change, State
from wasmote_fleet.registry.records import Record, device_facts, node_id

_MAX_LABELS = 64


class Membership:
    """beat_s: how often a node is asked that came without a word about it."""

    def __init__(self, engine: Engine, ledger: Ledger, holdings: Holdings, *, beat_s: float) -> None:
        self._engine = engine
        self._ledger = ledger
        self._holdings = holdings
        self._beat_s = beat_s
        self._registered: dict[str, directory.Registration] = {}

    # ---- a person's word ----

    async def take_in(
        self, uri: str, *, labels: Mapping[str, str] | None, beat_s: float | None
    ) -> tuple[Record, bool]:
        """As Registry.take_in."""
        uri = str(parse_target(uri))
        _check(labels, beat_s)
        device = await self._device(uri)
        ep = _name(device, uri)
        created = False

        def change(record: Record | None) -> Wanted:
            nonlocal created
            base = record or Record(node_id(ep), ep, uri, beat_s=self._beat_s)
            created = new = record is None or record.state is State.LEFT
            if not new and base.adopted and base.uri != uri:
                raise NodeExists(
                    f"there is a node '{base.id}' already",
                    cause=f"its address is {base.uri}, not {uri}",
                    next_step=f"if it has moved: `wasmote fleet nodes {base.id} --rm`, then adopt it again",
                )
            changed = base.changed(
                uri=uri,
                adopted=True,
                labels=base.labels if labels is None else dict(labels),
                beat_s=base.beat_s if beat_s is None else beat_s,
                device=device_facts(device),
                **({"state": State.JOINED, "since": self._engine.clock.time()} if new else {}),
            )
            return changed, [Change.JOINED] if new else []

        id = node_id(ep)
        # Before others hear of it: what this server has just reached may be out of their reach.
        await self._holdings.reserve(id)
        try:
            record = await self._ledger.change(id, change, cause="adopted")
        except NodeExists:
            await self._holdings.give_back(id)
            raise
        assert record is not None
        return record, created

    async def change(self, id: str, *, labels: Mapping[str, str] | None, beat_s: float | None) -> None:
        """As Registry.change."""
        _check(labels, beat_s)
        wanted: dict[str, Any] = {}
        if labels is not None:
            wanted["labels"] = dict(labels)
        if beat_s is not None:
            wanted["beat_s"] = beat_s
        await self._ledger.change_existing(id, lambda record: record.changed(**wanted))

    async def remove(self, id: str) -> bool:
        """As Registry.remove."""
        record = await self._ledger.stored(id)
        if record is None:
            return False
        # First, or it would join again.
        await self._engine.kv.delete(directory.PREFIX + id)
        self._registered.pop(id, None)
        await self._ledger.remove(id, was=record.state, cause="removed")
        return True

    async def _device(self, uri: str) -> dict[str, Any]:
        """What the node there says of itself; by the way that a keeper has to it, for a serial device has but one.
        Raises UnreachableError, WrongNode."""
        known = self._ledger.at(uri)
        kept = self._holdings.link(known.id) if known is not None else None
        link = kept or Link(uri, max(self._beat_s, 5.0))
        try:
            return await link.device()
        except TimeoutError:
            raise UnreachableError(
                f"no answer from {uri}",
                cause="/d was asked several times",
                next_step="check that the node runs and that UDP reaches it; `wasmote discover` looks for nodes",
            ) from None
        finally:
            if kept is None:
                await link.close()

    # ---- its own registration ----

    def registered_ids(self) -> list[str]:
        return list(self._registered)

    def heard(self, id: str, change: KeyChange) -> None:
        """What a watch told of a registration."""
        if change.kind is not ChangeKind.PUT:
            self._registered.pop(id, None)
            return
        registration = directory.decode(change.value)
        if registration.is_node:
            self._registered[id] = registration
            self._holdings.ask_soon(id)  # it may have rebooted

    async def follow_registration(self, id: str) -> None:
        """Make the record say what the directory says. Raises EngineError."""
        registration = self._registered.get(id)
        known = self._ledger.get(id)
        if registration is None:
            if known is not None and known.registered:
                await self._ledger.change(id, self._left, cause="its registration ended")
            return
        if known is not None and known.registered and (known.adopted or known.uri == registration.base):
            return

        def change(record: Record | None) -> Wanted:
            base = record or Record(id, registration.ep, registration.base, beat_s=self._beat_s)
            new = record is None or record.state is State.LEFT
            changed = base.changed(
                registered=True,
                uri=base.uri if base.adopted else registration.base,
                **({"state": State.JOINED, "since": self._engine.clock.time()} if new else {}),
            )
            return changed, [Change.JOINED] if new else []

        await self._ledger.change(id, change, cause="registered")

    def _left(self, record: Record | None) -> Wanted | None:
        if record is None or not record.registered:
            return None
        if record.adopted:
            return record.changed(registered=False), []
        now = self._engine.clock.time()
        return record.changed(registered=False, state=State.LEFT, since=now), [Change.LEFT]


def _name(device: Mapping[str, Any], uri: str) -> str:
    """The endpoint name that a node's /d gives. Raises WrongNode."""
    ep = str(device.get("ep", ""))
    if not 1 <= len(ep.encode()) <= directory.MAX_NAME_BYTES or not ep.isprintable():
        raise WrongNode(
            f"the node at {uri} has no name",
            cause=f"ep of its /d is {ep!r}",
            next_step="give it one (--ep)",
        )
    return ep


def _check(labels: Mapping[str, str] | None, beat_s: float | None) -> None:
    if beat_s is not None and not 0.1 <= beat_s <= 3600:
        raise InputError(f"no beat of {str(beat_s)[:20]} s", next_step="give 0.1 to 3600 seconds")
    if labels is not None and len(labels) > _MAX_LABELS:
        raise InputError(f"{len(labels)} labels are too many", next_step=f"give {_MAX_LABELS} at most")
    for name, value in (labels or {}).items():
        if (
            not name
            or not name.isprintable()
            or not value.isprintable()
            or len(name) > 63
            or len(value) > 255
        ):
            raise InputError(
                f"no label: {name!r} = {value!r}", next_step="give printable text, 63 and 255 long at most"
            )
