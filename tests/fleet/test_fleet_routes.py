"""Every route that the server serves, taken from its applications as they are: own, OpenWhisk's, wasmiot's. A route
that is added later is held to the same by itself."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.routing import Route

from wasmote_fleet.compat.openwhisk.names import NAMESPACE
from wasmote_fleet.engine import open_engine
from wasmote_fleet.gateway.http.app import OPERATIONS
from wasmote_fleet.gateway.keys import Keys, Role
from wasmote_fleet.server import serve as serving
from wasmote_fleet.server import wasmiot
from wasmote_fleet.server.addresses import Address

pytestmark = pytest.mark.slow
PATIENCE_S = 20.0
PARAMETER = re.compile(r"\{(\w+)(:path)?\}")
# What may stand for `{rest:path}`: routes that look further by themselves.
BELOW = {
    "/api/v1/namespaces/{rest:path}": tuple(
        f"{NAMESPACE}/{kind}/x"
        for kind in ("actions", "triggers", "rules", "packages", "activations", "limits")
    ),
    "/api/v1/web/{rest:path}": (f"{NAMESPACE}/default/x.json", "whisk.system/apimgmt/createApi.http"),
    f"/api/{NAMESPACE}/{{rest:path}}": ("x",),
}
# Of OpenWhisk and wasmiot GET takes `read`, POST `call` or more, and PUT, PATCH and DELETE take `deploy`, but for
# these, which call.
CALLING_GETS = "/modules/{module}/{function}"
WEB = ("/api/v1/web/", f"/api/{NAMESPACE}")
NASTY = (
    "%2F", "..", "%2e%2e", "%00", "a%00b", "%ff", "%ED%A0%80", "*", "%3E", "a.b", "$JS.API.x", "%0d%0aX:%20y", "%25",
    "%1b[2J", "a" * 300, "%C3%A9" * 100, "'%20or%201=1--", "x" * 4000,
)  # fmt: skip


@dataclass(frozen=True)
class Served:
    """One application. at: host and port."""

    app: Starlette
    at: tuple[str, int]

    def routes(self) -> list[tuple[str, str]]:
        """Method and path of each."""
        found = []
        for route in self.app.routes:
            assert isinstance(route, Route), f"{route} is of a kind that this test does not know"
            found += [(method, route.path) for method in sorted(route.methods or ())]
        return found


@dataclass(frozen=True)
class World:
    apps: Sequence[Served]
    keys: dict[Role, str]

    def each(self) -> list[tuple[Served, str, str]]:
        return [(served, method, path) for served in self.apps for method, path in served.routes()]


@pytest_asyncio.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A server on all addresses, in this process, whose applications are caught on their way to uvicorn."""
    engine = await open_engine(str(tmp_path / "fleet.db"))
    keys = {role: await Keys(engine).add(role) for role in Role}
    await engine.close()
    apps: list[Starlette] = []
    for module in (serving, wasmiot):
        configured = module.configured
        monkeypatch.setattr(module, "configured", lambda app, do=configured: (apps.append(app), do(app))[1])
    everywhere = Address("0.0.0.0", 0)
    settings = serving.Settings(
        str(tmp_path / "fleet.db"),
        everywhere,
        Address("127.0.0.1", 0),
        "s",
        wasmiot=wasmiot.WasmiotSettings(everywhere),
    )
    said: asyncio.Future[serving.Started] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(serving.serve(settings, said.set_result))
    await asyncio.wait({running, said}, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_S)
    started = said.result()
    assert started.wasmiot is not None
    ports = [urlsplit(url).port or 0 for url in (started.wasmiot, started.http)]
    yield World([Served(app, ("127.0.0.1", port)) for app, port in zip(apps, ports, strict=True)], keys)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(running, PATIENCE_S)


async def ask(
    served: Served, method: str, path: str, key: str | None = None, **headers: str
) -> tuple[int, bytes]:
    """The status and the body's beginning. Nothing of a body is sent."""

    def talk() -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*served.at, timeout=PATIENCE_S)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            if key is not None:
                connection.putheader("Authorization", f"Bearer {key}")
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read(2000)
        finally:
            connection.close()

    return await asyncio.to_thread(talk)


def filled(path: str, segment: str = "x") -> list[str]:
    """The path with something in the place of each parameter; the alternatives of those that look further."""
    if path in BELOW:
        front = path.partition("{")[0]
        return [front + below.replace("x", segment, 1) for below in BELOW[path]]
    assert ":path" not in path, f"say in BELOW what {path} has below it"
    return [PARAMETER.sub(lambda _: segment, path)]


async def test_without_a_key_there_is_only_health(world: World) -> None:
    assert len(world.each()) > 100
    for served, method, path in world.each():
        for at in filled(path):
            for key in (None, "x", "wmk_000000000000_" + "A" * 43, world.keys[Role.DEPLOY][:-1]):
                status, body = await ask(served, method, at, key)
                if at == "/health":
                    assert status in (200, 503), (method, at, status)
                else:
                    assert status == 401, (method, at, key, status, body)


async def test_a_lesser_role_is_refused_before_anything_is_looked_at(world: World) -> None:
    roles = {(operation.method, operation.path): operation.role for operation in OPERATIONS}
    for served, method, path in world.each():
        if path == "/health" or method == "OPTIONS":
            continue
        wanted = roles.get(("GET" if method == "HEAD" else method, path)) if served is world.apps[1] else None
        if wanted is None:
            if path.startswith(WEB) or method == "POST" or path.endswith(CALLING_GETS):
                wanted = Role.CALL
            else:
                wanted = Role.DEPLOY if method in ("PUT", "PATCH", "DELETE") else Role.READ
        lesser = [role for role in Role if role < wanted]
        for at in filled(path):
            for role in lesser:
                status, body = await ask(served, method, at, world.keys[role], Content_Length="99999999999")
                # 405: nobody may.
                assert status in (403, 405), (method, at, role, status, body)


async def test_bodies_beyond_all_bounds_are_refused_by_their_length(world: World) -> None:
    too_large = 0
    for served, method, path in world.each():
        if method in ("GET", "HEAD", "OPTIONS", "DELETE") or path == "/api/v1/discovery":
            continue
        for at in filled(path):
            for kind in ("application/json", "multipart/form-data; boundary=x", "application/wasm"):
                status, body = await ask(
                    served,
                    method,
                    at,
                    world.keys[Role.DEPLOY],
                    Content_Type=kind,
                    Content_Length=str(1 << 40),
                )
                assert 200 <= status < 500, (method, at, status, body)
                too_large += status == 413
    assert too_large > 60, too_large


async def test_no_path_is_nasty_enough(world: World) -> None:
    for served, method, path in world.each():
        if "{" not in path:
            continue
        for segment in NASTY:
            for at in filled(path, segment):
                status, body = await ask(
                    served, method, at, world.keys[Role.DEPLOY], Content_Type="application/json"
                )
                assert status < 500, (method, at[:200], status, body)
                assert b"Traceback" not in body and b"site-packages" not in body, (method, at[:200], body)
                assert b"\x1b" not in body and b"\x00" not in body, (method, at[:200], body)
