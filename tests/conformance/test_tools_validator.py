"""The validator of the tools is the node's: as a library of this machine, and as a node over CoAP, they say the same.

Also that it comes with a wheel, and that it runs in engines that other clients have.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import agreement
import core_suite
import generate
import limit_modules
import native_validator
import pytest
import wasmtime
from support import RunningNode

from wasmote.adapters import validator_build
from wasmote.adapters.project import Project
from wasmote.adapters.validator import Validator, validator_wasm
from wasmote.adapters.wast import convert
from wasmote.cli.main import run
from wasmote.errors import WasmoteError
from wasmote.node import Node
from wasmote.protocol.module import parse_module
from wasmote.protocol.problem import Problem

ROOT = Path(__file__).resolve().parents[2]
EXAMINED_LATER = {"import", "memory", "start", "section"}
# wasm3 cannot compile some modules that are valid; this is said without a place.
ENGINE_LIMIT = "4.13"


@pytest.fixture(scope="module")
def validator() -> Validator:
    return Validator.load()


def generated(count: int, seed: int = 7) -> list[bytes]:
    """Valid modules, most of them beside a limit, and five mutants of each."""
    rng = random.Random(seed)
    found = []
    for number in range(count // 6 + 1):
        module = generate.Module(seed * 1000 + number, size=80).bytes
        found += [module, *(agreement.mutate(module, rng) for _ in range(5))]
    return found[:count]


def suite_modules(kinds: tuple[str, ...]) -> list[bytes]:
    """The core suite's modules of these kinds of command; empty where the suite is absent."""
    if core_suite.missing() is not None:
        return []
    found = []
    for wast in core_suite.files():
        commands = convert(wast.name, wast.read_text(encoding="utf-8"))
        found += [one.module for one in commands if one.kind in kinds and one.module is not None]
    return found


def beside_limits(limits: dict[str, Any]) -> Iterator[bytes]:
    for key, make in limit_modules.MODULES.items():
        yield from (make(limits[key] + more) for more in (0, 1))
    for n in range(80, 140, 5):
        yield limit_modules.operands(n)


def as_verdict(refused: Problem | None) -> native_validator.Verdict:
    if refused is None:
        return native_validator.Verdict(None)
    members = refused.members
    return native_validator.Verdict(
        members["reason"], refused.detail, members.get("index", -1), members.get("offset", -1)
    )


def test_verdicts_are_those_of_the_native_code(validator: Validator) -> None:
    native = native_validator.Validator("chip")
    modules = [*generated(2400), *suite_modules(("assert_invalid", "assert_malformed", "module"))]
    modules += beside_limits(validator.default_limits)
    counts: dict[str | None, int] = {}
    for module in modules:
        verdict = native(module)
        assert as_verdict(validator.check(module, validator.default_limits)) == verdict
        counts[verdict.reason] = counts.get(verdict.reason, 0) + 1
        if verdict.accepted:
            assert parse_module(module).data == module  # the tools' own reader must not refuse it then
    for reason in (None, "malformed", "invalid", "limit"):
        assert counts[reason] > 60, counts


