"""The ESP-IDF component on stand-ins for what it uses of ESP-IDF: configured, compiled and run on this machine.
Nothing here ran on a chip, nor was it compiled by ESP-IDF."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import kconfiglib
import pytest
import yaml

from wasmote.adapters import apps
from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.build import fetch_sources
from wasmote.adapters.project import Project
from wasmote.adapters.tools import find_tool, need_tool
from wasmote.node import Node

PROJECT = Project.find()
HERE = Path(__file__).resolve().parent
COMPONENT = PROJECT.firmware / "ports/esp_idf"
BOARDS = {"esp32": "xtensa", "esp32s3": "xtensa", "esp32c3": "riscv", "esp32c6": "riscv"}

pytestmark = pytest.mark.slow


class _Silent:
    def describe(self, text: str) -> None: ...
    def total(self, total: int) -> None: ...
    def update(self, done: int) -> None: ...


def _kconfig(tmp_path: Path, target: str = "esp32c3") -> kconfiglib.Kconfig:
    """The component's Kconfig among the symbols of IDF that it refers to."""
    root = tmp_path / "Kconfig"
    architecture = f"IDF_TARGET_ARCH_{BOARDS[target].upper()}"
    root.write_text(
        f'config IDF_TARGET\n    string\n    default "{target}"\n'
        f"config {architecture}\n    bool\n    default y\n"
        "config SOC_WIFI_SUPPORTED\n    bool\n    default y\n"
        "config LWIP_NETBUF_RECVINFO\n    bool\n"
        f'source "{COMPONENT / "Kconfig"}"\n',
        encoding="utf-8",
    )
    return kconfiglib.Kconfig(str(root), warn_to_stderr=False)


