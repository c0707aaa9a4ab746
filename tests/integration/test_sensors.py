"""What functions of wasmiot and Fedra import, on real nodes: sensors that a script plays, a pause, a terminal."""

from __future__ import annotations

import asyncio
import itertools
import time
from pathlib import Path

import pytest
from nodes import HOST, STM32, app, metrics, running
from support import built

from wasmote.adapters import apps, boards
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.errors import RefusedError, WasmoteError
from wasmote.node import Node
from wasmote.protocol.imports import MODULES

SCRIPT = """
# seconds  sensor       value
0          temperature  20
3600       temperature  30
0          humidity     55.5
0          rainfall     20      # millimetres
3600       rainfall     60
"""


ALWAYS = ["wasmote", "sys", "communication"]


def script(folder: Path, text: str) -> str:
    path = folder / "sensors.txt"
    path.write_text(text)
    return str(path)


async def log_of(node: Node, source: str) -> list[str]:
    return [line.text for line in (await node.log())[0] if line.source == source]


async def numbers(node: Node, name: str, *args: float) -> list[float]:
    return [float(value) for value in (await node.call(name, args)).numbers]


async def test_sensors_of_a_node_are_what_it_offers(tmp_path: Path) -> None:
    async with running(HOST) as uri, Node(uri) as node:
        assert (await node.device())["imports"] == [*ALWAYS, "wasi_snapshot_preview1"]
        with pytest.raises(RefusedError) as refused:
            await node.push(app("rainfall"), name="rainfall")
        assert refused.value.details["reason"] == "import"
        assert refused.value.details["import"] == ["env", "get_rainfall"]
    with_sensors = script(tmp_path, SCRIPT)
    async with running(HOST, "--sensors", with_sensors) as uri, Node(uri) as node:
        assert (await node.device())["imports"] == [*MODULES, "wasi_snapshot_preview1"]
    only_warm = script(tmp_path, "0 temperature 20\n0 rainfall 1\n")
    async with running(HOST, "--sensors", only_warm) as uri, Node(uri) as node:
        assert (await node.device())["imports"] == [*ALWAYS, "env", "wasi_snapshot_preview1"]


async def test_sensors_feed_a_flood_warning(tmp_path: Path) -> None:
    """Fedra's two functions: what the first one makes of the gauge's reading is the second one's input."""
    async with running(HOST, "--sensors", script(tmp_path, SCRIPT)) as uri, Node(uri) as node:
        await node.push(app("rainfall"), name="rainfall")
        await node.push(app("flood"), name="flood")
        assert await numbers(node, "rainfall/rainfall") == [20]
        await node.call("rainfall/preprocess_rainfall")
        (rain,) = await numbers(node, "rainfall/rainfall")
        assert rain == 0.25  # until the gauge's next reading, in an hour
        assert await numbers(node, "flood/run", rain, 0.5, 0.5) == [0.640625]
        found = await metrics(node)
        assert found["sensor/rainfall"] == 0.25  # observable there, for whoever does not call functions
        assert (found["sensor/temperature"], found["sensor/humidity"]) == (20, 55.5)


async def test_sensors_follow_their_script(tmp_path: Path) -> None:
    text = "linear temperature\nloop 2\n0 temperature 10\n1 temperature 20\n"
    text += "0 humidity 1\n0.5 humidity 2\n0 rainfall 3\n"
    async with running(HOST, "--sensors", script(tmp_path, text)) as uri, Node(uri) as node:
        await node.push(_reader(tmp_path), name="r")
        seen = []
        began = time.monotonic()
        while time.monotonic() - began < 4.5:
            seen.append((await node.call("r/read")).numbers)
            await asyncio.sleep(0.02)
        temperatures = [float(values[0]) for values in seen]
        assert all(10 <= value <= 20 for value in temperatures)
        assert len({round(value, 1) for value in temperatures}) > 20  # a slope, not a step
        assert temperatures.count(20) > 10  # after the last reading
        falls = sum(b < a for a, b in itertools.pairwise(temperatures))
        assert falls == 2  # where the script began anew
        assert {float(values[1]) for values in seen} == {1, 2}
        # What a function writes stands until the next reading: here, when the script begins anew.
        await node.call("r/write", [99])
        written = [float((await node.call("r/read")).numbers[2])]
        while written[-1] == 99:
            assert len(written) < 500
            await asyncio.sleep(0.02)
            written.append(float((await node.call("r/read")).numbers[2]))
        assert written[0] == 99 or len(written) == 1
        assert written[-1] == 3


