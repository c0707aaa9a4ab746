"""The fleet server by HTTP: a real server, a real host node, and every error with its status and text."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from fleet_server import FleetServer, fleet_server, run_cli
from support import HOST, RunningNode, built, start_node

from wasmote.adapters import apps, build
from wasmote.adapters.tools import need_tool
from wasmote.errors import ExitCode
from wasmote.protocol.section import Section, with_section
from wasmote_fleet.gateway.calls import AT_A_NODE, WAITING_AT_A_NODE
from wasmote_fleet.gateway.http.app import OPERATIONS
from wasmote_fleet.gateway.http.openapi.document import DOCUMENT
from wasmote_fleet.server.http import PATIENCE_S

pytestmark = pytest.mark.slow
MODULES = Path(__file__).resolve().parents[1] / "integration" / "modules"
PROBLEM = "application/problem+json"
SPIN = """(module (func (export "spin") (param $n i32) (result i32)
  (loop $again
    (local.set $n (i32.sub (local.get $n) (i32.const 1)))
    (br_if $again (i32.gt_s (local.get $n) (i32.const 0))))
  (i32.const 7)))"""


@functools.cache
def wat(source: str | Path, section: Section | None = None) -> bytes:
    """A module from its text or its file."""
    text = source if isinstance(source, str) else source.read_text()
    module = subprocess.run(
        [need_tool("wat2wasm"), "--output=-", "-"], input=text.encode(), capture_output=True, check=True
    ).stdout
    return module if section is None else with_section(module, section)


@functools.cache
def fib() -> bytes:
    return apps.load("fib").data


@pytest.fixture(scope="module")
def node() -> Iterator[RunningNode]:
    """Its name is `n`."""
    built(HOST, build.Variant(sanitize=True))
    yield from start_node(HOST, "--sanitize", "--ep", "n")


@pytest.fixture(scope="module")
def server(node: RunningNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetServer]:
    """A server with the node `n`, which has fib, echo, traps and spin."""
    with fleet_server(tmp_path_factory.mktemp("fleet") / "fleet.db") as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        for name, module in (
            ("fib", fib()),
            ("echo", wat(MODULES / "echo.wat", Section(name="echo", heap=0))),
            ("traps", wat(MODULES / "traps.wat", Section(name="traps", heap=0))),
            ("spin", wat(SPIN, Section(name="spin", fuel=1_000_000_000))),
        ):
            assert put(server, name, module).status_code == 201
            pushed = server.request("PUT", f"/api/v1/nodes/n/functions/{name}")
            assert pushed.status_code in (200, 201), pushed.text  # another test may have pushed it
        yield server


def put(server: FleetServer, name: str, module: bytes, query: str = "", **options: Any) -> Any:
    return server.request(
        "PUT",
        f"/api/v1/functions/{name}{query}",
        data=module,
        headers={"Content-Type": "application/wasm"},
        **options,
    )


def call(server: FleetServer, path: str, args: Any, **options: Any) -> Any:
    return server.request("POST", f"/api/v1/nodes/n/functions/{path}", json=args, **options)


def is_problem(response: Any, status: int, kind: str, *words: str) -> dict[str, Any]:
    """The problem document, with everything that it must have."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, Any] = response.json()
    assert body["type"] == f"tag:wasmote,2026:problem/{kind}" and body["status"] == status, body
    assert body["title"] and body["next_step"]
    for word in words:
        assert word in body["title"] + " " + body.get("detail", ""), body
    assert ("retry-after" in response.headers) == (status in (429, 503))
    return body


# ---- what it is for ----


def test_fib_by_http(server: FleetServer) -> None:
    answer = call(server, "fib/fib", [20])
    assert answer.status_code == 200 and answer.json()["value"] == 6765
    assert call(server, "fib", [20]).json()["value"] == 6765
    exports = server.request("GET", "/api/v1/nodes/n/functions/fib").json()["exports"]
    index = next(export["index"] for export in exports if export["name"] == "fib")
    assert call(server, f"fib/:{index}", ["0x14"]).json()["value"] == 6765


