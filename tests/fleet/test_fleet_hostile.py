"""What a hostile client, page or node sends to a fleet server on this machine: refused, and never a crash."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fleet_server import FleetServer, fleet_server

from wasmote.errors import InputError
from wasmote.protocol.target import parse_target
from wasmote_fleet.deploy.parse import SpecError, load_json, load_toml

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FleetServer]:
    """It must not write anything to stderr: each crash is a traceback there."""
    data = tmp_path_factory.mktemp("fleet") / "fleet.db"
    with fleet_server(data, "--wasmiot", "127.0.0.1:0") as server:
        yield server


def status_of(url: str, *lines: str) -> int:
    """Of a GET /api/v1/status, or wasmiot's description, with these header lines as they are."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        head = f"GET {parts.path} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines)
        connection.sendall(head.encode("latin-1") + b"Connection: close\r\n\r\n")
        return int(connection.recv(100).split()[1])


@pytest.mark.slow
@pytest.mark.parametrize("which", ["own", "wasmiot"])
def test_pages_of_other_sites_are_refused_however_they_ask(server: FleetServer, which: str) -> None:
    url = (
        f"{server.http}/api/v1/status"
        if which == "own"
        else f"{server.started['wasmiot']}/.well-known/wasmiot-device-description"
    )
    here = "Host: 127.0.0.1"
    assert status_of(url, here) == 200
    for host in (
        "[",
        "[::1",
        "evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "\xff",
        "0.0.0.0",
    ):
        assert status_of(url, f"Host: {host}") == 403, host
    for origin in ("null", "http://[", "http://evil.example", "file://", "http://localhost.evil.example"):
        assert status_of(url, here, f"Origin: {origin}") == 403, origin
    # An image's or a link's GET has no Origin; browsers say this instead.
    assert status_of(url, here, "Sec-Fetch-Site: cross-site") == 403
    assert status_of(url, here, "Sec-Fetch-Site: none") == 200
    assert status_of(url, here, "Sec-Fetch-Site: same-site", "Origin: http://localhost:3000") == 200
    assert status_of(url, "Host: evil.example", "Origin: http://evil.example") == 403
    assert status_of(url, here, "Sec-Fetch-Site: cross-site", "Origin: http://localhost:3000") == 200
    assert status_of(url, here, "Sec-Fetch-Site: cross-site", "Origin: http://evil.example") == 403


@pytest.mark.slow
def test_pages_in_browsers_of_trusted_machines(tmp_path: Path) -> None:
    """--wasmiot-trust: no key is asked for, so the page must not come from elsewhere, nor by a name of its own."""
    options = ("--wasmiot", "0.0.0.0:0", "--wasmiot-trust", "127.0.0.1")
    with fleet_server(tmp_path / "fleet.db", *options) as server:
        url = server.started["wasmiot"].replace("0.0.0.0", "127.0.0.1") + "/request-history"
        for host in ("127.0.0.1", "192.0.2.7:5000", "[2001:db8::1]", "fleet", "fleet.local"):
            assert status_of(url, f"Host: {host}") == 200, host
        for host in ("evil.example", "192.0.2.7.evil.example", "[", ""):
            assert status_of(url, f"Host: {host}") == 403, host
        assert status_of(url, "Host: 192.0.2.7", "Origin: http://192.0.2.7:3000") == 200
        for origin in ("http://evil.example", "null", "http://192.0.2.70"):
            assert status_of(url, "Host: 192.0.2.7", f"Origin: {origin}") == 403, origin


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/nodes", '{"\\ud800": 1}'),
        ("POST", "/api/v1/nodes", '{"uri": "coap://\\udfff"}'),
        ("POST", "/api/v1/nodes", '{"uri": "coap://a..b"}'),
        ("POST", "/api/v1/nodes", '{"uri": "coap://127.0.0.1\\u0000"}'),
        ("POST", "/api/v1/nodes", f'{{"uri": "coap://{"a" * 70}.example"}}'),
        ("POST", "/api/v1/nodes", '{"uri": "coap://127.0.0.1:1", "beat_s": 1e999}'),
        ("POST", "/api/v1/nodes", '{"uri":' + "[" * 60_000),
        ("POST", "/api/v1/nodes", "9" * 60_000),
        ("PUT", "/api/v1/deployments/d", '{"\\ud800": 1}'),
        ("PUT", "/api/v1/deployments/d", '{"id": "d", "functions": [{"name": "\\ud800"}]}'),
        ("PUT", "/api/v1/deployments/d", '{"id": "d", "functions": [{"name": "a", "count": 1e999}]}'),
        ("PUT", "/api/v1/deployments/d", '{"id": "d", "functions":' + "[" * 60_000),
        ("PUT", "/api/v1/namespaces/guest/actions/a", '{"exec": {"kind": "wasm", "code": "\\ud800"}}'),
    ],
)
def test_bodies_that_are_traps(server: FleetServer, method: str, path: str, body: str) -> None:
    answer = server.request(method, path, data=body, headers=JSON)
    assert answer.status_code in (400, 422), answer.text
    json.loads(answer.content)


