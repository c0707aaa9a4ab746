"""The commands against a real node: what the README promises, and every refusal's text and exit code."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wasmote.adapters.tools import need_tool
from wasmote.errors import ExitCode

ROOT = Path(__file__).parent.parent.parent


class Result:
    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Wasmote = Callable[..., Result]


@pytest.fixture
def wasmote(host_node: Any) -> Wasmote:
    """The command line, as a program of its own, against a fresh host node with sanitizers."""

    def call(*words: str | Path, data: bytes | None = None) -> Result:
        command = [sys.executable, "-m", "wasmote", "-t", host_node.uri, *map(str, words)]
        done = subprocess.run(command, input=data, capture_output=True, cwd=ROOT, timeout=60, check=False)
        assert b"Traceback" not in done.stderr and b"Warning" not in done.stderr, done.stderr.decode()
        return Result(done)

    return call


def test_commands_life_of_a_function(wasmote: Wasmote) -> None:
    assert "no functions yet" in wasmote("ls").err
    created = wasmote("--json", "push", "fib").json
    assert created["created"] and created["name"] == "fib"
    assert wasmote("call", "fib", "20").out == "6765\n"
    assert wasmote("call", "fib/fib64", "90").out == "2880067194370816120\n"
    assert wasmote("--json", "call", "fib/fib64", "90").json["value"] == "2880067194370816120"
    assert wasmote("call", "fib", "10", "--fetch").out == "55\n"
    info = wasmote("--json", "info", "fib").json
    assert (info["sha256"], info["size"]) == (created["sha256"], created["size"])
    refused = wasmote("push", "fib", "--if-new")
    assert refused.code == ExitCode.REFUSED and "4.12" in refused.err
    assert wasmote("push", "fib", "--if-match", "00112233").code == ExitCode.REFUSED
    assert "replaced" in wasmote("push", "fib", "--if-match", created["etag"]).out
    assert "replaced" in wasmote("push", "fib", "--if-match", info["etag"]).out
    assert "fib" in wasmote("ls").out
    assert wasmote("rm", "fib").code == 0
    gone = wasmote("call", "fib", "1")
    assert gone.code == ExitCode.REFUSED and "wasmote ls" in gone.err


@pytest.mark.slow
def test_commands_streams_of_any_size(wasmote: Wasmote, tmp_path: Path) -> None:
    wasmote("push", "wordcount")
    wasmote("push", "crc32")
    text = (ROOT / "docs" / "PROTOCOL.md").read_bytes() * 8
    counted = wasmote("call", "wordcount", "--in", "-", data=text).out.split()
    assert counted == [str(text.count(b"\n")), str(len(text.split())), str(len(text))]
    (tmp_path / "in").write_bytes(text)
    assert wasmote("call", "crc32", "--in", tmp_path / "in", "--out", tmp_path / "out").out == ""
    assert int((tmp_path / "out").read_text(), 16) == zlib.crc32(text)


def test_commands_a_trap_and_the_node_after_it(wasmote: Wasmote) -> None:
    wasmote("push", "spin")
    stopped = wasmote("call", "spin")
    assert stopped.code == ExitCode.TRAP
    assert "'fuel' in 'spin'" in stopped.err and "app.toml" in stopped.err
    assert wasmote("--json", "info", "--metrics").json["traps"] == 1


@pytest.mark.slow
def test_commands_name_every_trap(wasmote: Wasmote) -> None:
    """On one node: each leaves it ready for the next."""
    assert wasmote("push", ROOT / "tests" / "integration" / "modules" / "traps.wat").code == 0
    for words, kinds in {
        ("unreachable",): ["unreachable"],
        ("divide", "1", "0"): ["div-zero"],
        ("divide", "-2147483648", "-1"): ["int-overflow"],
        ("convert", "nan"): ["int-convert"],
        ("convert", "1e30"): ["int-overflow", "int-convert"],
        ("load", "2000"): ["memory-quota"],
        ("load", "99999999"): ["memory"],
        ("recurse", "1"): ["stack-wasm", "stack-native"],
        ("pointer", "0"): ["signature"],
        ("pointer", "1"): ["null-call", "table"],
        ("pointer", "2"): ["table"],
        ("forever", "1"): ["fuel"],
        ("write",): ["output"],
    }.items():
        result = wasmote("--json", "call", f"traps/{words[0]}", *words[1:])
        told = json.loads(result.err.splitlines()[-1])
        assert (result.code, result.out) == (ExitCode.TRAP, "")
        assert told["trap"] in kinds and told["function"] == "traps" and told["next_step"], told


def test_commands_application_status_is_no_trap(wasmote: Wasmote) -> None:
    wasmote("push", ROOT / "tests" / "integration" / "modules" / "traps.wat")
    for export, code, cause in (("status_404", "4.04", ""), ("status_9", "4.00", "why")):
        result = wasmote("--json", "call", f"traps/{export}")
        told = json.loads(result.err.splitlines()[-1])
        assert result.code == ExitCode.APPLICATION
        assert (told["code"], told["status"]) == (code, int(export.partition("_")[2])), told
        assert cause in told["cause"] and told["next_step"]
    assert wasmote("--json", "info", "--metrics").json["traps"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("call", "counter/add", "1", "--fetch"), ExitCode.REFUSED, "4.05"),
        (("rm", "fib", "--if-match", "0011"), ExitCode.REFUSED, "4.12"),
        (("jobs", "nope", "--cancel"), ExitCode.REFUSED, "wasmote jobs"),
        (("info", "--metrics", "nope"), ExitCode.REFUSED, "no function of this name"),
        (("call", "nope"), ExitCode.REFUSED, "4.04"),
        (("call", "fib/nope", "1"), ExitCode.USAGE, "its exports: fib, fib64"),
        (("call", "fib"), ExitCode.USAGE, "takes 1 argument (i32), got 0"),
        (("call", "fib", "ten"), ExitCode.USAGE, "'ten' is not an integer"),
        (("call", "fib", "1", "--background", "--id", ".x"), ExitCode.USAGE, "no job id"),
        (("jobs", "nope"), ExitCode.REFUSED, "4.04"),
    ],
)
def test_commands_mistakes(wasmote: Wasmote, words: tuple[str, ...], code: ExitCode, text: str) -> None:
    wasmote("push", "fib")
    wasmote("push", "counter")
    result = wasmote(*words)
    assert (result.code, result.out) == (code, "")
    assert text in result.err and "next:" in result.err


def test_commands_refused_modules_name_the_cause(wasmote: Wasmote, tmp_path: Path) -> None:
    sources = {
        "import": '(module (import "env" "puts" (func (param i32))) (func (export "run")))',
        "memory": '(module (memory 20000) (func (export "run")))',
    }
    expected = {"import": "env.puts", "memory": "__heap_base"}
    for name, source in sources.items():
        wat, wasm = tmp_path / f"{name}.wat", tmp_path / f"{name}.wasm"
        wat.write_text(source)
        subprocess.run([need_tool("wat2wasm"), wat, "-o", wasm], check=True)
        result = wasmote("push", wasm)
        assert result.code == ExitCode.REFUSED, result.err
        assert expected[name] in result.err, result.err
    whole, part = tmp_path / "whole.wasm", tmp_path / "part.wasm"
    wasmote("compile", "fib", "-o", whole)
    part.write_bytes(whole.read_bytes()[:-5])
    cut = wasmote("push", part)
    assert cut.code == ExitCode.REFUSED and "length out of bounds, at byte" in cut.err
    assert wasmote("--json", "ls").json == []


def test_commands_a_module_that_is_too_large(wasmote: Wasmote, tmp_path: Path) -> None:
    limit = wasmote("--json", "info").json["limits"]["module"]
    body = b"\3big" + bytes(limit)
    size = bytes((len(body) >> shift & 0x7F) | (0x80 if shift < 28 else 0) for shift in (0, 7, 14, 21, 28))
    wasm = tmp_path / "big.wasm"
    wasm.write_bytes(b"\0asm\1\0\0\0" + b"\0" + size + body)
    result = wasmote("push", wasm, "--bare")
    assert result.code == ExitCode.REFUSED
    assert str(limit) in result.err and "would fit" in result.err


@pytest.mark.slow
def test_commands_background_jobs(wasmote: Wasmote) -> None:
    wasmote("push", "fib")
    wasmote("push", "spin")
    assert wasmote("call", "fib", "20", "--background", "--id", "one").out == "one\n"
    assert wasmote("jobs", "one", "--wait").out == "6765\n"
    assert wasmote("call", "fib", "20", "--background", "--id", "one").code == ExitCode.REFUSED
    job = wasmote("call", "spin", "--background").out.strip()
    failed = wasmote("jobs", job, "--wait")
    assert failed.code == ExitCode.TRAP and "fuel" in failed.err
    states = {entry["id"]: entry["state"] for entry in wasmote("--json", "jobs").json}
    assert states == {"one": "done", job: "failed"}
    assert wasmote("jobs", "one", "--cancel").code == 0
    assert [entry["id"] for entry in wasmote("--json", "jobs").json] == [job]


@pytest.mark.slow
def test_commands_logs_follow(wasmote: Wasmote, host_node: Any) -> None:
    command = [sys.executable, "-m", "wasmote", "--json", "-t", host_node.uri, "logs", "-f"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follow:
        try:
            assert follow.stdout is not None
            first = json.loads(follow.stdout.readline())
            time.sleep(0.3)
            wasmote("push", "fib")
            later = json.loads(follow.stdout.readline())
            time.sleep(0.5)  # it waits again: that is when people press Ctrl-C
        finally:
            follow.send_signal(signal.SIGINT)
            try:
                _out, err = follow.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                follow.kill()
                raise
    assert later["number"] == first["number"] + 1 and "fib" in later["text"]
    assert follow.returncode == ExitCode.INTERRUPTED and "Traceback" not in err


def test_commands_discover_by_address(wasmote: Wasmote, host_node: Any) -> None:
    found = wasmote("--json", "discover", "--no-multicast", host_node.uri).json
    assert found["address"] == host_node.uri and found["ep"] == wasmote("--json", "info").json["ep"]


@pytest.mark.slow
def test_commands_bridge_with_serial_node(tmp_path: Path) -> None:
    """`emulate host --serial` offers a device; `bridge` makes a UDP address of it; both end in order."""
    emulate = [sys.executable, "-m", "wasmote", "emulate", "host", "--udp", "0", "--serial", "--build"]
    with subprocess.Popen(
        emulate, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as node:
        try:
            assert node.stdout is not None
            addresses = [node.stdout.readline().strip() for _ in range(2)]
            device = next(one for one in addresses if one.startswith("serial:"))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            bridge = [sys.executable, "-m", "wasmote", "bridge", device, "--udp", f"127.0.0.1:{port}"]
            with subprocess.Popen(
                bridge, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            ) as running:
                try:
                    assert running.stdout is not None
                    uri = running.stdout.readline().strip()
                    assert uri == f"coap://127.0.0.1:{port}"
                    words = [sys.executable, "-m", "wasmote", "-t", uri]
                    subprocess.run([*words, "push", "fib"], check=True, capture_output=True, cwd=ROOT)
                    called = subprocess.run([*words, "call", "fib", "20"], check=True, capture_output=True)
                    assert called.stdout == b"6765\n"
                finally:
                    running.send_signal(signal.SIGINT)
                    _out, err = running.communicate(timeout=10)
            assert running.returncode == ExitCode.INTERRUPTED and "Traceback" not in err
        finally:
            node.send_signal(signal.SIGINT)
            node.communicate(timeout=10)
