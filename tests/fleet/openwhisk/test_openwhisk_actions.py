"""Actions by OpenWhisk's REST: every call with its status codes and body shapes, on a real server with a real node."""

from __future__ import annotations

import base64
import io
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from whisk_world import Whisk, code, is_error, pairs, wasm, words

pytestmark = pytest.mark.slow
ACTION = {
    "namespace",
    "name",
    "exec",
    "parameters",
    "annotations",
    "limits",
    "version",
    "publish",
    "updated",
}
ACTIVATION = {
    "activationId",
    "annotations",
    "duration",
    "end",
    "logs",
    "name",
    "namespace",
    "publish",
    "response",
    "start",
    "subject",
    "version",
}


def test_create_update_get_list_delete(whisk: Whisk) -> None:
    created = whisk("PUT", "actions/book", wasm("main", parameters=pairs(title="Emma")))
    assert created.status_code == 200, created.text
    assert set(created.json()) == ACTION
    assert created.json()["version"] == "0.0.1"
    assert created.json()["namespace"] == "guest"
    assert created.json()["limits"] == {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1}
    assert created.json()["exec"] == {"kind": "wasm", "binary": True, "main": "main"}
    assert {"key": "exec", "value": "wasm"} in created.json()["annotations"]

    is_error(whisk("PUT", "actions/book", wasm("main")), 409, "resource already exists")
    updated = whisk.made("actions", "book", {"limits": {"timeout": 5000}, "annotations": pairs(color="red")})
    assert updated["version"] == "0.0.2"
    assert updated["parameters"] == pairs(title="Emma")
    assert updated["limits"]["timeout"] == 5000
    assert {"key": "color", "value": "red"} in updated["annotations"]
    removed = whisk.made("actions", "book", {"delAnnotations": ["color"]})
    assert "color" not in [item["key"] for item in removed["annotations"]]

    got = whisk("GET", "actions/book").json()
    assert base64.b64decode(got["exec"]["code"]) == words()
    assert "code" not in whisk("GET", "actions/book?code=false").json()["exec"]

    whisk.made("actions", "shelf", wasm("echo"))
    listed = whisk("GET", "actions").json()
    assert [item["name"] for item in listed][:2] == ["shelf", "book"]  # the last changed first
    assert set(listed[0]) == ACTION - {"parameters"}
    assert listed[0]["exec"] == {"binary": True}
    assert [item["name"] for item in whisk("GET", "actions?limit=1&skip=1").json()] == ["book"]
    assert whisk("GET", "actions?count=true").json() == {"actions": len(listed)}
    assert whisk("GET", "actions?limit=0").status_code == 200
    is_error(
        whisk("GET", "actions?limit=201"), 400, "The value '201' is not in the range of 0 to 200 for actions."
    )
    is_error(whisk("GET", "actions?skip=-1"), 400, "not greater than or equal to 0")
    is_error(whisk("GET", "actions?limit=many"), 400, "is not an integer")

    gone = whisk("DELETE", "actions/shelf")
    assert gone.status_code == 200 and gone.json()["name"] == "shelf"
    is_error(whisk("GET", "actions/shelf"), 404, "The requested resource does not exist.")
    is_error(whisk("DELETE", "actions/shelf"), 404, "does not exist")
    is_error(whisk("POST", "actions/shelf", {}), 404, "does not exist")
    is_error(whisk("PATCH", "actions/book", {}), 405, "GET, PUT, POST, DELETE")


