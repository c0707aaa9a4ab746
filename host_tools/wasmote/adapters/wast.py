"""Reads .wast files with wabt's wast2json."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from wasmote.adapters.tools import need_tool
from wasmote.errors import InputError
from wasmote.protocol.conformance import suite


def files(folder: Path) -> list[Path]:
    """The .wast files of a folder, by name. Raises InputError if there are none."""
    found = sorted(folder.glob("*.wast"))
    if not found:
        raise InputError(
            f"no .wast files in {folder}",
            next_step="give the folder of the WebAssembly core test suite of 2020-09-28 (its test/core) with --suite",
        )
    return found


def read(wasts: Sequence[Path]) -> Iterator[suite.File]:
    """Each file converted. Raises MissingError without wast2json, InputError if it cannot read a file."""
    for wast in wasts:
        text = wast.read_text(encoding="utf-8")
        again: list[suite.File] = []
        less = 0
        rest = text
        for names in suite.AGAIN_WITHOUT.get(wast.stem, ()):
            less, rest = less + len(names), suite.without(rest, names)
            commands = convert(wast.name, rest)
            calls = tuple(command for command in commands if command.kind in suite.CALLS)
            again.append(suite.File(wast.stem, calls, less))
        yield suite.File(wast.stem, tuple(convert(wast.name, text)), again=tuple(again))


def convert(name: str, text: str) -> list[suite.Command]:
    """The commands of a .wast file. Raises MissingError, InputError."""
    tool = need_tool("wast2json")
    with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
        wast, listing = Path(folder, name), Path(folder, "listing.json")
        wast.write_text(text, encoding="utf-8")
        command = [str(tool), *suite.FEATURES, str(wast), "-o", str(listing)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise InputError(
                f"wast2json cannot read {name}",
                cause=done.stderr.strip().replace(str(wast), name)[:2000],
                next_step="use the core test suite of 2020-09-28: newer ones need newer features",
            )
        return suite.read_listing(
            listing.read_text(encoding="utf-8"), lambda file: Path(folder, file).read_bytes()
        )
