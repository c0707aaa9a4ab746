"""The commands that talk to a node: texts, JSON and exit codes for everything that can go wrong without one."""

from __future__ import annotations

import asyncio
import io
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cbor2
import pytest
from fakes import Answer, Functions, ScriptedNode, Seen, problem, udp_server

from wasmote.cli.main import run
from wasmote.errors import ExitCode
from wasmote.protocol.module import encode_unsigned, parse_module
from wasmote.protocol.section import Section, section_of, with_section

PROTOCOL = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
EMPTY_MODULE = b"\0asm\1\0\0\0"


def small_module(*, heap_base: int | None = None) -> bytes:
    """(module (memory 1) (global $h i32) (export "__heap_base") (func (export "run")))"""

    def section(number: int, body: bytes) -> bytes:
        return bytes([number]) + encode_unsigned(len(body)) + body

    data = EMPTY_MODULE + section(1, b"\1\x60\0\0") + section(3, b"\1\0") + section(5, b"\1\0\1")
    exports = [b"\x03run\0\0"]
    if heap_base is not None:
        # i32.const takes a signed LEB128: five bytes, so that the sign is in the last.
        constant = bytes(heap_base >> shift & 0x7F | 0x80 for shift in (0, 7, 14, 21)) + b"\0"
        data += section(6, b"\1\x7f\0\x41" + constant + b"\x0b")
        exports.append(b"\x0b__heap_base\3\0")
    data += section(7, bytes([len(exports)]) + b"".join(exports))
    return data + section(10, b"\1\2\0\x0b")


@pytest.fixture
def functions() -> Functions:
    return Functions()