def test_invocations(whisk: Whisk) -> None:
    whisk.made("actions", "hello", wasm("main", parameters=pairs(name="Jane", place="Bath")))
    done = whisk("POST", "actions/hello?blocking=true", {"place": "Kent"})
    assert done.status_code == 200
    record = done.json()
    assert set(record) == ACTIVATION
    assert record["response"] == {
        "result": {"got": {"name": "Jane", "place": "Kent"}},
        "status": "success",
        "success": True,
    }
    assert record["name"] == "hello" and record["namespace"] == record["subject"] == "guest"
    assert 0 <= record["duration"] == record["end"] - record["start"] < 60_000
    assert {"key": "path", "value": "guest/hello"} in record["annotations"]
    assert done.headers["X-Openwhisk-Activation-Id"] == record["activationId"]
    assert [line.split(" ", 1)[1] for line in record["logs"]] == [
        "stdout: hello from the node",
        "stderr: careful",
    ]
    only = whisk("POST", "actions/hello?blocking=true&result=true")
    assert only.json() == {"got": {"name": "Jane", "place": "Bath"}}

    accepted = whisk("POST", "actions/hello", {"place": "Ramsgate"})
    assert accepted.status_code == 202 and set(accepted.json()) == {"activationId"}
    id = accepted.json()["activationId"]
    later = whisk.activation(id)
    assert later["response"]["result"] == {"got": {"name": "Jane", "place": "Ramsgate"}}
    assert whisk("GET", f"activations/{id}/result").json() == later["response"]
    assert whisk("GET", f"activations/{id}/logs").json() == {"logs": later["logs"]}
    assert len(later["logs"]) == 2

    newest = whisk("GET", "activations?limit=2").json()
    assert [item["activationId"] for item in newest] == [id, only.headers["X-Openwhisk-Activation-Id"]]
    assert "response" not in newest[0] and newest[0]["statusCode"] == 0
    docs = whisk("GET", "activations?limit=1&docs=true").json()
    assert docs[0]["response"] == later["response"]
    named = whisk("GET", "activations?name=hello&count=true").json()
    assert named == {"activations": 3}
    assert whisk("GET", "activations?name=goodbye").json() == []
    since = whisk("GET", f"activations?since={later['start']}&limit=0").json()
    assert [item["activationId"] for item in since] == [id]
    upto = whisk("GET", f"activations?upto={record['start']}&name=hello").json()
    assert [item["activationId"] for item in upto] == [record["activationId"]]
    is_error(whisk("GET", "activations?count=true&docs=true"), 400, "not permitted")
    is_error(whisk("GET", "activations?since=yesterday"), 400, "epoch")
    is_error(whisk("GET", "activations/123"), 400, "length is 3 but must be 32")
    is_error(whisk("GET", f"activations/{'g' * 32}"), 400, "not valid")
    is_error(whisk("GET", f"activations/{'0' * 32}"), 404, "does not exist")
    is_error(whisk("GET", f"activations/{id}/nothing"), 404, "does not exist")
    is_error(whisk("PUT", f"activations/{id}", {}), 405, "GET")


@pytest.mark.parametrize(
    ("main", "args", "status", "state", "result"),
    [
        ("fails", {}, 502, "application error", {"error": "no such book"}),
        ("words", {}, 502, "action developer error", "did not produce a valid JSON response: just words"),
        ("list", {}, 502, "action developer error", "did not produce a valid JSON response: [1,2]"),
        ("silent", {}, 502, "action developer error", "did not produce a valid JSON response."),
        ("trap", {}, 502, "action developer error", "'does-trap' failed: trap 'unreachable' in 'does-trap'"),
        ("status", {}, 502, "application error", "418"),
        ("add", {"args": [1.5, 2]}, 200, "success", {"result": 3.5}),
        ("add", {"args": [1]}, 502, "application error", "takes 2 numbers, and 'args' has 1"),
        ("add", {"args": "1 2"}, 502, "application error", "is no list"),
        ("add", {"args": [True, 2]}, 502, "application error", "neither a number nor a text"),
        (
            "add",
            {"args": ["much", 2]},
            502,
            "application error",
            "'does-add': argument 1 (f64): 'much' is not",
        ),
        ("pair", {"args": []}, 502, "application error", "takes 1 number, and 'args' has 0"),
        ("product", {"args": ["3037000500", 3]}, 200, "success", {"result": 9111001500}),
        ("product", {"args": [3037000499, 3037000499]}, 200, "success", {"result": "9223372030926249001"}),
        ("pair", {"args": [1]}, 200, "success", {"result": [1, 2]}),
    ],
)
def test_results(
    whisk: Whisk, main: str, args: dict[str, Any], status: int, state: str, result: dict[str, Any] | str
) -> None:
    whisk.made("actions", f"does-{main}", wasm(main))
    done = whisk("POST", f"actions/does-{main}?blocking=true", args)
    assert done.status_code == status, done.text
    response = done.json()["response"]
    assert (response["status"], response["success"]) == (state, status == 200)
    if isinstance(result, str):
        assert result in response["result"]["error"]
    else:
        assert response["result"] == result
    only = whisk("POST", f"actions/does-{main}?blocking=true&result=true", args)
    assert (only.status_code, only.json()) == (status, response["result"])