def test_i64_beyond_json_is_a_text(server: FleetServer) -> None:
    assert call(server, "fib/fib64", [70]).json()["value"] == 190392490709135
    assert call(server, "fib/fib64", [90]).json()["value"] == "2880067194370816120"
    assert call(server, "fib/fib64", [93]).json()["value"] == "-6246583658587674878"


def test_bytes_in_and_out(server: FleetServer) -> None:
    exports = server.request("GET", "/api/v1/nodes/n/functions/echo").json()["exports"]
    name = next(export["name"] for export in exports if export["kind"] == "bytes")
    sent = bytes(range(256)) * 3
    answer = server.request(
        "POST",
        f"/api/v1/nodes/n/functions/echo/{name}",
        data=sent,
        headers={"Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/octet-stream"
    assert answer.content == sent
    is_problem(call(server, f"echo/{name}", [1]), 415, "wrong-body", "takes bytes", "signature")


def test_what_the_repository_shows(server: FleetServer) -> None:
    listed = {
        found["name"]: found for found in server.request("GET", "/api/v1/functions").json()["functions"]
    }
    assert set(listed) >= {"fib", "echo", "traps", "spin"}
    shown = server.request("GET", "/api/v1/functions/fib").json()
    assert shown["version"] == "1.0.0" and shown["sha256"] == listed["fib"]["sha256"]
    assert {(e["name"], *e["params"], *e["results"], e["pure"]) for e in shown["module"]["exports"]} == {
        ("fib", "i32", "i32", True),
        ("fib64", "i32", "i64", True),
    }
    module = server.request("GET", "/api/v1/functions/fib/module")
    assert module.content == fib() and module.headers["content-type"] == "application/wasm"
    again = server.request(
        "GET", "/api/v1/functions/fib/module", headers={"If-None-Match": module.headers["etag"]}
    )
    assert again.status_code == 304 and again.content == b""
    imports = server.request("GET", "/api/v1/functions/echo").json()["module"]["imports"]
    assert ("wasmote", "input") in {(wanted["module"], wanted["name"]) for wanted in imports}


def test_versions_come_and_go(server: FleetServer) -> None:
    one, two = wat(SPIN), wat(SPIN.replace("i32.const 7", "i32.const 8"))
    assert put(server, "v", one, "?version=1").status_code == 201
    assert put(server, "v", one, "?version=1").status_code == 200
    is_problem(put(server, "v", two, "?version=1"), 409, "version-taken", "v 1 is there already")
    assert put(server, "v", two, "?version=2").status_code == 201
    assert (
        server.request("PUT", "/api/v1/nodes/n/functions/v", json={"version": "1"}).json()["version"] == "1"
    )
    assert call(server, "v", [1]).json()["value"] == 7
    replaced = server.request("PUT", "/api/v1/nodes/n/functions/v", json={"function": "v"})
    assert replaced.status_code == 200 and replaced.json()["version"] == "2"
    assert call(server, "v", [1]).json()["value"] == 8
    assert server.request("DELETE", "/api/v1/functions/v?version=2").status_code == 204
    assert server.request("GET", "/api/v1/functions/v").json()["version"] == "1"
    assert server.request("DELETE", "/api/v1/functions/v").status_code == 204
    is_problem(server.request("GET", "/api/v1/functions/v"), 404, "unknown-function", "'v'")
    assert server.request("DELETE", "/api/v1/nodes/n/functions/v").status_code == 204
    is_problem(call(server, "v", [1]), 404, "refused")


def test_the_repository_by_coap(server: FleetServer) -> None:
    """With libcoap's client, which asks for the blocks one by one."""
    client = need_tool("coap-client-notls")
    big = with_section(fib(), Section(name="fib")) + b"\0\x88\x10\x04note" + bytes(2051)
    assert put(server, "big", big).status_code == 201
    for path, expected in (("functions/big", big), ("functions/fib", fib())):
        got = subprocess.run(
            [client, "-m", "get", "-B", "20", "-o", "-", f"{server.coap}/{path}"],
            capture_output=True,
            check=True,
        )
        assert got.stdout == expected
    listed = subprocess.run(
        [client, "-m", "get", f"{server.coap}/functions"], capture_output=True, check=True
    )
    assert b'</functions/fib>;ct=42;title="1.0.0"' in listed.stdout
    missing = subprocess.run(
        [client, "-m", "get", f"{server.coap}/functions/none"], capture_output=True, text=True, check=False
    )
    assert "4.04" in missing.stdout + missing.stderr


# ---- what is refused ----


@pytest.mark.parametrize(
    ("body", "status", "kind", "word"),
    [
        (b"[20", 400, "json", "no JSON"),
        (b"\xff", 400, "json", "no JSON"),
        (b"[NaN]", 400, "json", "NaN is not JSON"),
        (b"[" * 20000, 400, "json", "nested too deeply"),
        (b"[" + b"9" * 6000 + b"]", 400, "json", "a number has 6000 digits, and at most 640 are read"),
        (b'{"n": 20}', 422, "body", "no JSON array"),
        (b"[true]", 422, "body", "argument 1 is neither"),
        (b"[[20]]", 422, "body", "argument 1 is neither"),
        (b"[]", 422, "input", "takes 1 argument (i32), got 0"),
        (b"[1, 2]", 422, "input", "takes 1 argument (i32), got 2"),
        (b"[2.5]", 422, "input", "is not an integer"),
        (b'["abc"]', 422, "input", "is not an integer"),
        (b"[4294967296]", 422, "input", "out of range"),
        (b"[" + b" " * 65536 + b"]", 413, "too-large", "more than 65536 bytes"),
        (b"x" * (1 << 20) + b"x", 413, "too-large", "more than 1048576 bytes"),
    ],
)
def test_bodies_that_are_wrong(server: FleetServer, body: bytes, status: int, kind: str, word: str) -> None:
    answer = server.request(
        "POST",
        "/api/v1/nodes/n/functions/fib/fib",
        data=body,
        headers={"Content-Type": "application/json"},
    )
    is_problem(answer, status, kind, word)


def test_types_of_bodies(server: FleetServer) -> None:
    path = "/api/v1/nodes/n/functions/fib/fib"
    is_problem(server.request("POST", path, data=b"[20]"), 415, "media-type", "missing")
    is_problem(
        server.request("POST", path, data="n=20", headers={"Content-Type": "text/html"}),
        415,
        "media-type",
        "text/html",
    )
    octets = {"Content-Type": "application/octet-stream"}
    is_problem(server.request("POST", path, data=b"\x14", headers=octets), 415, "wrong-body", "takes numbers")
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    is_problem(server.request("POST", path, data=b"x", headers=packed), 415, "encoding", "gzip")
    is_problem(server.request("PUT", "/api/v1/functions/f", data=fib()), 415, "media-type")


def test_a_body_without_a_length_is_bounded_too(server: FleetServer) -> None:
    pieces = (b"x" * 65536 for _ in range(1024))
    answer = server.request(
        "PUT", "/api/v1/functions/f", data=pieces, headers={"Content-Type": "application/wasm"}
    )
    is_problem(answer, 413, "too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind", "word"),
    [
        ("GET", "/nothing", 404, "path", "/nothing"),
        ("GET", "/api/v1/nodes/", 404, "path", "/api/v1/nodes/"),
        ("PATCH", "/api/v1/nodes", 405, "method", "PATCH"),
        ("GET", "/api/v1/nodes/none", 404, "unknown-node", "'none'"),
        ("DELETE", "/api/v1/nodes/none", 404, "unknown-node", "'none'"),
        ("POST", "/api/v1/nodes/none/functions/fib/fib", 404, "unknown-node", "'none'"),
        ("POST", "/api/v1/nodes/n/functions/none/fib", 404, "refused", "none"),
        ("POST", "/api/v1/nodes/n/functions/fib/none", 404, "unknown-export", "no export 'none'"),
        ("POST", "/api/v1/nodes/n/functions/fib/:9", 404, "unknown-export", "no export ':9'"),
        ("POST", "/api/v1/nodes/n/functions/traps", 404, "unknown-export", "no default export"),
        ("GET", "/api/v1/functions/none", 404, "unknown-function", "'none'"),
        ("GET", "/api/v1/functions/fib?version=9", 404, "unknown-function", "fib 9"),
        ("PUT", "/api/v1/nodes/n/functions/none", 404, "unknown-function", "'none'"),
        ("GET", "/api/v1/functions?x=1", 400, "query", "'x'"),
        ("GET", "/api/v1/functions/fib?version=1&version=2", 400, "query", "given twice"),
        ("POST", "/api/v1/nodes/n/functions/fib?timeout_s=nan", 400, "query", "0.1 to 300"),
        ("POST", "/api/v1/nodes/n/functions/fib?timeout_s=0", 400, "query", "0.1 to 300"),
        # Paths that want to be others: each is one segment or none.
        ("GET", "/api/v1/functions/..%2Fnodes", 404, "path", "nodes"),
        ("GET", "/api/v1/functions/%2e%2e", 422, "input", "no function name"),
        ("GET", "/api/v1/nodes/n%0d%0aX-Evil:%201", 422, "input", "no name of a node"),
        ("GET", "/api/v1/nodes/n%00", 422, "input", "no name of a node"),
        ("GET", "/api/v1/functions/fib?version=..%2F..%2Fx", 422, "input", "is no version"),
    ],
)
def test_what_is_not_there(
    server: FleetServer, method: str, path: str, status: int, kind: str, word: str
) -> None:
    # http.client sends the path as it is.
    connection = http.client.HTTPConnection(urlsplit(server.http).netloc, timeout=30)
    connection.request(method, path)
    raw = connection.getresponse()
    body = json.loads(raw.read())
    connection.close()
    assert (raw.status, body["type"].rpartition("/")[2]) == (status, kind), body
    assert word in body["title"] + body.get("detail", "") and body["next_step"]
    assert raw.getheader("x-evil") is None


def test_modules_that_are_none(server: FleetServer) -> None:
    found = is_problem(put(server, "f", b"\0asm"), 422, "refused", "'f' was not published")
    assert found["node"]["reason"] == "malformed"
    is_problem(put(server, ".f", fib()), 422, "input", "no function name")


def test_traps_and_statuses_of_functions(server: FleetServer) -> None:
    found = is_problem(call(server, "traps/divide", [1, 0]), 500, "trap", "div-zero")
    assert found["node"]["trap"] == "div-zero"
    octets = {"Content-Type": "application/octet-stream"}
    path = "/api/v1/nodes/n/functions/traps/status_404"
    found = is_problem(
        server.request("POST", path, data=b"", headers=octets), 422, "application", "status 404"
    )
    assert found["function_status"] == 404


def test_adopting(server: FleetServer, node: RunningNode) -> None:
    is_problem(server.request("POST", "/api/v1/nodes", json={}), 422, "body", "'uri' is missing")
    is_problem(server.request("POST", "/api/v1/nodes", json={"uri": 1}), 422, "body", "wrong type")
    is_problem(
        server.request("POST", "/api/v1/nodes", json={"uri": node.uri, "x": 1}),
        422,
        "body",
        "unknown member 'x'",
    )
    is_problem(server.request("POST", "/api/v1/nodes", json={"uri": "http://x"}), 422, "input", "not coap")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        free = taken.getsockname()[1]
    nobody = {"uri": f"coap://127.0.0.1:{free}"}
    is_problem(server.request("POST", "/api/v1/nodes", json=nobody), 502, "unreachable")
    again = server.request("POST", "/api/v1/nodes", json={"uri": node.uri})
    assert again.status_code == 200 and again.json()["id"] == "n"
    assert [found["id"] for found in server.request("GET", "/api/v1/nodes").json()["nodes"]] == ["n"]
    shown = server.request("GET", "/api/v1/nodes/n").json()
    assert shown == again.json() and shown["device"]["board"] == "host" and shown["uri"] == node.uri
    moved = {"uri": node.uri.replace("127.0.0.1", "localhost")}
    is_problem(server.request("POST", "/api/v1/nodes", json=moved), 409, "node-exists", "'n'")


def test_a_deadline_ends_a_call_that_may_run_on(server: FleetServer) -> None:
    turns = _turns_for(server, 2.0)
    began = time.monotonic()
    answer = call(server, "spin?timeout_s=0.3", [turns])
    is_problem(answer, 504, "unanswered", "no result within 0.3 s", "may have run")
    assert time.monotonic() - began < 1.5
    assert call(server, "fib", [20]).json()["value"] == 6765


def test_a_node_with_too_many_calls(server: FleetServer) -> None:
    """More than it may have at a time are refused at once, the others end right."""
    turns = _turns_for(server, 0.15)
    answers: list[Any] = []
    many = AT_A_NODE + WAITING_AT_A_NODE + 12
    threads = [
        threading.Thread(target=lambda: answers.append(call(server, "spin", [turns]))) for _ in range(many)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused and len(refused) < many
    for answer in refused:
        is_problem(answer, 429, "overloaded", "run or wait at 'n'")
    assert all(answer.json()["value"] == 7 for answer in answers if answer.status_code == 200)


def _turns_for(server: FleetServer, seconds: float) -> int:
    """How many turns of the loop take so long here."""
    turns = 200_000
    began = time.monotonic()
    assert call(server, "spin", [turns]).json()["value"] == 7
    return min(900_000_000, int(turns * seconds / (time.monotonic() - began)))


# ---- who may do what ----


def test_without_keys_only_this_machine_is_answered(server: FleetServer) -> None:
    is_problem(
        server.request("GET", "/health", headers={"Host": "evil.example"}), 403, "host", "evil.example"
    )
    is_problem(
        server.request("GET", "/api/v1/nodes", headers={"Origin": "http://evil.example"}), 403, "origin"
    )
    own = {"Origin": server.http, "Host": f"localhost:{urlsplit(server.http).port}"}
    assert server.request("GET", "/api/v1/nodes", headers=own).status_code == 200


def test_keys_by_role(node: RunningNode, tmp_path: Path) -> None:
    data = tmp_path / "fleet.db"
    refused = run_cli("serve", "--data", str(data), "--http", "0.0.0.0:0", "--coap", "127.0.0.1:0")
    assert refused.returncode == ExitCode.USAGE and "has no keys" in refused.stderr
    keys = {}
    for role in ("read", "call", "deploy"):
        made = run_cli("keys", "add", role, "--data", str(data), "--label", f"for {role}")
        keys[role] = json.loads(made.stdout)["key"]
    listed = json.loads(run_cli("keys", "list", "--data", str(data)).stdout)
    assert {key["label"] for key in listed} == {"for read", "for call", "for deploy"}
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert not any(key.rpartition("_")[2].encode() in stored for key in keys.values())
    with fleet_server(data, "--http", "0.0.0.0:0") as server:
        assert server.request("GET", "/health").status_code == 200
        for path in ("/openapi.json", "/api/v1/nodes", "/nothing", "/api/v1/functions/fib/module"):
            found = server.request("GET", path)
            is_problem(found, 401, "key", "wants a key")
            assert found.headers["www-authenticate"].startswith("Bearer")
        wrong = keys["deploy"][:-2] + ("AA" if keys["deploy"][-2:] != "AA" else "BB")
        for key in (wrong, "x", "wmk_000000000000_" + "x" * 43):
            is_problem(server.request("GET", "/api/v1/nodes", key=key), 401, "key", "not known")
        adopted = {"uri": node.uri}
        for role in ("read", "call"):
            found = server.request("POST", "/api/v1/nodes", json=adopted, key=keys[role])
            is_problem(found, 403, "role", "'deploy'", f"'{role}'")
        assert server.request("POST", "/api/v1/nodes", json=adopted, key=keys["deploy"]).status_code == 201
        assert put(server, "fib", fib(), key=keys["deploy"]).status_code == 201
        is_problem(put(server, "fib", fib(), key=keys["call"]), 403, "role")
        pushed = server.cli("push", "n", "fib", key=keys["deploy"])
        assert pushed.returncode == 0, pushed.stderr
        is_problem(call(server, "fib", [20], key=keys["read"]), 403, "role", "'call'")
        assert call(server, "fib", [20], key=keys["call"]).json()["value"] == 6765
        assert server.request("GET", "/api/v1/nodes", key=keys["read"]).status_code == 200
        basic = base64.b64encode(f"me:{keys['read']}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        assert server.request("GET", "/api/v1/nodes", headers=headers).status_code == 200
        headers = {"Authorization": f"Basic {base64.b64encode(b'me:wrong').decode()}"}
        is_problem(server.request("GET", "/api/v1/nodes", headers=headers), 401, "key")
        in_use = run_cli("keys", "add", "read", "--data", str(data))
        assert in_use.returncode == ExitCode.LOCAL and "stop the server" in in_use.stderr
    read_id = keys["read"].split("_")[1]
    assert run_cli("keys", "rm", read_id, "--data", str(data)).returncode == 0
    with fleet_server(data, "--http", "0.0.0.0:0") as server:
        is_problem(server.request("GET", "/api/v1/nodes", key=keys["read"]), 401, "key", "not known")
        assert call(server, "fib", [20], key=keys["call"]).json()["value"] == 6765


def test_slow_clients_are_dropped(server: FleetServer) -> None:
    """One that never ends its headers, one that does not take its response; others are answered meanwhile."""
    at = urlsplit(server.http)
    with socket.create_connection((at.hostname, at.port)) as silent, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((at.hostname, at.port))
        silent.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        # Many requests in one go, so that their responses fill every buffer on the way.
        request = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        deaf.sendall(request * 1000)
        for client in (silent, deaf):
            client.settimeout(2 * PATIENCE_S + 5)
        assert server.request("GET", "/health").status_code == 200
        assert silent.recv(1) == b""
        time.sleep(PATIENCE_S + 2)
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while piece := deaf.recv(1 << 16):
                got += len(piece)
        assert 0 < got < 1000 * len(json.dumps(DOCUMENT, separators=(",", ":")))
    assert call(server, "fib", [20]).json()["value"] == 6765


# ---- stopping and starting ----


def test_a_restart_keeps_everything_and_a_call_ends_before(node: RunningNode, tmp_path: Path) -> None:
    data = tmp_path / "deep" / "fleet.db"
    answers: list[Any] = []
    with fleet_server(data) as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        spin = wat(SPIN, Section(name="spin", fuel=1_000_000_000))
        assert put(server, "spin", spin, "?version=1").status_code == 201
        assert put(server, "spin", spin, "?version=2").status_code == 201
        assert server.request("PUT", "/api/v1/nodes/n/functions/spin").status_code in (200, 201)
        before = _known(server)
        turns = _turns_for(server, 1.5)
        caller = threading.Thread(target=lambda: answers.append(call(server, "spin", [turns])))
        caller.start()
        deadline = time.monotonic() + 10
        while server.request("GET", "/api/v1/status").json()["requests_at_nodes"] == 0:
            assert time.monotonic() < deadline
        server.tell(signal.SIGTERM)
        assert server.end() == ""
        caller.join()
        assert answers[0].status_code == 200 and answers[0].json()["value"] == 7
    with fleet_server(data) as server:
        assert _known(server) == before
        assert server.request("GET", "/api/v1/functions/spin/module?version=1").content == spin
        assert call(server, "spin", [1]).json()["value"] == 7
        server.tell(signal.SIGINT)
        assert server.end() == ""


def _known(server: FleetServer) -> list[Any]:
    """What outlives a server: all but who speaks with a node, and what is known of it now."""
    functions = server.request("GET", "/api/v1/functions/spin").json()
    nodes = server.request("GET", "/api/v1/nodes").json()["nodes"]
    now = {"state", "since", "server", "boot", "device"}
    return [functions, *({k: v for k, v in node.items() if k not in now} for node in nodes)]


def test_a_second_signal_does_not_wait(node: RunningNode, tmp_path: Path) -> None:
    with fleet_server(tmp_path / "fleet.db") as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        put(server, "spin", wat(SPIN, Section(name="spin", fuel=1_000_000_000)))
        assert server.request("PUT", "/api/v1/nodes/n/functions/spin").status_code in (200, 201)
        turns = _turns_for(server, 4.0)
        dropped: list[object] = []

        def drop() -> None:
            try:
                dropped.append(call(server, "spin", [turns]).status_code)
            except requests.ConnectionError as error:
                dropped.append(error)

        caller = threading.Thread(target=drop)
        caller.start()
        while server.request("GET", "/api/v1/status").json()["requests_at_nodes"] == 0:
            pass
        began = time.monotonic()
        server.tell(signal.SIGTERM)
        time.sleep(0.3)
        server.tell(signal.SIGTERM)
        assert server.end() == ""
        assert time.monotonic() - began < 3.5
        caller.join()
        assert dropped and dropped != [200]


def test_what_stops_it_from_starting(server: FleetServer, tmp_path: Path) -> None:
    port = server.http.rpartition(":")[2]
    taken = run_cli(
        "serve", "--data", str(tmp_path / "x.db"), "--http", f"127.0.0.1:{port}", "--coap", "127.0.0.1:0"
    )
    assert taken.returncode == ExitCode.LOCAL and "HTTP cannot listen at" in json.loads(taken.stderr)["error"]
    coap = server.coap.rpartition(":")[2]
    taken = run_cli(
        "serve", "--data", str(tmp_path / "x.db"), "--http", "127.0.0.1:0", "--coap", f"127.0.0.1:{coap}"
    )
    assert taken.returncode == ExitCode.LOCAL and "CoAP cannot listen at" in json.loads(taken.stderr)["error"]
    in_use = run_cli("serve", "--data", str(server.data), "--http", "127.0.0.1:0", "--coap", "127.0.0.1:0")
    assert in_use.returncode == ExitCode.LOCAL
    outside = run_cli("serve", "--data", str(tmp_path / "x.db"), "--coap", "0.0.0.0")
    assert outside.returncode == ExitCode.USAGE and "carries no keys" in outside.stderr
    assert "--coap-open" in outside.stderr


def test_coap_elsewhere_when_it_is_asked_for(tmp_path: Path) -> None:
    with fleet_server(tmp_path / "fleet.db", "--coap", "0.0.0.0:0", "--coap-open") as server:
        client = need_tool("coap-client-notls")
        port = server.coap.rpartition(":")[2]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("192.0.2.1", 9))  # sends nothing: tells this machine's address
            here = sock.getsockname()[0]
        got = subprocess.run(
            [client, "-m", "get", f"coap://{here}:{port}/events"], capture_output=True, check=True
        )
        assert got.stdout.strip() == b"\xa0"
        with contextlib.contextmanager(start_node)(
            HOST, "--ep", "far", "--register", f"coap://{here}:{port}"
        ) as node:
            deadline = time.monotonic() + 20
            while not (nodes := server.request("GET", "/api/v1/nodes").json()["nodes"]):
                assert time.monotonic() < deadline
            assert nodes[0]["uri"].rpartition(":")[2] == node.uri.rpartition(":")[2]
            assert nodes[0]["uri"].startswith("coap://") and "ffff" not in nodes[0]["uri"]


# ---- the commands ----


def test_the_commands(node: RunningNode, tmp_path: Path) -> None:
    with fleet_server(tmp_path / "fleet.db") as server:

        def ok(*args: str) -> Any:
            done = server.cli(*args)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)

        assert ok("publish", "fib")["created"]
        assert ok("adopt", node.uri)["id"] == "n"
        assert ok("push", "n", "fib")["version"] == "1.0.0"
        assert ok("call", "n", "fib", "20")["value"] == 6765
        assert ok("call", "n", "fib/fib64", "90")["value"] == "2880067194370816120"
        assert [found["id"] for found in ok("nodes")] == ["n"]
        assert "fib" in {found["name"] for found in ok("nodes", "n")}
        assert [found["name"] for found in ok("functions")] == ["fib"]
        assert ok("functions", "fib")["versions"][0]["version"] == "1.0.0"
        status = ok("status")
        assert (status["nodes"], status["functions"], status["engine"]["driver"]) == (1, 1, "sqlite")
        failed = server.cli("call", "n", "fib", "x")
        assert failed.returncode == ExitCode.USAGE and "is not an integer" in failed.stderr
        assert server.cli("call", "m", "fib", "1").returncode == ExitCode.USAGE
        assert ok("functions", "fib", "--rm") and ok("functions") == []
        assert ok("nodes", "n", "--rm") and ok("nodes") == []
    gone = server.cli("status")
    assert gone.returncode == ExitCode.UNREACHABLE and "fleet serve" in gone.stderr


# ---- the document ----


def test_the_document_has_the_routes_and_no_others() -> None:
    written = {
        (method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations
    }
    assert written == {(operation.method, operation.path) for operation in OPERATIONS}


def test_the_document_is_served(server: FleetServer) -> None:
    assert server.request("GET", "/openapi.json").json() == {**DOCUMENT, "security": []}
