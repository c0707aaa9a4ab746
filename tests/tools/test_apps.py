"""Apps: app.toml, compiling, running locally. Every app of wasm_apps answers as its app.toml says."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest
import wasmtime

from wasmote.adapters import apps
from wasmote.adapters.local import Call, difference, expected_call, run_calls
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool
from wasmote.errors import BuildError, InputError, MissingError
from wasmote.protocol.app import AppError, parse_app
from wasmote.protocol.section import Section, memory_bytes, section_of

ROOT = Project.find().root
APPS = sorted(file.parent.name for file in (ROOT / "wasm_apps").glob("*/app.toml"))
MINIMAL = 'name = "a"\nversion = "1"\nsources = ["a.c"]\n'


@pytest.mark.parametrize("name", APPS)
def test_app_answers_as_expected(name: str) -> None:
    made = apps.load(name)
    assert made.app is not None
    assert made.app.expect, "an app says what it must answer"
    local = [expect for expect in made.app.expect if expect.trap != "fuel"]
    outcomes = run_calls(made, [expected_call(made, expect) for expect in local])
    assert len(outcomes) == len(local)
    assert [difference(made, expect, outcome) for expect, outcome in zip(local, outcomes, strict=True)] == [
        None
    ] * len(local)


@pytest.mark.parametrize("name", APPS)
def test_app_is_valid_small_and_says_what_it_needs(name: str) -> None:
    made = apps.load(name)
    wasmtime.Module(wasmtime.Engine(), made.data)
    assert made.module.sections[0].name == "wasmote"
    assert {span.name for span in made.module.sections if span.id == 0} == {"wasmote"}
    assert made.app is not None
    assert section_of(made.module) == made.app.section
    assert len(made.data) <= 2048
    assert memory_bytes(made.module, made.section) <= 8192


def test_app_bytes_do_not_depend_on_the_folder(tmp_path: Path) -> None:
    here = apps.load("wordcount")
    copy = tmp_path / "somewhere else" / "wordcount"
    shutil.copytree(ROOT / "wasm_apps" / "wordcount", copy)
    assert apps.load(str(copy)).data == here.data
    for word in (str(ROOT), str(tmp_path), "wordcount.c"):
        assert word.encode() not in here.data


def test_app_versions_and_defines() -> None:
    v1, v2 = apps.load("wordcount"), apps.load("wordcount-v2")
    assert v1.name == v2.name == "wordcount"
    assert v1.data != v2.data
    other = apps.load("wordcount", defines={"VERSION": "2"})
    text = b"a bb ccc\n"
    assert run_calls(other, [Call("wordcount", (), text)])[0].output == b"1 3 9 3\n"


def test_apps_agree_with_other_implementations() -> None:
    text = bytes(range(256)) * 41 + b"tail"
    (crc,) = run_calls(apps.load("crc32"), [Call("crc32", (), text)])
    assert int(crc.output, 16) == zlib.crc32(text)
    lengths = [*range(54, 67), 119, 120, 128, 1000]
    outcomes = run_calls(apps.load("sha256"), [Call("sha256", (), text[:length]) for length in lengths])
    assert [outcome.output.decode() for outcome in outcomes] == [
        hashlib.sha256(text[:length]).hexdigest() for length in lengths
    ]
    words = (ROOT / "wasm_apps" / "wordcount" / "words.txt").read_bytes()
    (count,) = run_calls(apps.load("wordcount"), [Call("wordcount", (), words)])
    counted = subprocess.run(["wc"], input=words, capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    assert count.output.split() == counted.split()


def test_app_state_stays_between_calls() -> None:
    outcomes = run_calls(apps.load("counter"), [Call("add", (2**31 - 1,)), Call("add", (1,)), Call("get")])
    assert [outcome.results for outcome in outcomes] == [(2**31 - 1,), (-(2**31),), (-(2**31),)]


def test_run_endless_call_is_stopped() -> None:
    (outcome,) = run_calls(apps.load("spin"), [Call("spin")], timeout_s=0.5)
    assert outcome.trap == "time"


WAT_TRAPS = """
(module
  (import "wasmote" "output" (func $output (param i32 i32) (result i32)))
  (import "wasmote" "log" (func $log (param i32 i32 i32)))
  (memory 1)
  (data (i32.const 0) "hello")
  (func (export "unreachable") unreachable)
  (func (export "memory") (drop (i32.load (i32.const 65533))))
  (func (export "host_memory") (drop (call $output (i32.const -1) (i32.const 2))))
  (func (export "div") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "output") (loop $again (drop (call $output (i32.const 0) (i32.const 60000))) br $again))
  (func $deep (export "deep") call $deep)
  (func (export "say") (call $log (i32.const 1) (i32.const 0) (i32.const 5)))
  (func (export "no") (result i32) (drop (call $output (i32.const 0) (i32.const 5))) i32.const 404)
  (func (export "same64") (param i64) (result i64) local.get 0)
  (func (export "two") (param f32) (result f32 i32) local.get 0 i32.const 7))