@pytest.mark.slow
@pytest.mark.parametrize("trigger", ["\0", "/_/\x1b[2J", "a" * 300, "\u202e"])
def test_a_feed_of_a_trigger_that_no_trigger_is_called(server: FleetServer, trigger: str) -> None:
    where = "/api/v1/namespaces/whisk.system/actions/alarms/alarm?blocking=true&result=true"
    for event in ("CREATE", "READ", "UPDATE", "DELETE"):
        asked = {"lifecycleEvent": event, "triggerName": trigger, "cron": "* * * * *"}
        answer = server.request("POST", where, json=asked)
        assert answer.status_code == 502 and "error" in answer.json(), answer.text


@pytest.mark.slow
def test_a_body_with_two_lengths_is_refused_with_all_that_follows(server: FleetServer) -> None:
    parts = urlsplit(server.http)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        head = f"Host: {parts.netloc}\r\n".encode()
        twice = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n[20]\r\n0\r\n\r\n"
        connection.sendall(
            b"POST /api/v1/nodes HTTP/1.1\r\n" + head + twice + b"GET /health HTTP/1.1\r\n" + head + b"\r\n"
        )
        said = b"".join(iter(lambda: connection.recv(4096), b""))
    assert said.startswith(b"HTTP/1.1 400 ") and b"two lengths" in said and said.count(b"HTTP/1.1") == 1


@pytest.mark.slow
def test_a_path_that_is_too_long(server: FleetServer) -> None:
    assert server.request("GET", "/api/v1/nodes/" + "a" * 5000).status_code == 414


@pytest.mark.parametrize("host", ["a..b", "\ud800", "127.0.0.1\0", "a b", "a" * 70, "\u202eexample"])
def test_hosts_that_no_name_server_should_see(host: str) -> None:
    with pytest.raises(InputError, match="no CoAP address"):
        parse_target(f"coap://{host}:5683")


def test_deployments_that_would_take_long_to_read_are_refused_at_once() -> None:
    began = time.monotonic()
    for text in ("a." * 100_000 + "b = 1", "[" + "a." * 100_000 + "b]", "x = {" + "a." * 100_000 + "b = 1}"):
        with pytest.raises(SpecError, match="dots"):
            load_toml("id = 'd'\n" + text, "it")
    assert time.monotonic() - began < 5.0
    with pytest.raises(SpecError, match="no JSON"):
        load_json('{"id": "\\ud83d"}', "it")
    assert load_json('{"id": "\\ud83d\\ude00"}', "it") == {"id": "\U0001f600"}


def datagram(number: int, code: int, *options: tuple[int, bytes], payload: bytes = b"") -> bytes:
    """A CoAP message; options in the order of their numbers, each shorter than 13 bytes and less than 13 behind the
    one before."""
    made, last = bytearray((0x44, code, number >> 8, number & 255, 0, 0, number >> 8, number & 255)), 0
    for option, value in options:
        made += bytes(((option - last) << 4 | len(value),)) + value
        last = option
    return bytes(made) + (b"\xff" + payload if payload else b"")


@pytest.mark.slow
def test_datagrams_that_are_traps_fill_no_log(tmp_path: Path) -> None:
    """The server's stderr is empty, or the fixture fails."""
    traps = [
        ((11, b"rd"), (15, b"ep=\xff\xfe")),
        ((11, b"\xff"),),
        ((11, b"rd"), (15, b"ep=\x1b[2J")),
        ((11, b"rd"), (15, b"ep=a"), (15, b"lt=" + b"9" * 9)),
        ((11, b"rd"), (15, b"base=coap://")),
        ((11, b"rpc"), (11, b"x"), (15, b"from=a")),
        ((11, b"functions"), (11, b"..")),
    ]
    with (
        fleet_server(tmp_path / "fleet.db") as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
    ):
        at = urlsplit(server.coap)
        sock.connect((at.hostname, at.port))
        sock.settimeout(10)
        number = 0
        for options in traps:
            for code in (1, 2, 4):
                number += 1
                sock.send(datagram(number, code, *options))  # type: ignore[arg-type]
        for block in (b"\x0e", b"\x3e", b"\x1e"):  # the first, the fourth, the second
            number += 1
            sock.send(
                datagram(number, 2, (11, b"rpc"), (11, b"x"), (23, b""), (27, block), payload=bytes(1024))
            )
        sock.send(datagram(999, 1, (11, b"functions")))
        while (answer := sock.recv(2048))[2:4] != (999).to_bytes(2, "big"):
            assert answer[1] >> 5 in (0, 2, 4), answer
        assert answer[1] == 0x45