def _compile(tmp_path: Path, settings: dict[str, str], source: Path, *flags: str) -> Path:
    """The program of an application with these settings."""
    if find_tool("cc") is None:
        pytest.skip("no C compiler")
    fetch_sources(PROJECT, progress=_Silent())
    config = _kconfig(tmp_path)
    for name, value in settings.items():
        assert config.syms[name].set_value(value), name
        assert config.syms[name].str_value == value, f"{name} does not take {value}"
    config.write_autoconf(str(tmp_path / "sdkconfig.h"))
    on = [name for name, symbol in config.syms.items() if symbol.str_value == "y"]
    cmake, ninja = need_tool("cmake"), need_tool("ninja")
    build = tmp_path / "build"
    for command in (
        [
            *(cmake, "-S", HERE, "-B", build, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
            *(f"-DWM_SDKCONFIG={tmp_path}", f"-DWM_KCONFIG={';'.join(on)}", f"-DWM_APP={source}"),
            *(f"-DWM_THIRD_PARTY_DIR={PROJECT.third_party}", f"-DCMAKE_C_FLAGS={' '.join(flags)}"),
        ],
        [cmake, "--build", build, "-j", "2"],
    ):
        done = subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "app"


@contextmanager
def _running(program: Path) -> Iterator[list[str]]:
    """The program; what it printed until it said that it has started."""
    with subprocess.Popen([program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines: Queue[str] = Queue()
            reader = threading.Thread(
                target=lambda: [lines.put(line.strip()) for line in process.stdout or ()]
            )
            reader.start()
            said: list[str] = []
            while "started" not in said:
                said.append(lines.get(timeout=20))
            yield said
            assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()
            process.wait()
    reader.join()


async def _use(uri: str) -> None:
    async with Node(uri) as node:
        device = await node.device()
        assert (device["ep"], device["board"], device["chip"]) == ("esp-58cf790102fe", "esp32c3", "esp32c3")
        await node.push(apps.load("fib").data, name="fib")
        assert (await node.call("fib/fib", [20])).value == 6765


async def _use_serial(device: str) -> None:
    bridge = SerialBridge(device, bind=("127.0.0.1", 0), ready_timeout_s=20.0)
    await bridge.start()
    try:
        host, port = bridge.address
        await _use(f"coap://{host}:{port}")
    finally:
        await bridge.close()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# A thread of glibc takes more of a stack than a task, and functions of 64 bits more than those of 32.
STACK = {"WASMOTE_TASK_STACK_BYTES": "262144"}


def test_node_on_wifi_with_both_links(tmp_path: Path) -> None:
    """The example's main. The stand-in for Wi-Fi refuses the first connection, and NVS the first initialization."""
    port = _free_port()
    settings = {"WASMOTE_UDP_PORT": str(port), "WASMOTE_WIFI_SSID": "a net", "WASMOTE_SERIAL": "y", **STACK}
    program = _compile(tmp_path, settings, COMPONENT / "example/main/main.c")
    with _running(program) as said:
        assert "wifi a net" in said
        asyncio.run(_use(f"coap://127.0.0.1:{port}"))
        asyncio.run(_use_serial(next(line for line in said if line.startswith("uart ")).split()[1]))


def test_node_on_ethernet_and_one_on_a_uart_alone(tmp_path: Path) -> None:
    port = _free_port()
    (tmp_path / "eth").mkdir()
    settings = {"WASMOTE_UDP_PORT": str(port), "WASMOTE_ETHERNET": "y", **STACK}
    with _running(_compile(tmp_path / "eth", settings, HERE / "ethernet_main.c")) as said:
        assert "ethernet" in said
        asyncio.run(_use(f"coap://127.0.0.1:{port}"))
    (tmp_path / "uart").mkdir()
    settings = {"WASMOTE_NO_NETWORK": "y", "WASMOTE_UDP": "n", "WASMOTE_SERIAL": "y", **STACK}
    program = _compile(tmp_path / "uart", settings, COMPONENT / "example/main/main.c")
    with _running(program) as said:
        assert "wifi" not in " ".join(said)
        asyncio.run(_use_serial(next(line for line in said if line.startswith("uart ")).split()[1]))


def test_limits_of_a_chip_without_tail_calls_compile(tmp_path: Path) -> None:
    """Those of Xtensa, with this machine's compiler: small functions, and stack below the limit for the largest."""
    _compile(tmp_path, STACK, COMPONENT / "example/main/main.c", "-D__XTENSA__")
    text = (COMPONENT / "wm_config_esp_idf.h").read_text(encoding="utf-8")
    code = int(re.search(r"WM_MODULE_CODE_BYTES +(\d+)u", text)[1])  # type: ignore[index]
    frame = int(re.search(r"\((\d+)u \* WM_MODULE_CODE_BYTES\)", text)[1])  # type: ignore[index]
    native = int(re.search(r"WM_NATIVE_STACK_BYTES +(\d+)u", text)[1])  # type: ignore[index]
    stack = int(_kconfig(tmp_path, "esp32").syms["WASMOTE_TASK_STACK_BYTES"].str_value)
    assert stack >= code * frame + native + 16 * 1024, "requests and the engine's compiler need theirs too"


def test_kconfig_defaults(tmp_path: Path) -> None:
    for target, architecture in BOARDS.items():
        config = _kconfig(tmp_path, target)
        values = {name: symbol.str_value for name, symbol in config.syms.items()}
        assert values["WASMOTE_BOARD"] == target
        assert (values["WASMOTE_WIFI"], values["WASMOTE_UDP"], values["WASMOTE_SERIAL"]) == ("y", "y", "n")
        assert values["LWIP_NETBUF_RECVINFO"] == "y", "without it no request to a group is told from another"
        assert values["WASMOTE_TASK_STACK_BYTES"] == ("98304" if architecture == "xtensa" else "28672")
    assert [warning for warning in config.warnings if str(COMPONENT) in warning] == []


def test_settings_of_the_c_code_are_settings_of_kconfig(tmp_path: Path) -> None:
    known = set(_kconfig(tmp_path).syms)
    for file in [*COMPONENT.rglob("*.c"), *COMPONENT.rglob("*.h"), COMPONENT / "CMakeLists.txt"]:
        used = set(re.findall(r"\bCONFIG_(\w+)", file.read_text(encoding="utf-8")))
        assert used <= known, f"{file.name}: {used - known}"


def test_component_manifest_names_the_boards() -> None:
    manifest = yaml.safe_load((COMPONENT / "idf_component.yml").read_text(encoding="utf-8"))
    assert set(manifest["targets"]) == set(BOARDS)
    assert manifest["dependencies"]["idf"] == ">=5.2"
    version = re.search(
        r'WM_VERSION "([^"]+)"', (PROJECT.firmware / "include/wasmote/node.h").read_text("utf-8")
    )
    assert version is not None and manifest["version"] == version[1]
