"""What a device or an orchestrator says of itself opens no address but the one that it has."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, cast

import pytest
from worlds import SqliteWorld

from wasmote_fleet.compat.fetch import Reach
from wasmote_fleet.compat.wasmiot.device import Device
from wasmote_fleet.compat.wasmiot.errors import BadBody
from wasmote_fleet.compat.wasmiot.supervisor import Supervisor


def device(*addresses: str) -> Device:
    return Device("0", "d", addresses, 5000, "http://192.0.2.7:5000", {}, True)


def test_only_the_address_that_answered_may_be_asked() -> None:
    assert device("10.0.0.7", "169.254.169.254", "127.0.0.1").reached == ("10.0.0.7",)
    for claimed in ("0.0.0.0/0", "10.0.0.7/8", "::/0", "supervisor.example", ""):
        assert device(claimed, "127.0.0.1").reached == ()


async def test_an_orchestrator_s_name_opens_nothing(tmp_path: Path) -> None:
    world = SqliteWorld(tmp_path)
    engine = await world.open()
    none = cast(Any, None)
    supervisor = Supervisor(engine, none, none, none, Reach())
    try:
        await supervisor.register("", "http://metadata.example", caller="10.0.0.7")
        reach = await supervisor.reach_of("", "10.0.0.8")
        for address, allowed in (
            ("10.0.0.7", True),
            ("10.0.0.8", True),
            ("169.254.169.254", False),
            ("127.0.0.1", False),
        ):
            assert reach.allows("metadata.example", ipaddress.ip_address(address)) is allowed, address
        for url in ("http://[", "http://", "ftp://x", "http://x/" + "a" * 9000, 7):
            with pytest.raises(BadBody):
                await supervisor.register("", url, caller="10.0.0.7")
    finally:
        await world.end()