@pytest.fixture
def uri(functions: Functions) -> Iterator[str]:
    """A scripted node in a thread of its own: each command runs an event loop in this one."""
    started: list[str] = []
    ready, loop = threading.Event(), asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with udp_server(ScriptedNode(functions)) as address:
            started.append(address)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(5)
    yield started[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(5)
    loop.close()


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        return json.loads(self.err.strip().splitlines()[-1])


Cli = Callable[..., Result]


@pytest.fixture
def cli(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cli:
    monkeypatch.setenv("WASMOTE_CONFIG", str(tmp_path / "no-config.toml"))
    monkeypatch.delenv("WASMOTE_TARGET", raising=False)

    def call(*args: str | Path) -> Result:
        capfdbinary.readouterr()
        code = run([str(arg) for arg in args])
        out, err = capfdbinary.readouterr()
        return Result(code, out.decode(errors="replace"), err.decode(errors="replace"))

    return call


@pytest.fixture
def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


# ---- no node ----


@pytest.mark.parametrize(
    "words",
    [("ls",), ("info",), ("info", "x"), ("call", "x", "1"), ("rm", "x"), ("logs",), ("jobs",)],
    ids=" ".join,
)
def test_cli_unreachable_node(cli: Cli, free_port: int, words: tuple[str, ...]) -> None:
    result = cli("-t", f"coap://127.0.0.1:{free_port}", *words)
    assert result.code == ExitCode.UNREACHABLE
    assert result.out == ""
    assert "error:" in result.err and "refused" in result.err and "next:" in result.err


def test_cli_unreachable_node_in_json(cli: Cli, free_port: int) -> None:
    result = cli("--json", "-t", f"coap://127.0.0.1:{free_port}", "ls")
    assert result.error["exit_code"] == 6 and result.error["next_step"]


def test_cli_unknown_host(cli: Cli) -> None:
    result = cli("-t", "coap://no-such-host.invalid", "ls")
    assert result.code == ExitCode.USAGE and "unknown host" in result.err


def test_cli_without_a_target(cli: Cli) -> None:
    result = cli("call", "fib", "20")
    assert result.code == ExitCode.USAGE
    assert "no target" in result.err and "WASMOTE_TARGET" in result.err


@pytest.mark.parametrize("device", ["/dev/ttyNOPE7", "serial:/dev/ttyNOPE7@9600"])
def test_cli_no_such_serial_device(cli: Cli, device: str) -> None:
    for words in (("-t", device, "ls"), ("bridge", device)):
        result = cli(*words)
        assert result.code == ExitCode.LOCAL
        assert "no such serial device" in result.err and "next:" in result.err


def test_cli_a_file_is_no_serial_device(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    result = cli("bridge", f"serial:{tmp_path}/file", "--udp", "127.0.0.1:0")
    assert result.code == ExitCode.LOCAL and "no serial device" in result.err


def test_cli_emulator_that_is_not_there(cli: Cli, tmp_path: Path, free_port: int) -> None:
    for port in (f"unix:{tmp_path}/socket", f"tcp:127.0.0.1:{free_port}"):
        result = cli("bridge", port, "--udp", "127.0.0.1:0")
        assert result.code == ExitCode.LOCAL and "next:" in result.err


def test_cli_bridge_of_a_udp_node_is_refused(cli: Cli) -> None:
    result = cli("bridge", "coap://127.0.0.1")
    assert result.code == ExitCode.USAGE and "without a bridge" in result.err


def test_cli_bridge_port_in_use(cli: Cli, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        result = cli("bridge", f"unix:{tmp_path}/socket", "--udp", f"127.0.0.1:{port}")
    assert result.code == ExitCode.LOCAL
    assert str(port) in result.err and "in use" in result.err


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:http", ""])
def test_cli_bridge_refuses_addresses(cli: Cli, address: str) -> None:
    assert cli("bridge", "/dev/null", "--udp", address).code == ExitCode.USAGE


# ---- calls ----


def test_cli_call_numbers(cli: Cli, uri: str) -> None:
    assert cli("-t", uri, "call", "add", "-5", "0x10").out == "11\n"
    assert cli("-t", uri, "call", "add", "1", "2", "--json").json["value"] == 3
    assert cli("-t", uri, "--json", "call", "add/add", "0", str(2**62)).json["value"] == str(2**62)
    assert cli("-t", uri, "call", "pure", "-inf", "--fetch").out == "-inf\n"
    assert cli("-t", uri, "--json", "call", "pure", "nan").json["value"] == "NaN"
    assert cli("-t", uri, "call", "pure", "0.1").out == "0.1\n"
    assert cli("-t", uri, "call", "two/b").out == "-3 0.5\n"
    assert cli("-t", uri, "--json", "call", "two/a").json["value"] == []


def test_cli_call_bytes(cli: Cli, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in").write_bytes(b"some text\n" * 500)
    assert cli("-t", uri, "call", "wc", "--in", tmp_path / "in").out == "SOME TEXT\n" * 500
    done = cli("-t", uri, "call", "wc", "--in", tmp_path / "in", "--out", tmp_path / "out")
    assert done.out == "" and (tmp_path / "out").read_bytes() == b"SOME TEXT\n" * 500
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from stdin")))
    result = cli("-t", uri, "--json", "call", "wc", "--in", "-").json
    assert (result["text"], result["bytes"], result["hex"]) == ("FROM STDIN", 10, b"FROM STDIN".hex())


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("call", "nope"), ExitCode.REFUSED, "wasmote ls"),
        (("call", "add/nope", "1", "2"), ExitCode.USAGE, "its exports: add"),
        (("call", "add", "1"), ExitCode.USAGE, "takes 2 arguments (i32, i64), got 1"),
        (("call", "add", "1", "two"), ExitCode.USAGE, "argument 2 (i64): 'two' is not an integer"),
        (("call", "add", "1", "1.5"), ExitCode.USAGE, "not an integer"),
        (("call", "add", "4294967296", "1"), ExitCode.USAGE, "out of range"),
        (("call", "wc", "1"), ExitCode.USAGE, "--in FILE"),
        (("call", "wc", "--in", "/does/not/exist"), ExitCode.USAGE, "cannot read"),
        (("call", "add", "1", "2", "--background", "--fetch"), ExitCode.USAGE, "exclude"),
        (("call", "add", "1", "2", "--id", "a"), ExitCode.USAGE, "--background"),
        (("info", "bad name"), ExitCode.USAGE, "no function name"),
        (("rm",), ExitCode.USAGE, "NAME"),
        (("jobs", "--wait"), ExitCode.USAGE, "which job"),
        (("jobs", "nope"), ExitCode.REFUSED, "4.04"),
    ],
)
def test_cli_mistakes_are_named(
    cli: Cli, uri: str, words: tuple[str, ...], code: ExitCode, text: str
) -> None:
    result = cli("-t", uri, *words)
    assert (result.code, result.out) == (code, "")
    assert text in result.err


def answer_posts(functions: Functions, answer: Answer) -> None:
    def special(seen: Seen) -> Answer | None:
        return answer if seen.method == 2 else None

    functions.special = special


def test_cli_trap(cli: Cli, uri: str, functions: Functions) -> None:
    answer_posts(functions, problem(0xA0, "trap", "out of fuel", trap="fuel", function="add", quota=1000))
    result = cli("-t", uri, "call", "add", "1", "2")
    assert result.code == ExitCode.TRAP
    assert "'fuel' in 'add', quota 1000" in result.err and "app.toml" in result.err
    error = cli("--json", "-t", uri, "call", "add", "1", "2").error
    assert (error["trap"], error["quota"], error["exit_code"]) == ("fuel", 1000, 4)


TRAPS = re.findall(r"`([a-z-]+)`", re.findall(r"\| trap \| 5.00 \| (.*) \|", PROTOCOL.read_text())[0])


@pytest.mark.parametrize("kind", TRAPS)
def test_cli_every_kind_of_trap_has_a_next_step(cli: Cli, uri: str, functions: Functions, kind: str) -> None:
    answer_posts(functions, problem(0xA0, "trap", "what happened", trap=kind, function="add"))
    result = cli("-t", uri, "call", "add", "1", "2")
    assert result.code == ExitCode.TRAP
    assert f"trap '{kind}' in 'add': what happened (5.00)" in result.err and "next: " in result.err


@pytest.mark.parametrize("quota", ["fuel", "memory-quota", "stack-wasm", "output", "log", "stack-native"])
def test_cli_a_quota_s_trap_names_its_key_of_app_toml(
    cli: Cli, uri: str, functions: Functions, quota: str
) -> None:
    key = {"memory-quota": "heap", "stack-wasm": "stack", "stack-native": "native"}.get(quota, quota)
    answer_posts(functions, problem(0xA0, "trap", "what happened", trap=quota, function="add", quota=5))
    assert f"raise `{key}` in the app's app.toml" in cli("-t", uri, "call", "add", "1", "2").err


@pytest.mark.parametrize(
    ("detail", "members", "step"),
    [
        ("asks for more output than this node gives", {}, "ask for less in the app's app.toml"),
        ("the wasm stack is too small to initialize the module", {}, "raise `stack`"),
        ("blocks are nested too deeply", {"index": 1, "offset": 40}, "simplify that function"),
        ("too many exports", {"offset": 40}, "split it"),
    ],
)
def test_cli_next_step_fits_the_limit(
    cli: Cli,
    uri: str,
    functions: Functions,
    wasm: Callable[[bytes], Path],
    detail: str,
    members: dict[str, Any],
    step: str,
) -> None:
    answer = problem(0x96, "module refused", detail, reason="limit", **members)
    functions.special = lambda seen: answer if seen.method == 3 else None
    assert step in cli("-t", uri, "push", wasm(small_module())).err


@pytest.mark.parametrize(
    "code", [0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x88, 0x89, 0x8C, 0x8D, 0x8F, 0x96, 0x9D, 0xA3, 0xA5]
)
def test_cli_every_refusal_has_a_text_and_a_next_step(
    cli: Cli, uri: str, functions: Functions, code: int
) -> None:
    refusal = problem(code, "no", "because")
    refusal.max_age = 3600  # longer than anybody waits for a busy node
    answer_posts(functions, refusal)
    result = cli("-t", uri, "call", "add", "1", "2")
    assert result.code == ExitCode.REFUSED
    assert f"no: because ({code >> 5}.{code & 31:02})" in result.err and "next: " in result.err


@pytest.mark.parametrize(
    "reason", re.findall(r"`([a-z]+)`", re.findall(r"\| reason \| 4.22 \| (.*) \|", PROTOCOL.read_text())[0])
)
def test_cli_every_invalid_module_has_a_next_step(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path], reason: str
) -> None:
    answer = problem(0x96, "module refused", "the reason", reason=reason)
    functions.special = lambda seen: answer if seen.method == 3 else None
    result = cli("-t", uri, "push", wasm(small_module()))
    assert result.code == ExitCode.REFUSED
    assert "'thing' was not installed" in result.err and "the reason (4.22)" in result.err
    assert "next: " in result.err


def test_cli_silent_node(cli: Cli) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        uri = f"coap://127.0.0.1:{silent.getsockname()[1]}"
        result = cli("-t", uri, "--ack-timeout", "0.01", "--max-retransmit", "1", "ls")
    assert result.code == ExitCode.UNREACHABLE
    assert "no answer from" in result.err and "sent 6 times" in result.err and "next: " in result.err


def test_cli_job_that_is_not_there_or_taken(cli: Cli, uri: str) -> None:
    assert "`wasmote jobs` lists" in cli("-t", uri, "jobs", "nope").err
    cli("-t", uri, "call", "add", "2", "3", "--background", "--id", "mine")
    assert "another id (--id)" in cli("-t", uri, "call", "add", "2", "3", "--background", "--id", "mine").err


def test_cli_application_error(cli: Cli, uri: str, functions: Functions) -> None:
    answer_posts(functions, problem(0x80, "application error", status=7, output=b"bad input\n"))
    result = cli("-t", uri, "call", "wc")
    assert result.code == ExitCode.APPLICATION
    assert "status 7" in result.err and "bad input" in result.err
    assert cli("--json", "-t", uri, "call", "wc").error["status"] == 7


def test_cli_background(cli: Cli, uri: str) -> None:
    assert cli("-t", uri, "call", "add", "2", "3", "--background", "--id", "mine").out == "mine\n"
    assert cli("-t", uri, "jobs", "mine").out == "5\n"
    assert cli("-t", uri, "call", "add", "2", "3", "--background", "--id", "mine").code == ExitCode.REFUSED


# ---- push ----


@pytest.fixture
def wasm(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "thing.wasm"
        path.write_bytes(data)
        return path

    return write


def test_cli_push_adds_the_section_and_says_so(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path]
) -> None:
    file = wasm(small_module(heap_base=1040))
    result = cli("-t", uri, "push", file)
    assert result.code == 0 and "thing created" in result.out
    assert "added a `wasmote` section" in result.err and "1040" in result.err
    section = section_of(parse_module(functions.modules["thing"]))
    assert section is not None and (section.name, section.heap) == ("thing", 0)
    assert "replaced" in cli("-t", uri, "push", file).out


def test_cli_push_bare_sends_the_file_as_it_is(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path]
) -> None:
    result = cli("--json", "-t", uri, "push", wasm(small_module()), "--bare", "--name", "other")
    assert functions.modules["other"] == small_module()
    assert (result.json["name"], result.json["created"], result.json["size"]) == (
        "other",
        True,
        len(small_module()),
    )