def test_numbers_by_name(whisk: Whisk) -> None:
    whisk.made("actions", "sum", wasm("add", annotations=pairs(parameter_names=["a", "b"])))
    assert whisk.result("sum", {"b": 2, "a": "0.5", "c": "not used"}) == {"result": 2.5}
    assert "'b' is missing" in whisk.result("sum", {"a": 1}, 502)["error"]
    whisk.made("actions", "sum", {"annotations": pairs(parameter_names="x, y")})
    assert whisk.result("sum", {"x": 1, "y": 2}) == {"result": 3}
    wrong = wasm("add", annotations=pairs(parameter_names=["a"]))
    is_error(whisk("PUT", "actions/sum?overwrite=true", wrong), 400, "has 1 name, and 'add' takes 2 numbers")


def test_time_limit(whisk: Whisk) -> None:
    slow = wasm("spin", limits={"timeout": 100})
    slow["exec"]["code"] = code(words(fuel=1_000_000_000))
    whisk.made("actions", "slow", slow)
    done = whisk("POST", "actions/slow?blocking=true", {})
    assert done.status_code == 502, done.text
    assert "exceeded its time limits of 100 milliseconds." in done.json()["response"]["result"]["error"]


def test_a_wait_that_ends(whisk: Whisk) -> None:
    whisk.made("actions", "long", wasm("spin"))
    done = whisk("POST", "actions/long?blocking=true&timeout=1", {})
    assert done.status_code == 202 and set(done.json()) == {"activationId"}
    id = done.json()["activationId"]
    is_error(whisk("GET", f"activations/{id}"), 404, "does not exist")  # it runs
    said = whisk.activation(id)["response"]["result"]["error"]
    assert said.startswith("'long' failed: trap 'fuel' in 'long'") and "out of fuel" in said
    assert "Raise `fuel` in its module's section `wasmote` and update the action if" in said


def test_no_node_for_it(whisk: Whisk) -> None:
    nowhere = wasm("add", annotations=pairs(nodes=["nobody"]))
    refused = whisk("PUT", "actions/nowhere", nowhere)
    is_error(refused, 400, "'nowhere' was not admitted: no place for it: 0 of 1 nodes fit: nobody")
    assert "(its annotations `count`, `labels`, `nodes`)" in refused.json()["error"]


def test_created_again(whisk: Whisk) -> None:
    """At once after it was deleted, with another export."""
    for main, result in (("echo", {"a": 1}), ("main", {"got": {"a": 1}})):
        assert whisk("PUT", "actions/again", wasm(main)).status_code == 200
        assert whisk.result("again", {"a": 1}) == result
        assert whisk("DELETE", "actions/again").status_code == 200
    assert not [
        d for d in whisk("GET", "/api/v1/functions").json()["functions"] if d["name"].startswith("ow-again")
    ]


