"""Programs and libraries for WASI preview 1, as a C compiler makes them, with a C library that is not ours."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import HOST, STM32, running

from wasmote.errors import ApplicationError, RefusedError, TrapError
from wasmote.node import Node

PROGRAM = r"""
#include <fcntl.h>
#include <stdio.h>

static int lines;

int main(void)
{
    char line[80];
    while (fgets(line, sizeof line, stdin) != NULL) {
        printf("line %d: %s", ++lines, line);
    }
    fprintf(stderr, "%s\n", open("/etc/passwd", O_RDONLY) < 0 ? "no files" : "files");
    return lines == 2 ? 0 : 400 + lines;
}
"""
LIBRARY = r"""
#include <stdio.h>
#include <stdlib.h>

static int begun;

__attribute__((constructor)) static void begin(void) { begun++; }

__attribute__((export_name("begun"))) long long begun_times(void) { return begun; }

__attribute__((export_name("half"))) double half(double x)
{
    printf("half of %g\n", x);
    return x / 2;
}

__attribute__((export_name("leave"))) int leave(int code) { exit(code); }
"""


def compiled(folder: Path, source: str, *options: str) -> bytes:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("needs the compiler ziglang")
    (folder / "it.c").write_text(source)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "ziglang",
            "cc",
            "-target",
            "wasm32-wasi",
            "-mcpu=mvp",  # what the node's engine has, and a bit less
            "-Wl,-z,stack-size=16384",  # of 16 MB otherwise
            "-Oz",
            "-s",
            *options,
            "-o",
            "it.wasm",
            "it.c",
        ],
        cwd=folder,
        check=True,
        timeout=300,
    )
    return (folder / "it.wasm").read_bytes()


@pytest.mark.slow  # a minute, where the compiler has to make its C library first
async def test_wasi_program_runs(tmp_path: Path) -> None:
    program = compiled(tmp_path, PROGRAM)
    async with running(HOST, "--pool", "1M") as uri, Node(uri) as node:
        await node.push(program, name="p")
        for _ in range(3):  # each time from its beginning
            before = (await node.log())[1]
            await node.call("p", input=b"one\ntwo\n")
            lines = [line.text for line in (await node.log(before))[0] if line.source == "p"]
            assert lines == ["line 1: one", "line 2: two", "no files"]
        with pytest.raises(ApplicationError) as failed:
            await node.call("p/_start", input=b"one\n")
        assert failed.value.status == 401
        await node.call("p", input=b"one\ntwo\n")


@pytest.mark.slow
async def test_wasi_library_runs(tmp_path: Path) -> None:
    library = compiled(tmp_path, LIBRARY, "-mexec-model=reactor")
    async with running(HOST, "--pool", "1M") as uri, Node(uri) as node:
        await node.push(library, name="l")
        assert (await node.call("l/begun")).value == 1
        assert (await node.call("l/half", [5.0])).value == 2.5
        assert (await node.call("l/begun")).value == 1
        assert "half of 5" in [line.text for line in (await node.log())[0]]
        with pytest.raises(TrapError, match="exit"):
            await node.call("l/leave", [3])
        assert (await node.call("l/begun")).value == 1
    async with running(STM32) as uri, Node(uri) as node:
        with pytest.raises(RefusedError):
            await node.push(library, name="l")