def test_cli_push_without_heap_base_says_what_that_costs(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path]
) -> None:
    result = cli("-t", uri, "push", wasm(small_module()))
    assert "__heap_base" in result.err
    section = section_of(parse_module(functions.modules["thing"]))
    assert section is not None and section.heap is None


@pytest.mark.parametrize("cut", [0, 4, 7, 20, -1])
def test_cli_push_refuses_a_truncated_module_before_it_is_sent(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path], cut: int
) -> None:
    result = cli("-t", uri, "push", wasm(small_module(heap_base=1040)[:cut]), "--bare")
    assert result.code == ExitCode.REFUSED
    assert "'thing' was not installed\n  module refused: " in result.err and "at byte" in result.err
    assert functions.modules == {}


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (Answer(0x8D, size1=4096), "4096 would fit"),
        (
            problem(0x96, "invalid module", "no such import", reason="import", **{"import": ["env", "puts"]}),
            "env.puts",
        ),
        (problem(0x96, "invalid module", "memory", reason="memory"), "-Wl,--export=__heap_base"),
        (problem(0x8C, "precondition failed"), "--if-match"),
    ],
)
def test_cli_push_refusals(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path], answer: Answer, text: str
) -> None:
    functions.special = lambda seen: answer if seen.method == 3 else None
    result = cli("-t", uri, "push", wasm(small_module()))
    assert result.code == ExitCode.REFUSED
    assert text in result.err and "next:" in result.err