def test_too_many_at_a_node(whisk: Whisk) -> None:
    """More than a node and the line in front of it take: 503, and nothing of it ran."""
    whisk.made("actions", "long", wasm("spin"))
    with ThreadPoolExecutor(60) as pool:
        done = list(pool.map(lambda _: whisk("POST", "actions/long?blocking=true", {}), range(60)))
    codes = Counter(response.status_code for response in done)
    assert set(codes) <= {502, 503} and codes[502] >= 30 and codes[503], codes
    busy = next(response for response in done if response.status_code == 503)
    is_error(busy, 503, "System is overloaded, try again later.")
    assert busy.headers["Retry-After"] == "1"
    record = whisk.activation(busy.headers["X-Openwhisk-Activation-Id"])
    assert record["response"]["status"] == "whisk internal error"


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "exec undefined"),
        (
            {"exec": {"kind": "nodejs:20", "code": "x"}},
            400,
            "The specified runtime 'nodejs:20' is not supported",
        ),
        (
            {"exec": {"kind": "blackbox", "image": "x"}},
            400,
            "Container images do not run on microcontrollers",
        ),
        ({"exec": {"kind": "wasm"}}, 400, "'code' must be a string"),
        ({"exec": {"kind": "wasm", "code": "%%%"}}, 400, "in base64"),
        ({"exec": {"kind": "wasm", "code": "aGVsbG8="}}, 400, "no WebAssembly module"),
        ({"exec": {"kind": "wasm", "code": "AGFzbQEAAAD/"}}, 400, "it ends inside the size of a section"),
        ({"exec": {"kind": "wasm", "code": "AGFzbQEAAAA="}}, 400, "exports no function"),
        (
            {"exec": {"kind": "wasm", "code": base64.b64encode(bytes(1 << 21)).decode()}},
            413,
            "larger than allowed",
        ),
        ({"exec": "wasm"}, 400, "exec malformed!"),
        (wasm("nothing"), 400, "has no export 'nothing'"),
        (wasm("main", limits={"timeout": 99}), 400, "below allowed threshold of 100 milliseconds"),
        (wasm("main", limits={"timeout": 300_001}), 400, "exceeds allowed threshold of 300000 milliseconds"),
        (wasm("main", limits={"memory": 64}), 400, "memory size 64 MB below allowed threshold of 128 MB"),
        (wasm("main", limits={"memory": 1024}), 400, "exceeds allowed threshold of 512 MB"),
        (wasm("main", limits={"logs": 11}), 400, "logs size 11 MB exceeds allowed threshold of 10 MB"),
        (wasm("main", limits={"timeout": "long"}), 400, "whole number"),
        (wasm("main", parameters=[{"name": "a"}]), 400, "parameters malformed!"),
        (wasm("main", parameters=pairs(a="x" * (1 << 20))), 413, "parameters larger than allowed"),
        (wasm("main", annotations=pairs(nodes=["nowhere"])), 400, "was not deployed"),
        (wasm("main", annotations=pairs(count=0)), 400, "'count' is a number of nodes"),
        (wasm("main", annotations=pairs(labels={"room": "none"})), 400, "was not deployed"),
        (wasm("main", version="latest"), 400, "bad semantic version"),
        ([], 400, "Object expected"),
    ],
)
def test_refused_actions(whisk: Whisk, body: Any, status: int, text: str) -> None:
    is_error(whisk("PUT", "actions/refused", body), status, text)
    is_error(whisk("GET", "actions/refused"), 404, "does not exist")