def _reader(folder: Path) -> bytes:
    path = folder / "reader.wat"
    path.write_text("""(module
        (import "dht" "getTemperature" (func $t (result f32))) (import "dht" "getHumidity" (func $h (result f32)))
        (import "env" "get_rainfall" (func $r (result f32))) (import "env" "set_rainfall" (func $w (param f32)))
        (func (export "read") (result f32 f32 f32) call $t call $h call $r)
        (func (export "write") (param f32) local.get 0 call $w))""")
    return apps.load(str(path)).data


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("0 pressure 3\n", "line 1: the sensors are temperature, humidity and rainfall"),
        ("0 temperature warm\n", "line 1: expected `SECONDS NAME VALUE`"),
        ("\n# x\n-1 temperature 3\n", "line 3: expected"),
        ("1 rainfall 3\n1 rainfall 4\n", "line 2: its time is not after the one before"),
        ("loop 0\n", "line 1: `loop` takes a number of seconds above 0"),
        ("loop 5\n5 humidity 1\n", "a reading of humidity comes at or after the end of the loop"),
        ("linear humidity\n", "`linear humidity`, which has no reading"),
        ("0 rainfall 1 2 3\n", "line 1: expected"),
        ("x" * 300, "line 1: it is too long"),
        ("0 rainfall nan\n", "line 1: expected"),
    ],
)
async def test_sensors_refuse_a_bad_script(text: str, what: str, tmp_path: Path) -> None:
    image, board = built(HOST), boards.find_board(Project.find(), HOST)
    with pytest.raises(WasmoteError) as error:
        async with Emulator(board, image, arguments=["--sensors", script(tmp_path, text)]):
            pass
    assert what in str(error.value)


async def test_sys_prints_to_the_log(tmp_path: Path) -> None:
    async with running(HOST, "--sensors", script(tmp_path, SCRIPT)) as uri, Node(uri) as node:
        await node.push(app("climate"), name="climate")
        began = time.monotonic()
        await node.call("climate/log", [3, 100])
        assert 0.2 <= time.monotonic() - began < 2
        assert await log_of(node, "climate") == ["temperature 20, humidity 55"] * 3


@pytest.mark.parametrize("board", [HOST, pytest.param(STM32, marks=pytest.mark.slow)])
async def test_sys_delay_ends_with_its_fuel(board: str, tmp_path: Path) -> None:
    """A thousand units a millisecond, and a pause that is longer than that does not begin."""
    async with running(board) as uri, Node(uri) as node:
        await node.push(_pause(tmp_path), name="p")
        began = time.monotonic()
        await node.call("p/delay", [300])
        assert time.monotonic() - began >= 0.3
        began = time.monotonic()
        with pytest.raises(WasmoteError, match="fuel"):
            await node.call("p/delay", [3_600_000])
        assert time.monotonic() - began < 5


def _pause(folder: Path) -> bytes:
    path = folder / "pause.wat"
    path.write_text(
        '(module (import "sys" "delay" (func $d (param i32))) (func (export "delay") (param i32) local.get 0 call $d))'
    )
    return apps.load(str(path)).data


async def test_sys_delay_does_not_keep_a_node_from_stopping(tmp_path: Path) -> None:
    async with running(HOST) as uri:
        async with Node(uri) as node:
            await node.push(_pause(tmp_path), name="p")
            await node.start("p/delay", [9000], job_id="j")
            await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 4