def importing(module: str, name: str) -> bytes:
    """(module (import MODULE NAME (func)))"""
    names = b"".join(bytes([len(text)]) + text.encode() for text in (module, name))
    body = b"\1" + names + b"\0\0"
    return EMPTY_MODULE + b"\1\4\1\x60\0\0" + b"\2" + encode_unsigned(len(body)) + body


IMPORTS_PUTS = "  module refused: this node does not offer an import of the module (4.22): env.puts"


def test_cli_push_refuses_an_import_that_the_node_does_not_list(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path]
) -> None:
    functions.device = {"imports": ["wasmote", "sys"]}
    asked: list[tuple[int, tuple[str, ...]]] = []
    functions.special = lambda seen: asked.append((seen.method, seen.path))
    result = cli("-t", uri, "push", wasm(importing("env", "puts")))
    assert result.code == ExitCode.REFUSED and IMPORTS_PUTS in result.err
    assert "this node offers functions of the modules wasmote, sys" in result.err
    assert asked == [(1, ("d",))]  # one round trip, and nothing was sent


@pytest.mark.parametrize(
    ("device", "words", "step"),
    [
        ({"imports": ["wasmote"]}, ("--no-check",), "`wasmote info` lists"),
        ({"imports": ["wasmote"]}, ("--force",), "`wasmote info` lists"),
        ({}, (), "`wasmote info` lists"),
        ({"imports": ["wasmote", "env"]}, (), "this node offers functions of env, but not this one"),
    ],
)
def test_cli_push_leaves_to_the_node_what_is_not_certain(
    cli: Cli,
    uri: str,
    functions: Functions,
    wasm: Callable[[bytes], Path],
    device: dict[str, object],
    words: tuple[str, ...],
    step: str,
) -> None:
    functions.device = device
    text, named = "this node does not offer an import of the module", {"import": ["env", "puts"]}
    answer = problem(0x96, "module refused", text, reason="import", **named)
    sent: list[bytes] = []

    def refuse(seen: Seen) -> Answer | None:
        if seen.method != 3:
            return None
        sent.append(seen.payload)
        return answer

    functions.special = refuse
    result = cli("-t", uri, "push", wasm(importing("env", "puts")), *words)
    assert result.code == ExitCode.REFUSED and IMPORTS_PUTS in result.err
    assert step in result.err and "wasmote.input" not in result.err
    assert len(sent) == 1


