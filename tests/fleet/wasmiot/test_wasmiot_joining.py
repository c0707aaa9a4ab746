"""Devices make themselves known to an orchestrator, and find supervisors; who needs no key, and who does."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import secrets
import time
from pathlib import Path

import pytest
import requests
from fleet_server import fleet_server, run_cli
from wasmiot_world import answered, file_server
from zeroconf import ServiceInfo, Zeroconf

from wasmote_fleet.compat.wasmiot import joining


async def test_an_orchestrator_is_told_again_when_it_stops_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "LOOK_S", 0.1)
    with file_server() as orchestrator:
        orchestrator.put("/file/device/discovery/register", b"")
        asked: dict[str, float] = {}
        devices = {"n": ("node", "http://127.0.0.1:5101")}
        made = joining.Joining(orchestrator.url, lambda: devices, asked, again_s=1.0)
        task = asyncio.create_task(made.run())
        try:
            async with asyncio.timeout(10):
                while not orchestrator.asked:  # noqa: ASYNC110 - another thread fills it
                    await asyncio.sleep(0.05)
                method, path, _headers, body = orchestrator.asked[0]
                assert (method, path) == ("POST", "/file/device/discovery/register")
                assert json.loads(body) == {
                    "name": "node",
                    "type": "_webthing._tcp.local.",
                    "port": 5101,
                    "properties": {"path": "/", "tls": "0", "address": "127.0.0.1"},
                    "addresses": ["127.0.0.1"],
                    "host": "127.0.0.1.local.",
                }
            # As long as it asks for the device's health, it is not told again.
            for _ in range(20):
                asked["n"] = asyncio.get_running_loop().time()
                await asyncio.sleep(0.1)
            assert len(orchestrator.asked) == 1
            async with asyncio.timeout(10):
                while len(orchestrator.asked) == 1:  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.mark.slow
def test_an_open_address_needs_a_key_or_trust(tmp_path: Path) -> None:
    data, address = str(tmp_path / "fleet.db"), ("--http", "127.0.0.1:0", "--wasmiot", "0.0.0.0:0")
    refused = run_cli("serve", "--data", data, "--coap", "127.0.0.1:0", *address)
    assert refused.returncode == 2 and "--wasmiot-trust" in refused.stderr
    with fleet_server(tmp_path / "fleet.db", *address, "--wasmiot-trust", "127.0.0.0/8") as server:
        url = server.started["wasmiot"].replace("0.0.0.0", "127.0.0.1")
        assert answered(requests.get(url + "/request-history", timeout=10)) == []
        # What is trusted is an address, not a name that a request claims.
        found = answered(requests.post(url + "/register", json={"url": "http://127.0.0.1:3000"}, timeout=10))
        assert found == {"status": "success"}
    with fleet_server(tmp_path / "fleet.db", *address, "--wasmiot-trust", "192.0.2.99") as server:
        url = server.started["wasmiot"].replace("0.0.0.0", "127.0.0.1")
        told = {"X-Forwarded-For": "192.0.2.99", "Host": "192.0.2.99"}
        for method, path in (
            ("GET", "/request-history"),
            ("GET", "/.well-known/wasmiot-device-description"),
            ("POST", "/deploy"),
            ("POST", "//deploy"),
            ("GET", "/file/device"),
            ("POST", "/register"),
            ("GET", "/x/modules/y/z"),
            ("POST", "/execute/x"),
        ):
            response = requests.request(method, url + path, headers=told, timeout=10)
            said = answered(response, 401)
            assert said["status"] == "error" and "key" in said["result"]
        assert requests.get(url + "/health", timeout=10).status_code == 503  # it has no node
    key = json.loads(run_cli("keys", "add", "call", "--data", data).stdout)["key"]
    with fleet_server(tmp_path / "fleet.db", *address) as server:
        url = server.started["wasmiot"].replace("0.0.0.0", "127.0.0.1")
        bearer = {"Authorization": f"Bearer {key}"}
        assert answered(requests.get(url + "/request-history", headers=bearer, timeout=10)) == []
        assert requests.post(url + "/deploy", headers=bearer, timeout=10).status_code == 403
        assert requests.delete(url + "/file/module", headers=bearer, timeout=10).status_code == 403


@pytest.mark.slow
def test_a_local_address_answers_this_machine_only(tmp_path: Path) -> None:
    options = ("--http", "127.0.0.1:0", "--wasmiot", "127.0.0.1:0")
    with fleet_server(tmp_path / "fleet.db", *options) as server:
        url = server.started["wasmiot"]
        for told in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            assert requests.get(url + "/request-history", headers=told, timeout=10).status_code == 403
            assert requests.post(url + "/deploy", headers=told, timeout=10).status_code == 403


@pytest.mark.slow
def test_a_supervisor_that_announces_itself_is_taken_in(tmp_path: Path) -> None:
    base = ("--http", "127.0.0.1:0", "--wasmiot", "127.0.0.1:0")
    name, other = f"sup-{secrets.token_hex(4)}", Zeroconf(interfaces=["127.0.0.1"])
    discover = ("--wasmiot-discover", "--mdns-address", "127.0.0.1")
    with (
        fleet_server(tmp_path / "far.db", *base) as far,
        fleet_server(tmp_path / "near.db", *base, *discover) as near,
    ):
        port = int(far.started["wasmiot"].rpartition(":")[2])
        try:
            other.register_service(
                ServiceInfo(
                    "_webthing._tcp.local.",
                    f"{name}._webthing._tcp.local.",
                    addresses=[ipaddress.ip_address("127.0.0.1").packed],
                    port=port,
                    properties={"path": "/", "tls": "0", "address": "127.0.0.1"},
                    server=f"{name}.local.",
                )
            )
            end = time.monotonic() + 30
            while True:
                found = answered(requests.get(near.started["wasmiot"] + "/file/device", timeout=10))
                known = {each["name"]: each for each in found}
                if name in known:
                    break
                assert time.monotonic() < end, known
                time.sleep(0.2)
            assert known[name]["communication"] == {"addresses": ["127.0.0.1"], "port": port}
        finally:
            other.close()
