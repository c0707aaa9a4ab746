"""OpenWhisk's REST and the server around it: keys, limits, restarts."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import requests
from fleet_server import fleet_server, run_cli
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import RunningNode
from whisk_world import Whisk, is_error, pairs, wasm
from worlds import ManualClock

from wasmote_fleet.compat.openwhisk.errors import Rejected
from wasmote_fleet.compat.openwhisk.limits import Throttle


def test_throttle() -> None:
    clock = ManualClock()
    throttle = Throttle(clock.time, invocations=2, fires=1, at_once=3)
    throttle.invoked()
    throttle.invoked()
    with pytest.raises(Rejected, match=r"in the last minute \(count: 3, allowed: 2\)") as refused:
        throttle.invoked()
    assert refused.value.status == 429 and 0 < int(refused.value.headers["Retry-After"]) <= 61
    throttle.fired()
    with pytest.raises(Rejected, match="count: 2, allowed: 1"):
        throttle.fired()
    clock.advance(60)
    throttle.invoked()
    throttle.fired()
    with throttle.one_more():
        throttle.check_room(1)
        with pytest.raises(Rejected, match=r"in flight \(count: 3, allowed: 3\)") as full:
            throttle.check_room(2)
        assert full.value.status == 429
    throttle.check_room(2)


@pytest.mark.slow
def test_invocations_a_minute(node: RunningNode, tmp_path: Path) -> None:
    with fleet_server(tmp_path / "fleet.db") as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        whisk = Whisk(server)
        whisk.made("actions", "sum", wasm("add"))
        for _ in range(400):  # a minute may begin meanwhile, once
            done = whisk("POST", "actions/sum?blocking=true&result=true", {"args": [1, 2]})
            if done.status_code != 200:
                break
        is_error(done, 429, "Too many requests in the last minute (count: 121, allowed: 120).")
        assert int(done.headers["Retry-After"]) > 0


@pytest.mark.slow
def test_keys_and_roles(node: RunningNode, tmp_path: Path) -> None:
    data = tmp_path / "fleet.db"
    keys = {}
    for role in ("read", "call", "deploy"):
        made = run_cli("keys", "add", role, "--data", str(data))
        keys[role] = json.loads(made.stdout)["key"]
    with fleet_server(data, "--http", "0.0.0.0:0") as server:
        nobody = Whisk(server)
        read, call, deploy = (Whisk(server, keys[role]) for role in ("read", "call", "deploy"))
        for method, path in (
            ("GET", "actions"),
            ("GET", "/api/v1/namespaces"),
            ("GET", "/api/v1/web/guest/default/wrap.json"),
            ("GET", "/api/v1/web/whisk.system/apimgmt/getApi.http"),
            ("GET", "/api/guest/ml/mnist"),
        ):
            is_error(nobody(method, path), 401, "The supplied authentication is invalid")
            is_error(Whisk(server, "wrong")(method, path), 401, "The supplied authentication is invalid")
        assert deploy("POST", "/api/v1/nodes", {"uri": node.uri}).status_code == 201
        deploy.made("actions", "wrap", wasm("main", annotations=pairs(web_export=True)))
        deploy.made("triggers", "t", {})
        assert read("GET", "actions/wrap").status_code == 200
        assert call("POST", "actions/wrap?blocking=true", {}).status_code == 200
        web = call("GET", "/api/v1/web/guest/default/wrap.json")
        assert web.status_code == 200
        got = web.json()["got"]
        assert got["__ow_user"] == "guest" and "authorization" not in got["__ow_headers"]
        assert keys["call"] not in web.text
        feed = "/api/v1/namespaces/whisk.system/actions/alarms/alarm"
        refused: list[tuple[Whisk, str, str, Any]] = [
            (read, "POST", "actions/wrap", {}),
            (read, "POST", "triggers/t", {}),
            (read, "GET", "/api/v1/web/guest/default/wrap.json", None),
            (read, "GET", "/api/guest/ml/mnist", None),
            (call, "PUT", "actions/wrap?overwrite=true", wasm("main")),
            (call, "DELETE", "actions/wrap", None),
            (call, "PUT", "triggers/x", {}),
            (call, "POST", "rules/r", {"status": "active"}),
            (call, "PUT", "packages/p", {}),
            (call, "POST", f"{feed}?blocking=true", {"lifecycleEvent": "CREATE", "triggerName": "/_/t"}),
            (call, "POST", "/api/v1/web/whisk.system/apimgmt/createApi.http", {}),
            (call, "DELETE", "/api/v1/web/whisk.system/apimgmt/deleteApi.http?basepath=/", None),
        ]
        for who, method, path, body in refused:
            is_error(who(method, path, body), 403, "not authorized")


@pytest.mark.slow
def test_what_was_accepted_outlives_the_server(node: RunningNode, tmp_path: Path) -> None:
    """kill -9: each accepted invocation ends, or its record says that it may have run."""
    data = tmp_path / "fleet.db"
    ids = []
    with fleet_server(data) as server:
        assert server.request("POST", "/api/v1/nodes", json={"uri": node.uri}).status_code == 201
        whisk = Whisk(server)
        whisk.made("actions", "busy", wasm("spin", limits={"timeout": 10_000}))
        whisk.made("actions", "wrap", wasm("main"))
        whisk.made("actions", "seq", {"exec": {"kind": "sequence", "components": ["/_/wrap", "/_/wrap"]}})
        for name in ("wrap", "busy", "seq") * 8:
            accepted = whisk("POST", f"actions/{name}", {"n": len(ids)})
            assert accepted.status_code == 202
            ids.append((name, accepted.json()["activationId"]))
        server.tell(signal.SIGKILL)
        server.process.wait()
        server.process.communicate()
    with fleet_server(data) as server:
        whisk = Whisk(server)
        for n, (name, id) in enumerate(ids):
            response = whisk.activation(id)["response"]
            if name == "busy":
                assert not response["success"]
            elif not response["success"]:
                assert "went away" in response["result"]["error"]
            else:
                inner = {"n": n} if name == "wrap" else {"got": {"n": n}}
                assert response["result"] == {"got": inner}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
MEMBERS = st.sampled_from(
    ["exec", "parameters", "annotations", "limits", "version", "publish", "delAnnotations", "kind", "code", "main",
     "components", "trigger", "action", "status", "binding", "lifecycleEvent", "triggerName", "cron", "date",
     "minutes", "startDate", "trigger_payload", "timezone", "apidoc", "swagger", "gatewayBasePath", "key", "value"]
)  # fmt: skip
WORDS = st.sampled_from(
    ["wasm", "sequence", "/_/a", "active", "CREATE", "READ", "* * * * *", "AGFzbQEAAAA=", 1, -1]
)
BODIES = st.recursive(
    JSON | WORDS,
    lambda inner: st.dictionaries(MEMBERS | st.text(max_size=4), inner, max_size=6),
    max_leaves=16,
)
CALLS = st.sampled_from(
    [
        ("PUT", "actions/fuzz?overwrite=true"),
        ("PUT", "triggers/fuzz?overwrite=true"),
        ("PUT", "rules/fuzz?overwrite=true"),
        ("POST", "rules/fuzz"),
        ("PUT", "packages/fuzz?overwrite=true"),
        ("POST", "triggers/fuzz"),
        ("POST", "/api/v1/namespaces/whisk.system/actions/alarms/alarm?blocking=true"),
        ("POST", "/api/v1/namespaces/whisk.system/actions/alarms/once?blocking=true"),
        ("POST", "/api/v1/web/whisk.system/apimgmt/createApi.http?responsetype=json"),
        ("GET", "actions"),
    ]
)


@pytest.mark.slow
@given(call=CALLS, body=BODIES)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_body(whisk: Whisk, call: tuple[str, str], body: Any) -> None:
    """Whatever is sent: an answer of the interface, and never a bug."""
    done: requests.Response = whisk(*call, body)
    assert done.status_code in (200, 202, 204, 400, 403, 404, 409, 413, 429, 502), done.text
    if done.status_code >= 400 and done.status_code != 502:
        assert set(done.json()) == {"error", "code"}


@pytest.mark.slow
@given(
    path=st.text(alphabet="abc_/.%~\\ é@&-:;?#[]{}0'\"", max_size=40),
    method=st.sampled_from(["GET", "PUT", "POST", "DELETE"]),
)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_path(whisk: Whisk, path: str, method: str) -> None:
    done = whisk(method, "/api/v1/namespaces/_/" + path)
    assert done.status_code in (200, 400, 403, 404, 405, 413), done.text
