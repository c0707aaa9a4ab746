"""What the commands that call functions share, on a node or here: their input, and how a result is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from wasmote.cli.base import Session
from wasmote.errors import InputError
from wasmote.protocol import values
from wasmote.protocol.answers import CallResult


def read_input(file: str | None) -> bytes | None:
    """The bytes of FILE, of standard input for `-`; None for no file. Raises InputError."""
    if file is None:
        return None
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {file}", cause=error.strerror or str(error), next_step="check the file's name"
        ) from error


def print_result(session: Session, result: CallResult, out_file: str | None = None) -> None:
    """A call's result: numbers on one line, or the output stream as it is, into out_file if there is one (and it is not
    `-`). Raises InputError if that cannot be written."""
    ms = round(result.elapsed_s * 1000, 1)
    if result.kind == "bytes":
        print_stream(session, result.output, out_file, ms)
        return
    pairs = list(zip(result.results, result.numbers, strict=True))
    converted = [values.to_json(kind, value) for kind, value in pairs]
    value = converted[0] if len(converted) == 1 else converted
    session.output.emit(
        {"value": value, "ms": ms}, " ".join(values.to_text(kind, number) for kind, number in pairs)
    )


def print_stream(session: Session, output: bytes, out_file: str | None, ms: float) -> None:
    """An output stream, as print_result has it."""
    if out_file is not None and out_file != "-":
        _write(out_file, output)
        session.output.note(f"{out_file}: {size_text(len(output))}")
        if session.output.json:
            session.output.emit({"bytes": len(output), "out": out_file, "ms": ms})
    elif session.output.json:
        session.output.emit({**_stream_json(output), "ms": ms})
    else:
        session.output.raw(output)


def size_text(size_bytes: int) -> str:
    return f"{size_bytes} byte{'' if size_bytes == 1 else 's'}"


def _write(file: str, data: bytes) -> None:
    try:
        Path(file).write_bytes(data)
    except OSError as error:
        raise InputError(
            f"cannot write {file}",
            cause=error.strerror or str(error),
            next_step="choose another file with --out",
        ) from error


def _stream_json(output: bytes) -> dict[str, Any]:
    try:
        text = output.decode("utf-8")
    except UnicodeDecodeError:
        text = None
    return {"bytes": len(output), "text": text, "hex": output.hex()}
