"""What wasmiot's tests share: bodies as its programs send them, written here, and a server that modules come from."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

from wasmote.adapters.tools import need_tool

# As wasmiot counts: 1, 1, 2, 3, 5; fibo(12) is 233.
FIBO = """(module
  (func $fibo (export "fibo") (param $n i32) (result i32)
    (if (result i32) (i32.lt_s (local.get $n) (i32.const 2))
      (then (i32.const 1))
      (else (i32.add
        (call $fibo (i32.sub (local.get $n) (i32.const 1)))
        (call $fibo (i32.sub (local.get $n) (i32.const 2)))))))
  (func (export "divide") (param i32 i32) (result i32) (i32.div_s (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "answer") (result i32) (i32.const 42))
  (func (export "nothing") (param i32)))"""

# Reads its input, gives it back with each letter's case turned.
TURN = """(module
  (import "wasmote" "input" (func $input (param i32 i32) (result i32)))
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "turn") (local $n i32) (local $i i32)
    (local.set $n (call $input (i32.const 0) (i32.const 1024)))
    (loop $next
      (if (i32.lt_u (local.get $i) (local.get $n)) (then
        (i32.store8 (local.get $i) (i32.xor (i32.load8_u (local.get $i)) (i32.const 32)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next))))
    (drop (call $output (i32.const 0) (local.get $n))))
  (global (export "__heap_base") i32 (i32.const 1024)))"""

CAMERA = """(module (import "camera" "takeImageDynamicSize" (func (param i32 i32)))
  (func (export "take") (param i32) (result i32) (local.get 0)))"""

# As a Rust module that opens its file.
OPENS = """(module
  (import "wasi_snapshot_preview1" "path_open"
    (func (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (func (export "turn") (result i32) (i32.const 0)))"""

THERMOMETER = """(module (import "dht" "getTemperature" (func $celsius (result f32)))
  (func (export "celsius") (result f32) (call $celsius)))"""


@functools.cache
def wat(text: str) -> bytes:
    return subprocess.run(
        [need_tool("wat2wasm"), "--output=-", "-"], input=text.encode(), capture_output=True, check=True
    ).stdout


@dataclass
class Files:
    """A web server: what is at its paths, and what it was asked. go_on: what is below /slow waits for it."""

    url: str
    at: dict[str, tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)

    def put(self, path: str, data: bytes, status: int = 200, **headers: str) -> str:
        self.at[path] = (status, {name.replace("_", "-"): text for name, text in headers.items()}, data)
        return self.url + path


@contextmanager
def file_server() -> Iterator[Files]:
    """A web server on this machine, in a thread."""
    files = Files("", {})

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            files.asked.append((self.command, self.path, dict(self.headers.items()), body))
            if self.path.startswith("/slow"):
                files.go_on.wait(60)
            status, headers, data = files.at.get(self.path.partition("?")[0], (404, {}, b"none"))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._answer(status, headers, data)

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response(status)
            for name, text in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---- bodies ----


def readme_body(
    id: str, module: str, function: str, binary: str, parameter: str = "iterations"
) -> dict[str, Any]:
    """The form that the supervisor's README has."""
    integer = {"type": "integer", "format": "int64"}
    operation = {
        "parameters": [{"name": parameter, "in": "query", "required": True, "schema": integer}],
        "responses": {"200": {"content": {"application/json": {"schema": integer}}}},
    }
    return {
        "deploymentId": id,
        "modules": [
            {
                "id": "0",
                "name": module,
                "urls": {"binary": binary, "description": binary + "/description", "other": []},
            }
        ],
        "instructions": {"modules": {module: {function: {"paths": {"": {"get": operation}}, "to": None}}}},
    }


def endpoint(
    url: str,
    id: str,
    module: str,
    function: str,
    *,
    method: str = "get",
    parameters: tuple[str, ...] = ("param0",),
    files: tuple[str, ...] = (),
    media_type: str = "application/json",
) -> dict[str, Any]:
    """How today's orchestrator describes a function's call."""
    request: dict[str, Any] = {
        "parameters": [
            {"name": name, "in": "query", "description": "", "required": True, "schema": {"type": "integer"}}
            for name in parameters
        ]
    }
    if files:
        request["request_body"] = {
            "media_type": "multipart/form-data",
            "schema": {
                "type": "object",
                "properties": {name: {"type": "string", "format": "binary"} for name in files},
            },
            "encoding": {name: {"contentType": "application/octet-stream"} for name in files},
        }
    schema = (
        {"type": "integer"} if media_type == "application/json" else {"type": "string", "format": "binary"}
    )
    return {
        "url": url,
        "path": f"/{id}/modules/{module}/{function}",
        "method": method,
        "request": request,
        "response": {"media_type": media_type, "schema": schema},
    }


def body(
    id: str,
    module: str,
    function: str,
    binary: str,
    described: dict[str, Any],
    *,
    to: dict[str, Any] | None = None,
    other: dict[str, str] | None = None,
    mounts: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    """The form that today's orchestrator sends. mounts: the files of each stage."""
    stages = {
        stage: [
            {"path": name, "media_type": "application/octet-stream", "stage": stage}
            for name in (mounts or {}).get(stage, [])
        ]
        for stage in ("execution", "deployment", "output")
    }
    return {
        "deploymentId": id,
        "modules": [
            {
                "id": "6b01521654bb406cf4e2de68",
                "name": module,
                "urls": {"binary": binary, "description": binary, "other": other or {}},
            }
        ],
        "endpoints": {module: {function: described}},
        "instructions": {"modules": {module: {function: {"from": described, "to": to}}}},
        "mounts": {module: {function: stages}},
    }


def answered(response: requests.Response, status: int = 200) -> Any:
    """The JSON of an answer of this status."""
    assert response.status_code == status, f"{response.status_code} {response.text}"
    return json.loads(response.text)