def test_each_limit_is_that_of_the_node_at_hand(validator: Validator) -> None:
    """Not of the tools: any number between nothing and what their tables hold, and each by itself."""
    for key, make in limit_modules.MODULES.items():
        for limit in (5, validator.default_limits[key] // 2, validator.default_limits[key]):
            limits = {**validator.default_limits, key: limit}
            assert validator.check(make(limit), limits) is None, (key, limit)
            refused = validator.check(make(limit + 1), limits)
            assert refused is not None and refused.members["reason"] == "limit", (key, limit)
    assert set(validator.default_limits) - set(limit_modules.MODULES) == {"bytes", "height", "constants"}
    deep = limit_modules.operands(120)
    for key, enough in (("height", 200), ("constants", 0)):
        assert validator.check(deep, validator.default_limits) is not None
        assert validator.check(deep, {**validator.default_limits, key: enough}) is None
    refused = validator.check(deep, {**validator.default_limits, "bytes": len(deep) - 1})
    assert refused is not None and refused.detail == "the module is too large"


def test_unknown_and_larger_limits_leave_the_verdict_to_the_node(validator: Validator) -> None:
    assert validator.check(limit_modules.MODULES["functions"](5000), {}) is None
    beyond_the_tables = limit_modules.MODULES["locals"](300)
    assert validator.check(beyond_the_tables, {}) is not None
    assert validator.check(beyond_the_tables, {"locals": 1000}) is None
    assert validator.check(b"no module", {"locals": 1000}) is not None


async def _told(node: Node, module: bytes) -> tuple[str, dict[str, Any]] | None:
    try:
        await node.push(module, name="x")
    except WasmoteError as err:
        return str(err), err.details
    return None


async def _foretold(node: Node, module: bytes, validator: Validator) -> tuple[str, dict[str, Any]] | None:
    try:
        await node.validate(module, name="x", validator=validator)
    except WasmoteError as err:
        return str(err), err.details
    return None


@pytest.mark.slow
async def test_a_node_says_the_same(host_node: RunningNode, validator: Validator) -> None:
    """Text, reason, function, offset and name, over CoAP; each module is pushed whatever the tools say of it."""
    async with Node(host_node.uri) as node:
        limits = (await node.device())["validate"]
        modules = [*generated(300, seed=11), *beside_limits(limits)]
        modules += suite_modules(("assert_invalid", "assert_malformed"))[::5]
        refused = 0
        for module in modules:
            foretold, told = await _foretold(node, module, validator), await _told(node, module)
            if foretold is not None:
                assert told == foretold
                refused += 1
            elif told is not None:
                later = told[1].get("reason") in EXAMINED_LATER or told[1]["code"] == ENGINE_LIMIT
                assert later or "index" not in told[1], told
        assert refused > 200


@pytest.mark.slow
async def test_a_chip_says_the_same(stm32_node: RunningNode, validator: Validator) -> None:
    async with Node(stm32_node.uri) as node:
        limits = (await node.device())["validate"]
        assert limits["nesting"] < validator.default_limits["nesting"]  # else it is not a chip's own limit
        modules = [module for module in beside_limits(limits) if len(module) < 4000]
        modules += [module for module in generated(30, seed=5) if len(module) < 2000]
        refused = 0
        for module in modules:
            foretold = await _foretold(node, module, validator)
            if foretold is not None:
                assert await _told(node, module) == foretold
                refused += 1
        assert refused > 20


# ---- the command line ----

BROKEN = r"""
(module
  (func $fine (export "fine") (result i32) (i32.const 1))
  (func $sum_of_squares (param i32) (result i32)
    (i32.add (local.get 0) (i64.const 2))))
"""


@pytest.mark.parametrize("more", [(), ("--bare",), ("--no-check",)], ids=str)
def test_push_names_the_function_before_it_sends_anything(
    host_node: RunningNode, tmp_path: Path, capfd: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    (tmp_path / "broken.wat").write_text(BROKEN)
    file = tmp_path / "broken.wasm"
    assemble = ["wat2wasm", "--no-check", "--debug-names", str(tmp_path / "broken.wat"), "-o", str(file)]
    if shutil.which("wat2wasm") is None:
        pytest.skip("wat2wasm is missing (Debian package wabt)")
    subprocess.run(assemble, check=True)
    code = run(["--json", "-t", host_node.uri, "push", str(file), *more])
    error = json.loads(capfd.readouterr().err.strip().splitlines()[-1])
    assert code == 3 and error["error"] == "'broken' was not installed"
    assert error["reason"] == "invalid" and error["index"] == 1 and error["function_name"] == "sum_of_squares"
    added = error["offset"] - error.get("file_offset", error["offset"])
    assert file.read_bytes()[error["offset"] - added] == 0x6A  # i32.add
    assert (added > 0) == (more != ("--bare",))
    assert error["cause"] == (
        f"module refused: type mismatch, in function 1 'sum_of_squares' at byte {error['offset']} (4.22)"
    )
    run(["--json", "-t", host_node.uri, "logs"])
    refused_by_the_node = "refused 'broken': type mismatch" in capfd.readouterr().out
    assert refused_by_the_node == (more == ("--no-check",))


def test_run_starts_nothing_invalid_and_compile_warns_of_limits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    invalid, long = tmp_path / "invalid.wasm", tmp_path / "long.wasm"
    invalid.write_bytes(limit_modules.HEAD + b"\1\4\1\x60\0\0\3\2\1\0\7\5\1\1r\0\0\x0a\5\1\3\0\x6a\x0b")
    assert run(["run", str(invalid), "r"]) == 2
    wrong = "module refused: type mismatch: an operand is missing, in function 0 'r' at byte 30\n"
    assert wrong in capfd.readouterr().err
    # What is only beyond a limit runs here: the local engine has larger tables than a chip.
    long.write_bytes(limit_modules.MODULES["name"](600))
    assert run(["run", str(long), "n" * 600]) == 0
    assert "refuses long: module refused: a name is too long, at byte " in capfd.readouterr().err
    if shutil.which("wat2wasm") is None:
        pytest.skip("wat2wasm is missing (Debian package wabt)")
    (tmp_path / "locals.wat").write_text(f'(module (func (export "f") (local {"i32 " * 121})))')
    assert run(["compile", str(tmp_path / "locals.wat")]) == 0
    warned = capfd.readouterr().err
    assert "a function has too many locals, in function 0 'f'" in warned and "next: " in warned
    assert (tmp_path / "locals.wasm").is_file()


# ---- where it comes from, where it runs ----


def test_it_imports_nothing_and_accepts_itself(validator: Validator) -> None:
    wasm = validator_wasm()
    module = wasmtime.Module(wasmtime.Engine(), wasm)
    assert list(module.imports) == []
    described = (ROOT / "docs" / "VALIDATOR.md").read_text()
    for export in module.exports:
        assert f"`{export.name}" in described
    assert validator.check(wasm, validator.default_limits) is None


def test_its_bytes_depend_on_its_sources_only(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / "firmware"
    shutil.copytree(ROOT / "firmware", copy)
    validator_build.compile_validator(copy, tmp_path / "v.wasm")
    assert (tmp_path / "v.wasm").read_bytes() == validator_wasm()
    assert validator_build.digest(copy) == validator_build.digest(ROOT / "firmware")
    with (copy / "src" / "wasm" / "validate_code.c").open("a") as file:
        file.write("\n")
    assert validator_build.digest(copy) != validator_build.digest(ROOT / "firmware")


IN_NODE = """
const fs = require('fs');
const x = new WebAssembly.Instance(new WebAssembly.Module(fs.readFileSync(process.argv[1]))).exports;
const text = at => {
  const m = new Uint8Array(x.memory.buffer);
  return Buffer.from(m.subarray(at, m.indexOf(0, at))).toString();
};
for (let i = 0; x.limit_key(i) !== 0; i++) x.limit_set(i, x.limit_default(i));
const said = process.argv.slice(2).map(file => {
  const module = fs.readFileSync(file), at = x.input(module.length);
  new Uint8Array(x.memory.buffer).set(module, at);
  return x.check(module.length) ? [null, '', -1, -1] : [text(x.reason()), text(x.text()), x.function(), x.offset()];
});
console.log(JSON.stringify(said));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is missing (Debian package nodejs)")
def test_a_browsers_engine_runs_it(validator: Validator, tmp_path: Path) -> None:
    (tmp_path / "v.wasm").write_bytes(validator_wasm())
    modules = [*generated(120, seed=3), bytes(3 * 65536)]
    for number, module in enumerate(modules):
        (tmp_path / str(number)).write_bytes(module)
    files = [str(tmp_path / str(number)) for number in range(len(modules))]
    done = subprocess.run(
        ["node", "-e", IN_NODE, str(tmp_path / "v.wasm"), *files], capture_output=True, text=True, check=True
    )
    expected = [as_verdict(validator.check(module, validator.default_limits)) for module in modules]
    assert [native_validator.Verdict(*one) for one in json.loads(done.stdout)] == expected


@pytest.mark.slow
def test_a_wheel_carries_it(tmp_path: Path) -> None:
    """Outside of a checkout there are no sources and no need of a compiler."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "MANIFEST.in", "README.md"):
        shutil.copy(ROOT / name, source)
    for name in ("firmware", "host_tools", "coap_server"):
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "-q"]
    subprocess.run([*pip, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("wasmote-*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    shutil.rmtree(source)
    program = (
        "import sys; from wasmote.adapters import validator as v;"
        "assert v.__file__.startswith(sys.argv[1]), v.__file__;"
        "print(v.Validator.load().check(b'\\0asm\\1\\0\\0\\0\\3\\2\\1\\0', {}).text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(installed)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(installed), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "module refused: unknown type", done.stderr
    assert (installed / "wasmote" / "data" / "validator.wasm").read_bytes() == validator_wasm()
    assert Project.find().root == ROOT