def test_cli_push_says_that_the_node_cuts_the_fuel(
    cli: Cli, uri: str, functions: Functions, wasm: Callable[[bytes], Path]
) -> None:
    functions.device = {"limits": {"fuel": 1000}}
    greedy = with_section(small_module(), Section(fuel=1001))
    result = cli("-t", uri, "push", wasm(greedy))
    assert result.code == 0 and "thing asks for 1001 fuel a call; the node gives 1000 at most" in result.err
    assert functions.modules["thing"] == greedy
    assert "fuel" not in cli("-t", uri, "push", wasm(with_section(small_module(), Section(fuel=1000)))).err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--if-new", "--if-match", "00"), "exclude"),
        (("--if-match", "xyz"), "no ETag"),
        (("--name", "a/b"), "no function name"),
    ],
)
def test_cli_push_options(
    cli: Cli, uri: str, wasm: Callable[[bytes], Path], words: tuple[str, ...], text: str
) -> None:
    result = cli("-t", uri, "push", wasm(small_module()), *words)
    assert result.code == ExitCode.USAGE and text in result.err


def test_cli_push_no_such_file(cli: Cli, uri: str) -> None:
    assert cli("-t", uri, "push", "nothing-here.wasm").code == ExitCode.USAGE
    assert "no such app" in cli("-t", uri, "push", "nothing-here").err


# ---- discover ----


def test_cli_discover_asks_the_addresses_given(cli: Cli, uri: str, functions: Functions) -> None:
    device = {"ep": "test-1", "board": "host", "fw": "0.1.0"}
    functions.special = lambda seen: Answer(0x45, cbor2.dumps(device), 60) if seen.path == ("d",) else None
    result = cli("--json", "discover", uri, "--no-multicast")
    assert result.json == {"ep": "test-1", "address": uri, "board": "host", "fw": "0.1.0"}


def test_cli_discover_nothing(cli: Cli, free_port: int) -> None:
    result = cli("discover", f"coap://127.0.0.1:{free_port}", "--no-multicast")
    assert (result.code, result.out) == (0, "") and "no node answered" in result.err


def test_cli_discover_unknown_interface(cli: Cli) -> None:
    result = cli("discover", "--interface", "nope9")
    assert result.code == ExitCode.LOCAL and "interfaces here" in result.err
