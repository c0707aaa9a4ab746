"""Instructions a request, by valgrind's callgrind: two runs of different length, so that the start is subtracted."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from build import tool
from servers import Server, started

# Where a function's source lies -> the layer it is counted to. The first that matches.
LAYERS = (
    ("src/coap/", "coap"),
    ("src/resources/", "resources"),
    ("src/functions/", "functions and jobs"),
    ("src/wasm/module.c", "module reader"),
    ("src/wasm/section.c", "module reader"),
    ("src/wasm/", "engine"),
    ("wasm3/", "engine"),
    ("m3_", "engine"),
    ("src/base/", "base"),
    ("zcbor", "base"),
    ("src/store/", "store"),
    ("src/node.c", "node loop"),
    ("ports/host/", "port: UDP, clock"),
)


def layer_of(file: str) -> str:
    return next((layer for part, layer in LAYERS if part in file), "C library")


@dataclass(frozen=True)
class Count:
    """Instructions a request."""

    total: float
    functions: dict[tuple[str, str], float]  # (file, function) -> its own

    def layers(self) -> dict[str, float]:
        sums: dict[str, float] = defaultdict(float)
        for (file, _), own in self.functions.items():
            sums[layer_of(file)] += own
        return dict(sorted(sums.items(), key=lambda item: -item[1]))


_NAMED = re.compile(r"\((\d+)\)(?: (.*))?")


def parse(text: str) -> dict[tuple[str, str], int]:
    """Own cost of every function in a callgrind output file, by the file that it is defined in."""
    names: dict[tuple[str, str], str] = {}

    def name(space: str, value: str) -> str:
        match = _NAMED.fullmatch(value)
        if match is None:
            return value
        if match[2] is not None:
            names[space, match[1]] = match[2]
        return names[space, match[1]]

    own: dict[tuple[str, str], int] = defaultdict(int)
    file = function = ""
    skip = False
    for line in text.splitlines():
        if not line or line[0] == "#":
            continue
        key, equals, value = line.partition("=")
        if equals and key in ("fl", "fi", "fe", "cfi", "cfl"):
            found = name("file", value)
            if key == "fl":  # fi and fe: inlined pieces of other files, which belong to their function here
                file = found
        elif equals and key in ("fn", "cfn"):
            found = name("function", value)
            if key == "fn":
                function = found
        elif equals and key in ("ob", "cob"):
            name("object", value)
        elif equals and key == "calls":
            skip = True  # the next line is what the callee cost
        elif line[0] in "0123456789+-*":
            if skip:
                skip = False
                continue
            own[file, function] += int(line.split()[1])
    return own


def _run(load: Path, server: Server, requests: int) -> dict[tuple[str, str], int]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        prefix = (tool("valgrind"), "--tool=callgrind", f"--callgrind-out-file={out}")
        with started(server, prefix, timeout_s=60) as running:
            command = [str(load), "-p", str(running.port), "-c", str(requests), *server.ask]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{server.name} under valgrind: {done.stdout}{done.stderr}")
        return parse(out.read_text())


def measure(load: Path, server: Server, requests: int) -> Count:
    """Between requests and three times as many, one outstanding."""
    few, many = _run(load, server, requests), _run(load, server, 3 * requests)
    functions = {key: (many.get(key, 0) - few.get(key, 0)) / (2 * requests) for key in many}
    return Count(sum(functions.values()), {key: own for key, own in functions.items() if own >= 0.5})
