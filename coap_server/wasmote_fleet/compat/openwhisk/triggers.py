"""Triggers, and what happens when one fires."""

from __future__ import annotations

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.activations import (
    APPLICATION_ERROR,
    SUCCESS,
    Activation,
    Activations,
    Outcome,
)
from wasmote_fleet.compat.openwhisk.bodies import LISTS, as_map, key_values, revised
from wasmote_fleet.compat.openwhisk.errors import Rejected, bad_request
from wasmote_fleet.compat.openwhisk.invoke import Args, Invoker, new_id
from wasmote_fleet.compat.openwhisk.limits import MAX_PARAMETERS_BYTES, check_size
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name, derived_id, key_part, parse_name
from wasmote_fleet.compat.openwhisk.rules import ACTIVE, Rules
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Clock

_GONE = "Rule's action could not be found or may have been deleted."


class Triggers:
    """The triggers of the namespace."""

    def __init__(
        self,
        triggers: Entities,
        rules: Rules,
        activations: Activations,
        invoker: Invoker,
        clock: Clock,
    ) -> None:
        self._triggers = triggers
        self._rules = rules
        self._activations = activations
        self._invoker = invoker
        self._clock = clock

    async def get(self, name: str) -> Doc:
        """With its rules. Raises Rejected (404)."""
        return self._with_rules(await self._triggers.get(key_part(name)), await self._rules.of(name))

    async def all(self) -> list[Doc]:
        """The last changed first, without their rules."""
        return await self._triggers.newest()

    async def put(self, name: str, body: Args, *, overwrite: bool) -> Doc:
        """Create or update. Raises Rejected."""
        lists = {member: key_values(body, member) for member in LISTS}
        feed = as_map(lists["annotations"] or []).get("feed")
        if feed is not None and not (isinstance(feed, str) and feed.strip("/")):
            raise bad_request("Feed name is not valid")

        def make(before: Doc | None) -> Doc:
            return {**revised(name, body, before, lists, self._clock.time()), "limits": {}}

        doc = await self._triggers.put(key_part(name), make, overwrite=overwrite)
        return self._with_rules(doc, await self._rules.of(name))

    async def remove(self, name: str) -> Doc:
        """Raises Rejected (404). Its rules stay, and do nothing."""
        return await self._triggers.remove(key_part(name))

    async def fire(self, name: str, payload: Args, *, id: str | None = None) -> str | None:
        """Run the actions of its rules; the id of the trigger's activation, or None if it has no active rule. With the
        same id it fires once. Raises Rejected (404, 413)."""
        trigger = await self._triggers.get(key_part(name))
        args = {**as_map(trigger["parameters"]), **payload}
        check_size("Request", jsons.size_of(args), MAX_PARAMETERS_BYTES)
        rules = await self._rules.of(name)
        if not any(rule["status"] == ACTIVE for rule in rules):
            return None
        activation_id = id or new_id()
        logs = [jsons.encode(await self._follow(rule, args, activation_id)).decode() for rule in rules]
        now = int(self._clock.time() * 1000)
        fired = Activation(
            activation_id,
            Name(NAMESPACE, "", name),
            trigger["version"],
            now,
            None,
            Outcome(SUCCESS, payload),
            [],
            tuple(logs),
        )
        await self._activations.put(fired)
        return activation_id

    async def _follow(self, rule: Doc, args: Args, fired: str) -> Doc:
        """What a rule led to, as the trigger's activation logs it."""
        action = parse_name(rule["action"])
        said: Doc = {"rule": f"{NAMESPACE}/{rule['name']}", "action": action.text}
        if rule["status"] != ACTIVE:
            error = f"Rule '{said['rule']}' is inactive, action '{action.text}' was not activated."
            return said | {"statusCode": APPLICATION_ERROR, "success": False, "error": error}
        try:
            await self._invoker.admit(action, args)
        except Rejected as refused:
            error = _GONE if refused.status == 404 else refused.message
            return said | {"statusCode": APPLICATION_ERROR, "success": False, "error": error}
        id = await self._invoker.enqueue(action, args, id=derived_id(fired, rule["name"]))
        return said | {"statusCode": SUCCESS, "success": True, "activationId": id}

    def _with_rules(self, doc: Doc, rules: list[Doc]) -> Doc:
        if not rules:
            return doc
        reduced = {
            f"{NAMESPACE}/{rule['name']}": {"action": rule["action"], "status": rule["status"]}
            for rule in rules
        }
        return {**doc, "rules": reduced}