def test_refused_requests(whisk: Whisk) -> None:
    whisk.made("actions", "hello", wasm("main"))
    is_error(whisk("POST", "actions/hello", data="a=1"), 415, "Content-Type is not supported")
    json_type = {"Content-Type": "application/json"}
    is_error(whisk("POST", "actions/hello", data="{", headers=json_type), 400, "malformed")
    is_error(whisk("POST", "actions/hello", data='{"a":NaN}', headers=json_type), 400, "malformed")
    is_error(whisk("POST", "actions/hello", data='{"a":1e999}', headers=json_type), 400, "malformed")
    long = f'{{"a":-{"1" * 5000}}}'
    is_error(
        whisk("POST", "actions/hello", data=long, headers=json_type), 400, "has 5000 digits, and at most"
    )
    is_error(whisk("POST", "actions/hello", data='{"a":"\\ud800"}', headers=json_type), 400, "malformed")
    is_error(whisk("POST", "actions/hello", data="[" * 100_000, headers=json_type), 400, "malformed")
    is_error(whisk("POST", "actions/hello", {"a": "x" * (1 << 20)}), 413, "1048576")
    is_error(whisk("POST", "actions/hello?blocking=perhaps", {}), 400, "not a valid Boolean")
    is_error(whisk("POST", "actions/hello?timeout=60001", {}), 400, "up to 60000")
    is_error(whisk("GET", "actions/a%09b"), 400, "illegal characters")
    is_error(whisk("GET", "actions/" + "x" * 257), 413, "longer than allowed")
    is_error(whisk("GET", "actions/a/b/c"), 404, "does not exist")
    is_error(whisk("GET", "/api/v1/namespaces/other/actions"), 403, "not authorized")
    is_error(whisk("GET", "nothing"), 404, "does not exist")
    assert whisk("GET", "/api/v1/namespaces").json() == ["guest"]
    assert whisk("GET", "/api/v1").json()["description"] == "OpenWhisk API"
    limits = whisk("GET", "limits").json()
    assert (limits["invocationsPerMinute"], limits["concurrentInvocations"]) == (120, 100)


def test_code_in_a_zip(whisk: Whisk) -> None:
    """`wsk action create NAME FILE.zip --kind wasm` sends it so."""

    def archive(**files: bytes) -> str:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
            for name, data in files.items():
                file.writestr(name.replace("_", "."), data)
        return code(made.getvalue())

    def create(text: str) -> Any:
        body = {"exec": {"kind": "wasm", "code": text, "binary": True, "main": "echo"}}
        return whisk("PUT", "actions/zipped?overwrite=true", body)

    assert create(archive(some_wasm=words(), readme_txt=b"hello")).status_code == 200
    assert whisk.result("zipped", {"a": 1}) == {"a": 1}
    is_error(create(archive(a_wasm=words(), b_wasm=words())), 400, "has 2 .wasm files")
    assert create(archive(a_wasm=b"", main_wasm=words())).status_code == 200
    is_error(create(archive(bomb_wasm=bytes(64 << 20))), 413, "larger than allowed")
    is_error(create(code(b"PK\3\4broken")), 400, "cannot be read")


def test_final_parameters(whisk: Whisk) -> None:
    body = wasm("main", parameters=pairs(name="Jane", other=None), annotations=pairs(final=True))
    whisk.made("actions", "final", body)
    assert whisk.result("final", {"other": 2}) == {"got": {"name": "Jane", "other": 2}}
    is_error(whisk("POST", "actions/final", {"name": "Anne"}), 400, "not allowed")


def test_packages(whisk: Whisk) -> None:
    made = whisk.made("packages", "books", {"parameters": pairs(lang="en")})
    assert made["version"] == "0.0.1" and made["binding"] == {}
    is_error(whisk("PUT", "packages/default", {}), 400, "reserved")
    is_error(whisk("PUT", "packages/b", {"binding": {"namespace": "_", "name": "books"}}), 400, "bindings")
    is_error(whisk("PUT", "actions/nobody/hello", wasm("main")), 404, "does not exist")
    whisk.made("actions", "books/read", wasm("main", parameters=pairs(page=1)))
    assert whisk.result("books/read", {"b": 2}) == {"got": {"lang": "en", "page": 1, "b": 2}}
    assert [a["name"] for a in whisk("GET", "packages/books").json()["actions"]] == ["read"]
    assert [a["namespace"] for a in whisk("GET", "actions/books/").json()] == ["guest/books"]
    assert "books" in [p["name"] for p in whisk("GET", "packages").json()]
    assert whisk("GET", "activations?name=books/read").json()[0]["name"] == "read"
    is_error(whisk("DELETE", "packages/books"), 409, "contains 1 entity")
    assert whisk("DELETE", "packages/books?force=true").status_code == 200
    is_error(whisk("GET", "actions/books/read"), 404, "does not exist")
