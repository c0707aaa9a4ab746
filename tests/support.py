"""What tests share: images that are built once, and nodes that run for one test."""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wasmote.adapters import boards, build
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.errors import MissingError, WasmoteError

HOST = "host"
STM32 = "netduinoplus2"
MPS2 = "mps2_an386"
SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


class _Silent:
    """A build's progress, for nobody."""

    def describe(self, text: str) -> None: ...
    def total(self, total: int) -> None: ...
    def update(self, done: int) -> None: ...


def built(board_name: str, variant: build.Variant = build.PLAIN) -> Path:
    """The image of a board, built once a session. Skips the test if a tool is missing."""
    outcome = _build_once(board_name, variant)
    if isinstance(outcome, MissingError):
        pytest.skip(f"{outcome} ({outcome.next_step})")
    if isinstance(outcome, WasmoteError):
        pytest.fail(str(outcome), pytrace=False)
    return outcome


def built_tests() -> Path:
    """The folder of a host build with sanitizers and all C test programs."""
    if not Path("/usr/include/cmocka.h").exists() and not os.environ.get("CMOCKA_INCLUDE_DIR"):
        pytest.skip("the C tests need libcmocka-dev")
    if find_tool("wat2wasm") is None:
        pytest.skip("the C tests need wabt")
    return built(HOST, build.Variant(sanitize=True, tests=True)).parent


@functools.cache
def _build_once(board_name: str, variant: build.Variant) -> Path | WasmoteError:
    project = Project.find()
    try:
        board = boards.find_board(project, board_name)
        return build.build(project, board, variant, progress=_Silent(), log=lambda _line: None)
    except WasmoteError as err:
        return err


@dataclass(frozen=True)
class RunningNode:
    """A node that a test may use as it likes: it is the test's own. pid: of the node or its emulator."""

    board: str
    uri: str
    pid: int


def start_node(board: str, *options: str) -> Iterator[RunningNode]:
    """A fresh node through the command line; stopped afterwards. Fails if it does not end in order, as it does when a
    sanitizer has found something."""
    command = [sys.executable, "-m", "wasmote", "--json", "emulate", board, "--udp", "0", *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **SANITIZER_OPTIONS},
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            _out, err = process.communicate()
            pytest.fail(f"{board} did not start: {err}")
        started = json.loads(line)
        try:
            yield RunningNode(board, started["addresses"][0], started["pid"])
        finally:
            process.send_signal(signal.SIGINT)
            try:
                _out, err = process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
    assert process.returncode == 0, f"{board} did not end in order:\n{err}"
