"""A fleet server as wasmiot's supervisor: a real server, real host nodes, and exchanges as an orchestrator has them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from fleet_server import FleetServer, fleet_server
from support import HOST, built, start_node
from wasmiot_world import (
    CAMERA,
    FIBO,
    OPENS,
    TURN,
    Files,
    answered,
    body,
    endpoint,
    file_server,
    readme_body,
    wat,
)

pytestmark = pytest.mark.slow
FIRST_PORT = 25100


@dataclass
class World:
    """url: of the whole fleet; nodes: of `a` and `b`, by name."""

    server: FleetServer
    files: Files
    url: str
    nodes: dict[str, str]

    def deploy(self, told: Any, url: str | None = None, status: int = 200) -> Any:
        # Two slashes: so the orchestrator writes it.
        return answered(requests.post(f"{url or self.url}//deploy", json=told, timeout=60), status)

    def get(self, path: str, status: int = 200, url: str | None = None, **options: Any) -> Any:
        return answered(requests.get((url or self.url) + path, timeout=60, **options), status)

    def ended(self, result_url: str) -> Any:
        """What is at a resultUrl once the call has ended, as the orchestrator asks for it."""
        for _ in range(10):
            answer = requests.get(result_url, timeout=60)
            if answer.status_code != 404:
                return answered(answer)
            time.sleep(0.2)
        raise AssertionError(f"nothing at {result_url}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    built(HOST)
    folder = tmp_path_factory.mktemp("fleet")
    a, b = start_node(HOST, "--ep", "a"), start_node(HOST, "--ep", "b")
    node_ports = f"{FIRST_PORT}-{FIRST_PORT + 3}"
    options = ("--http", "127.0.0.1:0", "--wasmiot", "127.0.0.1:0", "--wasmiot-nodes", node_ports)
    first, second = next(a), next(b)
    with file_server() as files, fleet_server(folder / "fleet.db", *options) as server:
        for node in (first, second):
            assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        nodes = {name: f"http://127.0.0.1:{FIRST_PORT + index}" for index, name in enumerate("ab")}
        for name, url in nodes.items():
            _until(lambda url=url: requests.get(url + "/health", timeout=10).status_code == 200, name)
        files.put("/fibo.wasm", wat(FIBO))
        files.put("/turn.wasm", wat(TURN))
        files.put("/camera.wasm", wat(CAMERA))
        yield World(server, files, server.started["wasmiot"], nodes)
    for node in (a, b):
        next(node, None)


def _until(true: Any, what: str) -> None:
    for _ in range(100):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError(what)


# ---- what it is ----


def test_descriptions_and_health_are_those_of_the_nodes(world: World) -> None:
    fleet = world.get("/.well-known/wasmiot-device-description")
    node = world.get("/.well-known/wasmiot-device-description", url=world.nodes["a"])
    assert node["platform"]["cpu"] == {"humanReadableName": "x86_64", "clockSpeed": {"Hz": None}}
    assert fleet["platform"]["memory"]["bytes"] == 2 * node["platform"]["memory"]["bytes"] > 0
    assert {"input", "output"} <= set(node["supervisorInterfaces"])
    assert world.get("/nodes/a/.well-known/wasmiot-device-description") == node
    health = requests.get(world.nodes["a"] + "/health", timeout=10)
    assert health.headers["Custom-Orchestrator-Set"] in ("true", "false")
    assert 0 <= health.json()["memoryUsage"] < 1 and health.json()["cpuUsage"] is None
    whole = world.get("/health")
    assert 0 <= whole["cpuUsage"] <= 100 and 0 < whole["memoryUsage"] < 1
    thing = world.get("/.well-known/wot-thing-description", url=world.nodes["a"])
    assert thing["title"] == "a" and thing["@type"] == "Thing"
    answered(requests.get(f"http://127.0.0.1:{FIRST_PORT + 3}/health", timeout=10), 404)


def test_register_sets_the_orchestrator_of_one_device(world: World) -> None:
    def is_set(url: str) -> str:
        return requests.get(url + "/health", timeout=10).headers["Custom-Orchestrator-Set"]

    url = world.nodes["b"]
    assert is_set(url) == "false"
    for told, said in ({}, "No url found"), ({"url": "nonsense"}, "Orchestrator url is invalid"):
        found = answered(requests.post(url + "/register", json=told, timeout=10), 404)
        next_step = 'send {"url": "http://HOST:PORT"}'
        assert found == {"status": "error", "result": said, "next_step": next_step}
    told = {"url": "http://127.0.0.1:3000"}
    assert answered(requests.post(url + "/register", json=told, timeout=10)) == {"status": "success"}
    assert (is_set(url), is_set(world.nodes["a"])) == ("true", "false")


# ---- the README's deployment, in both forms ----


@pytest.mark.parametrize("form", ["readme", "today"])
@pytest.mark.parametrize("device", ["fleet", "a"])
def test_fibo_of_12_is_233(world: World, form: str, device: str) -> None:
    url = world.url if device == "fleet" else world.nodes[device]
    id = f"fibo-{form}-{device}"
    binary = world.files.url + "/fibo.wasm"
    if form == "readme":
        told = readme_body(id, "fiboMod", "fibo", binary)
    else:
        described = endpoint(url, id, "fiboMod", "fibo", parameters=("iterations",))
        told = body(id, "fiboMod", "fibo", binary, described)
    assert world.deploy(told, url) == {"status": "success"}

    made = world.get(f"/{id}/modules/fiboMod/fibo?iterations=12", url=url)
    assert made["resultUrl"].startswith(f"{url}/request-history/{id}:fiboMod:fibo:")
    entry = world.get("", url=made["resultUrl"])
    assert entry["result"] == (233 if form == "readme" else ["233", None])
    assert entry["success"] is True and entry["request_args"] == {"iterations": "12"}
    assert entry["work_queued_at"].endswith(" GMT") and entry["method"] == "GET"
    assert set(entry) == {
        "deployment_id", "function_name", "method", "module_name", "request_args", "request_files", "request_id",
        "result", "success", "work_queued_at",
    }  # fmt: skip

    queued = answered(
        requests.post(
            f"{url}/{id}/modules/fiboMod/fibo?iterations=7",
            data="[object Object]",
            headers={"Content-Type": "text/plain;charset=UTF-8"},
            timeout=60,
        )
    )
    again = world.ended(queued["resultUrl"])
    assert (again["result"], again["method"]) == (21 if form == "readme" else ["21", None], "POST")
    history = [found for found in world.get("/request-history", url=url) if found["deployment_id"] == id]
    assert history == [entry, again]

    assert answered(requests.delete(f"{url}/deploy/{id}", timeout=60)) == {"status": "success"}
    gone = {"status": "error", "result": "deployment does not exist", "next_step": "POST /deploy makes one"}
    assert answered(requests.delete(f"{url}/deploy/{id}", timeout=60), 404) == gone
    assert world.get(f"/{id}/modules/fiboMod/fibo?iterations=12", 404, url) == gone
    assert world.get("", url=made["resultUrl"]) == entry  # the history stays


def deployed(world: World, id: str, function: str, **options: Any) -> str:
    """A function of the module `fibo` on the whole fleet; the path to call it."""
    described = endpoint(world.url, id, "fibo", function, **options)
    world.deploy(body(id, "fibo", function, world.files.url + "/fibo.wasm", described))
    return f"/{id}/modules/fibo/{function}"


@pytest.mark.parametrize(
    ("function", "parameters", "query", "result"),
    [
        ("divide", ("a", "b"), "a=84&b=2", "42"),
        ("divide", ("a", "b"), "b=2&a=84", "42"),  # by their names
        ("divide", ("a", "b"), "x=84&y=2", "42"),  # or in order
        ("divide", ("a", "b"), "a=84&b=2&c=9", "42"),  # more are left out
        ("divide", ("a", "b"), "a=%2084&b=-2", "-42"),
        ("half", ("x",), "x=5", "2.5"),
        ("answer", (), "", "42"),
        ("nothing", ("x",), "x=1", "null"),
    ],
)
def test_arguments_and_results(
    world: World, function: str, parameters: tuple[str, ...], query: str, result: str
) -> None:
    path = deployed(world, f"values-{function}", function, parameters=parameters)
    made = world.get(f"{path}?{query}")
    assert world.get("", url=made["resultUrl"])["result"] == [result, None]


def test_a_file_goes_in_and_a_file_comes_out(world: World) -> None:
    described = endpoint(
        world.url, "files", "turn", "turn", method="post", parameters=(), files=("in.txt",),
        media_type="application/octet-stream",
    )  # fmt: skip
    mounts = {"execution": ["in.txt"], "output": ["out.txt"]}
    world.deploy(body("files", "turn", "turn", world.files.url + "/turn.wasm", described, mounts=mounts))
    url = f"{world.url}/files/modules/turn/turn"
    made = answered(requests.post(url, files={"in.txt": b"wasm IOT"}, timeout=60))
    entry = world.ended(made["resultUrl"])
    assert (entry["result"], entry["request_files"]) == ([None, ["out.txt"]], {"in.txt": "in.txt"})
    for path in ("/module_results/turn/out.txt", "/files/modules/turn/turn/out.txt"):
        assert requests.get(world.url + path, timeout=60).content == b"WASM\x00iot"
    assert "other" in answered(requests.post(url, files={"other": b"x"}, timeout=60), 400)["result"]
    assert "in.txt" in answered(requests.post(url, timeout=60), 400)["result"]
    world.get("/module_results/turn/none", 404)


def test_a_file_that_comes_with_the_deployment_is_the_input(world: World) -> None:
    given = world.files.put("/model.bin", b"MODEL")
    described = endpoint(
        world.url, "model", "turn", "turn", parameters=(), media_type="application/octet-stream"
    )
    mounts = {"deployment": ["model.bin"], "output": ["out.txt"]}
    binary = world.files.url + "/turn.wasm"
    world.deploy(body("model", "turn", "turn", binary, described, mounts=mounts, other={"model.bin": given}))
    world.get("/model/modules/turn/turn")
    assert requests.get(world.url + "/module_results/turn/out.txt", timeout=60).content == b"model"


# ---- chains ----


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_chain_of_two_nodes_gives_the_second_ones_result(world: World, method: str) -> None:
    id, binary = f"chain-{method}", world.files.url + "/fibo.wasm"
    first = endpoint(world.nodes["a"], id, "fibo", "fibo", method=method)
    second = endpoint(world.nodes["b"], id, "fibo", "fibo", method=method)
    world.deploy(body(id, "fibo", "fibo", binary, first, to=second), world.nodes["a"])
    world.deploy(body(id, "fibo", "fibo", binary, second), world.nodes["b"])
    path = f"{world.nodes['a']}/{id}/modules/fibo/fibo?param0=5"
    made = answered(requests.request(method, path, timeout=60))
    entry = world.ended(made["resultUrl"])
    assert entry["result"].startswith(f"{world.nodes['b']}/request-history/{id}:fibo:fibo:")
    assert world.ended(entry["result"])["result"] == ["34", None]  # fibo(5) is 8, fibo(8) is 34


def test_a_chain_ends_with_the_next_devices_reason(world: World) -> None:
    lost = endpoint(world.url, "nowhere", "fibo", "fibo")
    first = endpoint(world.url, "broken", "fibo", "fibo")
    world.deploy(body("broken", "fibo", "fibo", world.files.url + "/fibo.wasm", first, to=lost))
    said = world.get("/broken/modules/fibo/fibo?param0=5", 400)
    assert "answered 404: deployment does not exist" in said["result"]
    entry = answered(requests.get(said["resultUrl"], timeout=60), 500)
    assert entry["success"] is False and "deployment does not exist" in entry["result"]


def test_a_chain_that_calls_itself_ends(world: World) -> None:
    described = endpoint(world.url, "circle", "fibo", "fibo")
    told = body("circle", "fibo", "fibo", world.files.url + "/fibo.wasm", described, to=described)
    world.deploy(told)
    said = requests.get(world.url + "/circle/modules/fibo/fibo?param0=1", timeout=60)
    assert said.status_code == 400 and "calls led to it" in said.json()["result"]


# ---- what fails, fails when it is asked for ----


def test_calls_that_cannot_be_done_say_why_at_once(world: World) -> None:
    path = deployed(world, "errors", "divide", parameters=("a", "b"))
    for query, status, why in (
        ("a=1", 400, "takes 2 arguments, got 1"),
        ("", 400, "missing: a, b"),
        ("a=1&b=two", 400, "two"),
        ("a=1&b=2.5", 400, "2.5"),
        ("a=1&b=99999999999", 400, "99999999999"),
        ("a=1&b=0", 500, "divide"),
    ):
        said = world.get(f"{path}?{query}", status)
        assert said["status"] == "error" and why in said["result"], said
    # A trap happened on the node, so that the history has it.
    entry = answered(requests.get(said["resultUrl"], timeout=60), 500)
    assert entry["success"] is False and "divide" in entry["result"]
    for where, why in (
        ("/none/modules/fibo/divide", "deployment does not exist"),
        ("/errors/modules/none/divide", "module none not found for this deployment"),
        ("/errors/modules/fibo/none", "function none of module fibo not found"),
        ("/request-history/none", "no matching entry in history"),
        ("/request-history/errors:fibo:divide:1", "no matching entry in history"),
        ("/nothing", "there is nothing at /nothing"),
        ("/nodes/none/health", "there is no device 'none'"),
    ):
        said = world.get(where, 404)
        assert why in said["result"] and said["next_step"]
    assert answered(requests.put(world.url + "/deploy", timeout=10), 405)["next_step"]
    said = answered(requests.get(world.url + "/execute/m", timeout=10), 405)
    assert said["errorText"] == "GET is not done at /execute/m" and said["next_step"]
    assert answered(requests.post(world.url + "/register", json={}, timeout=10), 404)["next_step"]
    assert (
        "has no members" in answered(requests.post(world.url + "/deploy", json={}, timeout=10), 400)["result"]
    )


@pytest.mark.parametrize(
    ("change", "status", "why"),
    [
        (None, 400, "Non-existent or malformed"),
        ({"modules": []}, 400, "No modules listed"),
        ({"modules": "x"}, 400, "'modules' is not a list"),
        ({"deploymentId": "a/b"}, 400, "deploymentId"),
        ({"deploymentId": None}, 400, "'deploymentId' is missing"),
        ({"instructions": {}}, 400, "instructions.modules"),
        ({"endpoints": {}}, 400, "endpoints.fibo.fibo"),
        ({"binary": "/nothing.wasm"}, 502, "the answer was 404"),
        ({"binary": "ftp://127.0.0.1/x"}, 422, "does not begin with http"),
        ({"binary": "http://192.168.7.7/x"}, 422, "must not be reached"),
        ({"binary": "http://127.0.0.1:1/x"}, 502, "cannot be reached"),
        ({"binary": "/junk.wasm"}, 422, "not a WebAssembly module"),
        ({"binary": "/large.wasm"}, 502, "more than 1048576 bytes"),
        ({"binary": "/away.wasm"}, 422, "redirects to another host"),
        ({"binary": "/camera.wasm"}, 422, "no function 'fibo'"),
        ({"function": "take", "binary": "/camera.wasm"}, 409, "does not offer camera"),
        ({"function": "divide"}, 422, "described with 1 parameters"),
        ({"mounts": ["a.bin"]}, 422, "takes and gives numbers"),
    ],
)
def test_deployments_that_cannot_run_are_refused_with_the_reason(
    world: World, change: dict[str, Any] | None, status: int, why: str
) -> None:
    world.files.put("/junk.wasm", b"\0asm junk")
    world.files.put("/large.wasm", b"x", Content_Length=str(2 << 20))
    world.files.put("/away.wasm", b"", 302, Location="http://127.0.0.2:9/x")
    if change is None:
        assert why in answered(requests.post(world.url + "/deploy", timeout=10), status)["result"]
        return
    function, path = change.pop("function", "fibo"), change.pop("binary", "/fibo.wasm")
    binary = world.files.url + path if path.startswith("/") else path
    described = endpoint(world.url, "bad", "fibo", function)
    mounts = {"execution": change.pop("mounts")} if isinstance(change.get("mounts"), list) else None
    told = body("bad", "fibo", function, binary, described, mounts=mounts) | change
    said = world.deploy(told, status=status)
    assert said["status"] == "error" and why in said["result"], said
    world.get("/bad/modules/fibo/fibo?param0=1", 404)


def test_a_module_that_opens_files_is_refused(world: World) -> None:
    world.files.put("/opens.wasm", wat(OPENS))
    described = endpoint(world.url, "opens", "turn", "turn", parameters=(), files=("in.txt",), method="post")
    mounts = {"execution": ["in.txt"]}
    told = body("opens", "turn", "turn", world.files.url + "/opens.wasm", described, mounts=mounts)
    assert "opens its files by WASI" in world.deploy(told, status=422)["result"]


def test_a_deployment_is_replaced_and_survives_a_refused_one(world: World) -> None:
    path = deployed(world, "again", "fibo")
    refused = body(
        "again", "fibo", "no", world.files.url + "/fibo.wasm", endpoint(world.url, "again", "fibo", "no")
    )
    world.deploy(refused, status=422)
    assert world.get("", url=world.get(path + "?param0=12")["resultUrl"])["result"] == ["233", None]
    deployed(world, "again", "half")
    world.get(path + "?param0=12", 404)


def test_two_devices_have_their_own_deployments_of_one_id(world: World) -> None:
    binary = world.files.url + "/fibo.wasm"
    for name, function in (("a", "fibo"), ("b", "half")):
        described = endpoint(world.nodes[name], "same", "fibo", function)
        world.deploy(body("same", "fibo", function, binary, described), world.nodes[name])
    world.get("/same/modules/fibo/fibo?param0=3", url=world.nodes["a"])
    world.get("/same/modules/fibo/fibo?param0=3", 404, world.nodes["b"])
    answered(requests.delete(world.nodes["a"] + "/deploy/same", timeout=60))
    world.get("/same/modules/fibo/half?param0=3", url=world.nodes["b"])


def test_a_chain_whose_server_is_killed_is_not_sent_twice(tmp_path: Path) -> None:
    running = start_node(HOST, "--ep", "n")
    node = next(running)
    options = ("--http", "127.0.0.1:0", "--wasmiot")
    with file_server() as files:
        files.put("/fibo.wasm", wat(FIBO))
        files.put("/slow/1/modules/next/next", b"{}")
        to = endpoint(files.url, "1", "next", "next", method="post") | {"path": "/slow/1/modules/next/next"}
        with fleet_server(tmp_path / "fleet.db", *options, "127.0.0.1:0") as server:
            assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
            url = server.started["wasmiot"]
            _until(lambda: requests.get(url + "/health", timeout=10).status_code == 200, "the node")
            described = endpoint(url, "1", "fibo", "fibo", method="post")
            told = body("1", "fibo", "fibo", files.url + "/fibo.wasm", described, to=to)
            answered(requests.post(url + "/deploy", json=told, timeout=60))
            made = answered(requests.post(f"{url}/1/modules/fibo/fibo?param0=12", timeout=60))
            _until(lambda: files.asked[-1][1].endswith("?param0=233"), "the next call")
            # It has no result yet, and says so as wasmiot does.
            answered(requests.get(made["resultUrl"], timeout=60), 404)
            server.process.kill()
            server.process.wait()
        with fleet_server(tmp_path / "fleet.db", *options, url.partition("://")[2]):
            for _ in range(20):
                answer = requests.get(made["resultUrl"], timeout=60)
                if answer.status_code != 404:
                    break
            assert answer.status_code == 500 and "may have run" in answer.json()["result"], answer.text
            files.go_on.set()
        assert sum(path.startswith("/slow") for _, path, _, _ in files.asked) == 1
    next(running, None)
