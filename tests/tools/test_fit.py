"""fit.py: what a node's `/d` says of a module before it is sent; tests/integration/test_foretold.py asks nodes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fakes import Functions, ScriptedNode, udp_server

from wasmote import __version__
from wasmote.errors import RefusedError
from wasmote.node import Node, Validator
from wasmote.protocol import fit, imports, problem
from wasmote.protocol.module import encode_unsigned
from wasmote.protocol.section import ABI_VERSION, Section, with_section

FIRMWARE = Path(__file__).parents[2] / "firmware" / "src" / "wasm"
DEVICE: dict[str, Any] = {
    "fw": __version__,
    "abi": ABI_VERSION,
    "limits": {"memory": 65536, "fuel": 1000, "stack": 16384, "native": 4096, "output": 16384, "log": 1000},
    "defaults": {"stack": 2048},
    "imports": ["wasmote", "sys", "own"],
    "ram": {"total": 98304, "free": 100, "largest": 50},
}
TYPES = {"i32": b"\x7f", "i64": b"\x7e"}


def module(*entries: tuple[str, str, str], pages: int = 0, padding: int = 0, **quotas: Any) -> bytes:
    """Imports functions: (module, name, parameters); one without parameters gives an i64. padding: bytes."""

    def section(number: int, *items: bytes) -> bytes:
        body = encode_unsigned(len(items)) + b"".join(items)
        return bytes([number]) + encode_unsigned(len(body)) + body

    def text(value: str) -> bytes:
        return encode_unsigned(len(value)) + value.encode()

    kinds = []
    for _module, _name, params in entries:
        types = params.split()
        results = b"\0" if types else b"\1\x7e"
        kinds.append(b"\x60" + bytes([len(types)]) + b"".join(TYPES[kind] for kind in types) + results)
    data = b"\0asm\1\0\0\0" + section(1, *kinds)
    data += section(2, *(text(of) + text(name) + bytes([0, n]) for n, (of, name, _) in enumerate(entries)))
    if pages:
        data += section(5, b"\0" + encode_unsigned(pages))
    if padding:
        data += b"\0" + encode_unsigned(padding + 2) + b"\1p" + bytes(padding)
    return with_section(data, Section(**quotas)) if quotas else data


def test_fit_refuses_nothing_that_the_node_takes() -> None:
    most = module(
        ("wasmote", "millis", ""),
        ("wasmote", "log", "i32 i32 i32"),
        ("own", "what_the_tools_do_not_know", "i32"),
        pages=1,
        abi=ABI_VERSION,
        fuel=5000,
        stack=16384,
        native=4096,
        output=16384,
        log=1000,
    )
    assert fit.misfit(most, DEVICE) is None


@pytest.mark.parametrize(
    ("entry", "text", "step"),
    [
        (
            ("env", "puts", "i32"),
            "this node does not offer an import of the module",
            "modules wasmote, sys, own",
        ),
        (
            ("sys", "beep", "i32"),
            "this node does not offer an import of the module",
            "of sys this node offers millis, delay",
        ),
        (
            ("wasmote", "millis", "i32"),
            "an import has another type than the node's function",
            "wasmote.millis is () -> i64",
        ),
    ],
)
def test_fit_names_the_import_and_what_there_is(entry: tuple[str, str, str], text: str, step: str) -> None:
    found = fit.misfit(module(("wasmote", "log", "i32 i32 i32"), entry), DEVICE)
    assert found is not None and (found.code_text, found.text) == ("4.22", f"module refused: {text}")
    assert found.members == {"reason": "import", "import": list(entry[:2])}
    assert step in problem.next_step(found, DEVICE)


@pytest.mark.parametrize("change", [{"fw": "99.0"}, {"abi": 2}, {"fw": None}])
def test_fit_leaves_functions_of_another_version_to_the_node(change: dict[str, Any]) -> None:
    other = {**DEVICE, **change}
    assert fit.misfit(module(("sys", "beep", "i32"), ("wasmote", "millis", "i32")), other) is None
    # But which modules there are is certain.
    assert fit.misfit(module(("sys", "beep", "i32"), ("env", "puts", "i32")), other) is not None


@pytest.mark.parametrize(
    ("quotas", "reason", "text"),
    [
        ({"stack": 16385}, "limit", "asks for a larger wasm stack than this node gives"),
        ({"native": 4097}, "limit", "asks for a larger native stack than this node gives"),
        ({"output": 16385}, "limit", "asks for more output than this node gives"),
        ({"log": 1001}, "limit", "asks for more log lines a second than this node gives"),
        ({"pages": 2}, "memory", "asks for more memory than this node gives to one function"),
        ({"abi": ABI_VERSION + 1}, "section", "made for another version of the host interface"),
    ],
)
def test_fit_refuses_quotas_in_the_words_of_the_node(quotas: dict[str, int], reason: str, text: str) -> None:
    found = fit.misfit(module(**quotas), DEVICE)
    assert found is not None and (found.code_text, found.detail) == ("4.22", text)
    assert found.members["reason"] == reason
    sources = (FIRMWARE / "engine.c").read_text() + (FIRMWARE.parent / "functions" / "image.c").read_text()
    assert f'"{text}"' in sources
    if reason != "section":
        need, most = found.members["need"], found.members["most"]
        assert (need, most) == (131072, 65536) if "pages" in quotas else need == most + 1
        assert f"{need}, and the node gives {most} at most" in problem.next_step(found, DEVICE)


def test_fit_refuses_what_the_whole_pool_does_not_hold() -> None:
    """Memory, wasm stack and the module's bytes, which lie in flash where a node has some."""
    room = 98304 - 65536 - 2048
    large = module(pages=1, padding=room - len(module(pages=1, padding=1)) - 1)
    assert room - 4 <= len(large) <= room and fit.misfit(large, DEVICE) is None  # `free` does not count
    larger = module(pages=1, padding=room)
    found = fit.misfit(larger, DEVICE)
    assert found is not None and found.code_text == "4.13"
    assert found.members == {"need": 65536 + 2048 + len(larger), "most": 98304}
    assert "has 98304 for all functions" in problem.next_step(found)
    assert fit.misfit(larger, {**DEVICE, "flash": {}}) is None
    assert fit.misfit(module(pages=1, stack=16384), {**DEVICE, "ram": {"total": 65536 + 16384}}) is not None


