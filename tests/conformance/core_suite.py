"""The WebAssembly core test suite, converted by wabt's wast2json, as a list of commands for each file.

`python tests/conformance/core_suite.py` prints the table of the validator as Markdown.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from native_validator import ROOT, Validator, Verdict

FEATURES = ("--disable-reference-types", "--disable-bulk-memory", "--disable-simd")


def suite_dir() -> Path:
    """Where the .wast files are: $WASMOTE_SPEC_DIR, or ../shared/wasm-spec beside the repository."""
    return Path(os.environ.get("WASMOTE_SPEC_DIR", ROOT.parent / "shared" / "wasm-spec"))


def missing() -> str | None:
    """Why the suite cannot run here, or None."""
    if not any(suite_dir().glob("*.wast")):
        return f"the core test suite is not at {suite_dir()} (WASMOTE_SPEC_DIR)"
    if shutil.which("wast2json") is None:
        return "wast2json is missing (Debian package wabt)"
    return None


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a .wast file. kind is wast2json's; module is set where the command has a binary module."""

    kind: str
    line: int
    module: bytes | None
    fields: dict[str, Any]


def commands(wast: Path) -> Iterator[Command]:
    """Convert a file and read what came out. Modules as text, in assert_malformed, have no binary."""
    with tempfile.TemporaryDirectory() as folder:
        listing = Path(folder) / "out.json"
        subprocess.run(["wast2json", *FEATURES, str(wast), "-o", str(listing)], check=True)
        for fields in json.loads(listing.read_text())["commands"]:
            binary = "filename" in fields and fields.get("module_type", "binary") == "binary"
            module = (listing.parent / fields["filename"]).read_bytes() if binary else None
            yield Command(fields["type"], fields["line"], module, fields)


# What each kind of command says of its module: is it valid?
VALIDITY = {
    "module": True,
    "assert_unlinkable": True,
    "assert_uninstantiable": True,
    "assert_invalid": False,
    "assert_malformed": False,
}


@dataclasses.dataclass
class FileResult:
    """Counts of one file; each refusal of a valid module for a limit or a missing feature with its text."""

    name: str
    modules: int = 0
    invalid: int = 0
    malformed: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)

    def to_json(self) -> str:
        return json.dumps({**vars(self), "refused": dict(self.refused)})

    @classmethod
    def from_json(cls, text: str) -> FileResult:
        fields = json.loads(text)
        return cls(**{**fields, "refused": collections.Counter(fields["refused"])})


def judge(validate: Validator, name: str, listed: Iterable[Command]) -> FileResult:
    """Hold the verdict on every module of a file against what the suite says of it."""
    result = FileResult(name)
    for command in listed:
        if command.module is None or command.kind not in VALIDITY:
            continue
        verdict = validate(command.module)
        if VALIDITY[command.kind]:
            result.modules += 1
            right = verdict.valid
            if not verdict.accepted:
                result.refused[f"{verdict.reason}: {verdict.text}"] += 1
        else:
            result.invalid += command.kind == "assert_invalid"
            result.malformed += command.kind == "assert_malformed"
            right = not verdict.accepted
        if not right:
            result.wrong.append(f"{name}:{command.line}: {command.kind}: {explain(command, verdict)}")
    return result


def explain(command: Command, verdict: Verdict) -> str:
    got = f"{verdict.reason}: {verdict.text} at {verdict.offset}" if verdict.reason else "accepted"
    return f"{got} (the suite says: {command.fields.get('text', 'valid')})"


def table(results: list[FileResult]) -> str:
    """Markdown: a line a file, then the sum."""
    lines = [
        "| file | valid | of them refused | invalid | malformed | refused for |",
        "|---|---|---|---|---|---|",
    ]
    total = FileResult("**all**")
    for result in [*results, total]:
        if result is not total:
            total.modules += result.modules
            total.invalid += result.invalid
            total.malformed += result.malformed
            total.refused += result.refused
            total.wrong += result.wrong
        reasons = ", ".join(f"{n} {text}" for text, n in result.refused.most_common())
        refused = result.refused.total()
        lines.append(
            f"| {result.name} | {result.modules} | {refused} | {result.invalid} | {result.malformed} | {reasons} |"
        )
    lines.append(f"\n{len(total.wrong)} wrong verdicts.")
    return "\n".join(lines + total.wrong)


def main() -> None:
    reason = missing()
    if reason:
        raise SystemExit(reason)
    for limits in ("chip", "host"):
        validate = Validator(limits)
        results = [judge(validate, wast.stem, commands(wast)) for wast in sorted(suite_dir().glob("*.wast"))]
        print(f"\nLimits: {limits}\n\n{table(results)}")


if __name__ == "__main__":
    main()