"""


@pytest.fixture
def trapping(tmp_path: Path) -> apps.Compiled:
    if find_tool("wat2wasm") is None:
        pytest.skip("needs wabt")
    (tmp_path / "traps.wat").write_text(WAT_TRAPS)
    return apps.load(str(tmp_path / "traps.wat"))


@pytest.mark.parametrize(
    ("export", "trap"),
    [
        ("unreachable", "unreachable"),
        ("memory", "memory"),
        ("host_memory", "memory"),
        ("div", "div-zero"),
        ("output", "output"),
        ("deep", "stack-wasm"),
    ],
)
def test_run_traps_have_the_names_of_the_protocol(trapping: apps.Compiled, export: str, trap: str) -> None:
    first, second = run_calls(trapping, [Call(export), Call("say")])
    assert first.trap == trap
    # The instance lives on.
    assert second.trap is None
    assert second.log == ((1, "hello"),)


def test_run_numbers_keep_their_bits(trapping: apps.Compiled) -> None:
    calls = [Call("same64", (value,)) for value in (2**64 - 1, -(2**63), 2**63 - 1, 0)]
    assert [outcome.results for outcome in run_calls(trapping, calls)] == [
        (-1,),
        (-(2**63),),
        (2**63 - 1,),
        (0,),
    ]
    assert run_calls(trapping, [Call("two", (1.5,))])[0].results == (1.5, 7)


def test_run_refuses_unknown_names(trapping: apps.Compiled, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no export 'nothing'"):
        run_calls(trapping, [Call("nothing")])
    (tmp_path / "i.wat").write_text('(module (import "env" "x" (func)) (func (export "f")))')
    with pytest.raises(InputError, match=r"imports env\.x"):
        run_calls(apps.load(str(tmp_path / "i.wat")), [Call("f")])


def test_app_names_the_import_modules_that_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "i.wat").write_text('(module (import "env" "x" (func)) (func (export "f")))')
    app_toml = tmp_path / "app.toml"
    app_toml.write_text('name = "i"\nversion = "1"\nsources = ["i.wat"]\n')
    with pytest.raises(AppError, match=r"imports env\.x"):
        apps.load(str(tmp_path))
    app_toml.write_text(app_toml.read_text() + 'permissions = ["env"]\n')
    assert apps.load(str(tmp_path)).section.permissions == ("env",)
    assert apps.load(str(tmp_path / "i.wat")).section.permissions == ("env",)


def test_run_plays_sensors_and_a_terminal() -> None:
    readings = {"temperature": -3.5, "humidity": 99.0}
    first, second, third = run_calls(
        apps.load("climate"),
        [Call("log", (2, 30), sensors=readings), Call("log", (1, 0)), Call("check", (-4.0,))],
    )
    assert first.log == ((2, "temperature -3, humidity 99"),) * 2
    assert first.seconds >= 0.03
    assert second.log == first.log[:1]  # they go on saying it
    assert third.results == (1,)
    assert third.log == ((2, "rpcCall alarm: 4 bytes, for nobody here"),)


# ---- app.toml ----


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "name is missing"),
        ("name = 3", "no text"),
        ("name = ", "Invalid value"),
        ('name = "a b"\nversion="1"\nsources=["a.c"]', "is not 1 to 31"),
        ('name = "a"\nsources=["a.c"]', "version is missing"),
        ('name = "a"\nversion="1"', "sources is missing"),
        ('name = "a"\nversion="1"\nsources="a.c"', "no list of texts"),
        ('name = "a"\nversion="1"\nsources=["a.c", "b.wat"]', "only source"),
        (MINIMAL + 'optimize = "fast"', "none of s, z, 2, 3"),
        (MINIMAL + "fuel = -1", "not between 0"),
        (MINIMAL + 'fuel = "many"', "no number"),
        (MINIMAL + "fuel = true", "no number"),
        (MINIMAL + "feul = 3\nheep = 1", "unknown: feul, heep"),
        (MINIMAL + "defines = { A = 1 }", "no table of texts"),
        (MINIMAL + "[expect]\nexport = 'a'", "write [[expect]]"),
        (MINIMAL + "[[expect]]\nargs = [1]", "export is missing"),
        (MINIMAL + "[[expect]]\nexport = 'a'\nargs = ['1']", "no list of numbers"),
        (MINIMAL + "[[expect]]\nexport = 'a'\nresult = 1\nresults = [1]", "either result or results"),
        (MINIMAL + "[[expect]]\nexport = 'a'\ntrap = 'boom'", "none of fuel"),
        (MINIMAL + "[[expect]]\nexport = 'a'\ninput = 'f'\ninput_text = 'g'", "either input or input_text"),
    ],
)
def test_app_toml_mistakes_are_named(text: str, cause: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_app(text, "x/app.toml")
    assert cause in caught.value.cause
    assert "x/app.toml" in caught.value.message
    assert "README" in caught.value.next_step


def test_app_toml_defaults() -> None:
    app = parse_app(MINIMAL)
    assert (app.optimize, app.c_stack, app.heap, app.fuel) == ("s", 2048, 0, None)
    assert app.section == Section(name="a", version="1", abi=1, heap=0)


def app_folder(tmp_path: Path, source: str, more: str = "") -> str:
    (tmp_path / "app.toml").write_text(MINIMAL + more)
    (tmp_path / "a.c").write_text('#include "wasmote.h"\n' + source)
    return str(tmp_path)


def test_compile_errors_show_the_compilers_words(tmp_path: Path) -> None:
    folder = app_folder(tmp_path, "int x = ;")
    with pytest.raises(BuildError) as caught:
        apps.load(folder)
    assert "a.c:2" in caught.value.cause and "error" in caught.value.cause


def test_compile_missing_function_is_an_error(tmp_path: Path) -> None:
    folder = app_folder(
        tmp_path, 'int32_t other(void);\nWASMOTE_EXPORT("f") int32_t f(void) { return other(); }'
    )
    with pytest.raises(BuildError, match="cannot compile"):
        apps.load(folder)


def test_compile_app_toml_must_fit_the_module(tmp_path: Path) -> None:
    source = 'WASMOTE_EXPORT("f") int32_t f(int32_t a) { return a; }'
    for more, cause in (
        ('default = "g"', "no exported function 'g'"),
        ('pure = ["h"]', "no exported function 'h'"),
        ("[[expect]]\nexport = 'k'", "no exported function 'k'"),
        ("[[expect]]\nexport = 'f'\nargs = [1, 2]", "f is (i32) -> i32"),
    ):
        with pytest.raises(AppError) as caught:
            apps.load(app_folder(tmp_path, source, more))
        assert cause in caught.value.cause
    with pytest.raises(AppError, match="exports no function"):
        apps.load(app_folder(tmp_path, ""))
    needs = 'WASMOTE_IMPORT("i2c", "read") int32_t rd(void);\nWASMOTE_EXPORT("f") int32_t f(void) { return rd(); }'
    with pytest.raises(AppError, match="permissions does not name 'i2c'"):
        apps.load(app_folder(tmp_path, needs))
    assert apps.load(app_folder(tmp_path, needs, 'permissions = ["i2c"]')).section is not None
    (tmp_path / "a.c").unlink()
    with pytest.raises(AppError, match=r"a\.c does not exist"):
        apps.load(str(tmp_path))


def test_compile_c_stack_overflow_traps(tmp_path: Path) -> None:
    source = """
