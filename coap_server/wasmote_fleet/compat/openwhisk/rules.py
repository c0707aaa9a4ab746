"""Rules: each ties a trigger to an action. A rule is a record of its own and decides; what a trigger shows of its rules
is read from them."""

from __future__ import annotations

from wasmote_fleet.compat.openwhisk.bodies import key_values, revised
from wasmote_fleet.compat.openwhisk.errors import Rejected, bad_request, malformed, not_found
from wasmote_fleet.compat.openwhisk.invoke import Args
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name, key_part, parse_name
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Clock

ACTIVE, INACTIVE = "active", "inactive"


class Rules:
    """The rules of the namespace."""

    def __init__(self, rules: Entities, triggers: Entities, actions: Entities, clock: Clock) -> None:
        self._rules = rules
        self._triggers = triggers
        self._actions = actions
        self._clock = clock

    async def get(self, name: str) -> Doc:
        """Raises Rejected (404). One whose trigger is gone is inactive."""
        rule = await self._rules.get(key_part(name))
        there = await self._triggers.find(key_part(rule["trigger"]["name"]))
        return rule if there is not None else {**rule, "status": INACTIVE}

    async def all(self) -> list[Doc]:
        """The last changed first."""
        return await self._rules.newest()

    async def of(self, trigger: str) -> list[Doc]:
        """Those of a trigger."""
        rules = await self._rules.all()
        return [rule for rule in rules if rule["trigger"]["name"] == trigger]

    async def put(self, name: str, body: Args, *, overwrite: bool) -> Doc:
        """Create (active) or update (as it was). Raises Rejected."""
        trigger = None if body.get("trigger") is None else parse_name(body["trigger"])
        action = None if body.get("action") is None else parse_name(body["action"])
        lists = {"annotations": key_values(body, "annotations")}
        before = await self._rules.find(key_part(name))
        if before is not None and overwrite:
            trigger = trigger or parse_name(before.doc["trigger"])
            action = action or parse_name(before.doc["action"])
        if trigger is None or action is None:
            raise bad_request("rule requires a valid trigger and a valid action")
        _own(trigger)
        _own(action)
        if await self._triggers.find(key_part(trigger.name)) is None:
            raise bad_request(f"trigger /{trigger.text} does not exist")
        if await self._actions.find(action.key) is None:
            raise bad_request(f"action /{action.text} does not exist")

        def make(old: Doc | None) -> Doc:
            return {
                **revised(name, body, old, lists, self._clock.time()),
                "status": ACTIVE if old is None else old["status"],
                "trigger": trigger.as_json(),
                "action": action.as_json(),
            }

        return await self._rules.put(key_part(name), make, overwrite=overwrite)

    async def set_status(self, name: str, body: Args) -> None:
        """Enable or disable. Raises Rejected."""
        status = body.get("status")
        if status not in (ACTIVE, INACTIVE):
            raise malformed(
                f"'{status}' is not a recognized rule state, must be one of ['{ACTIVE}', '{INACTIVE}']"
            )
        rule = await self._rules.get(key_part(name))
        if await self._triggers.find(key_part(rule["trigger"]["name"])) is None:
            raise not_found("Only rules with existing triggers can be activated")

        def make(old: Doc | None) -> Doc:
            if old is None:
                raise not_found()
            return {**old, "status": status}

        await self._rules.put(key_part(name), make)

    async def remove(self, name: str) -> Doc:
        """Raises Rejected (404)."""
        return {**await self._rules.remove(key_part(name)), "status": INACTIVE}


def _own(name: Name) -> None:
    if name.namespace != NAMESPACE:
        raise Rejected(403, f"The supplied authentication is not authorized to access '{name.text}'.")
