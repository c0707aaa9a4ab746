"""What a part of the firmware costs by itself: text, and the C stack on its deepest path, from its own source files.

They are compiled once more as for the image, but without link-time optimization, which leaves no borders between
files. The compiler writes a call graph with the frame of each function (-fcallgraph-info=su of gcc 10); the deepest
path through it is an upper bound, as long as nothing calls itself or through a pointer. Functions of the C library and
the compiler's own have no graph: each counts LIBRARY_BYTES, more than memset, memcmp, memmove and 64-bit shifts use.
"""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wasmote.adapters.image import image_size
from wasmote.adapters.tools import run_tool
from wasmote.errors import BuildError

LIBRARY_BYTES = 32
_NODE = re.compile(r'node: \{ title: "([^"]+)" label: "([^"]*)"')
_EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
_FRAME = re.compile(r"\\n(\d+) bytes \((\w+)")
_INDIRECT = "__indirect_call"
_NO_WAY_BACK = {"wm_port_panic"}  # stands on a stack that nobody needs any more
_known: dict[tuple[tuple[str, ...], ...], CodeCost] = {}


@dataclass(frozen=True)
class CodeCost:
    """Bytes. text: code and constants. stack: of the entry and all below it."""

    text: int
    stack: int


def code_cost(build_folder: Path, pattern: str, entry: str) -> CodeCost:
    """Of the source files that match pattern (a regular expression on the path), as the build in build_folder compiles
    them. entry: the function whose stack counts. Raises BuildError."""
    listed = json.loads((build_folder / "compile_commands.json").read_text(encoding="utf-8"))
    commands = tuple(_plain(shlex.split(one["command"])) for one in listed if re.search(pattern, one["file"]))
    if not commands:
        raise _wrong(f"{build_folder} compiles nothing that matches {pattern}")
    if commands not in _known:  # boards of one port and processor share it
        _known[commands] = _measure(commands, entry)
    return _known[commands]


def _plain(command: list[str]) -> tuple[str, ...]:
    """The command without its output and without link-time optimization."""
    out = command.index("-o")
    rest = command[:out] + command[out + 2 :]
    return tuple(part for part in rest if "lto" not in part)


def _measure(commands: tuple[tuple[str, ...], ...], entry: str) -> CodeCost:
    text, graph = 0, ""
    with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
        for number, command in enumerate(commands):
            made = Path(folder) / f"{number}.o"
            done = run_tool([*command, "-fcallgraph-info=su", "-o", made])
            if done.returncode != 0:
                raise _wrong(done.stderr.strip())
            text += image_size(made).text
            graph += made.with_suffix(".ci").read_text(encoding="utf-8")
    return CodeCost(text, deepest(graph, entry))


def deepest(graph: str, entry: str) -> int:
    """Bytes of stack on the deepest path from entry, in gcc's call graphs (one behind the other). Raises BuildError."""
    frames: dict[str, int] = {}
    for name, label in _NODE.findall(graph):
        if found := _FRAME.search(label):
            if found[2] != "static":
                raise _wrong(f"the frame of {name} has no fixed size")
            frames[name] = int(found[1])
    calls: dict[str, set[str]] = {}
    for caller, callee in _EDGE.findall(graph):
        calls.setdefault(caller, set()).add(callee)
    if entry not in frames:
        raise _wrong(f"there is no function {entry}")
    known: dict[str, int] = {}

    def depth(name: str, path: tuple[str, ...]) -> int:
        if name in path or name == _INDIRECT:
            raise _wrong(f"no bound for {' -> '.join((*path, name))}")
        if name not in known:
            below = (depth(each, (*path, name)) for each in calls.get(name, set()) - _NO_WAY_BACK)
            known[name] = frames.get(name, LIBRARY_BYTES) + max(below, default=0)
        return known[name]

    return depth(entry, ())


def _wrong(cause: str) -> BuildError:
    return BuildError(
        "the cost of a part of the firmware cannot be told",
        cause=cause,
        next_step="build the board anew; this needs gcc 10 or later",
    )
