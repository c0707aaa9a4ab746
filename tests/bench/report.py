"""What was measured, against the bars of docs: as a table on a terminal, as Markdown and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    what: str
    figure: str
    bar: str
    passed: bool
    exact: bool  # an instruction count: the same on every run, so a failure fails the bench


@dataclass
class Table:
    title: str
    head: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Report:
    bars: list[Bar] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)  # for --json

    @property
    def failed(self) -> bool:
        return any(bar.exact and not bar.passed for bar in self.bars)

    def _bar_rows(self) -> list[Sequence[str]]:
        return [(bar.what, bar.figure, bar.bar, "pass" if bar.passed else "FAIL") for bar in self.bars]

    def text(self) -> str:
        parts = []
        for table in self.tables:
            parts.append(f"{table.title}\n\n{_text_table(table.head, table.rows)}")
            parts += [f"  {note}" for note in table.notes]
            parts.append("")
        parts.append("Bars\n\n" + _text_table(("what", "measured", "bar", ""), self._bar_rows()))
        return "\n".join(parts) + "\n"

    def markdown(self) -> str:
        parts = [
            "# Bench",
            "Written by `./dev bench --markdown docs/BENCH.md`. Rates are ratios of runs that took turns, medians over"
            "\nthe rounds, on a shared virtual machine with two x86-64 cores: they move by some percent each time."
            "\nInstruction counts move with the compilers only: here gcc 12.2, arm-none-eabi-gcc 12.2, QEMU 7.2 and"
            "\nlibcoap 4.3.1 of Debian 12.",
            "## Bars\n\n" + _markdown_table(("what", "measured", "bar", ""), self._bar_rows()),
        ]
        for table in self.tables:
            notes = "".join(f"\n\n{note}" for note in table.notes)
            parts.append(f"## {table.title}\n\n{_markdown_table(table.head, table.rows)}{notes}")
        return "\n\n".join(parts) + "\n"

    def json(self) -> dict[str, object]:
        return {
            **self.figures,
            "bars": [
                {
                    "what": bar.what,
                    "measured": bar.figure,
                    "bar": bar.bar,
                    "pass": bar.passed,
                    "exact": bar.exact,
                }
                for bar in self.bars
            ],
        }


def _text_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [tuple(head), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def _markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)
