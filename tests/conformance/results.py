"""What came out of one file of the core test suite, and the table of all of them."""

from __future__ import annotations

import collections
import dataclasses
import json

Counts = collections.Counter[str]

# The columns of what passed, and what is counted in each.
COLUMNS = ("module", "invalid", "malformed", "return", "trap")


@dataclasses.dataclass
class FileResult:
    """Every command of a file is in exactly one of these: passed by column, refused and skipped by reason, or wrong.

    refused: a module that is beyond the limits of a node or needs what it does not have, with all that the file asks
    of it. skipped: what a node has no way to do. chip: modules that only a chip's limits refuse."""

    name: str
    passed: Counts = dataclasses.field(default_factory=collections.Counter)
    refused: Counts = dataclasses.field(default_factory=collections.Counter)
    skipped: Counts = dataclasses.field(default_factory=collections.Counter)
    wrong: list[str] = dataclasses.field(default_factory=list)
    chip: Counts = dataclasses.field(default_factory=collections.Counter)

    @property
    def commands(self) -> int:
        return self.passed.total() + self.refused.total() + self.skipped.total() + len(self.wrong)

    def add(self, other: FileResult) -> None:
        self.passed += other.passed
        self.refused += other.refused
        self.skipped += other.skipped
        self.wrong += other.wrong
        self.chip += other.chip

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> FileResult:
        fields = json.loads(text)
        for key in ("passed", "refused", "skipped", "chip"):
            fields[key] = collections.Counter(fields[key])
        return cls(**fields)


def _reasons(counts: Counts) -> str:
    return ", ".join(
        f"{n} {text}" for text, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _row(result: FileResult) -> str:
    cells = [
        result.name,
        *(str(result.passed[column] or "") for column in COLUMNS),
        str(len(result.wrong) or ""),
        str(result.refused.total() or ""),
        str(result.skipped.total() or ""),
        _reasons(result.refused + result.skipped),
    ]
    return f"| {' | '.join(cells)} |"


def table(results: list[FileResult]) -> str:
    """Markdown: a line a file, then the sum."""
    total = FileResult("**all**")
    for result in results:
        total.add(result)
    head = [
        "file",
        *(f"{column}" for column in COLUMNS),
        "failed",
        "refused",
        "skipped",
        "refused or skipped because",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *map(_row, results), _row(total)]
    if total.chip:
        lines.append(f"\nModules that the limits of a chip refuse as well: {_reasons(total.chip)}.")
    return "\n".join(lines + [f"\nFAILED {text}" for text in total.wrong])