@pytest.mark.parametrize(
    "device", [{}, {"imports": "sys", "limits": 5, "ram": [], "abi": "1"}, {"limits": {"stack": "?"}}]
)
def test_fit_says_nothing_where_the_node_does_not(device: dict[str, Any]) -> None:
    greedy = module(("env", "puts", "i32"), pages=1000, stack=1 << 30, abi=9)
    assert fit.misfit(greedy, device) is None
    assert fit.fuel_cut(module(fuel=5000), device) is None


@pytest.mark.parametrize(
    "data", [b"", b"\0asm\1\0\0\0\1", with_section(b"\0asm\1\0\0\0", Section())[:-1] + b"\x01"]
)
def test_fit_leaves_what_is_no_module_to_others(data: bytes) -> None:
    assert fit.misfit(data, DEVICE) is None and fit.fuel_cut(data, DEVICE) is None


def test_fit_tells_of_fuel_that_is_cut() -> None:
    assert fit.fuel_cut(module(fuel=1001), DEVICE) == (1001, 1000)
    assert fit.fuel_cut(module(fuel=1000), DEVICE) is None and fit.fuel_cut(module(), DEVICE) is None


def test_imports_are_those_of_the_firmware() -> None:
    found = {}
    for source in FIRMWARE.glob("host_*.c"):
        text = source.read_text()
        (name,) = re.findall(r'\.name = "(\w+)"', text)
        found[name] = dict(re.findall(r'\{"(\w+)", "(\w*\(\w*\))", \w+\}', text))
    letter = {"i32": "i", "i64": "I", "f32": "f", "f64": "F"}
    assert found == {
        name: {
            function: "{}({})".format(
                *("".join(letter[one] for one in types) for types in (kind.results, kind.params))
            )
            for function, kind in functions.items()
        }
        for name, functions in imports.OFFERED.items()
    }
    assert len(found["wasi_snapshot_preview1"]) == 46


def test_offered_by_a_node() -> None:
    offered = imports.offered_by(DEVICE)
    assert offered is not None and list(offered) == ["wasmote", "sys", "own"]
    assert offered["sys"] is imports.OFFERED["sys"] and offered["own"] is None
    assert imports.offered_by({"fw": __version__}) is None


async def test_node_asks_again_before_it_refuses_by_what_it_heard_long_ago() -> None:
    """A client may live longer than the firmware that it has asked."""
    functions = Functions()
    scripted = ScriptedNode(functions)
    functions.device = {"imports": ["wasmote"]}
    data, validator = module(("env", "puts", "i32")), Validator.load()
    async with udp_server(scripted) as uri, Node(uri) as node:
        with pytest.raises(RefusedError):
            await node.push(data, name="x", validator=validator)
        assert len(scripted.complete) == 1
        functions.device = {"imports": ["wasmote", "env"]}
        await node.push(data, name="x", validator=validator)
        await node.push(data, name="x", validator=validator)
    assert [seen.path for seen in scripted.complete] == [("d",), ("d",), ("f", "x"), ("f", "x")]
