"""What a server calls itself: to people, to other servers, and as the holder of a lease."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fleet_server import fleet_server

from wasmote.cli.main import run
from wasmote_fleet.engine import open_engine
from wasmote_fleet.server.addresses import default_name


def test_a_server_s_name_is_another_at_each_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for options in ((), (), ("--name", "one")):
        with fleet_server(tmp_path / "fleet.db", *options) as server:
            names.append(server.started["server"])
    assert len(set(names)) == 3
    for name, given in zip(names, (default_name(), default_name(), "one"), strict=True):
        assert re.fullmatch(re.escape(given) + "-[0-9a-f]{8}", name)
    assert run(["fleet", "serve", "--help"]) == 0
    assert "8 hexadecimal digits" in " ".join(capsys.readouterr().out.split())


async def test_who_keeps_house_has_a_name_that_no_other_process_has(tmp_path: Path) -> None:
    holders = []
    for name in ("a.db", "b.db"):
        with fleet_server(tmp_path / name) as server:
            assert server.request("GET", "/api/v1/nodes").ok
        engine = await open_engine(str(tmp_path / name))
        holders += [lease.holder for lease in await engine.leases.held() if lease.name == "housekeeping"]
        await engine.close()
    assert len(set(holders)) == 2
    for holder in holders:
        assert re.search("-[0-9a-f]{16}$", holder)
