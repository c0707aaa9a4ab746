"""`wasmote fleet engine`: open the engine and say what it is."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote_fleet.engine import EngineInfo, open_engine


async def _info(location: str) -> EngineInfo:
    engine = await open_engine(location)
    try:
        return await engine.info()
    finally:
        await engine.close()


@base_command()
@click.argument("location", metavar="FILE|nats://HOST")
def command(session: Session, location: str) -> None:
    """Open the engine at FILE (made if it is not there) or on a NATS server, and say what it is."""
    info = asdict(asyncio.run(_info(location)))
    rows = [{"what": name, "is": value} for name, value in info.items()]
    session.output.table(rows, {"what": "WHAT", "is": "IS"}, value=info)
