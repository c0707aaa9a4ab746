"""Which device does which step of a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from wasmote_fleet.compat.wasmiot.book import Book
from wasmote_fleet.compat.wasmiot.describe import lacking
from wasmote_fleet.compat.wasmiot.device import Device
from wasmote_fleet.compat.wasmiot.devices import FLEET, Devices, interfaces, is_there
from wasmote_fleet.compat.wasmiot.errors import CannotRun
from wasmote_fleet.compat.wasmiot.instructions import Solved, instructions
from wasmote_fleet.compat.wasmiot.manifests import Step
from wasmote_fleet.compat.wasmiot.uploads import Document, Uploads


class Solver:
    """devices: our nodes, which decide what the fleet as one device can do."""

    def __init__(self, uploads: Uploads, book: Book, devices: Devices) -> None:
        self._uploads = uploads
        self._book = book
        self._devices = devices

    async def solve(self, id: str, wanted: Sequence[Step], chosen: Sequence[str] | None = None) -> Document:
        """The sequence of the manifest, its failovers, and what its devices are told. chosen: the devices, where a step
        has moved; None: the first ones. Raises CannotRun, BadBody, NotThere."""
        devices = await self._book.by_id()
        steps: list[Solved] = []
        groups: list[list[str]] = []
        for index, step in enumerate(wanted):
            module = await self._uploads.get(step["module"])
            if step["func"] not in [export["name"] for export in module["exports"]]:
                raise CannotRun(
                    f"Failed to find function '{step['func']}' from requested module: {module['name']}",
                    cause=f"it exports {', '.join(e['name'] for e in module['exports']) or 'none'}",
                    next_step="correct the function's name",
                )
            if step["device"] is None and chosen is None:
                device = self._any(list(devices.values()), module)
                group = [device.id]
            else:
                group = [each for each in (step["device"], *step["failovers"]) if each is not None]
                device = _known(devices, chosen[index] if chosen is not None else group[0])
                for each in group:
                    _check(_known(devices, each), module)
            groups.append(group or [device.id])
            steps.append(Solved(device, module, step["func"]))
        on = [step.device.id for step in steps]
        return {
            "sequence": [
                {"device": step.device.id, "module": step.module["_id"], "func": step.function}
                for step in steps
            ],
            "failoversBySequence": groups,
            **({"goalDeployment": on} if chosen is None else {}),
            "fullManifest": instructions(id, steps, self._book.url_of),
        }

    async def another(self, module: str, among: Iterable[Device]) -> Device | None:
        """One of these for a step that names no device; None: none will do. Raises NotThere."""
        return self._fitting(list(among), await self._uploads.get(module))

    def _any(self, devices: Sequence[Device], module: Document) -> Device:
        found = self._fitting(devices, module)
        if found is None:
            needs = ", ".join(need["name"] for need in module["requirements"]) or "nothing"
            raise CannotRun(
                f"no matching device satisfying all requirements: {needs}",
                cause=f"{len(devices)} devices are known",
                next_step="GET /file/device shows what they offer",
            )
        return found

    def _fitting(self, devices: Sequence[Device], module: Document) -> Device | None:
        """Our fleet if one of its nodes will do, else a supervisor elsewhere."""
        for view in self._devices.nodes():
            if is_there(view) and not lacking(interfaces(view.record.imports), module):
                return next((device for device in devices if device.own == FLEET), None)
        for device in devices:
            if device.own is None and device.usable and not lacking(device.interfaces, module):
                return device
        return None


def _known(devices: Mapping[str, Device], id: str) -> Device:
    if id not in devices:
        raise CannotRun(f"there is no device '{id}'", next_step="GET /file/device lists them")
    return devices[id]


def _check(device: Device, module: Document) -> None:
    if device.barred:
        raise CannotRun(
            f"Cannot create deployment: device '{device.id}' ({device.name}) is blacklisted",
            next_step="POST /file/device/ID/unblacklist allows it",
        )
    missing = lacking(device.interfaces, module)
    if missing:
        raise CannotRun(
            f"device '{device.name}' does not satisfy module's requirements",
            cause=f"it lacks {', '.join(missing)}",
            next_step="choose another one, or none",
        )
