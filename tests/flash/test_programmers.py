"""dfu-util, openocd and st-flash: small programs of the tests stand in for them, which write down their arguments
and say what the real ones say. The real ones need hardware; whether they do what is asked of them has not been
tried."""

from __future__ import annotations

import json
import random
import stat
import sys
from pathlib import Path

import pytest
from tool import Done, wasmote

BOARD = "netduinoplus2"
DATA = random.Random(9).randbytes(3000)

# The stand-in. FAKE (a JSON file) says for each program: what to print and how to end, by a word among the arguments.
STAND_IN = """#!{python}
import json, pathlib, re, sys
here = pathlib.Path(__file__).resolve().parent
name = pathlib.Path(__file__).name
words = sys.argv[1:]
with open(here / "calls.jsonl", "a") as log:
    log.write(json.dumps([name, *words]) + "\\n")
script = json.loads((here / "script.json").read_text())
flash = here / "flash.bin"
text = " ".join(words)
if name == "dfu-util" and "-D" in words:
    flash.write_bytes(pathlib.Path(words[words.index("-D") + 1]).read_bytes())
if name == "dfu-util" and "-U" in words:
    data = flash.read_bytes() if flash.exists() else b""
    pathlib.Path(words[words.index("-U") + 1]).write_bytes(data[:-1] + b"!" if script.get("damaged") else data)
if name == "openocd" and (found := re.search(r"program {{(.*?)}}", text)):
    flash.write_bytes(pathlib.Path(found[1]).read_bytes())
if name == "st-flash":
    flash.write_bytes(pathlib.Path(words[words.index("write") + 1]).read_bytes())
for key, (said, status) in script.get(name, {{}}).items():
    if key in text:
        sys.stderr.write(said)
        sys.exit(status)
"""


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("dfu-util", "openocd", "st-flash", "st-info"):
        path = folder / name
        path.write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "script.json").write_text("{}", encoding="utf-8")
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    (tmp_path / "image.bin").write_bytes(DATA)
    return folder


def script(bench: Path, **programs: object) -> None:
    (bench / "script.json").write_text(
        json.dumps({name.replace("_", "-"): value for name, value in programs.items()}), encoding="utf-8"
    )


def calls(bench: Path) -> list[list[str]]:
    file = bench / "calls.jsonl"
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def flash(bench: Path, method: str, *more: object) -> Done:
    return wasmote("flash", BOARD, "--method", method, "--image", bench.parent / "image.bin", *more)


def test_dfu_writes_reads_back_and_leaves(bench: Path) -> None:
    said = "Erase   \t[====     ]  50%  1500 bytes\rDownload\t[=====] 100%  3000 bytes\n"
    script(bench, dfu_util={"-D": [said, 0]})
    done = flash(bench, "dfu")
    assert done.code == 0, done.err
    assert done.result["verified"]
    assert "erase netduinoplus2" in done.err and "3000/3000" in done.err
    download, upload, leave = calls(bench)
    assert download[:7] == ["dfu-util", "-d", "0483:df11", "-a", "0", "-s", "0x08000000"]
    assert upload[6] == "0x08000000:3000" and leave[6] == "0x08000000:4:leave"
    assert (bench / "flash.bin").read_bytes() == DATA


def test_dfu_notices_what_was_not_written(bench: Path) -> None:
    script(bench, damaged=True)
    done = flash(bench, "dfu")
    assert done.code == 11 and "0x08000bb7" in done.words
    assert len(calls(bench)) == 2, "a damaged image is not started"


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("dfu-util: No DFU capable USB device available\n", 6, "BOOT0"),
        ("dfu-util: Cannot open DFU device 0483:df11 found on devnum 5 (LIBUSB_ERROR_ACCESS)\n", 10, "udev"),
        ("dfu-util: Last page at 0x0800ffff is not writeable\n", 3, "--unlock"),
        ("dfu-util: Error during download get_status\n", 11, "run the same command again"),
    ],
)
def test_dfu_failures(bench: Path, said: str, code: int, words: str) -> None:
    script(bench, dfu_util={"-D": [said, 74]})
    done = flash(bench, "dfu")
    assert done.code == code, done.err
    assert words in done.words and said.strip() in done.words


OPENOCD_PROBE = "Info : device id = 0x10076413\nInfo : flash size = 1024 KiB\n"
OPENOCD_DONE = (
    "** Programming Started **\n** Programming Finished **\n** Verify Started **\n** Verified OK **\n"
    "** Resetting Target **\n"
)


def test_openocd_checks_the_chip_then_programs(bench: Path) -> None:
    script(bench, openocd={"flash probe": [OPENOCD_PROBE, 0], "program": [OPENOCD_DONE, 0]})
    done = flash(bench, "openocd")
    assert done.code == 0, done.err
    probe, program = calls(bench)
    assert probe[1:5] == ["-f", "interface/stlink.cfg", "-f", "target/stm32f4x.cfg"]
    assert program[-1].endswith("0x08000000 verify reset exit")
    assert (bench / "flash.bin").read_bytes() == DATA


def test_openocd_wrong_chip_no_probe_and_failed_verification(bench: Path) -> None:
    script(bench, openocd={"flash probe": ["Info : device id = 0x20006419\n", 0]})
    done = flash(bench, "openocd")
    assert done.code == 2 and "STM32F42x" in done.words and len(calls(bench)) == 1
    script(bench, openocd={"flash probe": ["Error: open failed\n", 1]})
    assert flash(bench, "openocd").code == 6
    failed = OPENOCD_DONE.replace("** Verified OK **", "** Verify Failed **")
    script(bench, openocd={"flash probe": [OPENOCD_PROBE, 0], "program": [failed, 1]})
    assert flash(bench, "openocd").code == 11
    script(
        bench, openocd={"flash probe": [OPENOCD_PROBE, 0], "program": ["Error: stm32x device protected\n", 1]}
    )
    assert flash(bench, "openocd").code == 3


def test_st_flash(bench: Path) -> None:
    pages = "  1/2 pages written\n  2/2 pages written\nFlash written and verified! jolly good!\n"
    script(bench, st_info={"--chipid": ["0x0413\n", 0]}, st_flash={"write": [pages, 0]})
    done = flash(bench, "st-flash")
    assert done.code == 0, done.err
    assert calls(bench)[1][:3] == ["st-flash", "--reset", "write"] and calls(bench)[1][-1] == "0x08000000"
    assert (bench / "flash.bin").read_bytes() == DATA
    script(bench, st_info={"--chipid": ["0x0431\n", 0]})
    assert flash(bench, "st-flash").code == 2
    script(bench, st_info={"--chipid": ["Couldn't find any ST-Link devices\n", 1]})
    assert flash(bench, "st-flash").code == 6
    script(bench, st_info={"--chipid": ["0x0413\n", 0]}, st_flash={"write": ["2/2 pages written\n", 0]})
    assert flash(bench, "st-flash").code == 11


def test_programmer_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "image.bin").write_bytes(DATA)
    done = wasmote("flash", BOARD, "--method", "dfu", "--image", tmp_path / "image.bin")
    assert done.code == 8 and "'dfu-util' is not in PATH" in done.words and "apt-get install" in done.words
    done = wasmote("flash", BOARD, "--image", tmp_path / "image.bin")
    assert done.code == 10 and "dfu-util is not installed" in done.words


def test_programmer_options_that_only_the_uart_has(bench: Path) -> None:
    done = flash(bench, "dfu", "--unlock")
    assert done.code == 2 and "stm32-uart" in done.words and calls(bench) == []
