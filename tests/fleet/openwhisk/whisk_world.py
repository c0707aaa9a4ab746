"""A fleet server with a real node, and OpenWhisk's clients' side of its HTTP."""

from __future__ import annotations

import base64
import functools
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from fleet_server import FleetServer

from wasmote.adapters.tools import need_tool
from wasmote.protocol.section import Section, with_section

HERE = Path(__file__).resolve().parent
PATIENCE_S = 30.0


@functools.cache
def words(fuel: int = 10_000_000) -> bytes:
    """The module of words.wat. fuel: how long `spin` runs."""
    made = subprocess.run(
        [need_tool("wat2wasm"), "--output=-", str(HERE / "words.wat")], capture_output=True, check=True
    ).stdout
    return with_section(made, Section(name="words", heap=0, fuel=fuel))


def code(module: bytes | None = None) -> str:
    return base64.b64encode(words() if module is None else module).decode()


def wasm(main: str, **more: Any) -> dict[str, Any]:
    """The body that creates an action of an export of words.wat."""
    return {"exec": {"kind": "wasm", "code": code(), "binary": True, "main": main}, **more}


def pairs(**values: Any) -> list[dict[str, Any]]:
    """Parameters or annotations; `_` in a name stands for `-`."""
    return [{"key": key.replace("_", "-"), "value": value} for key, value in values.items()]


@dataclass
class Whisk:
    """Requests below /api/v1/namespaces/_ unless the path begins with a slash."""

    server: FleetServer
    key: str | None = None

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        if body is not None:
            options["json"] = body
        where = path if path.startswith("/") else f"/api/v1/namespaces/_/{path}"
        if self.key is not None:
            options["auth"] = ("00000000-0000-0000-0000-000000000000", self.key)
        return self.server.request(method, where, **options)

    def made(self, kind: str, name: str, body: Any, **options: Any) -> dict[str, Any]:
        """Create or update an entity."""
        done = self("PUT", f"{kind}/{name}?overwrite=true", body, **options)
        assert done.status_code == 200, done.text
        found: dict[str, Any] = done.json()
        return found

    def result(self, name: str, args: Any = None, status: int = 200) -> Any:
        """Of a blocking invocation."""
        done = self("POST", f"actions/{name}?blocking=true&result=true", {} if args is None else args)
        assert done.status_code == status, done.text
        return done.json()

    def activation(self, id: str) -> dict[str, Any]:
        """The record, once it has ended."""
        until = time.monotonic() + PATIENCE_S
        while True:
            found = self("GET", f"activations/{id}")
            if found.status_code == 200:
                record: dict[str, Any] = found.json()
                return record
            assert found.status_code == 404 and time.monotonic() < until, found.text
            time.sleep(0.05)


def is_error(response: requests.Response, status: int, text: str) -> None:
    """`{error, code}` with this status and text."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error", "code"}, body
    assert text in body["error"], body
    assert isinstance(body["code"], str) and body["code"]
