"""What a command prints. Data goes to stdout; progress, notes and errors go to stderr.

A command asks for the Output of its context and never prints by itself:

    out = session.output
    with out.progress("push fib", total=len(image), unit="B") as bar:
        bar.update(done)
    out.emit({"name": "fib", "size": 312}, "fib: 312 bytes")

With `--json`, stdout carries exactly one JSON value (or one a line where a command streams), and an error is a JSON
object on stderr.
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from wasmote.errors import WasmoteError

_SAFE_INTEGER = 2**53
_OBEYED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_PLAIN_STEP = 0.25
_PLAIN_INTERVAL_S = 5.0


def shown(text: str, keep: str = "\n\t") -> str:
    """text without what a terminal obeys: control characters, and those that turn the direction of writing, as \\xNN or
    \\uNNNN. Names, log lines and causes come from nodes, which are not trusted with a person's screen."""
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(char: str) -> str:
    return f"\\x{ord(char):02x}" if ord(char) < 256 else f"\\u{ord(char):04x}"


def _line_of_json(value: Any) -> str:
    """As UTF-8 holds it: half of a surrogate pair and what a terminal obeys by its number."""
    text = json.dumps(jsonable(value), ensure_ascii=False)
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def jsonable(value: Any) -> Any:
    """value with everything that JSON cannot hold as text: bytes in hex, integers beyond 2^53 in decimal, NaN and the
    infinities by name. Mapping keys become texts."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return int(value) if -_SAFE_INTEGER <= value <= _SAFE_INTEGER else str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return value
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [jsonable(item) for item in value]
    return str(value)


class Bar(Protocol):
    """Progress of one piece of work."""

    def update(self, done: int) -> None:
        """done units of the total are finished."""

    def total(self, total: int) -> None:
        """The total is known now, or has changed."""

    def describe(self, text: str) -> None:
        """What is going on, in a few words."""


class _RichBar:
    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task

    def update(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def total(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def describe(self, text: str) -> None:
        self._progress.update(self._task, description=escape(shown(text)))


class _PlainBar:
    """Lines for a log file: the start, each quarter, and at most one line in five seconds between them."""

    def __init__(self, write: Callable[[str], None], text: str, total: int | None, unit: str) -> None:
        self._write, self._text, self._total, self._unit = write, text, total, unit
        self._last_share, self._last_s = 0.0, time.monotonic()
        write(f"{text} ..." if total is None else f"{text}: {total} {unit}".rstrip())

    def update(self, done: int) -> None:
        now = time.monotonic()
        share = done / self._total if self._total else 0.0
        late = now - self._last_s >= _PLAIN_INTERVAL_S
        if share < 1.0 and not late and share - self._last_share < _PLAIN_STEP:
            return
        if share >= 1.0 and self._last_share >= 1.0:
            return
        self._last_share, self._last_s = share, now
        of = f"/{self._total}" if self._total else ""
        self._write(f"{self._text}: {done}{of} {self._unit}".rstrip())

    def total(self, total: int) -> None:
        self._total = total

    def describe(self, text: str) -> None:
        if text != self._text:
            self._text = text
            self._write(f"{text} ...")


class Output:
    """Where a command's results and messages go. json: results as JSON. quiet: no progress and no notes."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.json = json
        self.quiet = quiet
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def interactive(self) -> bool:
        """A person sees stderr on a terminal."""
        return self._err.is_terminal

    def emit(self, value: Any, text: RenderableType | None = None) -> None:
        """A result: value as one line of JSON, or text for people (the value itself if no text is given)."""
        if self.json:
            sys.stdout.write(_line_of_json(value) + "\n")
        elif text is None or isinstance(text, str):
            sys.stdout.write(shown(f"{value if text is None else text}") + "\n")
        else:
            self._out.print(text)
        sys.stdout.flush()

    def raw(self, data: bytes) -> None:
        """A result that is bytes, as it is."""
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    def table(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[str] | Mapping[str, str],
        *,
        value: Any = None,
        empty: str | None = None,
    ) -> None:
        """Rows as a table: columns names the keys to show, or maps each to its heading. JSON: value, or the rows.
        empty: the note instead of a table without rows."""
        if self.json:
            self.emit(rows if value is None else value)
            return
        if not rows and empty is not None:
            self.note(empty)
            return
        headings = columns if isinstance(columns, Mapping) else {name: name for name in columns}
        numeric = {
            key: bool(rows) and all(isinstance(row.get(key), int | float) for row in rows) for key in headings
        }
        cells = [
            ["" if row.get(key) is None else shown(str(row[key]), keep="") for key in headings]
            for row in rows
        ]
        if self._out.is_terminal:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for key, heading in headings.items():
                table.add_column(heading, justify="right" if numeric[key] else "left")
            for line in cells:
                table.add_row(*(escape(cell) for cell in line))
            self._out.print(table, soft_wrap=False)
            return
        # Off a terminal a table is as wide as its content, so that no script meets a cut word.
        lines = [list(headings.values()), *cells]
        widths = [max(len(line[at]) for line in lines) for at in range(len(headings))]
        for line in lines:
            padded = [
                cell.rjust(width) if numeric[key] else cell.ljust(width)
                for key, cell, width in zip(headings, line, widths, strict=True)
            ]
            sys.stdout.write("  ".join(padded).rstrip() + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A message for a person, on stderr."""
        if not self.quiet:
            self._err.print(escape(shown(text)))

    def warning(self, text: str) -> None:
        """A message that --quiet does not hide."""
        self._err.print(f"[yellow]warning:[/] {escape(shown(text))}")

    def error(self, err: WasmoteError) -> None:
        """What failed, why, and the next step; one JSON object with --json."""
        if self.json:
            sys.stderr.write(_line_of_json(err.as_json()) + "\n")
            return
        self._err.print(f"[bold red]error:[/] {escape(shown(err.message))}")
        if err.cause:
            for line in err.cause.splitlines():
                self._err.print(f"  {escape(shown(line))}")
        if err.next_step:
            self._err.print(f"[bold]next:[/] {escape(shown(err.next_step))}")

    @contextmanager
    def progress(self, text: str, total: int | None = None, *, unit: str = "") -> Iterator[Bar]:
        """A progress bar on a terminal, plain lines elsewhere. total None: unknown yet."""
        if self.quiet:
            yield _PlainBar(lambda _line: None, text, total, unit)
        elif self.interactive:
            bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                console=self._err,
                transient=True,
            )
            with bar:
                yield _RichBar(bar, bar.add_task(escape(shown(text)), total=total))
        else:
            yield _PlainBar(self.note, text, total, unit)
