"""wasmote info: what a node says about itself or about a function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import open_node, run
from wasmote.errors import RefusedError
from wasmote.node import FunctionInfo, Measurement


@make_command()
@click.argument("name", required=False)
@click.option("--metrics", is_flag=True, help="The node's measurements: memory, calls, traps, messages.")
def command(session: Session, name: str | None, metrics: bool) -> None:
    """Describe the node, or the function NAME."""
    if metrics:
        found = run(_metrics(session, name))
        if name is not None and not found:
            raise RefusedError(
                f"the node measures nothing of '{name}'",
                cause="it has no function of this name",
                next_step="`wasmote ls` shows its functions",
            )
        session.output.emit(
            {one.name: one.value for one in found},
            "\n".join(f"{one.name} {one.value}{' ' + one.unit if one.unit else ''}" for one in found),
        )
    elif name is None:
        device = run(_device(session))
        session.output.emit(device, _lines(device))
    else:
        info = run(_info(session, name))
        session.output.emit({**info.raw, "etag": info.etag}, _function_text(info))


async def _device(session: Session) -> dict[str, Any]:
    async with open_node(session) as node:
        return await node.device()


async def _info(session: Session, name: str) -> FunctionInfo:
    async with open_node(session) as node:
        return await node.info(name)


async def _metrics(session: Session, name: str | None) -> list[Measurement]:
    async with open_node(session) as node:
        found = await node.metrics()
    return [one for one in found if name is None or one.name.startswith(f"f/{name}/")]


def _function_text(info: FunctionInfo) -> str:
    rest = {key: value for key, value in info.raw.items() if key not in ("exports", "sha256", "imports")}
    lines = [_lines(rest), f"sha256: {info.sha256.hex()}", f"etag: {info.etag.hex() if info.etag else ''}"]
    if info.raw.get("imports"):
        lines.append("imports: " + " ".join(".".join(entry) for entry in info.raw["imports"]))
    lines.append("exports:")
    for export in info.exports:
        marks = [export.kind] + [word for word in ("pure", "idempotent") if getattr(export, word)]
        if export.ref != export.name:
            marks.append(f"named {export.name!r}")
        lines.append(f"  {export.ref}{export.signature}  {' '.join(marks)}")
    return "\n".join(lines)


def _lines(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{key}: {_text(value)}" for key, value in values.items())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return " ".join(_text(item) for item in value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
