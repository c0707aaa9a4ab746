"""wasmote conformance on boards: each in its emulator, one table, one JUnit file."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import HOST, built

from wasmote.adapters.boards import list_boards
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.cli.conformance_output import board_rows
from wasmote.errors import ExitCode
from wasmote.protocol.conformance.results import FileResult, NodeResult, junit

COMMAND = [sys.executable, "-m", "wasmote", "conformance"]
FILES = ["validator", "operations", "behaviour"]  # of the tests that come with the tools
BROKEN = """
name = "a_broken_board"
title = "Its port does not exist"
tier = "emulated"
port = "nowhere"
toolchain = "host"
chip = "none"
[emulate]
command = ["{image}"]
"""


def conformance(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [*COMMAND, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_every_emulated_board_passes_the_own_cases(tmp_path: Path) -> None:
    """Every rule of the validator, every instruction, and modules of a generator: on each board the same."""
    emulated = [board for board in list_boards(Project.find()) if board.emulate]
    missing = [b.name for b in emulated if not (b.is_host or find_tool(b.emulate["command"][0]))]
    names = [board.name for board in emulated if board.name not in missing]
    for name in names:
        built(name)
    words = [word for name in names for word in ("--board", name)] if missing else ["--emulated"]
    file = tmp_path / "junit.xml"
    done = conformance(*words, "--json", "--junit", file)
    assert done.returncode == ExitCode.OK, done.stderr
    found = {board["board"]: board for board in json.loads(done.stdout)}
    assert list(found) == names
    passed = found[HOST]["all"]["passed"]
    assert passed["invalid"] > 1000 and passed["malformed"] > 100 and passed["unsupported"] > 50
    assert passed["return"] > 1000 and passed["trap"] > 200
    for board in found.values():
        assert [one["name"] for one in board["files"]] == FILES
        assert (board["all"]["passed"], board["stopped"]) == (passed, None)
        assert not board["all"]["refused"] and not board["all"]["skipped"] and not board["all"]["failed"]
    suites = ElementTree.parse(file).getroot().findall("testsuite")
    assert [suite.get("name") for suite in suites] == [f"wasmote.conformance.{name}" for name in names]
    assert [[case.get("name") for case in suite] for suite in suites] == [FILES] * len(names)
    assert {(suite.get("failures"), suite.get("errors")) for suite in suites} == {("0", "0")}
    if missing:
        pytest.skip(f"without {', '.join(missing)}: no emulator is installed for them")


def test_a_board_that_is_not_built_does_not_keep_others_from_being_tested(tmp_path: Path) -> None:
    built(HOST)
    (tmp_path / "a_broken_board").mkdir()
    (tmp_path / "a_broken_board" / "board.toml").write_text(BROKEN)
    file = tmp_path / "junit.xml"
    words = ("--board", "a_broken_board", "--board", HOST, "--file", "operations", "--junit", file)
    done = conformance(*words, WASMOTE_BOARDS=str(tmp_path), WASMOTE_TARGET="coap://192.0.2.1")
    assert done.returncode == ExitCode.BUILD, done.stderr
    head, operations, whole, seconds = [re.split(r"\s{2,}", line) for line in done.stdout.splitlines()]
    assert head == ["file", "a_broken_board", HOST]
    assert operations[0] == "operations" and int(operations[-1]) > 700
    assert whole == ["all", "0, STOPPED", operations[-1]] and seconds[0] == "seconds"
    assert "1 of 2 boards could not be tested to the end" in done.stderr and "nowhere" in done.stderr
    broken, host = ElementTree.parse(file).getroot()
    assert (broken.get("tests"), broken.get("errors"), host.get("errors")) == ("1", "1", "0")
    assert "nowhere" in (broken.findtext("testcase/error") or "")


def test_a_node_that_ends_is_said_at_once() -> None:
    built(HOST)
    words = [*COMMAND, "--json", "--board", HOST]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if re.match(r"wasmote \S+ ready", line):
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                (node,) = [int(child) for child in children]
                os.kill(node, signal.SIGKILL)
                break
        out, err = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERNAL, "".join(said)
    (host,) = json.loads(out)
    assert f"the node of {HOST} ended by itself with -9" in host["stopped"]
    assert host["stopped"] in json.loads(err.splitlines()[-1])["cause"]


def test_errors() -> None:
    for words, says in (
        (["--board", "nucleo_f429zi"], "nucleo_f429zi has no emulator"),
        (["--board", "nobody"], "no such board: 'nobody'"),
        (["--emulated", "--file", "nobody"], "no file 'nobody'"),
    ):
        done = conformance(*words)
        assert done.returncode == ExitCode.USAGE and says in done.stderr, done.stderr
    words = [*COMMAND[:-1], "-t", "coap://192.0.2.1", "conformance", "--emulated"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE and "leave out one" in done.stderr


def result(name: str, passed: int, *, wrong: int = 0, refused: int = 0) -> FileResult:
    return FileResult(
        name,
        passed=Counter({"return": passed}),
        refused=Counter({"limit: x": refused}) if refused else Counter(),
        wrong=[f"{name}:{n}: wrong" for n in range(wrong)],
        elapsed_s=1.6,
    )


def test_the_table_compares_boards() -> None:
    nodes = [
        NodeResult("one", [result("a", 5), result("b", 7, refused=2)]),
        NodeResult("two", [result("a", 4, wrong=1), result("a, without 1 function", 3)], stopped="gone"),
    ]
    assert board_rows(nodes) == [
        {"file": "a", "one": 5, "two": "4, 1 FAILED"},
        {"file": "b", "one": "7, 2 refused", "two": None},
        {"file": "a, without 1 function", "one": None, "two": 3},
        {"file": "all", "one": "12, 2 refused", "two": "7, 1 FAILED, STOPPED"},
        {"file": "seconds", "one": 3, "two": 3},
    ]
    one, two = ElementTree.fromstring(junit(nodes, "suite"))
    assert (one.get("name"), one.get("tests"), one.get("failures")) == ("suite.one", "2", "0")
    assert (two.get("tests"), two.get("failures"), two.get("errors")) == ("3", "1", "1")
    assert two.findtext("testcase/error") == "gone"
