"""Packages: a name, and parameters that its actions inherit. There are no bindings."""

from __future__ import annotations

from typing import Any

from wasmote_fleet.compat.openwhisk.actions import Actions
from wasmote_fleet.compat.openwhisk.bodies import LISTS, key_values, revised
from wasmote_fleet.compat.openwhisk.errors import bad_request, conflict
from wasmote_fleet.compat.openwhisk.names import RESERVED_PACKAGES, key_part
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Clock


class Packages:
    """The packages of the namespace."""

    def __init__(self, entities: Entities, actions: Actions, clock: Clock) -> None:
        self._entities = entities
        self._actions = actions
        self._clock = clock

    async def get(self, name: str) -> Doc:
        """With its actions. Raises Rejected (404)."""
        doc = await self._entities.get(key_part(name))
        actions = [
            {"name": action.name.name, "version": action.version, "annotations": action.annotations}
            for action in await self._actions.all(key_part(name))
        ]
        return {**doc, "actions": actions, "feeds": []}

    async def all(self) -> list[Doc]:
        """The last changed first, without their parameters."""
        docs = await self._entities.newest()
        return [{**_without(doc, "parameters"), "binding": False} for doc in docs]

    async def put(self, name: str, body: dict[str, Any], *, overwrite: bool) -> Doc:
        """Create or update. Raises Rejected."""
        if name in RESERVED_PACKAGES:
            raise bad_request(f"Package name '{name}' is reserved.")
        if body.get("binding"):
            raise bad_request("Package bindings are not supported here: make a package of the actions.")
        lists = {member: key_values(body, member) for member in LISTS}

        def make(before: Doc | None) -> Doc:
            return {**revised(name, body, before, lists, self._clock.time()), "binding": {}}

        return await self._entities.put(key_part(name), make, overwrite=overwrite)

    async def remove(self, name: str, *, force: bool = False) -> Doc:
        """Raises Rejected: 404, 409 for one that has actions, unless force removes them, too."""
        await self._entities.get(key_part(name))
        actions = await self._actions.all(key_part(name))
        if actions and not force:
            raise conflict(
                f"Package not empty (contains {len(actions)} {'entity' if len(actions) == 1 else 'entities'})."
                " Set force param or delete package contents."
            )
        for action in actions:
            await self._actions.remove(action.name)
        return await self._entities.remove(key_part(name))


def _without(doc: Doc, member: str) -> Doc:
    return {key: value for key, value in doc.items() if key != member}
