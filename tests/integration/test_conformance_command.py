"""wasmote conformance against a host node, with a suite of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support import RunningNode

from wasmote.adapters.tools import find_tool
from wasmote.errors import ExitCode

needs_wabt = pytest.mark.skipif(
    find_tool("wast2json") is None, reason="wast2json is missing (Debian package wabt)"
)

GOOD = """
(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))
(assert_return (invoke "add" (i32.const 2) (i32.const 3)) (i32.const 5))
(assert_invalid (module (func (result i32))) "type mismatch")
(assert_malformed (module quote "(func") "unexpected end")
(module (import "spectest" "print" (func)))
"""
BAD = """
(module (func (export "one") (result i32) (i32.const 1)))
(assert_return (invoke "one") (i32.const 2))
(assert_trap (invoke "one") "unreachable")
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suite"
    folder.mkdir()
    (folder / "i32.wast").write_text(GOOD)
    (folder / "own.wast").write_text(GOOD)
    return folder


def conformance(node: RunningNode, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wasmote", "-t", node.uri, "conformance", *map(str, words)]
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@needs_wabt
def test_conformance_of_a_good_node(host_node: RunningNode, suite: Path, tmp_path: Path) -> None:
    done = conformance(host_node, "--suite", suite, "--junit", tmp_path / "junit.xml")
    assert done.returncode == ExitCode.OK, done.stderr
    head, *rows = [line.split(maxsplit=5) for line in done.stdout.splitlines()]
    assert head[:5] == ["file", "passed", "failed", "refused", "skipped"]
    assert [row[:5] for row in rows] == [
        ["i32", "3", "0", "0", "2"],
        ["own", "3", "0", "0", "2"],
        ["all", "6", "0", "0", "4"],
    ]
    assert "a module as text" in rows[0][5] and "imports from a module" in rows[0][5]
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert [case.get("name") for case in root.iter("testcase")] == ["i32", "own"]
    functions = [sys.executable, "-m", "wasmote", "-t", host_node.uri, "--json", "ls"]
    assert json.loads(subprocess.run(functions, capture_output=True, check=True).stdout) == []


@needs_wabt
def test_conformance_chooses_files(host_node: RunningNode, suite: Path) -> None:
    def names(*words: str) -> list[str]:
        done = conformance(host_node, "--suite", suite, "--json", *words)
        assert done.returncode == ExitCode.OK, done.stderr
        return [file["name"] for file in json.loads(done.stdout)["files"]]

    assert names("--subset") == ["i32"]
    assert names("--file", "own") == ["own"]
    done = conformance(host_node, "--suite", suite, "--file", "nobody")
    assert done.returncode == ExitCode.USAGE and "no file 'nobody'" in done.stderr


def test_conformance_without_a_suite(host_node: RunningNode) -> None:
    done = conformance(host_node, "--json", PATH="")  # and without wabt
    assert done.returncode == ExitCode.OK, done.stderr
    files = {file["name"]: file for file in json.loads(done.stdout)["files"]}
    assert list(files) == ["validator", "operations", "behaviour"]
    assert files["validator"]["passed"]["invalid"] > 1000
    assert files["operations"]["passed"]["return"] > 700
    assert files["behaviour"]["passed"]["trap"] > 100
    assert not any(file["refused"] or file["skipped"] for file in files.values())


@needs_wabt
def test_conformance_says_what_failed(host_node: RunningNode, suite: Path, tmp_path: Path) -> None:
    (suite / "bad.wast").write_text(BAD)
    done = conformance(host_node, "--suite", suite, "--json", "--junit", tmp_path / "junit.xml")
    assert done.returncode == ExitCode.FAILED
    bad = json.loads(done.stdout)["files"][0]
    assert [line.split(": ")[0] for line in bad["failed"]] == ["bad.wast:3", "bad.wast:4"]
    error = json.loads(done.stderr.splitlines()[-1])
    assert (
        error["error"] == "2 of 13 tests failed" and "bad.wast:3: assert_return: return 0x1" in error["cause"]
    )
    (failure,) = ElementTree.parse(tmp_path / "junit.xml").getroot().iter("failure")
    assert failure.text == "\n".join(bad["failed"])


@needs_wabt
def test_conformance_errors(host_node: RunningNode, suite: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    done = conformance(host_node, "--suite", empty)
    assert done.returncode == ExitCode.USAGE and f"no .wast files in {empty}" in done.stderr
    done = conformance(host_node, "--suite", suite, PATH=str(empty))
    assert done.returncode == ExitCode.MISSING and "wabt" in done.stderr
    (suite / "later.wast").write_text("(module (nothing))")
    done = conformance(host_node, "--suite", suite)
    assert done.returncode == ExitCode.USAGE and "wast2json cannot read later.wast" in done.stderr
