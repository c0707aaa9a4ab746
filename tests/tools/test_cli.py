"""The command line as a person meets it: results, texts of errors, exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support import HOST, STM32, RunningNode, built

from wasmote.adapters.boards import Board, find_board
from wasmote.adapters.config import load_config
from wasmote.adapters.image import ImageSize
from wasmote.adapters.project import Project
from wasmote.adapters.stack_probe import StackUse
from wasmote.adapters.tools import find_tool
from wasmote.cli.main import COMMANDS, run
from wasmote.cli.output import Output, jsonable
from wasmote.cli.size import over_budget
from wasmote.errors import ExitCode, InputError
from wasmote.protocol.target import Target, parse_target


def here(*args: str) -> subprocess.CompletedProcess[str]:
    """One command line in this process: what a process of its own would say, without its start."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(list(args))
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess(args, code, *texts)


def wasmote(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """One command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "wasmote", *args],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def test_cli_help_lists_every_command_and_exit_code() -> None:
    shown = here("--help")
    assert shown.returncode == 0
    for section in COMMANDS.values():
        for name, (_module, text) in section.items():
            assert f"  {name} " in shown.stdout and text in shown.stdout
    for code in ExitCode:
        assert f"  {int(code)} " in shown.stdout and code.meaning in shown.stdout


@pytest.mark.parametrize("name", [name for section in COMMANDS.values() for name in section])
def test_cli_every_command_has_help_and_json(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"wasmote {name}" in shown and "--json" in shown


def test_cli_unknown_command_and_option() -> None:
    wrong = here("psuh")
    assert wrong.returncode == ExitCode.USAGE
    assert "No such command 'psuh'" in wrong.stderr and "compile" in wrong.stderr
    assert wrong.stdout == ""
    assert here("boards", "--nonsense").returncode == ExitCode.USAGE
    as_json = here("--json", "boards", "--nonsense")
    assert json.loads(as_json.stderr)["exit_code"] == ExitCode.USAGE


def test_cli_json_before_and_behind_the_command() -> None:
    before, behind = here("--json", "boards"), here("boards", "--json")
    assert before.stdout == behind.stdout
    assert {HOST, STM32} <= {row["name"] for row in json.loads(before.stdout)}
    plain = here("boards").stdout
    assert plain.splitlines()[0].split() == ["BOARD", "TIER", "CHIP", "LINKS", "WHAT"]


def test_cli_a_bug_is_told_from_a_mistake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_project: Project) -> list[Board]:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr("wasmote.cli.boards.list_boards", broken)
    assert run(["boards"]) == ExitCode.INTERNAL
    shown = capsys.readouterr()
    assert "ZeroDivisionError: seven" in shown.err and "WASMOTE_DEBUG" in shown.err
    assert shown.out == ""


def test_cli_closed_stdout_is_no_error() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmote", "boards"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["build", "stm32"], 2, ["no such board: 'stm32'", STM32, "wasmote boards"]),
        (["build", "../boards/host"], 2, ["no such board"]),
        (["build"], 2, ["name one board"]),
        (["build", STM32, "--sanitize"], 2, ["for the host"]),
        (["size", "nothing"], 2, ["no such board"]),
        (["emulate", "nothing"], 2, ["no such board"]),
        (["compile", "nothing"], 2, ["no such app: 'nothing'", "fib"]),
        (["compile", "fib", "-D", "1X=2"], 2, ["no macro", "NAME=VALUE"]),
        (["run", "fib", "fibb"], 2, ["no export 'fibb'", "fib(i32) -> i32"]),
        (["run", "fib", "fib"], 2, ["takes 1 argument"]),
        (["run", "fib", "fib", "x"], 2, ["is not an integer", "(i32) -> i32"]),
        (["run", "fib", "fib", "4294967296"], 2, ["out of range"]),
        (["run", "wordcount", "--in", "/nowhere/text"], 2, ["cannot read /nowhere/text"]),
        (["run", "wordcount", "4"], 2, ["takes bytes", "--in FILE"]),
        (["run", "fib", "--in", __file__], 2, ["takes numbers", "behind its name"]),
        (["run", "spin", "--timeout", "0.3"], 4, ["spin/spin failed: time", "--timeout"]),
        (["emulate", STM32, "--pool", "4k"], 2, ["--pool is for the host"]),
        (["new", "a b"], 2, ["no name of a function"]),
    ],
)
def test_cli_mistakes_have_a_text_and_a_code(args: list[str], code: int, words: list[str]) -> None:
    done = here(*args)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    for word in [*words, "next:"]:
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    told = json.loads(here("--json", "-q", *args).stderr.splitlines()[-1])
    assert told["exit_code"] == code


def test_cli_missing_toolchain_names_the_package(tmp_path: Path) -> None:
    for board, words in (
        (STM32, ["arm-none-eabi-gcc", "gcc-arm-none-eabi", "apt-get install --no-install-recommends"]),
        ("qemu_virt_rv32", ["riscv64-unknown-elf-gcc", "picolibc-riscv64-unknown-elf"]),
        (HOST, ["gcc libc6-dev"]),
    ):
        done = wasmote("build", board, PATH=str(tmp_path), CC="")
        assert done.returncode == ExitCode.MISSING
        for word in words:
            assert word in done.stderr


def test_cli_outside_of_a_checkout(tmp_path: Path) -> None:
    done = wasmote("boards", WASMOTE_ROOT=str(tmp_path))
    assert done.returncode == ExitCode.USAGE and "no checkout" in done.stderr


def test_cli_new_compile_run(tmp_path: Path) -> None:
    made = here("new", "hello", "--in", str(tmp_path), "--json")
    folder = Path(json.loads(made.stdout)["folder"])
    assert here("new", "hello", "--in", str(tmp_path)).returncode == ExitCode.USAGE
    checked = here("run", str(folder), "--check")
    assert checked.returncode == 0 and "2 as expected" in checked.stdout
    out = tmp_path / "hello.wasm"
    compiled = json.loads(here("compile", str(folder), "-o", str(out), "--json").stdout)
    assert compiled["size"] == out.stat().st_size
    assert compiled["exports"] == {"add": "(i32, i32) -> i32", "upper": "() -> i32"}
    assert here("run", str(out), "add", "-7", "0x10").stdout == "9\n"
    text = tmp_path / "text"
    text.write_text("Quiet please\n")
    assert here("run", str(out), "upper", "--in", str(text)).stdout == "QUIET PLEASE\n"
    (folder / "app.toml").write_text((folder / "app.toml").read_text().replace("result = 5", "result = 6"))
    wrong = here("run", str(folder), "--check")
    assert wrong.returncode == ExitCode.APPLICATION and "results are [5], expected [6]" in wrong.stderr
    (folder / "app.toml").write_text("name = 'hello'\n")
    broken = here("compile", str(folder))
    assert (
        broken.returncode == ExitCode.USAGE
        and "app.toml" in broken.stderr
        and "sources is missing" in broken.stderr
    )


def test_cli_run_reports_the_applications_status(tmp_path: Path) -> None:
    (tmp_path / "no.c").write_text(
        '#include "wasmote.h"\nWASMOTE_EXPORT("f") int32_t f(void) { wasmote_print("not today"); return 409; }'
    )
    done = here("--json", "run", str(tmp_path / "no.c"))
    assert done.returncode == ExitCode.APPLICATION
    told = json.loads(done.stderr.splitlines()[-1])
    assert told["status"] == 409 and told["cause"] == "not today"


def test_cli_run_json_numbers(tmp_path: Path) -> None:
    assert json.loads(here("--json", "run", "fib", "fib64", "90").stdout)["value"] == "2880067194370816120"
    assert json.loads(here("--json", "run", "fib", "20").stdout)["value"] == 6765
    text = tmp_path / "text"
    text.write_text("two words")
    said = json.loads(here("--json", "run", "wordcount", "--in", str(text)).stdout)
    assert (said["text"], said["bytes"], said["hex"]) == ("0 2 9\n", 6, b"0 2 9\n".hex())


def test_output_json_holds_everything() -> None:
    value = {"a": b"\1\2", "b": 2**53 + 1, "c": float("nan"), "d": (1, -float("inf")), 5: True, "e": None}
    assert jsonable(value) == {
        "a": "0102",
        "b": "9007199254740993",
        "c": "NaN",
        "d": [1, "-Infinity"],
        "5": True,
        "e": None,
    }


# ---- targets and configuration ----


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("coap://127.0.0.1", Target("udp", host="127.0.0.1", port=5683)),
        ("coap://[::1]:99", Target("udp", host="::1", port=99)),
        ("coap://node.example:7/", Target("udp", host="node.example", port=7)),
        ("/dev/ttyUSB0", Target("serial", device="/dev/ttyUSB0")),
        ("/dev/ttyUSB0@9600", Target("serial", device="/dev/ttyUSB0", baud=9600)),
        ("serial:/dev/pts/3", Target("serial", device="/dev/pts/3")),
        ("COM12", Target("serial", device="COM12")),
        ("bench", Target("udp", host="192.0.2.7", port=5683)),
    ],
)
def test_target_spellings(text: str, target: Target) -> None:
    assert parse_target(text, {"bench": "coap://192.0.2.7"}) == target
    assert parse_target(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nobody",
        "http://x",
        "coap://",
        "coap://x/f/fib",
        "coap://x:99999",
        "coap://[::1",
        "/dev/tty@fast",
        "serial:",
        "loop",
    ],
)
def test_target_mistakes(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_target(text, {"loop": "loop2", "loop2": "coap://x"})
    assert caught.value.next_step


def test_config_names_targets(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    assert load_config(file).targets == {}
    file.write_text('[targets]\nbench = "coap://192.0.2.7"\n')
    assert load_config(file).targets == {"bench": "coap://192.0.2.7"}
    for text in ("[targets", "[targets]\nbench = 3", "targets = 1"):
        file.write_text(text)
        with pytest.raises(InputError, match=str(file)):
            load_config(file)


# ---- images and emulation ----


def test_size_over_budget_is_named() -> None:
    board = find_board(Project.find(), STM32)
    limit = board.budget["text_bytes"]
    fits = ImageSize(text=limit, data=0, bss=0, pool=200_000, stack=0)
    assert over_budget(board, fits) == []
    large = ImageSize(text=limit + 1, data=30_000, bss=0, pool=5, stack=100_000)
    assert len(over_budget(board, large)) == 4


def test_size_names_a_stack_that_is_too_full_or_too_small() -> None:
    board = find_board(Project.find(), STM32)
    size = ImageSize(text=0, data=0, bss=0, pool=200_000, stack=board.budget["stack_bytes"])
    most = size.stack - board.budget["stack_free_bytes_min"]
    deep = "module refused: blocks are nested too deeply"
    use = StackUse(most, nesting={"if": 31}, refusals={"if": deep})
    assert over_budget(board, size, use) == []
    assert len(over_budget(board, size, replace(use, used_bytes=most + 1))) == 1
    assert len(over_budget(board, size, replace(use, refusals={"if": f"{deep} for this node's stack"}))) == 1


def test_size_of_the_host_image() -> None:
    built(HOST)
    (row,) = json.loads(wasmote("size", HOST, "--json").stdout)
    listed = subprocess.run(["size", built(HOST)], capture_output=True, text=True, check=True).stdout
    text, data, bss = (int(word) for word in listed.splitlines()[1].split()[:3])
    # binutils counts the read-only program interpreter and padding a little differently.
    assert abs(row["text"] - text) < 4096 and abs(row["data"] - data) < 4096 and abs(row["bss"] - bss) < 4096


def test_emulate_host_starts_and_stops(host_node: RunningNode) -> None:
    assert host_node.uri.startswith("coap://127.0.0.1:")
    os.kill(host_node.pid, 0)


@pytest.mark.slow
def test_emulate_stm32_starts_and_stops(stm32_node: RunningNode) -> None:
    assert stm32_node.uri.startswith("coap://127.0.0.1:")


def test_emulate_port_in_use() -> None:
    built(HOST)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = wasmote("emulate", HOST, "--udp", str(port))
    assert done.returncode == ExitCode.LOCAL
    assert str(port) in done.stderr and "--udp 0" in done.stderr and done.stdout == ""


def test_emulate_explains_a_wrong_option() -> None:
    built(HOST)
    done = wasmote("emulate", HOST, "--udp", "0", "--pool", "lots")
    assert done.returncode == ExitCode.USAGE
    assert "--pool lots: expected a number" in done.stderr and "next:" in done.stderr


@pytest.mark.slow
def test_emulate_without_its_emulator_names_the_package(tmp_path: Path) -> None:
    built(STM32)
    done = wasmote("emulate", STM32, "--udp", "0", PATH=str(tmp_path))
    assert done.returncode == ExitCode.MISSING
    assert "'qemu-system-arm' is not in PATH" in done.stderr and "apt-get install" in done.stderr


def test_emulate_serial_is_printed() -> None:
    built(HOST)
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmote", "-q", "emulate", HOST, "--udp", "0", "--serial"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("coap://127.0.0.1:")
        serial = process.stdout.readline().strip()
        assert serial.startswith("serial:/dev/") and Path(serial.removeprefix("serial:")).exists()
        process.terminate()
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent death signal is Linux's")
@pytest.mark.parametrize("board", [HOST, pytest.param(STM32, marks=pytest.mark.slow)])
def test_emulate_children_end_with_their_parent(board: str) -> None:
    if board == STM32 and find_tool("qemu-system-arm") is None:
        pytest.skip("qemu-system-arm is not installed")
    built(board)
    process = subprocess.Popen(
        [sys.executable, "-m", "wasmote", "--json", "-q", "emulate", board, "--udp", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        child = json.loads(process.stdout.readline())["pid"]
        process.send_signal(signal.SIGKILL)
    for _ in range(100):
        if not _runs(child):
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} outlived its parent")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_emulate_board_without_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wasmote.adapters.emulator import Emulator

    board = Board("x", "X", "source", "x", "arm-none-eabi", "x", tmp_path)
    with pytest.raises(InputError, match="has no emulator"):
        Emulator(board, tmp_path / "image")


def test_output_shows_what_a_terminal_would_obey(capsys: pytest.CaptureFixture[str]) -> None:
    """Names, log lines and causes come from nodes: they neither move the cursor, nor set titles, nor hide text."""
    evil = "a\x1b]0;owned\x07\x1b[2J\rb\x9b31m\u202ecod.exe\ud800\x7f"
    out = Output()
    out.emit({"text": evil}, f"1\t{evil}\n2")
    out.table([{"name": evil + "\nforged"}], ["name"])
    out.note(evil)
    out.warning(evil)
    out.error(InputError(evil, cause=evil, next_step=evil))
    Output(json=True).emit({"text": evil})
    Output(json=True).error(InputError(evil, next_step=evil))
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert not set(text) & set("\x1b\x07\r\x9b\u202e\ud800\x7f")
        assert "\\x1b]0;owned\\x07\\x1b[2J\\x0db\\x9b31m\\u202ecod.exe\\ud800\\x7f" in text
    lines = said.out.splitlines()
    assert lines[0].startswith("1\t") and lines[1] == "2" and lines[3].endswith("\\x0aforged")
    assert json.loads(lines[4]) == {"text": evil}
    assert json.loads(said.err.splitlines()[-1])["error"] == evil
