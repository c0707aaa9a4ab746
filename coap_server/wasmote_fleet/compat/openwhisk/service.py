"""OpenWhisk on the fleet, put together.

async with OpenWhisk(engine, fleet, objects) as whisk: ...
"""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Any, Protocol

from wasmote_fleet.compat.openwhisk import actions, apis
from wasmote_fleet.compat.openwhisk.actions import Actions
from wasmote_fleet.compat.openwhisk.activations import (
    APPLICATION_ERROR,
    SUCCESS,
    Activation,
    Activations,
    Outcome,
    failed,
)
from wasmote_fleet.compat.openwhisk.alarms import AlarmError
from wasmote_fleet.compat.openwhisk.clock import AlarmClock, Alarms
from wasmote_fleet.compat.openwhisk.errors import Rejected
from wasmote_fleet.compat.openwhisk.invoke import Invoker, Objects, new_id
from wasmote_fleet.compat.openwhisk.limits import Throttle
from wasmote_fleet.compat.openwhisk.names import SYSTEM, Name, check_entity, derived_id, key_part
from wasmote_fleet.compat.openwhisk.packages import Packages
from wasmote_fleet.compat.openwhisk.rules import Rules
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.compat.openwhisk.system import PACKAGE
from wasmote_fleet.compat.openwhisk.triggers import Triggers
from wasmote_fleet.engine import Engine


class Fleet(actions.Fleet, Protocol):
    async def deployed(self) -> list[str]:
        """The ids of the deployments that should run."""
        ...


class OpenWhisk:
    """`async with`: runs jobs and alarms meanwhile. throttle: None for OpenWhisk's own limits."""

    def __init__(
        self, engine: Engine, fleet: Fleet, objects: Objects, *, throttle: Throttle | None = None
    ) -> None:
        kinds = ("actions", "packages", "triggers", "rules", "alarms", "apis")
        self._entities = {what: Entities(engine, what) for what in kinds}
        entities = self._entities
        self._clock = engine.clock
        self._fleet = fleet
        self.throttle = throttle or Throttle(engine.clock.time)
        self.activations = Activations(engine)
        self.actions = Actions(entities["actions"], entities["packages"], fleet, engine.clock)
        self.packages = Packages(entities["packages"], self.actions, engine.clock)
        self.invoker = Invoker(
            engine, self.actions, entities["packages"], self.activations, fleet, objects, self.throttle
        )
        self.rules = Rules(entities["rules"], entities["triggers"], entities["actions"], engine.clock)
        self.triggers = Triggers(
            entities["triggers"], self.rules, self.activations, self.invoker, engine.clock
        )
        self.alarms = Alarms(engine, entities["alarms"], self.triggers)
        self._alarm_clock = AlarmClock(engine, entities["alarms"], self.invoker.enqueue_job, self._tidy)
        self.invoker.on_fire = self._fired

    async def __aenter__(self) -> OpenWhisk:
        await self.invoker.start()
        await self._alarm_clock.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._alarm_clock.close()
        await self.invoker.close()

    # ---- feeds ----

    async def feed(self, name: str, parameters: dict[str, Any]) -> Activation:
        """Invoke a feed of whisk.system/alarms; its activation, which is kept."""
        start_ms = self._now_ms()
        event = str(parameters.get("lifecycleEvent", ""))
        trigger = str(parameters.get("triggerName", "")).rpartition("/")[2]
        try:
            if not trigger:
                raise AlarmError("no trigger name parameter was provided")
            check_entity(trigger)
            outcome = Outcome(SUCCESS, await self.alarms.ask(name, event, trigger, parameters))
        except AlarmError as error:
            outcome = failed(APPLICATION_ERROR, str(error))
        except Rejected as error:
            outcome = failed(APPLICATION_ERROR, error.message)
        activation = Activation(
            new_id(),
            Name(SYSTEM, PACKAGE, name),
            "0.0.1",
            start_ms,
            self._now_ms(),
            outcome,
            [{"key": "path", "value": f"{SYSTEM}/{PACKAGE}/{name}"}],
        )
        await self.activations.put(activation)
        return activation

    async def _fired(self, job: Doc) -> None:
        """An alarm came due."""
        trigger = job["trigger"]
        try:
            await self.triggers.fire(trigger, job["payload"], id=job["id"])
        except Rejected as error:
            if error.status != 404:
                raise
            with contextlib.suppress(Rejected):  # its trigger was deleted without it
                await self._entities["alarms"].remove(key_part(trigger))
            return
        if job["then"] == "false":
            return
        rules = (await self.triggers.get(trigger)).get("rules", {}) if job["then"] == "rules" else {}
        for rule in rules:
            with contextlib.suppress(Rejected):
                await self.rules.remove(rule.rpartition("/")[2])
        for kind in ("triggers", "alarms"):
            with contextlib.suppress(Rejected):
                await self._entities[kind].remove(key_part(trigger))

    # ---- API routes ----

    async def add_routes(self, body: Doc, response_type: str, host: str) -> Doc:
        """Raises Rejected."""
        base, title, routes = apis.parse_create(body, response_type)
        doc = await self._entities["apis"].put(
            _api_key(base), lambda before: apis.with_routes(before, base, title, routes, host)
        )
        return apis.described(doc, host)

    async def api_docs(self, base: str | None) -> list[Doc]:
        """All, or that of a base path or of a title."""
        docs = await self._entities["apis"].all()
        return [doc for doc in docs if base in (None, doc["basePath"], doc["info"]["title"])]

    async def remove_routes(self, base: str, path: str | None, verb: str | None) -> None:
        """Raises Rejected (404)."""
        docs = await self.api_docs(base)
        if not docs:
            raise Rejected(404, f"API '{base}' does not exist")
        key = _api_key(docs[0]["basePath"])
        if apis.without(docs[0], path, verb) is None:
            await self._entities["apis"].remove(key)
            return

        def make(before: Doc | None) -> Doc:
            left = None if before is None else apis.without(before, path, verb)
            if left is None:
                raise Rejected(409, "The API was changed meanwhile.")
            return left

        await self._entities["apis"].put(key, make)

    # ---- now and then ----

    async def _tidy(self) -> None:
        """Keep the blobs of entities, and remove deployments whose action is gone: a server ended between the two."""
        for entities in self._entities.values():
            await entities.touch()
        wanted = {action.deployment for action in await self.actions.all(None)}
        for id in await self._fleet.deployed():
            if id.startswith(actions.DEPLOYMENT_PREFIX) and id not in wanted:
                await self._fleet.withdraw(id, id)

    def _now_ms(self) -> int:
        return int(self._clock.time() * 1000)


def _api_key(base: str) -> str:
    return derived_id("api", base)
