"""Quotas: from the module's section or the node's defaults, shown, and a 5.00 that says which when one is exceeded."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from nodes import HOST, STM32, module, running

from wasmote.errors import RefusedError, TrapError
from wasmote.node import Node
from wasmote.protocol.section import Section, with_section

ASKED = Section(name="q", abi=1, fuel=5000, heap=1024, stack=4096, native=2048, output=64, log=20)
# What /d and /f/{name} call the quotas, with what ASKED comes to; __heap_base is 1024.
SHOWN = {"fuel": 5000, "memory": 2048, "stack": 4096, "native": 2048, "output": 64, "log": 20}
# Export and argument that go beyond a quota; its trap; its name; and an argument that stays within, if there is one.
BEYOND = [
    ("turns", 5001, "fuel", "fuel", 4000),
    ("load", 2045, "memory-quota", "memory", 2044),
    ("nest", 4000, "stack-native", "native", 3),
    ("write", None, "output", "output", None),
    ("lines", 21, "log", "log", None),
]


def quotas(section: Section) -> bytes:
    return with_section(module("quotas"), section)


@pytest.fixture(params=[HOST, pytest.param(STM32, marks=pytest.mark.slow)])
async def uri(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with running(request.param) as address:
        yield address


@pytest.fixture
async def node(uri: str) -> AsyncIterator[Node]:
    async with Node(uri) as node:
        yield node


async def test_quotas_are_shown(node: Node, uri: str) -> None:
    device = await node.device()
    assert set(device["limits"]) >= set(SHOWN)
    # Memory has no default: it is what the module declares.
    assert set(device["defaults"]) == set(SHOWN) - {"memory"}
    assert all(device["defaults"][name] <= device["limits"][name] for name in device["defaults"])

    await node.push(quotas(ASKED), name="q")
    assert (await node.info("q")).raw["quotas"] == SHOWN
    await node.push(quotas(Section(name="q", heap=0)), name="q")
    assert (await node.info("q")).raw["quotas"] == {**device["defaults"], "memory": 1024}

    def told(*name: str) -> str:
        command = [sys.executable, "-m", "wasmote", "-t", uri, "info", *name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    for lines in (await asyncio.to_thread(told), await asyncio.to_thread(told, "q")):
        for name in ("fuel", "stack", "native", "output", "log"):
            assert f"{name} {device['defaults'][name]}" in lines


@pytest.mark.parametrize(("export", "argument", "trap", "quota", "within"), BEYOND)
async def test_quota_exceeded_is_a_trap_that_says_which(
    node: Node, export: str, argument: int | None, trap: str, quota: str, within: int | None
) -> None:
    await node.push(quotas(ASKED), name="q")
    await asyncio.sleep(1.1 if quota == "log" else 0)  # a replacement keeps what was logged
    if within is not None:
        await node.call(f"q/{export}", [within])
    assert (await node.call("q/calls", [0])).value == 1
    assert (await node.call("q/calls", [0])).value == 2
    with pytest.raises(TrapError) as trapped:
        await node.call(f"q/{export}", [] if argument is None else [argument])
    details = trapped.value.details
    assert (details["code"], details["trap"], details["quota"]) == ("5.00", trap, SHOWN[quota])
    # Usable again: a fresh instance.
    assert (await node.call("q/calls", [0])).value == 1


async def test_quota_of_the_wasm_stack(node: Node) -> None:
    native = (await node.device())["limits"]["native"]
    await node.push(quotas(replace(ASKED, stack=128, native=native)), name="q")
    with pytest.raises(TrapError) as trapped:
        await node.call("q/nest", [4000])
    details = trapped.value.details
    assert (details["code"], details["trap"], details["quota"]) == ("5.00", "stack-wasm", 128)


async def test_quota_of_log_lines_fills_up_again(node: Node) -> None:
    await node.push(quotas(ASKED), name="q")
    for _ in range(2):
        await asyncio.sleep(1.1)
        _, first = await node.log()
        await node.call("q/lines", [20])
        with pytest.raises(TrapError):
            await node.call("q/lines", [20])
        lines = [line for line in (await node.log(first))[0] if line.source == "q"]
        assert 20 <= len(lines) < 40
    await node.push(quotas(replace(ASKED, log=0)), name="q")
    with pytest.raises(TrapError) as trapped:
        await node.call("q/lines", [1])
    assert trapped.value.details["trap"] == "log"


async def test_quota_above_the_node_s_limit_is_refused(node: Node) -> None:
    limits = (await node.device())["limits"]
    for name in ("stack", "native", "output", "log"):
        with pytest.raises(RefusedError) as refused:
            await node.push(quotas(replace(ASKED, **{name: limits[name] + 1})), name="above")
        assert (refused.value.details["code"], refused.value.details["reason"]) == ("4.22", "limit")
        assert name in str(refused.value) or name == "native"
    await node.push(quotas(replace(ASKED, fuel=4_294_967_295)), name="above")
    assert (await node.info("above")).raw["quotas"]["fuel"] == limits["fuel"]
    await node.rm("above")
