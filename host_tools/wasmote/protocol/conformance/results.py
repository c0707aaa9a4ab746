"""What came out of the files of a suite: counts, a table of them, JUnit XML."""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree

Counts = collections.Counter[str]

# The columns of what passed, and what is counted in each.
COLUMNS = ("module", "invalid", "malformed", "return", "trap")


@dataclass
class FileResult:
    """Every command of a file is in exactly one of these: passed by column, refused and skipped by reason, or wrong.

    refused: a module that is beyond the limits of a node or needs what it does not have, with all that the file asks
    of it. skipped: what a node has no way to do. chip: modules that only a chip's limits refuse (where both are known).
    elapsed_s: None where nobody looked."""

    name: str
    passed: Counts = field(default_factory=collections.Counter)
    refused: Counts = field(default_factory=collections.Counter)
    skipped: Counts = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    chip: Counts = field(default_factory=collections.Counter)
    elapsed_s: float | None = None

    @property
    def commands(self) -> int:
        return self.passed.total() + self.refused.total() + self.skipped.total() + len(self.wrong)

    def add(self, other: FileResult) -> None:
        self.passed += other.passed
        self.refused += other.refused
        self.skipped += other.skipped
        self.wrong += other.wrong
        self.chip += other.chip
        if other.elapsed_s is not None:
            self.elapsed_s = (self.elapsed_s or 0.0) + other.elapsed_s

    def to_json(self) -> str:
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> FileResult:
        fields = json.loads(text)
        for key in ("passed", "refused", "skipped", "chip"):
            fields[key] = collections.Counter(fields[key])
        return cls(**fields)


@dataclass
class NodeResult:
    """What came out on one node. name: of its board, or "" where there is one node only. stopped: why it was not asked
    all files, or ""."""

    name: str
    files: list[FileResult] = field(default_factory=list)
    stopped: str = ""


def total(results: Sequence[FileResult], name: str = "all") -> FileResult:
    """The sum."""
    result = FileResult(name)
    for one in results:
        result.add(one)
    return result


def reasons(counts: Counts) -> str:
    """`2 this, 1 that`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n} {text}" for text, n in ordered)


def junit(nodes: Sequence[NodeResult], suite: str) -> str:
    """JUnit XML: a test suite a node, a test case a file. A node that was not asked everything has an error, too."""
    root = ElementTree.Element("testsuites")
    for node in nodes:
        _add_suite(root, node, f"{suite}.{node.name}" if node.name else suite)
    ElementTree.indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{ElementTree.tostring(root, encoding='unicode')}\n"


def _add_suite(root: ElementTree.Element, node: NodeResult, name: str) -> None:
    top = ElementTree.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(node.files) + bool(node.stopped)),
        failures=str(sum(1 for result in node.files if result.wrong)),
        errors=str(int(bool(node.stopped))),
        skipped=str(sum(1 for result in node.files if _is_skipped(result))),
        time=f"{sum(result.elapsed_s or 0.0 for result in node.files):.3f}",
    )
    for result in node.files:
        case = ElementTree.SubElement(
            top, "testcase", classname=name, name=result.name, time=f"{result.elapsed_s or 0.0:.3f}"
        )
        if result.wrong:
            failure = ElementTree.SubElement(case, "failure", message=f"{len(result.wrong)} failed")
            failure.text = _xml_text("\n".join(result.wrong))
        elif _is_skipped(result):
            why = reasons(result.refused + result.skipped)
            ElementTree.SubElement(case, "skipped", message=_xml_text(why))
        said = [f"passed: {reasons(result.passed)}"]
        said += [f"refused: {reasons(result.refused)}"] if result.refused else []
        said += [f"skipped: {reasons(result.skipped)}"] if result.skipped else []
        ElementTree.SubElement(case, "system-out").text = _xml_text("\n".join(said))
    if node.stopped:
        case = ElementTree.SubElement(top, "testcase", classname=name, name="all files", time="0.000")
        ElementTree.SubElement(case, "error", message="not all was tested").text = _xml_text(node.stopped)


def _is_skipped(result: FileResult) -> bool:
    return not result.passed and not result.wrong


def _xml_text(text: str) -> str:
    """text without what XML 1.0 cannot hold; names of exports may have any character."""
    return "".join(
        char if char in "\n\t" or (char >= " " and char not in "\ufffe\uffff") else "?" for char in text
    )
