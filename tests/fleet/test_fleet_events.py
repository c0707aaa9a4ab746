"""Nodes that register with the server itself, and what happens to them: as server-sent events, as a list, by CoAP and
on the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
import requests
from fleet_server import FleetServer, fleet_server
from support import HOST, RunningNode, built, start_node

from wasmote.adapters.coap import CoapClient, parse_address
from wasmote.errors import ExitCode
from wasmote.protocol import links, messages
from wasmote.protocol.messages import Request
from wasmote_fleet.gateway.http.events import WATCHERS

pytestmark = pytest.mark.slow
FORMAT_JSON = 50


def shared(data: Path) -> contextlib.AbstractContextManager[FleetServer]:
    return fleet_server(data / "fleet.db", "--beat", "0.4")


def registered(server: FleetServer, ep: str, *options: str) -> contextlib.AbstractContextManager[RunningNode]:
    """A node that nobody adopts: it registers by itself."""
    built(HOST)
    start = contextlib.contextmanager(start_node)
    return start(HOST, "--ep", ep, "--register", server.coap, *options)


class Stream:
    """Server-sent events as a client reads them."""

    def __init__(self, server: FleetServer, query: str = "", **headers: str) -> None:
        self.response = requests.get(
            f"{server.http}/api/v1/events{query}", headers=headers, stream=True, timeout=30
        )
        assert self.response.status_code == 200, self.response.text
        assert self.response.headers["content-type"].startswith("text/event-stream")
        self._lines = self.response.iter_lines(chunk_size=1)
        assert next(self._lines).startswith(b":")

    def events(self) -> Iterator[dict[str, Any]]:
        id = None
        for line in self._lines:
            if line.startswith(b"id:"):
                id = int(line[3:])
            elif line.startswith(b"data:"):
                event = json.loads(line[5:])
                assert event["offset"] == id
                yield event

    def until(self, node: str, kind: str) -> dict[str, Any]:
        return next(event for event in self.events() if (event["node"], event["kind"]) == (node, kind))

    def close(self) -> None:
        self.response.close()


def listed(server: FleetServer, query: str = "") -> list[dict[str, Any]]:
    answer = server.request("GET", f"/api/v1/events?wait=false{query}")
    assert answer.status_code == 200, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


def eventually(true: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_registers_with_the_server_lives_and_dies(tmp_path: Path) -> None:
    with shared(tmp_path) as server:
        stream = Stream(server)
        with registered(server, "r") as node:
            joined = stream.until("r", "joined")
            assert joined["cause"] == "registered"
            stream.until("r", "up")
            shown = server.request("GET", "/api/v1/nodes/r").json()
            assert (shown["uri"], shown["state"]) == (node.uri, "up")
            assert shown["registered"] and not shown["adopted"] and shown["imports"][0] == "wasmote"
            assert shown["server"] == server.request("GET", "/api/v1/status").json()["server"]
            assert server.cli("publish", "fib").returncode == 0
            assert server.cli("push", "r", "fib").returncode == 0
            assert json.loads(server.cli("call", "r", "fib", "20").stdout)["value"] == 6765
        stream.until("r", "silent")
        down = stream.until("r", "down")
        stream.close()
        kinds = [event["kind"] for event in listed(server) if event["node"] == "r"]
        assert kinds == ["joined", "up", "silent", "down"]
        status = server.request("GET", "/api/v1/status").json()
        assert status["nodes"] == 1 and status["states"]["down"] == 1
        # One who was cut off says what it saw last.
        again = Stream(server, "?after=0", **{"Last-Event-ID": str(joined["offset"])})
        assert [next(again.events())["kind"] for _ in range(3)] == ["up", "silent", "down"]
        again.close()
        assert [event["kind"] for event in listed(server, "&after=0&limit=2")] == ["joined", "up"]
        assert [event["kind"] for event in listed(server, "&limit=1")] == ["down"]
        assert listed(server, f"&after={down['offset']}") == []
        rows = json.loads(server.cli("nodes").stdout)
        assert [(row["id"], row["state"]) for row in rows] == [("r", "down")]


def test_a_registration_ends_and_the_node_leaves(tmp_path: Path) -> None:
    with shared(tmp_path) as server:
        with registered(server, "r", "--lifetime", "2"):
            Stream(server, "?after=0").until("r", "up")
        Stream(server, "?after=0").until("r", "left")
        assert server.request("GET", "/api/v1/nodes/r").json()["state"] == "left"
        answer = server.request("GET", "/api/v1/nodes/r/functions")
        assert answer.status_code == 502 and "left the fleet" in answer.text


def test_labels_and_beat_of_a_node(tmp_path: Path) -> None:
    built(HOST)
    start = contextlib.contextmanager(start_node)
    with shared(tmp_path) as server, start(HOST, "--ep", "n") as node:
        wanted = {"uri": node.uri, "labels": {"room": "1"}}
        adopted = server.request("POST", "/api/v1/nodes", json=wanted)
        assert adopted.json()["labels"] == {"room": "1"} and adopted.json()["beat_s"] == 0.4
        changed = server.request("PATCH", "/api/v1/nodes/n", json={"labels": {"floor": "2"}, "beat_s": 2})
        assert changed.status_code == 200
        assert (changed.json()["labels"], changed.json()["beat_s"]) == ({"floor": "2"}, 2)
        for body, word in (
            ({"labels": {"a": 1}}, "no text"),
            ({"labels": []}, "wrong type"),
            ({"labels": {"": "x"}}, "no label"),
            ({"labels": {str(n): "x" for n in range(65)}}, "too many"),
            ({"beat_s": 0}, "no beat"),
            ({"beat_s": 10**400}, "no beat"),
            ({"beat": 1}, "unknown member"),
        ):
            refused = server.request("PATCH", "/api/v1/nodes/n", json=body)
            assert refused.status_code == 422 and word in refused.text, refused.text
        assert server.request("PATCH", "/api/v1/nodes/m", json={}).status_code == 404
        done = server.cli("nodes", "n", "--label", "room=3", "--label", "floor=", "--beat", "5")
        assert done.returncode == 0, done.stderr
        shown = server.request("GET", "/api/v1/nodes/n").json()
        assert (shown["labels"], shown["beat_s"]) == ({"room": "3"}, 5)
        assert server.cli("nodes", "--beat", "5").returncode == ExitCode.USAGE


def test_what_is_refused(tmp_path: Path) -> None:
    with shared(tmp_path) as server:
        for query in ("?after=-1", "?after=x", "?wait=maybe", "?limit=5", "?wait=false&limit=0", "?x=1"):
            answer = server.request("GET", f"/api/v1/events{query}")
            assert answer.status_code == 400 and answer.json()["next_step"], query
        wrong = server.request("GET", "/api/v1/events", headers={"Last-Event-ID": "x"})
        assert wrong.status_code == 400
        streams = [Stream(server) for _ in range(WATCHERS)]
        refused = server.request("GET", "/api/v1/events")
        assert refused.status_code == 503 and "retry-after" in refused.headers
        assert listed(server) == []
        for stream in streams[:5]:
            stream.close()
        eventually(lambda: server.request("HEAD", "/api/v1/events").status_code == 200)
        with contextlib.ExitStack() as stack:
            eventually(lambda: _opens(server, stack))
        # Those that are open do not keep the server from stopping.
        began = time.monotonic()
        server.tell(signal.SIGTERM)
        assert server.end() == ""
        assert time.monotonic() - began < 10
        for stream in streams[5:]:
            assert list(stream.events()) == []


def _opens(server: FleetServer, stack: contextlib.ExitStack) -> bool:
    answer = requests.get(f"{server.http}/api/v1/events", stream=True, timeout=30)
    stack.callback(answer.close)
    return answer.status_code == 200


async def test_events_by_coap(tmp_path: Path) -> None:
    with shared(tmp_path) as server:
        host, port = parse_address(server.coap, 5683)
        async with CoapClient(host, port) as client:

            async def get(*query: str, accept: int | None = None) -> Any:
                request = Request(messages.GET, ("events",), query=query, accept=accept)
                return await client.request(request, repeatable=True)

            core = await client.request(Request(messages.GET, (".well-known", "core")), repeatable=True)
            found = {link.target: link.attributes for link in links.parse(core.payload.decode())}
            assert {"/events", "/functions", "/rd", "/rd-lookup/ep", "/rd-lookup/res"} <= set(found)
            assert "obs" in found["/events"] and found["/rd"]["rt"] == "core.rd"
            empty = await get()
            assert (empty.code, cbor2.loads(empty.payload)) == (messages.CONTENT, {})
            kinds = []
            observed = client.observe(Request(messages.GET, ("events",), accept=FORMAT_JSON))
            async with contextlib.aclosing(observed):
                first = await anext(observed)
                assert (first.content_format, json.loads(first.payload)) == (FORMAT_JSON, {})
                with registered(server, "r"):
                    async for reply in observed:
                        kinds.append(json.loads(reply.payload)["kind"])
                        if kinds[-1] == "up":
                            break
            # States may be skipped, but the list has them all.
            assert kinds in (["joined", "up"], ["up"])
            after = cbor2.loads((await get("after=0")).payload)
            assert [event["kind"] for event in after][:2] == ["joined", "up"]
            assert cbor2.loads((await get(f"after={after[0]['offset']}")).payload)[0]["kind"] == "up"
            for wrong in ("after=x", "after=", "before=1"):
                assert (await get(wrong)).code == messages.BAD_REQUEST
            assert (await get(accept=40)).code == messages.NOT_ACCEPTABLE


def test_the_command_follows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "wasmote", "--json", "fleet", "events", "-f", "--after", "0"]
    with shared(tmp_path) as server:
        variables = {**os.environ, "WASMOTE_FLEET": server.http}
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
        ) as process:
            assert process.stdout is not None
            with registered(server, "r"):
                kinds = [json.loads(process.stdout.readline())["kind"] for _ in range(2)]
            assert kinds == ["joined", "up"]
            process.send_signal(signal.SIGINT)
            _out, err = process.communicate(timeout=20)
            assert process.returncode == ExitCode.INTERRUPTED, err
        shown = json.loads(server.cli("events", "-n", "1", "--after", "0").stdout)
        assert [event["kind"] for event in shown] == ["joined"]
        assert server.cli("events", "-f", "-n", "1").returncode == ExitCode.USAGE
    gone = server.cli("events", "-f")
    assert gone.returncode == ExitCode.UNREACHABLE
