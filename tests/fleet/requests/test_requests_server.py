"""Requests at a real server process: by HTTP and CoAP, with a deployment, and over kill -9."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cbor2
import pytest
from fleet_server import FleetServer, fleet_server
from nats_server import NatsServer
from requests_world import ECHO, MATHS, counter, module
from support import HOST, RunningNode, built, start_node

from wasmote.adapters.coap import CoapClient
from wasmote.errors import ExitCode
from wasmote.protocol import messages
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.push import PushRejected
from wasmote.protocol.target import parse_target
from wasmote_fleet.requests.context import Context

pytestmark = pytest.mark.slow
JOBS = 200
TURNS = 1_500_000  # of a loop: some 20 ms
PATIENCE_S = 90.0
NODES = "/api/v1/nodes"
D = "/api/v1/deployments/d"
BYTES = {"Content-Type": "application/octet-stream"}
SPEC = {
    "id": "d",
    "functions": [
        {"name": "counter", "nodes": ["a"]},
        {"name": "maths", "nodes": ["b", "a"], "count": 2},
        {"name": "echo", "nodes": ["b"]},
    ],
    "chains": [
        {"name": "aba", "steps": ["counter/spin", "maths/twice", "counter/count"]},
        {"name": "text", "steps": ["maths/pair", "echo"]},
    ],
}


@pytest.fixture(scope="module")
def nodes() -> Iterator[list[RunningNode]]:
    built(HOST)
    first, second = start_node(HOST, "--ep", "a"), start_node(HOST, "--ep", "b")
    found = [next(first), next(second)]
    yield found
    for each in (first, second):
        next(each, None)


@pytest.fixture(scope="module")
def server(nodes: list[RunningNode], tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetServer]:
    """A server with the deployment `d` on the nodes a and b."""
    with fleet_server(tmp_path_factory.mktemp("fleet") / "fleet.db") as server:
        prepare(server, nodes)
        made = server.request("PUT", D, json=SPEC)
        assert made.status_code == 201, made.text
        settled = server.request("GET", f"{D}/progress?wait_s=60").json()
        assert settled["phase"] == "ready", settled
        yield server


def prepare(server: FleetServer, nodes: list[RunningNode]) -> None:
    for each in nodes:
        assert server.request("POST", NODES, json={"uri": each.uri}).status_code in (200, 201)
    for name, data in (
        ("counter", counter()),
        ("maths", module(MATHS, "maths")),
        ("echo", module(ECHO, "echo")),
    ):
        put = server.request(
            "PUT", f"/api/v1/functions/{name}", data=data, headers={"Content-Type": "application/wasm"}
        )
        assert put.status_code in (200, 201), put.text


def ended(server: FleetServer, rid: str) -> dict[str, Any]:
    end = time.monotonic() + PATIENCE_S
    while True:
        found: dict[str, Any] = server.request("GET", f"/api/v1/requests/{rid}?wait_s=20").json()
        if found["state"] not in ("queued", "running") or time.monotonic() > end:
            return found


def problem(answer: Any, status: int, kind: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.json()["type"].endswith(f"/{kind}"), answer.text


# ---- HTTP ----


def test_a_deployments_function_at_once(server: FleetServer) -> None:
    answer = server.request("POST", f"{D}/functions/maths/twice", json=[21])
    assert answer.status_code == 200 and answer.json()["value"] == 42
    data = bytes(range(256))
    answer = server.request("POST", f"{D}/functions/echo", data=data, headers=BYTES)
    assert answer.status_code == 200 and answer.content == data
    problem(server.request("POST", "/api/v1/deployments/x/functions/y"), 404, "unknown-deployment")
    problem(server.request("POST", f"{D}/functions/y"), 404, "unknown-target")
    problem(server.request("POST", f"{D}/functions/maths/none"), 404, "unknown-target")
    problem(server.request("POST", f"{D}/functions/maths/twice", json=[]), 422, "input")
    problem(server.request("POST", f"{D}/functions/echo", json=[1]), 415, "wrong-body")
    problem(server.request("POST", f"{D}/functions/maths/trap", json=[1]), 500, "trap")


def test_queued_and_read_back(server: FleetServer) -> None:
    for options in ({"path": "?queued=true"}, {"path": "", "headers": {"Prefer": "respond-async, wait=1"}}):
        path = f"{D}/functions/maths/pair{options.pop('path')}"
        accepted = server.request("POST", path, json=[3], **options)
        assert accepted.status_code == 202, accepted.text
        assert accepted.headers["preference-applied"] == "respond-async"
        where = accepted.headers["location"]
        found = ended(server, accepted.json()["id"])
        assert where == f"/api/v1/requests/{found['id']}"
        assert found["state"] == "done" and found["result"]["value"] == [3, 4] and found["error"] is None
        assert [(hop["node"], hop["outcome"]) for hop in found["hops"]] == [("b", "done")]
        assert server.request("GET", f"{where}/result").json()["value"] == [3, 4]
        assert server.request("DELETE", where).status_code == 204
        problem(server.request("GET", where), 404, "unknown-request")


def test_a_chain_at_once_and_queued(server: FleetServer) -> None:
    answer = server.request("POST", f"{D}/chains/text", json=[3])
    assert answer.status_code == 200 and answer.content == b"[3,4]"
    found = server.request("GET", answer.headers["location"]).json()
    assert found["target"] == {"deployment": "d", "chain": "text"} and found["steps"] == [
        "maths/pair",
        "echo",
    ]
    assert [hop["function"] for hop in found["hops"]] == ["maths/pair", "echo/echo"]
    assert found["result"] == {
        "bytes": 5,
        "href": answer.headers["location"] + "/result",
        "ms": found["result"]["ms"],
    }
    accepted = server.request("POST", f"{D}/chains/aba?queued=true", json=[100])
    assert [hop["node"] for hop in ended(server, accepted.json()["id"])["hops"]] == ["a", "b", "a"]
    problem(server.request("POST", f"{D}/chains/none"), 404, "unknown-target")


def test_a_chain_that_never_fits_is_not_admitted(server: FleetServer) -> None:
    spec = {**SPEC, "id": "e", "chains": [{"name": "no", "steps": ["maths/half", "maths/twice"]}]}
    refused = server.request("PUT", "/api/v1/deployments/e", json=spec)
    assert refused.status_code in (409, 422), refused.text
    assert "result 1 is f64, the parameter i32" in refused.text


def test_the_error_of_a_request_is_its_result(server: FleetServer) -> None:
    accepted = server.request("POST", f"{D}/functions/maths/trap?queued=true", json=[1])
    found = ended(server, accepted.json()["id"])
    assert found["state"] == "failed" and found["error"]["type"].endswith("/trap")
    assert found["error"]["node"]["trap"] == "unreachable"
    problem(server.request("GET", f"/api/v1/requests/{found['id']}/result"), 500, "trap")


def test_cancel_by_http(server: FleetServer) -> None:
    accepted = server.request("POST", f"{D}/functions/counter/once?queued=true&id=stop", json=[200_000_000])
    assert accepted.json()["id"] == "stop"
    problem(server.request("GET", "/api/v1/requests/stop/result"), 409, "not-finished")
    cancelled = server.request("DELETE", "/api/v1/requests/stop")
    assert cancelled.status_code == 200 and cancelled.json()["state"] == "cancelled"
    problem(server.request("GET", "/api/v1/requests/stop/result"), 410, "cancelled")
    time.sleep(2)


def test_too_many_calls_at_once(server: FleetServer) -> None:
    """Each is done or refused with the time to try again; what was refused did not run."""
    before = server.request("POST", f"{D}/functions/counter/get").json()["value"]
    with ThreadPoolExecutor(60) as pool:
        asked = [
            pool.submit(server.request, "POST", f"{D}/functions/counter/once", json=[TURNS * 4])
            for _ in range(60)
        ]
        answers = [each.result() for each in asked]
    done = [each for each in answers if each.status_code == 200]
    refused = [each for each in answers if each.status_code != 200]
    assert done and refused
    for each in refused:
        problem(each, 429, "no-place")
        assert int(each.headers["retry-after"]) > 0
    assert server.request("POST", f"{D}/functions/counter/get").json()["value"] == before + len(done)


def test_wrong_queries(server: FleetServer) -> None:
    for query in ("limit=0", "limit=x", "limit=nan", "state=x", "before=a/b", "other=1"):
        assert server.request("GET", f"/api/v1/requests?{query}").status_code in (400, 422), query
    path = f"{D}/functions/maths/twice"
    for query in ("queued=yes", "timeout_s=0", "id=x", "timeout_s=301"):
        assert server.request("POST", f"{path}?{query}", json=[1]).status_code == 400, query
    assert server.request("POST", f"{path}?queued=true&timeout_s=3600", json=[1]).status_code == 202
    problem(server.request("POST", f"{path}?queued=true", json=[]), 422, "input")


# ---- CoAP ----


def ask(
    server: FleetServer, *path: str, query: tuple[str, ...], payload: bytes, ct: int | None = None
) -> Reply:
    async def post() -> Reply:
        target = parse_target(server.coap)
        async with CoapClient(target.host, target.port) as client:
            request = Request(messages.POST, ("rpc", *path), payload, query=query, content_format=ct)
            try:
                return await client.request(request, repeatable=False)
            except PushRejected as refused:
                return refused.reply

    return asyncio.run(post())


def test_a_node_asks_for_calls(server: FleetServer) -> None:
    before = server.request("POST", f"{D}/functions/counter/get").json()["value"]
    made = ask(server, "counter", "count", query=("from=a", "f=counter"), payload=b"[5]")
    assert (made.code, made.content_format) == (messages.CREATED, 0)
    first = ended(server, made.payload.decode())
    assert first["state"] == "done" and first["result"]["value"] == before + 5 and first["led_by"] == 0
    told = Context(7, time.time() + 30, first["id"]).text
    made = ask(server, "counter", "count", query=("from=b", f"x={told}"), payload=cbor2.dumps([6]), ct=60)
    second = ended(server, made.payload.decode())
    assert second["state"] == "done" and second["led_by"] == 7 and second["parent"] == first["id"]
    assert second["deadline_at"] < time.time() + 30
    made = ask(server, "text", query=("from=b",), payload=b"[1]")
    assert ended(server, made.payload.decode())["target"] == {"deployment": "d", "chain": "text"}
    assert server.request("POST", f"{D}/functions/counter/get").json()["value"] == before + 11


def test_what_a_node_may_not_ask(server: FleetServer) -> None:
    now = time.time()
    cases = [
        ((), "counter", b"", messages.BAD_REQUEST),
        (("from=a", "y=1"), "counter", b"", messages.BAD_REQUEST),
        (("from=a", "x=?"), "counter", b"", messages.BAD_REQUEST),
        (("from=a",), "counter", b"[1]", messages.NOT_FOUND),  # it has no default export
        (("from=nobody",), "counter", b"[1]", messages.FORBIDDEN),
        (("from=a",), "nothing", b"[1]", messages.NOT_FOUND),
        (("from=a", "f=nothing"), "counter", b"[1]", messages.NOT_FOUND),
        (("from=a",), "echo", bytes(64 * 1024 + 1), messages.TOO_LARGE),
        (("from=a", f"x={Context(17, now + 20, 'x').text}"), "counter", b"[1]", 0xA8),
        (("from=a", f"x={Context(1, now - 2, 'x').text}"), "counter", b"[1]", 0xA4),
    ]
    for query, name, payload, code in cases:
        reply = ask(server, name, query=query, payload=payload)
        assert reply.code == code, (query, name, reply)
        assert reply.content_format == messages.FORMAT_PROBLEM


# ---- the command line ----


def test_the_command_line(server: FleetServer, tmp_path: Path) -> None:
    def ok(*words: str) -> Any:
        done = server.cli(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert ok("call", "d:maths/twice", "-21")["value"] == -42
    assert ok("call", "a", "maths/twice", "21")["value"] == 42
    given, got = tmp_path / "in", tmp_path / "out"
    given.write_bytes(bytes(range(256)))
    assert ok("call", "d:echo", "--in", str(given), "--out", str(got))["bytes"] == 256
    assert got.read_bytes() == given.read_bytes()
    assert ok("call", "--chain", "d:text", "3")["text"] == "[3,4]"
    made = ok("call", "d:maths/pair", "3", "--queue", "--id", "by-hand")
    assert made["id"] == "by-hand"
    assert ok("history", "by-hand", "-f")["value"] == [3, 4]
    assert ok("history", "by-hand")["state"] == "done"
    assert "by-hand" in [each["id"] for each in ok("history", "--deployment", "d", "--state", "done")]
    assert ok("history", "by-hand", "--rm") == {"removed": "by-hand"}
    assert server.cli("history", "by-hand").returncode == ExitCode.USAGE
    trap = ok("call", "d:maths/trap", "1", "--queue")["id"]
    assert server.cli("history", trap, "-f").returncode == ExitCode.TRAP
    stop = ok("call", "d:counter/once", "200000000", "--queue")["id"]
    assert ok("history", stop, "--cancel")["state"] == "cancelled"
    for words in (("call", "d:"), ("call", "d"), ("call", "d", "x", "--chain"), ("call", "d:x", "--id", "i")):
        assert server.cli(*words).returncode == ExitCode.USAGE, words
    time.sleep(2)


def test_history_for_people(server: FleetServer) -> None:
    accepted = server.request("POST", f"{D}/chains/text?queued=true", json=[3])
    rid = ended(server, accepted.json()["id"])["id"]
    variables = {**os.environ, "WASMOTE_FLEET": server.http}
    command = [sys.executable, "-m", "wasmote", "fleet", "history"]
    shown = subprocess.run([*command, rid], capture_output=True, text=True, check=True, env=variables).stdout
    assert shown.startswith("d:text: done\n") and "maths/pair on b: done after" in shown
    assert "result    5 bytes" in shown
    listed = subprocess.run([*command, "-n", "1"], capture_output=True, text=True, check=True, env=variables)
    assert rid in listed.stdout and "d:text" in listed.stdout
    follow = [*command, "-f"]
    with subprocess.Popen(follow, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        seen = threading.Event()

        def keep_asking() -> None:
            # It shows what comes once it looks; when that is, nobody tells.
            while not seen.wait(1.0):
                server.request("POST", f"{D}/functions/maths/twice?queued=true", json=[4])

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(keep_asking)
            line = process.stdout.readline()
            seen.set()
            asking.result()
        process.send_signal(signal.SIGINT)
        assert "d:maths/twice" in line and line.rstrip().endswith(("queued", "running", "done: 8"))


# ---- kill -9 ----


def load(server: FleetServer, nodes: list[RunningNode]) -> list[str]:
    """200 jobs, each of some 20 ms, every second one not to be repeated; their ids. Each run counts: `tally` has the
    runs of those, `other` of the repeatable ones."""
    prepare(server, nodes)
    for name in ("tally", "other"):
        pushed = server.request("PUT", f"{NODES}/a/functions/{name}", json={"function": "counter"})
        assert pushed.ok, pushed.text
        assert runs(server, name) == 0  # a new instance

    def submit(number: int) -> str:
        path = f"{NODES}/a/functions/{'tally/once' if number % 2 else 'other/spin'}?queued=true&timeout_s=300"
        accepted = server.request("POST", path, json=[TURNS])
        assert accepted.status_code == 202, accepted.text
        return str(accepted.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(submit, range(JOBS)))


def runs(server: FleetServer, name: str) -> Any:
    return server.request("POST", f"{NODES}/a/functions/{name}/get").json()["value"]


def kill_in_the_middle(server: FleetServer) -> int:
    """kill -9; how many jobs were done by then."""
    while (finished := sum(each["state"] == "done" for each in listed(server))) < JOBS // 4:
        time.sleep(0.05)
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate()
    assert finished < JOBS * 3 // 4, "it was too quick to be killed in the middle"
    return finished


def all_ended_right(server: FleetServer, sent: list[str], finished: int) -> None:
    """Each has its right answer, or, where it began and may not be repeated, says that it may have run; and nothing of
    that kind ran twice, as the counter on the node shows."""
    found = [ended(server, rid) for rid in sent]
    states = [[each["state"] for each in found[kind::2]] for kind in (0, 1)]
    assert set(states[0]) == {"done"}, json.dumps([each for each in found[::2] if each["state"] != "done"])
    assert {each["result"]["value"] for each in found if each["state"] == "done"} == {7}
    done, maybe = states[1].count("done"), states[1].count("may-have-run")
    assert done + maybe == JOBS // 2, json.dumps(found[1::2])
    once, other = runs(server, "tally"), runs(server, "other")
    print(
        f"{finished} were done when it was killed. Not repeatable: {done} done, {maybe} may have run, {once} runs. "
        f"Repeatable: {JOBS // 2} done, {other} runs"
    )
    assert done <= once <= JOBS // 2 and other >= JOBS // 2
    sent_hops = [
        hop for each in found[1::2] for hop in each["hops"] if hop["outcome"] not in ("busy", "unreachable")
    ]
    assert len(sent_hops) == JOBS // 2


def test_a_server_killed_in_the_middle_of_200_jobs(nodes: list[RunningNode], tmp_path: Path) -> None:
    data = tmp_path / "fleet.db"
    with fleet_server(data) as server:
        sent = load(server, nodes)
        finished = kill_in_the_middle(server)
    with fleet_server(data) as server:
        all_ended_right(server, sent, finished)


def test_a_server_that_stops_in_the_middle_of_200_jobs(nodes: list[RunningNode], tmp_path: Path) -> None:
    """In order: what runs ends first, so no job is in doubt, and the next server has the others at once."""
    data = tmp_path / "fleet.db"
    with fleet_server(data) as server:
        sent = load(server, nodes)
        while (finished := sum(each["state"] == "done" for each in listed(server))) < JOBS // 4:
            time.sleep(0.05)
    with fleet_server(data) as server:
        all_ended_right(server, sent, finished)
        assert {ended(server, rid)["state"] for rid in sent} == {"done"}
        assert (runs(server, "tally"), runs(server, "other")) == (JOBS // 2, JOBS // 2)


def test_one_of_two_servers_killed_in_the_middle_of_200_jobs(
    nodes: list[RunningNode], nats_server: NatsServer
) -> None:
    """The other one takes the node over, and finishes the jobs, of which it had some from the beginning."""
    data = f"{nats_server.url}#t{secrets.token_hex(6)}"
    shared = ("--beat", "0.5", "--lease", "4")
    with (
        fleet_server(data, "--name", "one", *shared) as one,
        fleet_server(data, "--name", "two", *shared) as two,
    ):
        sent = load(one, nodes)
        finished = kill_in_the_middle(one)
        all_ended_right(two, sent, finished)


def listed(server: FleetServer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.request("GET", "/api/v1/requests?limit=200").json()["requests"]
    return found
