"""The devices that an orchestrator may use: our nodes, the fleet as a whole, and wasmiot's supervisors elsewhere, which
are polled: two missed beats, and one is inactive. `wasmiot/devices/<id>` in the engine's kv has those, written when
their state changes."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.fetch import Limits, Reach, exchange
from wasmote_fleet.compat.wasmiot.device import Device, UrlOf, ask, json_content, json_of, own_id
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices, is_there
from wasmote_fleet.compat.wasmiot.errors import BadBody, NotThere
from wasmote_fleet.compat.wasmiot.records import ROOT
from wasmote_fleet.engine import Engine, EngineError

log = logging.getLogger("wasmote.fleet.wasmiot")

PREFIX = f"{ROOT}devices/"
BARRED = f"{ROOT}barred/"
MAX_DEVICES = 1000
MISSED = 2  # beats
DESCRIBE = 12  # beats between two looks at what a device can do
AT_ONCE = 16
_LOG_KEPT = 50
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_ASK = Limits(max_bytes=256 * 1024, timeout_s=5.0, redirects=0)
_REGISTER = Limits(max_bytes=256 * 1024, timeout_s=60.0, redirects=0)


class Book:
    """url_of: where our devices answer. reach: where others may be, beside those that registered."""

    def __init__(self, engine: Engine, devices: Devices, reach: Reach, url_of: UrlOf) -> None:
        self._engine = engine
        self._devices = devices
        self._reach = reach
        self.url_of = url_of
        self._polled: dict[str, Device] = {}

    # ---- what there is ----

    async def all(self) -> list[Device]:
        """The fleet, its nodes, then the others."""
        barred = {key.rpartition("/")[2] for key in await self._engine.kv.keys(BARRED)}
        own = [FLEET, *(view.record.id for view in self._devices.nodes())]
        return [
            replace(found, barred=found.id in barred)
            for found in [*map(self._own, own), *await self._others()]
        ]

    async def by_id(self) -> dict[str, Device]:
        return {device.id: device for device in await self.all()}

    async def get(self, id: str) -> Device:
        """Raises NotThere."""
        for found in await self.all():
            if found.id == id:
                return found
        raise NotThere(
            "device not found", cause=f"none has the id {id}", next_step="GET /file/device lists them"
        )

    def _own(self, device: str) -> Device:
        views = self._devices.nodes()
        there = any(is_there(view) for view in views if device in (FLEET, view.record.id))
        name = "fleet" if device == FLEET else self._devices.node(device).record.ep
        url = self.url_of(device, "")
        host, _, port = url.partition("://")[2].partition("/")[0].rpartition(":")
        return Device(
            own_id(device),
            name,
            (host.strip("[]"),),
            int(port),
            url,
            self._devices.description(device),
            there,
            device,
        )

    async def _others(self) -> list[Device]:
        kept = [Device.decode(entry.value) for entry in await self._engine.kv.entries(PREFIX)]
        return [self._polled.get(each.id, each) for each in kept]

    # ---- who comes and goes ----

    async def announced(self, name: str, addresses: Sequence[str], port: int) -> None:
        """A supervisor was announced by mDNS: one of ours, or one to take in."""
        own = {self.url_of(FLEET, address) for address in addresses}
        own |= {self.url_of(view.record.id, a) for view in self._devices.nodes() for a in addresses}
        if any(f"http://{f'[{a}]' if ':' in a else a}:{port}" in own for a in addresses):
            return
        if any(device.name == name and device.there for device in await self.all()):
            return
        try:
            await self.register({"name": name, "addresses": list(addresses), "port": port}, "")
        except WasmoteError as error:
            log.warning("the supervisor '%s' was announced and not taken in: %s", name, error)

    async def register(self, told: Any, caller: str) -> Device:
        """A supervisor says where it is, as it does by mDNS: its description is asked for now. Raises BadBody, and what
        asking it raises."""
        told = told if isinstance(told, dict) else {}
        properties = told.get("properties")
        listed = told.get("addresses") or [caller]
        hint = properties.get("address") if isinstance(properties, dict) else None
        addresses = [str(a) for a in listed if isinstance(a, str)] if isinstance(listed, list) else []
        if isinstance(hint, str) and hint not in addresses:
            addresses.append(hint)
        addresses = [address for address in addresses if _HOST.fullmatch(address)]
        port = told.get("port", 5000)
        name = told.get("name") or told.get("host") or caller
        if not addresses or len(addresses) > 8 or not isinstance(port, int) or not 0 < port < 65536:
            raise BadBody("the device has no addresses and port", next_step="send addresses, port and name")
        if not isinstance(name, str) or len(name) > 255 or not name.isprintable():
            raise BadBody("the device's name is none", next_step="send a text as name")
        if len(await self._engine.kv.keys(PREFIX)) >= MAX_DEVICES:
            raise BadBody(f"there are {MAX_DEVICES} devices", next_step="DELETE /file/device forgets them")
        reach = self._reach.also(*([caller] if caller else ()))
        error: WasmoteError | None = None
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            url = f"http://{host}:{port}"
            try:
                description = await self._description(url, reach)
            except WasmoteError as failed:
                error = failed
                continue
            id = hashlib.sha256(f"wasmiot/{name}".encode()).hexdigest()[:24]
            ordered = (address, *(other for other in addresses if other != address))
            made = Device(id, name, ordered, port, url, description, True, changes=(_change("active"),))
            self._polled[id] = made
            await self._engine.kv.put(PREFIX + id, made.encode())
            return made
        assert error is not None
        raise error

    async def _description(self, url: str, reach: Reach) -> dict[str, Any]:
        answer = await exchange(
            "GET", f"{url}/.well-known/wasmiot-device-description", reach=reach, limits=_ASK
        )
        found = json_of(answer)
        if answer.status != 200 or not isinstance(found, dict):
            raise BadBody(
                f"{url} does not describe itself",
                cause=f"it answered {answer.status}, and no JSON object",
                next_step="check that a supervisor is there",
            )
        return found

    async def forget_all(self) -> int:
        """Forget the devices elsewhere; how many went."""
        keys = await self._engine.kv.keys(PREFIX)
        self._polled.clear()
        return sum([await self._engine.kv.delete(key) for key in keys])

    async def bar(self, id: str, barred: bool) -> None:
        """Whether something may be deployed on it. Raises NotThere."""
        await self.get(id)
        if barred:
            await self._engine.kv.put(BARRED + id, b"{}")
        else:
            await self._engine.kv.delete(BARRED + id)

    # ---- beats ----

    async def beat(self) -> None:
        """Ask each device elsewhere for its health, once; one that knows of no orchestrator is told of this one."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(device: Device) -> None:
            async with turns:
                await self._ask(device)

        others = await self._others()
        self._polled = {each.id: self._polled.get(each.id, each) for each in others}
        await asyncio.gather(*(ask(each) for each in others))

    async def missed(self, id: str) -> None:
        """It did not take a call: it counts as gone until it answers a beat."""
        if (device := self._polled.get(id)) is not None:
            await self._heard(replace(device, failed=MISSED - 1), None)

    async def _ask(self, device: Device) -> None:
        health: dict[str, Any] | None = None
        try:
            headers = {
                "X-Forwarded-For": self.url_of(FLEET, device.addresses[0])
                .partition("://")[2]
                .rpartition(":")[0]
            }
            answer = await ask(device, "GET", "/health", reach=self._reach, limits=_ASK, headers=headers)
            found = json_of(answer)
            if answer.status == 200 and isinstance(found, dict):
                health = found
                if device.ok % DESCRIBE == 0:
                    device = await self._described(device)
                if answer.headers.get("custom-orchestrator-set") != "true":
                    await self._orchestrate(device)
        except WasmoteError as error:
            log.debug("%s: %s", device.name, error)
        await self._heard(device, health)

    async def _described(self, device: Device) -> Device:
        """The device with what it says of itself now: it may be another one since it was started again."""
        reach = self._reach.also(*device.reached)
        found = replace(device, description=await self._description(device.url, reach))
        if found.description.get("supervisorInterfaces") != device.description.get("supervisorInterfaces"):
            await self._engine.kv.put(PREFIX + device.id, found.encode())
        return found

    async def _orchestrate(self, device: Device) -> None:
        """Tell a supervisor who orchestrates it."""
        told = json_content({"url": self.url_of(FLEET, device.addresses[0])})
        await ask(device, "POST", "/register", reach=self._reach, limits=_REGISTER, content=told)

    async def _heard(self, device: Device, health: dict[str, Any] | None) -> None:
        good = health is not None
        changed = replace(
            device,
            health={"report": health, "timeOfQuery": _now()},
            failed=0 if good else device.failed + 1,
            ok=device.ok + 1 if good else 0,
        )
        there = good or (device.there and changed.failed < MISSED)
        if there != device.there:
            changes = (_change("active" if there else "inactive"), *device.changes[: _LOG_KEPT - 1])
            changed = replace(changed, there=there, changes=changes)
            try:
                await self._engine.kv.put(PREFIX + device.id, changed.encode())
            except EngineError as error:
                log.warning("the state of %s was not written: %s", device.name, error)
        if device.id in self._polled:
            self._polled[device.id] = changed


def _change(status: str) -> dict[str, str]:
    return {"status": status, "time": _now()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
