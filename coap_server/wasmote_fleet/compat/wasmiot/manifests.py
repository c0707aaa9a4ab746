"""Manifests: which functions follow each other. `wasmiot/manifests/<id>` in the engine's kv has what was asked for as
`wanted`, and what came of it: the devices of its steps, and what each is told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from wasmote_fleet.compat.wasmiot.errors import BadBody, CannotRun, NotThere
from wasmote_fleet.compat.wasmiot.records import ROOT, is_key
from wasmote_fleet.compat.wasmiot.uploads import Document, new_id
from wasmote_fleet.engine import Engine

PREFIX = f"{ROOT}manifests/"
MAX_STEPS = 64
MAX_MANIFESTS = 1000
MAX_NAME = 128
# device: an id, or None for any. module: an id or a name. func, failovers: ids of devices.
Step = dict[str, Any]


class Manifests:
    """Those that are kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def check_room(self) -> None:
        """Raises CannotRun if there are too many for one more."""
        if len(await self._engine.kv.keys(PREFIX)) >= MAX_MANIFESTS:
            raise CannotRun(f"there are {MAX_MANIFESTS} manifests", next_step="delete some")

    async def all(self) -> list[Document]:
        return [json.loads(entry.value) for entry in await self._engine.kv.entries(PREFIX)]

    async def get(self, which: str) -> Document:
        """By its id, or else by its name: the latest of it. Raises NotThere."""
        entry = await self._engine.kv.get(PREFIX + which) if is_key(which) else None
        if entry is not None:
            found: Document = json.loads(entry.value)
            return found
        entries = await self._engine.kv.entries(PREFIX)
        named = [(e.revision, found) for e in entries if (found := json.loads(e.value))["name"] == which]
        if not named:
            raise NotThere(f"no deployment matches ID '{which}'", next_step="GET /file/manifest lists them")
        newest: Document = max(named, key=lambda each: each[0])[1]
        return newest

    async def put(self, manifest: Document) -> None:
        await self._engine.kv.put(PREFIX + manifest["_id"], json.dumps(manifest, ensure_ascii=False).encode())

    async def delete(self, id: str) -> bool:
        """Whether it was there."""
        return await self._engine.kv.delete(PREFIX + id)


def new(name: str, wanted: Sequence[Step]) -> Document:
    """One that is not solved yet."""
    return {"_id": new_id(), "name": name, "active": False, "wanted": wanted, "isInFailover": False}


def devices_of(manifest: Document) -> list[str]:
    """The ids of the devices that its steps are on now."""
    return [step["device"] for step in manifest["sequence"]]


def public(manifest: Document) -> Document:
    """Without what is ours."""
    return {name: value for name, value in manifest.items() if name != "wanted"}


def parse(told: Any, name: str | None = None) -> tuple[str, list[Step]]:
    """The name and the steps of what was sent. name: if it has none. Raises BadBody."""
    told = _dict(told)
    name, sequence = told.get("name", name), told.get("sequence")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise BadBody("manifest must have a name", next_step="send {name, sequence}")
    if not isinstance(sequence, list) or not 1 <= len(sequence) <= MAX_STEPS:
        raise BadBody("manifest must have a sequence of operations", next_step=f"send 1 to {MAX_STEPS} steps")
    return name, [_step(_dict(item)) for item in sequence]


def _step(told: dict[str, Any]) -> Step:
    for key, word in (("module", "module"), ("func", "function")):
        if not isinstance(told.get(key), str):
            raise BadBody(
                f"manifest node must have a {word}", next_step="send {device, module, func} for each"
            )
    device, failovers = told.get("device"), told.get("failovers") or []
    if device is not None and not isinstance(device, str):
        raise BadBody("a manifest node's device is no id", next_step="send its _id, or null")
    if not isinstance(failovers, list) or not all(isinstance(each, str) for each in failovers):
        raise BadBody("a manifest node's failovers are no list of ids", next_step="send their _id")
    others = [each for each in dict.fromkeys(failovers) if each and each != device]
    return {"device": device, "module": told["module"], "func": told["func"], "failovers": others}


def _dict(told: Any) -> dict[str, Any]:
    return told if isinstance(told, dict) else {}
