"""Triggers, the rules that tie them to actions, and what happens when one fires.

A rule is a record of its own and decides; what a trigger shows of its rules is read from them.
"""

from __future__ import annotations

from typing import Any

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.activations import (
    APPLICATION_ERROR,
    SUCCESS,
    Activation,
    Activations,
    Outcome,
)
from wasmote_fleet.compat.openwhisk.bodies import as_map, key_values, next_version, publish, version
from wasmote_fleet.compat.openwhisk.errors import Rejected, bad_request, malformed, not_found
from wasmote_fleet.compat.openwhisk.invoke import Args, Invoker, new_id
from wasmote_fleet.compat.openwhisk.limits import MAX_PARAMETERS_BYTES, check_size
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name, derived_id, key_part, parse_name
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Clock

ACTIVE, INACTIVE = "active", "inactive"
_GONE = "Rule's action could not be found or may have been deleted."


class Triggers:
    """Triggers and rules of the namespace."""

    def __init__(
        self,
        triggers: Entities,
        rules: Entities,
        actions: Entities,
        activations: Activations,
        invoker: Invoker,
        clock: Clock,
    ) -> None:
        self._triggers = triggers
        self._rules = rules
        self._actions = actions
        self._activations = activations
        self._invoker = invoker
        self._clock = clock

    # ---- triggers ----

    async def get(self, name: str) -> Doc:
        """With its rules. Raises Rejected (404)."""
        return self._with_rules(await self._triggers.get(key_part(name)), await self._rules_of(name))

    async def all(self) -> list[Doc]:
        docs = await self._triggers.all()
        return sorted(docs, key=lambda doc: -doc["updated"])

    async def put(self, name: str, body: Args, *, overwrite: bool) -> Doc:
        """Create or update. Raises Rejected."""
        parameters, annotations = key_values(body, "parameters"), key_values(body, "annotations")
        feed = as_map(annotations or []).get("feed")
        if feed is not None and not (isinstance(feed, str) and feed.strip("/")):
            raise bad_request("Feed name is not valid")

        def make(before: Doc | None) -> Doc:
            old: Doc = before or {}
            return {
                "namespace": NAMESPACE,
                "name": name,
                "parameters": parameters if parameters is not None else old.get("parameters", []),
                "limits": {},
                "version": version(body) or (next_version(old["version"]) if old else "0.0.1"),
                "publish": _either(publish(body), old.get("publish", False)),
                "annotations": annotations if annotations is not None else old.get("annotations", []),
                "updated": int(self._clock.time() * 1000),
            }

        doc = await self._triggers.put(key_part(name), make, overwrite=overwrite)
        return self._with_rules(doc, await self._rules_of(name))

    async def remove(self, name: str) -> Doc:
        """Raises Rejected (404). Its rules stay, and do nothing."""
        return self._with_rules(await self._triggers.remove(key_part(name)), [])

    async def fire(self, name: str, payload: Args, *, id: str | None = None) -> str | None:
        """Run the actions of its rules; the id of the trigger's activation, or None if it has no active rule. With the
        same id it fires once. Raises Rejected (404, 413)."""
        trigger = await self._triggers.get(key_part(name))
        args = {**as_map(trigger["parameters"]), **payload}
        check_size("Request", jsons.size_of(args), MAX_PARAMETERS_BYTES)
        rules = await self._rules_of(name)
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

    async def _rules_of(self, trigger: str) -> list[Doc]:
        rules = await self._rules.all()
        return [rule for rule in rules if rule["trigger"]["name"] == trigger]

    def _with_rules(self, doc: Doc, rules: list[Doc]) -> Doc:
        if not rules:
            return doc
        reduced = {
            f"{NAMESPACE}/{rule['name']}": {"action": rule["action"], "status": rule["status"]}
            for rule in rules
        }
        return {**doc, "rules": reduced}

    # ---- rules ----

    async def rule(self, name: str) -> Doc:
        """Raises Rejected (404). One whose trigger is gone is inactive."""
        rule = await self._rules.get(key_part(name))
        there = await self._triggers.find(key_part(rule["trigger"]["name"]))
        return rule if there is not None else {**rule, "status": INACTIVE}

    async def rules(self) -> list[Doc]:
        docs = await self._rules.all()
        return sorted(docs, key=lambda doc: -doc["updated"])

    async def put_rule(self, name: str, body: Args, *, overwrite: bool) -> Doc:
        """Create (active) or update (as it was). Raises Rejected."""
        trigger = None if body.get("trigger") is None else parse_name(body["trigger"])
        action = None if body.get("action") is None else parse_name(body["action"])
        annotations = key_values(body, "annotations")
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
            was: Doc = old or {}
            return {
                "namespace": NAMESPACE,
                "name": name,
                "status": was.get("status", ACTIVE),
                "trigger": trigger.as_json(),
                "action": action.as_json(),
                "version": version(body) or (next_version(was["version"]) if was else "0.0.1"),
                "publish": _either(publish(body), was.get("publish", False)),
                "annotations": annotations if annotations is not None else was.get("annotations", []),
                "updated": int(self._clock.time() * 1000),
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

    async def remove_rule(self, name: str) -> Doc:
        """Raises Rejected (404)."""
        return {**await self._rules.remove(key_part(name)), "status": INACTIVE}


def _own(name: Name) -> None:
    if name.namespace != NAMESPACE:
        raise Rejected(403, f"The supplied authentication is not authorized to access '{name.text}'.")


def _either(value: Any, default: Any) -> Any:
    return default if value is None else value
