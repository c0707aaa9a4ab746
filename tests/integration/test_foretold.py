"""What the tools read from a node's `/d` before they send a module is what the node says when it is sent."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from nodes import HOST, STM32, app, metrics, module, running

from wasmote.errors import RefusedError
from wasmote.node import Node, Validator
from wasmote.protocol import fit
from wasmote.protocol.imports import OFFERED
from wasmote.protocol.module import PAGE_BYTES, encode_unsigned
from wasmote.protocol.section import Section, with_section

HEAD = b"\0asm\1\0\0\0"
PLAIN = Section(name="q", abi=1, heap=0)  # for quotas.wat, whose __heap_base is 1024


def section(number: int, body: bytes) -> bytes:
    return bytes([number]) + encode_unsigned(len(body)) + body


def imports(of: str, name: str, kind: bytes = b"\x60\0\0") -> bytes:
    """A module that imports one function of this type, and exports `run`."""
    entry = b"".join(encode_unsigned(len(text)) + text.encode() for text in (of, name))
    data = HEAD + section(1, b"\2" + kind + b"\x60\0\0") + section(2, b"\1" + entry + b"\0\0")
    return data + section(3, b"\1\1") + section(7, b"\1\3run\0\1") + section(10, b"\1\2\0\x0b")


def pages(count: int) -> bytes:
    """A module with a memory of so many pages."""
    return HEAD + section(5, b"\1\0" + encode_unsigned(count))


def beyond(device: dict[str, Any]) -> dict[str, bytes]:
    """One module for each thing that this node does not have."""
    limits = device["limits"]
    found = {
        quota: with_section(module("quotas"), replace(PLAIN, **{quota: limits[quota] + 1}))
        for quota in ("stack", "native", "output", "log")
    }
    return found | {
        "memory": pages(limits["memory"] // PAGE_BYTES + 1),
        "abi": with_section(module("quotas"), replace(PLAIN, abi=2)),
        "module": imports("nowhere", "nothing"),
        "function": imports("wasmote", "nothing"),
        "type": imports("wasmote", "millis"),
        "global": HEAD + section(2, b"\1\3env\1g\3\x7f\0"),
    }


def within(device: dict[str, Any]) -> dict[str, bytes]:
    """Modules that ask for all that the node gives of one thing."""
    limits = device["limits"]
    found = {
        quota: with_section(module("quotas"), replace(PLAIN, **{quota: limits[quota]}))
        for quota in ("native", "output", "log")
    }
    fuel = with_section(module("quotas"), replace(PLAIN, fuel=limits["fuel"] + 1))
    return found | {"fuel": fuel, "import": app("wordcount")}


@pytest.mark.parametrize("board", [HOST, pytest.param(STM32, marks=pytest.mark.slow)])
async def test_what_d_foretells_is_what_the_node_says(board: str) -> None:
    validator = await asyncio.to_thread(Validator.load)
    async with running(board) as uri, Node(uri) as node:
        device = await node.device()
        for what, data in beyond(device).items():
            with pytest.raises(RefusedError) as foretold:
                await node.push(data, name="x", validator=validator)
            assert await node.ls() == []
            with pytest.raises(RefusedError) as told:
                await node.push(data, name="x")
            assert foretold.value.cause == told.value.cause, what
            assert foretold.value.exit_code == told.value.exit_code
            # Besides, /d tells how much there is.
            assert {**foretold.value.details, **told.value.details} == foretold.value.details, what
            assert set(foretold.value.details) - set(told.value.details) <= {"need", "most"}
            if "import" in told.value.details:
                assert foretold.value.next_step == told.value.next_step
        for what, data in within(device).items():
            assert fit.misfit(data, device) is None, what
            await node.push(data, name="x", validator=validator)
        refused = [line.text for line in (await node.log())[0] if line.text.startswith("refused")]
        assert 0 < len(refused) <= len(beyond(device))  # the log is short, but nothing was refused twice


async def test_every_function_that_the_tools_know_is_there() -> None:
    """With the type that they know: else they would refuse what the node takes."""
    letter = {"i32": 0x7F, "i64": 0x7E, "f32": 0x7D, "f64": 0x7C}
    async with running(HOST) as uri, Node(uri) as node:
        listed = (await node.device())["imports"]
        for of in listed:
            for name, kind in OFFERED[of].items():
                params, results = (
                    bytes(map(letter.__getitem__, types)) for types in (kind.params, kind.results)
                )
                typed = b"\x60" + bytes([len(params)]) + params + bytes([len(results)]) + results
                await node.push(imports(of, name, typed), name="x")
        assert len(listed) >= 3


async def test_a_pool_that_never_holds_it() -> None:
    """A page of memory and the stack beside it, in a pool of 64 KiB."""
    validator = await asyncio.to_thread(Validator.load)
    async with running(HOST, "--pool", "64k") as uri, Node(uri) as node:
        with pytest.raises(RefusedError) as foretold:
            await node.push(pages(1), name="x", validator=validator)
        sent = (await metrics(node))["rx"]
        assert foretold.value.details["most"] == (await node.device())["ram"]["total"]
        with pytest.raises(RefusedError) as told:
            await node.push(pages(1), name="x")
        assert foretold.value.details["code"] == told.value.details["code"] == "4.13"
        assert foretold.value.details["detail"] in told.value.details["detail"]
        assert told.value.details["need"] >= PAGE_BYTES and sent > 0


async def test_push_sends_nothing_that_the_node_does_not_take(tmp_path: Path) -> None:
    file = tmp_path / "puts.wasm"
    file.write_bytes(imports("env", "puts", b"\x60\1\x7f\0"))
    async with running(HOST) as uri:

        async def wasmote(*words: str) -> tuple[int, dict[str, Any]]:
            command = [sys.executable, "-m", "wasmote", "--json", "-t", uri, *words]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, timeout=60, check=False
            )
            return done.returncode, json.loads(done.stderr.splitlines()[-1])

        async with Node(uri) as node:
            code, error = await wasmote("push", str(file))
            assert not [line for line in (await node.log())[0] if "refused" in line.text]
            offered = ", ".join((await node.device())["imports"])
            assert code == 3 and error["import"] == ["env", "puts"]
            assert error["next_step"].startswith(f"this node offers functions of the modules {offered} ")
            for option in ("--no-check", "--force"):
                sent, answer = await wasmote("push", str(file), option)
                assert (sent, answer["cause"]) == (code, error["cause"])
                assert "`wasmote info` lists in `imports`" in answer["next_step"]
            refused = [line for line in (await node.log())[0] if "refused 'puts'" in line.text]
            assert len(refused) == 2
