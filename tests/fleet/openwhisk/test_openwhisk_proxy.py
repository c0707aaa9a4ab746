"""The action proxy: OpenWhisk's runtime protocol against a real node, as its documentation describes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from support import HOST, built
from whisk_world import code

from wasmote.adapters.apps import load

pytestmark = pytest.mark.slow
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"


@dataclass
class Proxy:
    at: str
    process: subprocess.Popen[str]

    def post(self, path: str, message: Any, status: int) -> Any:
        done = requests.post(self.at + path, json=message, timeout=60)
        assert done.status_code == status, done.text
        return done.json()

    def init(self, main: str = "main", status: int = 200, **value: Any) -> Any:
        return self.post(
            "/init", {"value": {"name": "t", "main": main, "code": code(), "binary": True, **value}}, status
        )

    def run(self, value: Any, status: int = 200, **context: Any) -> Any:
        return self.post("/run", {"value": value, **context}, status)

    def end(self) -> tuple[list[str], list[str]]:
        """Stop it; the lines of stdout and stderr."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=30)
        return out.splitlines(), err.splitlines()


@contextmanager
def running() -> Iterator[Proxy]:
    built(HOST)
    command = [sys.executable, "-m", "wasmote", "fleet", "action-proxy", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "action proxy at http://" in line, line + process.stderr.read()
        try:
            yield Proxy(line.rpartition(" ")[2].strip(), process)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with running() as found:
        yield found


def test_init_and_run(proxy: Proxy) -> None:
    assert "failed to locate a binary" in proxy.run({}, 502)["error"]
    assert proxy.init() == {"ok": True}
    assert proxy.init(status=403) == {"error": "Cannot initialize the action more than once."}
    for value in ({"string": "hello"}, {"string": "❄ ☃ ❄"}, {"numbers": [42, 1]}, {"object": {"a": "A"}}, {}):
        assert proxy.run(value) == {"got": value}
    assert proxy.run({"a": 1}, activation_id="iii", deadline=int(time.time() * 1000) + 5000) == {
        "got": {"a": 1}
    }
    assert "did not receive a dictionary" in proxy.run(5, 400)["error"]
    assert proxy.post("/run", [], 400)["error"]
    assert proxy.post("/run", {"value": {"a": "x" * (5 << 20)}}, 413)["error"]
    out, err = proxy.end()
    # A run before /init, six that ran, and two that were refused.
    assert out == [SENTINEL] + ["hello from the node", SENTINEL] * 6 + [SENTINEL] * 2
    assert err.count(SENTINEL) == 9 and err.count("careful") == 6
    assert "Cannot initialize the action more than once." in err


@pytest.mark.parametrize(
    ("message", "status", "text"),
    [
        ({}, 502, "Missing main/no code to execute."),
        ({"value": {"code": ""}}, 502, "Missing main/no code to execute."),
        ([], 400, "no object"),
        ({"value": 5}, 400, "no object"),
        ({"value": {"code": "%"}}, 502, "failed to generate or locate a binary"),
        ({"value": {"code": "AGFzbQEAAAA="}}, 502, "exports no function"),
        ({"value": {"code": code(), "main": "nothing"}}, 502, "has no export 'nothing'"),
    ],
)
def test_init_that_fails(proxy: Proxy, message: Any, status: int, text: str) -> None:
    assert text in proxy.post("/init", message, status)["error"]
    assert proxy.init() == {"ok": True}  # it was not initialized


@pytest.mark.parametrize(
    ("main", "status", "expected"),
    [
        ("fails", 200, {"error": "no such book"}),
        ("words", 502, {"error": "The action did not return a dictionary."}),
        ("trap", 502, "unreachable"),
        ("status", 200, "418"),
    ],
)
def test_what_functions_give(proxy: Proxy, main: str, status: int, expected: Any) -> None:
    proxy.init(main)
    found = proxy.run({}, status)
    if isinstance(expected, str):
        assert expected in found["error"]
    else:
        assert found == expected
    assert proxy.run({}, status) == found  # it is still there
    out, err = proxy.end()
    assert out.count(SENTINEL) == err.count(SENTINEL) == 2


def test_deadline(proxy: Proxy) -> None:
    proxy.init("spin")
    assert "error" in proxy.run({}, 502, deadline=str(int(time.time() * 1000) + 200))


def test_context_and_names(proxy: Proxy) -> None:
    env = {"WASMOTE_CONTEXT": "true", "SOME_VAR": "xyz"}
    proxy.init("echo", env=env)
    context = {
        "api_key": "abc",
        "namespace": "zzz",
        "action_name": "xxx",
        "activation_id": "iii",
        "deadline": "123",
    }
    found = proxy.run({"a": 1}, **context)
    assert found["a"] == 1 and found["SOME_VAR"] == "xyz"
    assert {name: found[f"__OW_{name.upper()}"] for name in context} == context


def test_numbers(proxy: Proxy) -> None:
    proxy.init("add", env={"WASMOTE_PARAMETER_NAMES": "a,b"})
    assert proxy.run({"a": 1, "b": 2.5}) == {"result": 3.5}
    assert "'b' is missing" in proxy.run({"a": 1})["error"]


def test_the_platforms_default_main(proxy: Proxy) -> None:
    """A module without an export main has a default of its own."""
    proxy.init("main", code=code(load("fib").data))
    assert proxy.run({"args": [20]}) == {"result": 6765}
    assert json.dumps(proxy.run({"args": [10]})) == '{"result": 55}'


def test_pages_in_a_browser_of_this_machine_are_refused(proxy: Proxy) -> None:
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        refused = requests.post(proxy.at + "/init", data="{}", headers=headers, timeout=60)
        assert refused.status_code == 403, (headers, refused.text)
    proxy.init()
