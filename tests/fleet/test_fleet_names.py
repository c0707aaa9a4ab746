"""What a server calls itself: to people, to other servers, and as the holder of a lease."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fleet_server import fleet_server

from wasmote.cli.main import run
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
