"""A fleet server as wasmiot's orchestrator: over its own nodes, and over a supervisor elsewhere, which is another fleet
server with a node of its own."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from fleet_server import FleetServer, fleet_server
from support import HOST, RunningNode, built, start_node
from wasmiot_world import CAMERA, FIBO, THERMOMETER, TURN, answered, wat

pytestmark = pytest.mark.slow
BEAT_S = 0.5


def until(true: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@dataclass
class World:
    """server: the orchestrator, with the nodes `a` and `b`. url: its address. other: a supervisor, named `far`."""

    server: FleetServer
    other: FleetServer
    url: str
    nodes: dict[str, RunningNode]

    def do(self, method: str, path: str, status: int = 200, **options: Any) -> Any:
        return answered(requests.request(method, self.url + path, timeout=60, **options), status)

    def device(self, name: str) -> dict[str, Any]:
        name = "wasmote-far" if name == "far" else name
        return next(each for each in self.do("GET", "/file/device") if each["name"] == name)

    def active(self) -> set[str]:
        found = self.do("GET", "/file/device")
        return {each["name"].removeprefix("wasmote-") for each in found if each["status"] == "active"}

    def module(self, name: str, text: str, functions: dict[str, Any], **files: bytes) -> str:
        """Upload and describe one; its id."""
        form = {"wasm": (f"{name}.wasm", wat(text), "application/wasm")}
        id = self.do("POST", "/file/module", 201, data={"name": name}, files=form)["id"]
        parts = {
            key.replace("_", "."): (key, data, "application/octet-stream") for key, data in files.items()
        }
        told = {"functions": (None, json.dumps(functions))}
        said = self.do("POST", f"/file/module/{id}/upload", files=told | parts)
        assert set(said["description"]["paths"]) == {f"/{{deployment}}/modules/{name}/{f}" for f in functions}
        return str(id)

    def manifest(self, name: str, *steps: dict[str, Any]) -> str:
        """Create and deploy one; its id."""
        made = requests.post(f"{self.url}/file/manifest", json={"name": name, "sequence": steps}, timeout=60)
        assert made.status_code == 201 and made.headers["content-type"].startswith("text/plain"), made.text
        said = self.do("POST", f"/file/manifest/{made.json()}")
        assert {each["status"] for each in said["deviceResponses"].values()} == {200}
        assert all(each["data"] == {"status": "success"} for each in said["deviceResponses"].values())
        return str(made.json())

    def run(self, id: str, **args: int) -> Any:
        return self.do("POST", f"/execute/{id}", data=args)["result"]


FUNCTION = {
    "fibo": {
        "method": "GET",
        "parameters": [{"name": "n", "type": "integer"}],
        "mounts": [],
        "output": "integer",
    }
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    built(HOST)
    with ExitStack() as stack:
        nodes = {}
        sensors = tmp_path / "sensors.txt"
        sensors.write_text("0 temperature 21.5\n3600 temperature 21.5\n0 humidity 40\n")
        for name, more in (("a", ()), ("b", ("--sensors", str(sensors))), ("c", ())):
            running = start_node(HOST, "--ep", name, *more)
            nodes[name] = next(running)
            stack.callback(_stopped, running)
        options = ("--http", "127.0.0.1:0", "--wasmiot", "127.0.0.1:0", "--beat", str(BEAT_S))
        server = stack.enter_context(fleet_server(tmp_path / "near.db", *options, "--name", "near"))
        url = server.started["wasmiot"]
        far = ("--name", "far", "--wasmiot-orchestrator", url)
        other = stack.enter_context(fleet_server(tmp_path / "far.db", *options, *far))
        for at, name in ((server, "a"), (server, "b"), (other, "c")):
            assert at.request("POST", "/api/v1/nodes", json={"uri": nodes[name].uri}).status_code == 201
        world = World(server, other, url, nodes)
        # `far` makes itself known to its orchestrator, which asks it for its health then.
        names = ("a", "b", "fleet", "far")
        until(lambda: world.active() >= set(names), "all devices")
        yield world


def _stopped(running: Iterator[RunningNode]) -> None:
    """A node that a test has killed does not end in order."""
    with suppress(AssertionError):
        next(running, None)


def step(device: Any, module: str, func: str = "fibo", **more: Any) -> dict[str, Any]:
    return {"device": None if device is None else device["_id"], "module": module, "func": func, **more}


def test_chains_over_own_nodes_and_a_supervisor_elsewhere(world: World) -> None:
    a, b, far = (world.device(name) for name in ("a", "b", "far"))
    until(
        lambda: requests.get(world.other.started["wasmiot"] + "/health", timeout=10).status_code == 200, "far"
    )
    assert far["description"]["supervisorInterfaces"] == a["description"]["supervisorInterfaces"]
    until(lambda: bool(world.device("far")["health"]), "a beat")
    told = requests.get(world.other.started["wasmiot"] + "/health", timeout=10)
    assert told.headers["Custom-Orchestrator-Set"] == "true"  # the orchestrator registered there

    module = world.module("fibo", FIBO, FUNCTION)
    found = world.do("GET", f"/file/module/{module}")[0]
    assert found["exports"][0] == {"name": "fibo", "parameterCount": 1} and found["requirements"] == []
    assert world.do("GET", "/file/module/fibo") == [found] == world.do("GET", "/file/module")
    assert requests.get(f"{world.url}/file/module/{module}/wasm", timeout=10).content == wat(FIBO)

    assert world.run(world.manifest("own", step(a, module)), n=12) == ["233", None]
    assert world.run(world.manifest("any", step(None, module)), n=12) == ["233", None]
    # What a module imports decides where it may run: only `b` has a thermometer.
    celsius = {"celsius": {"method": "GET", "parameters": [], "mounts": [], "output": "float"}}
    warm = world.module("warm", THERMOMETER, celsius)
    assert "getTemperature" in b["description"]["supervisorInterfaces"]
    assert world.run(world.manifest("warm", step(None, warm, "celsius"))) == ["21.5", None]
    said = world.do("POST", "/file/manifest", 409, json={"name": "x", "sequence": [step(a, warm, "celsius")]})
    assert "it lacks getTemperature" in said["error"]
    assert world.run(world.manifest("elsewhere", step(far, module)), n=12) == ["233", None]
    # From our node to theirs and back: fibo(4) is 5, fibo(5) is 8, fibo(8) is 34.
    back = world.manifest("back", step(a, module), step(far, module), step(b, module))
    assert world.run(back, n=4) == ["34", None]
    forth = world.manifest("forth", step(far, module), step(b, module))
    assert world.run(forth, n=5) == ["34", None]
    assert world.do("POST", "/execute/back", json={"n": 4})["result"] == ["34", None]  # by its name

    kept = world.do("GET", f"/file/manifest/{back}")
    assert [each["device"] for each in kept["sequence"]] == [a["_id"], far["_id"], b["_id"]]
    assert kept["active"] is True and set(kept["fullManifest"]) == {a["_id"], far["_id"], b["_id"]}
    told = kept["fullManifest"][far["_id"]]
    assert set(told) == {"deploymentId", "modules", "endpoints", "instructions", "mounts"}

    # Another sequence for one that is deployed: it is told to the devices at once.
    said = world.do("PUT", f"/file/manifest/{back}", json={"name": "back", "sequence": [step(b, module)]})
    assert list(said["deviceResponses"]) == [b["_id"]]
    assert world.run(back, n=12) == ["233", None]
    gone = requests.get(f"{world.other.started['wasmiot']}/{back}/modules/fibo/fibo?n=4", timeout=10)
    assert gone.status_code == 404
    assert world.do("DELETE", f"/file/manifest/{back}") == {"deletedCount": 1}
    world.do("DELETE", f"/file/manifest/{back}", 404)
    world.do("POST", f"/execute/{back}", 404, data={"n": 4})
    assert world.do("DELETE", "/file/manifest") == {"deletedCount": 5}
    assert world.do("DELETE", "/file/module") == {"deletedCount": 2}


def test_files_go_through_a_manifest(world: World) -> None:
    mounts = [{"name": "in.txt", "stage": "execution"}, {"name": "out.txt", "stage": "output"}]
    turn = {
        "turn": {"method": "POST", "parameters": [], "mounts": mounts, "output": "application/octet-stream"}
    }
    module = world.module("turn", TURN, turn)
    for name, device in (("here", world.device("a")), ("there", world.device("far"))):
        id = world.manifest(name, step(device, module, "turn"))
        said = world.do("POST", f"/execute/{id}", files={"in.txt": b"wasm IOT"})
        assert said["result"] == [None, ["out.txt"]]
        at = said["resultUrl"].partition("/request-history/")[0]
        assert requests.get(f"{at}/module_results/turn/out.txt", timeout=10).content == b"WASM\x00iot"

    # A file that comes with the module; from one device to the next it goes as a file, too.
    mounts = [{"name": "model.bin", "stage": "deployment"}, {"name": "in.txt", "stage": "output"}]
    model = {
        "turn": {"method": "GET", "parameters": [], "mounts": mounts, "output": "application/octet-stream"}
    }
    form = {"wasm": ("model.wasm", wat(TURN), "application/wasm")}
    id = world.do("POST", "/file/module", 201, data={"name": "model"}, files=form)["id"]
    told = {"functions": (None, json.dumps(model))}
    early = {"name": "early", "sequence": [{"device": None, "module": id, "func": "turn"}]}
    assert "/upload" in world.do("POST", "/file/manifest", 400, json=early)["next_step"]
    assert "missing mounts" in world.do("POST", f"/file/module/{id}/upload", 400, files=told)["errorText"]
    world.do("POST", f"/file/module/{id}/upload", files=told | {"model.bin": ("m", b"MODEL")})
    far = world.device("far")
    chain = world.manifest("chain", step(far, id, "turn"), step(world.device("b"), module, "turn"))
    said = world.do("POST", f"/execute/{chain}")
    assert said["result"] == [None, ["out.txt"]]
    at = said["resultUrl"].partition("/request-history/")[0]
    assert requests.get(f"{at}/module_results/turn/out.txt", timeout=10).content == b"MODEL"  # turned twice


def test_a_step_moves_when_its_device_goes_and_comes_back_with_it(world: World) -> None:
    module = world.module("fibo", FIBO, FUNCTION)
    a, b, far = (world.device(name) for name in ("a", "b", "far"))
    elsewhere = world.manifest("elsewhere", step(far, module, failovers=[a["_id"]]))
    own = world.manifest("own", step(a, module, failovers=[b["_id"], far["_id"]]))

    # The call in flight: nothing ran at a device that is gone, so that it goes to the next one at once.
    world.other.tell(signal.SIGKILL)
    world.other.process.wait()
    said = world.do("POST", f"/execute/{elsewhere}", data={"n": 12})
    assert (said["result"], said["isInFailover"]) == (["233", None], True)
    kept = world.do("GET", f"/file/manifest/{elsewhere}")
    assert kept["sequence"][0]["device"] == a["_id"] and kept["goalDeployment"] == [far["_id"]]
    until(lambda: world.device("far")["status"] == "inactive", "two missed beats", 4 * BEAT_S + 5)
    assert world.device("far")["statusLog"][0]["status"] == "inactive"

    # It comes again, where it was: its step goes back to it.
    data, port = str(world.other.data), world.other.started["wasmiot"].rpartition(":")[2]
    with fleet_server(Path(data), "--http", "127.0.0.1:0", "--wasmiot", f"127.0.0.1:{port}", "--name", "far"):
        until(lambda: world.device("far")["status"] == "active", "far is back")
        until(
            lambda: world.do("GET", f"/file/manifest/{elsewhere}")["isInFailover"] is False,
            "the step is back",
        )
        said = world.do("POST", f"/execute/{elsewhere}", data={"n": 12})
        assert (said["result"], said["isInFailover"]) == (["233", None], False)
        assert f":{port}/request-history/" in said["resultUrl"]

    # One of our own nodes: its failover is the fleet's own.
    os.kill(world.nodes["a"].pid, signal.SIGKILL)
    until(lambda: world.device("a")["status"] == "inactive", "a is gone")
    until(lambda: _runs(world, own), "it runs on b")


def _runs(world: World, id: str) -> bool:
    answer = requests.post(f"{world.url}/execute/{id}", data={"n": "12"}, timeout=60)
    return answer.status_code == 200 and answer.json()["result"] == ["233", None]


def test_what_cannot_be_placed_or_run_says_why(world: World) -> None:
    module = world.module("fibo", FIBO, FUNCTION)
    camera = world.module("camera", CAMERA, {"take": FUNCTION["fibo"]})
    a = world.device("a")

    def refused(told: Any, status: int, why: str) -> None:
        said = world.do("POST", "/file/manifest", status, json=told)
        assert why in said["error"], said

    refused({}, 400, "manifest must have a name")
    refused({"name": "x"}, 400, "a sequence of operations")
    refused({"name": "x", "sequence": [{"func": "fibo"}]}, 400, "must have a module")
    refused({"name": "x", "sequence": [{"module": module}]}, 400, "must have a function")
    refused({"name": "x", "sequence": [step(None, "none")]}, 404, "no matches for ID none")
    refused({"name": "x", "sequence": [step(None, module, "nope")]}, 409, "Failed to find function 'nope'")
    refused({"name": "x", "sequence": [step({"_id": "no"}, module)]}, 409, "there is no device 'no'")
    refused({"name": "x", "sequence": [step(None, camera, "take")]}, 409, "takeImageDynamicSize")
    refused({"name": "x", "sequence": [step(a, camera, "take")]}, 409, "takeImageDynamicSize")
    refused({"name": "x", "sequence": [step(None, module, "divide")]}, 400, "nothing describes 'divide'")
    refused({"name": "x", "sequence": [step(a, module), step(a, module)]}, 409, "is twice on the device")
    world.do("POST", f"/file/device/{a['_id']}/blacklist")
    refused({"name": "x", "sequence": [step(a, module)]}, 409, "is blacklisted")
    world.do("POST", f"/file/device/{a['_id']}/unblacklist")
    world.do("POST", "/file/device/none/blacklist", 404)

    id = requests.post(
        f"{world.url}/file/manifest", json={"name": "late", "sequence": [step(a, module)]}, timeout=10
    ).json()
    assert "is not deployed" in world.do("POST", f"/execute/{id}", 422, data={"n": 1})["errorText"]
    world.do("POST", f"/file/manifest/{id}")
    assert "takes 'n'" in world.do("POST", f"/execute/{id}", 400)["error"]
    assert "two" in world.do("POST", f"/execute/{id}", 400, data={"n": "two"})["errorText"]
    world.do("POST", "/file/manifest/none", 404)
    world.do("POST", "/execute/none", 404)
    for told, status, why in (
        ({"addresses": ["127.0.0.1"], "port": 1, "name": "x"}, 502, "cannot be reached"),
        ({"addresses": ["192.168.7.7"], "port": 80, "name": "x"}, 422, "must not be reached"),
        ({"addresses": ["127.0.0.1"], "port": "5", "name": "x"}, 400, "no addresses and port"),
    ):
        said = world.do("POST", "/file/device/discovery/register", status, json=told)
        assert why in said["errorText"], said
    assert world.do("POST", "/file/module", 400, data={"name": "x"})["errorText"] == "file-submission missing"
    world.do("POST", "/file/module", 422, data={"name": "x"}, files={"wasm": ("x.wasm", b"junk")})
    world.do("GET", "/file/module/none", 404)
    world.do("GET", f"/file/module/{module}/none", 400)
    line = {"logData": json.dumps({"loglevel": "INFO", "message": "hello", "deviceName": "far"})}
    world.do("POST", "/device/logs", data=line)
    assert world.do("GET", "/device/logs")[-1]["message"] == "hello"
    assert world.do("POST", "/nodes/a/deploy", 400, data="x")["status"] == "error"
