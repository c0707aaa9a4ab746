"""What the devices of a manifest are told, and what is read of a manifest. Without a network."""

from __future__ import annotations

from typing import Any

import pytest

from wasmote_fleet.compat.wasmiot import bodies, manifests
from wasmote_fleet.compat.wasmiot.describe import describe
from wasmote_fleet.compat.wasmiot.device import Device
from wasmote_fleet.compat.wasmiot.devices import FLEET
from wasmote_fleet.compat.wasmiot.errors import BadBody, CannotRun
from wasmote_fleet.compat.wasmiot.instructions import Solved, entry_of, instructions

FAR = Device("far", "far", ("192.0.2.9", "10.0.0.9"), 5000, "http://192.0.2.9:5000", {}, True)
NEAR = Device("near", "a", ("127.0.0.1",), 5100, "http://127.0.0.1:5100", {}, True, "a")


def url_of(device: str, peer: str) -> str:
    return f"http://{'192.0.2.1' if peer else '127.0.0.1'}:{5000 if device == FLEET else 5100}"


def module(name: str, output: str = "integer", **files: str) -> dict[str, Any]:
    mounts = [{"name": file, "stage": stage} for file, stage in files.items()]
    told = {"f": {"method": "POST", "parameters": [], "mounts": mounts, "output": output}}
    described = describe(name, told, {"model": "application/octet-stream"})
    return {
        "_id": f"id-{name}",
        "name": name,
        "mounts": described.mounts,
        "description": described.description,
        "dataFiles": {file: {} for file, stage in files.items() if stage == "deployment"},
    }


def test_a_supervisor_reads_what_an_orchestrator_tells() -> None:
    camera = module("camera", "image/jpeg", model="deployment", photo="output")
    look = module("look", photo="execution")
    told = instructions("7", [Solved(FAR, camera, "f"), Solved(NEAR, look, "f")], url_of)
    assert set(told) == {"far", "near"}

    far, near = bodies.parse(told["far"]), bodies.parse(told["near"])
    assert far.deployment_id == near.deployment_id == "7"
    # Each is given the URLs at which it reaches us; a chain's next step, as the one before it does.
    assert far.modules[0].binary == "http://192.0.2.1:5000/file/module/id-camera/wasm"
    assert far.modules[0].other == {"model": "http://192.0.2.1:5000/file/module/id-camera/model"}
    assert near.modules[0].binary == "http://127.0.0.1:5000/file/module/id-look/wasm"
    first, last = far.functions["camera", "f"], near.functions["look", "f"]
    assert first.to is not None
    assert first.to.url + first.to.path == "http://192.0.2.1:5100/7/modules/look/f"
    assert last.to is None
    assert (first.deployment, first.execution, first.output) == (("model",), (), ("photo",))
    assert (last.deployment, last.execution, last.output) == ((), ("photo",), ())

    name, endpoint = entry_of(told["far"], {"device": "far", "module": "id-camera", "func": "f"})
    assert (name, endpoint["path"], endpoint["method"]) == ("camera", "/7/modules/camera/f", "post")


def test_a_function_follows_itself_on_another_device_only() -> None:
    step, elsewhere = Solved(NEAR, module("m"), "f"), Solved(FAR, module("m"), "f")
    assert set(instructions("7", [step, elsewhere], url_of)) == {"near", "far"}
    with pytest.raises(CannotRun, match="'f' of 'm' is twice on the device 'a'"):
        instructions("7", [step, elsewhere, step], url_of)
    undescribed = {"_id": "1", "name": "m"}
    with pytest.raises(BadBody, match="nothing describes 'f'"):
        instructions("7", [Solved(NEAR, undescribed, "f")], url_of)


def test_a_manifest_s_steps_are_read() -> None:
    step = {"device": "a", "module": "m", "func": "f", "failovers": ["b", "a", "b", ""]}
    told = {"name": "x", "sequence": [step, {"module": "m", "func": "g"}]}
    assert manifests.parse(told) == (
        "x",
        [
            {"device": "a", "module": "m", "func": "f", "failovers": ["b"]},
            {"device": None, "module": "m", "func": "g", "failovers": []},
        ],
    )
    assert manifests.parse({"sequence": [step]}, "before")[0] == "before"
    for bad in (
        None,
        {"name": "", "sequence": [step]},
        {"name": None, "sequence": [step]},
        {"name": "x", "sequence": []},
        {"name": "x", "sequence": [step] * (manifests.MAX_STEPS + 1)},
        {"name": "x", "sequence": [step | {"device": 7}]},
        {"name": "x", "sequence": [step | {"failovers": "b"}]},
        {"name": "x", "sequence": ["f"]},
    ):
        with pytest.raises(BadBody):
            manifests.parse(bad, "before")