static int32_t sum(volatile int32_t *above, int32_t depth)
{
    volatile int32_t here[64];
    here[0] = depth;
    return depth == 0 ? *above : sum(here, depth - 1) + here[0];
}
WASMOTE_EXPORT("deep") int32_t deep(int32_t n) { volatile int32_t x = 1; return sum(&x, n); }
"""
    made = apps.load(app_folder(tmp_path, source, "c_stack = 2048\nstack = 16384"))
    shallow, deep = run_calls(made, [Call("deep", (2,)), Call("deep", (30,))])
    assert shallow.results == (4,)
    assert deep.trap == "memory"


def test_load_bare_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.c").write_text('#include "wasmote.h"\nWASMOTE_EXPORT("f") int32_t f(void) { return 0; }')
    made = apps.load(str(tmp_path / "b.c"))
    assert made.section == Section(name="b", abi=1, heap=0)
    assert apps.output_path(made) == tmp_path / "b.wasm"
    written = apps.write(made, tmp_path / "out" / "b.wasm")
    assert written.written_to is not None
    again = apps.load(str(written.written_to))
    assert (again.data, again.section, again.name) == (made.data, made.section, "b")
    (tmp_path / "broken.wasm").write_bytes(made.data[:-3])
    with pytest.raises(InputError, match="not a WebAssembly module"):
        apps.load(str(tmp_path / "broken.wasm"))
    with pytest.raises(InputError, match="no such file"):
        apps.load(str(tmp_path / "gone.wasm"))
    (tmp_path / "bad.wat").write_text("(module (func (export")
    if find_tool("wat2wasm"):
        with pytest.raises(BuildError, match="cannot assemble"):
            apps.load(str(tmp_path / "bad.wat"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError) as caught:
        apps.load(str(tmp_path / "bad.wat"))
    assert "wabt" in caught.value.next_step


def test_load_unknown_app(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        apps.load("fibb")
    assert (
        "fib, sha256" in caught.value.cause.replace("conv8, counter, crc32, ", "")
        or "fib" in caught.value.cause
    )
    with pytest.raises(InputError, match="no app in"):
        apps.load(str(tmp_path))
