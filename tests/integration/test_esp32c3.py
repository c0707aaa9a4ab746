"""The ESP32-C3's two images: where their parts lie, how the chip would start them, of which instructions they are."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import itertools
import re
import struct
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from elftools.elf.elffile import ELFFile
from nodes import app
from support import built

from wasmote.adapters.boards import Board, find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.image import image_size
from wasmote.adapters.project import Project
from wasmote.adapters.stack_probe import probe_stack
from wasmote.adapters.tools import find_tool
from wasmote.cli.size import over_budget
from wasmote.node import Node

PROJECT = Project.find()
NAME = "esp32c3"
BOARD = find_board(PROJECT, NAME)
PORT = PROJECT.firmware / "ports" / NAME

# ESP32-C3 TRM 3.3: the RAM on the instruction bus is this much above itself on the data bus.
RAM_ALIAS = 0x40380000 - 0x3FC80000
RAM = range(0x3FC80000, 0x3FCE0000)
IRAM = range(0x40380000, 0x403E0000)
IROM = range(0x42000000, 0x42400000)  # the 4 MB that the ROM maps for direct boot
ROM_DATA = 0x3FCD0000  # what the ROM uses while it loads an image lies above

# RV32IMC with its csr instructions, as objdump spells them without aliases.
_RV32IMC = """
    lui auipc jal jalr beq bne blt bge bltu bgeu lb lh lw lbu lhu sb sh sw addi slti sltiu xori ori andi slli srli srai
    add sub sll slt sltu xor srl sra or and fence fence.i ecall ebreak csrrw csrrs csrrc csrrwi csrrsi csrrci mret wfi
    mul mulh mulhsu mulhu div divu rem remu
    c.addi4spn c.lw c.sw c.nop c.addi c.jal c.li c.addi16sp c.lui c.srli c.srai c.andi c.sub c.xor c.or c.and c.j
    c.beqz c.bnez c.slli c.lwsp c.jr c.mv c.ebreak c.jalr c.add c.swsp unimp c.unimp
"""
_INSTRUCTIONS = frozenset(_RV32IMC.split())


def _image(suffix: str = "") -> Path:
    return built(NAME).with_name(f"wasmote-node{suffix}.elf")


def _symbols(elf: ELFFile) -> dict[str, int]:
    return {symbol.name: symbol["st_value"] for symbol in elf.get_section_by_name(".symtab").iter_symbols()}


def _sections(elf: ELFFile) -> dict[str, range]:
    found = {name: elf.get_section_by_name(name) for name in (".text", ".stack", ".rodata", ".data", ".bss")}
    return {name: range(one["sh_addr"], one["sh_addr"] + one["sh_size"]) for name, one in found.items()}


def _segments_of(image: bytes) -> list[tuple[int, bytes]]:
    """Address and content of each segment of an image for the ROM's loader (esptool's manual, "firmware image format":
    24 bytes of header, the number of segments in its second; then address, length and content of each)."""
    found, at = [], 24
    for _ in range(image[1]):
        address, length = struct.unpack_from("<II", image, at)
        found.append((address, image[at + 8 : at + 8 + length]))
        at += 8 + length
    return found


def _inside(part: range, region: range) -> bool:
    return region.start <= part.start and part.stop <= region.stop


def _check_image() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_image", PORT / "check_image.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_direct_boot_image_lies_where_the_rom_maps_it() -> None:
    image = _image()
    binary = image.with_suffix(".bin").read_bytes()
    with image.open("rb") as file:
        elf = ELFFile(file)
        parts, symbols = _sections(elf), _symbols(elf)
        assert elf["e_entry"] == symbols["wm_entry"] == IROM.start + 8
        assert _inside(parts[".text"], IROM)
        # Constants: behind the code in flash, read through the data bus's window on it.
        flash_at = {s["p_vaddr"]: s["p_paddr"] for s in elf.iter_segments("PT_LOAD") if s["p_filesz"]}
        drom = BOARD.memory["drom"]["origin"]
        rodata = parts[".rodata"]
        assert rodata.start - drom == flash_at[rodata.start] - IROM.start == len(parts[".text"])
        assert flash_at[parts[".data"].start] - IROM.start == symbols["wm_data_load"] - drom
        for name, part in parts.items():
            if name in (".text", ".rodata", ".data"):
                data = elf.get_section_by_name(name).data()
                at = flash_at[part.start] - IROM.start
                assert binary[at : at + len(data)] == data, name
        assert len(binary) == symbols["wm_data_load"] - drom + len(parts[".data"])
        _check_ram(parts, symbols, RAM.start)
        assert symbols["wm_guard_start"] < RAM.start


def _check_ram(parts: dict[str, range], symbols: dict[str, int], bottom: int) -> None:
    """The stack at the bottom, then static data, then the pool to the end of RAM; nothing overlaps."""
    assert parts[".stack"].start == symbols["wm_stack_bottom"] == bottom
    assert len(parts[".stack"]) == BOARD.budget["stack_bytes"]
    in_ram = sorted((part for part in parts.values() if _inside(part, RAM)), key=lambda part: part.start)
    for first, second in itertools.pairwise(in_ram):
        assert first.stop <= second.start
    assert in_ram[-1].stop <= symbols["wm_pool_bottom"] < symbols["wm_pool_top"] == RAM.stop
    assert symbols["wm_pool_bottom"] % 8 == 0
    assert symbols["wm_vectors"] % 256 == 0, "mtvec takes no other"


@pytest.mark.slow
def test_direct_boot_image_is_checked(tmp_path: Path) -> None:
    check = _check_image()
    good = _image().with_suffix(".bin").read_bytes()
    assert check.fault(good) is None
    assert "0xe9" in check.fault(b"\xe9" + good[1:]) or "twice" in check.fault(b"\xe9" + good[1:])
    assert "offset 8" in check.fault(good[:8] + bytes(4) + good[12:])
    assert "10 bytes" in check.fault(good[:10])
    assert "maps" in check.fault(good + bytes(4 * 1024 * 1024))
    bad = tmp_path / "bad.bin"
    bad.write_bytes(good[:4] + bytes(4) + good[8:])
    done = subprocess.run(
        [sys.executable, PORT / "check_image.py", bad], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "cannot be booted directly" in done.stderr


@pytest.mark.slow
def test_ram_image_has_code_and_data_in_different_memory() -> None:
    with _image("-ram").open("rb") as file:
        elf = ELFFile(file)
        parts, symbols = _sections(elf), _symbols(elf)
        assert _inside(parts[".text"], IRAM)
        assert elf["e_entry"] == symbols["wm_entry"] and elf["e_entry"] in parts[".text"]
        code = range(parts[".text"].start - RAM_ALIAS, parts[".text"].stop - RAM_ALIAS)
        for name in (".stack", ".rodata", ".data", ".bss"):
            assert _inside(parts[name], RAM)
            assert parts[name].start >= code.stop, f"{name} would overwrite the code"
        _check_ram(parts, symbols, code.stop)
        assert parts[".data"].stop <= ROM_DATA and code.stop <= ROM_DATA
        assert symbols["wm_data_load"] == symbols["wm_data_start"]
        assert symbols["wm_guard_start"] == code.start
        assert symbols["wm_pool_top"] - symbols["wm_pool_bottom"] >= 160 * 1024


@pytest.mark.slow
def test_ram_image_is_one_that_esptool_accepts() -> None:
    """Its checksum and digest are right, and its segments are the ELF file's."""
    image = _image("-ram")
    packed = image.with_suffix(".bin")
    esptool = find_tool("esptool")
    assert esptool is not None and packed.is_file()
    done = subprocess.run(
        [esptool, "--chip", NAME, "image-info", packed], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Checksum: 0x[0-9a-f]+ \(valid\)", done.stdout)
    assert re.search(r"Validation hash: [0-9a-f]+ \(valid\)", done.stdout)
    assert "Chip ID: 5 (ESP32-C3)" in done.stdout
    segments = [
        (int(at, 16), int(length, 16))
        for length, at in re.findall(r"^\s+\d+\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s", done.stdout, re.MULTILINE)
    ]
    memory = _segments_of(packed.read_bytes())
    assert [(at, len(data)) for at, data in memory] == segments
    with image.open("rb") as file:
        elf = ELFFile(file)
        parts = _sections(elf)
        assert f"Entry point: {elf['e_entry']:#x}" in done.stdout
        wanted = {name: elf.get_section_by_name(name).data() for name in (".text", ".rodata", ".data")}
    # Sections that touch are one segment; each segment is filled up to whole words.
    for name, content in wanted.items():
        start = parts[name].start
        (found,) = [
            data[start - at : start - at + len(content)]
            for at, data in memory
            if at <= start < at + len(data)
        ]
        assert found == content, f"{name} is not where the ELF file has it"
    covered = sum(len(content) for content in wanted.values())
    assert covered <= sum(len(data) for _at, data in memory) < covered + 4 * len(wanted)
    damaged = bytearray(packed.read_bytes())
    damaged[100] ^= 1
    other = packed.with_suffix(".damaged")
    try:
        other.write_bytes(damaged)
        done = subprocess.run(
            [esptool, "--chip", NAME, "image-info", other], capture_output=True, text=True, check=False
        )
        assert "(valid)" not in done.stdout
    finally:
        other.unlink()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "-ram"])
def test_image_has_only_the_chips_instructions(suffix: str) -> None:
    image = _image(suffix)
    with image.open("rb") as file:
        elf = ELFFile(file)
        parts, symbols = _sections(elf), _symbols(elf)
    objdump = find_tool("riscv64-unknown-elf-objdump")
    assert objdump is not None
    text = subprocess.run(
        [
            *(objdump, "-d", "-M", "no-aliases", "--no-show-raw-insn", "-j", ".text"),
            *(f"--start-address={symbols['wm_entry']:#x}", f"--stop-address={parts['.text'].stop:#x}", image),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    text = re.sub(r"^.*\t\.2byte\t0x0$", "", text, flags=re.MULTILINE)  # the section's end, filled up
    found = re.findall(r"^\s*[0-9a-f]+:\t(\S+)", text, re.MULTILINE)
    assert len(found) > 30_000
    assert set(found) <= _INSTRUCTIONS, sorted(set(found) - _INSTRUCTIONS)
    assert {"mul", "wfi", "mret", "c.addi4spn"} <= set(found)
    # mie, mip and the standard counters are not there: using them is an illegal instruction (TRM 1.4).
    csrs = set(re.findall(r"\tcsrr\w+\s+.*?\b(m\w+|pmp\w+|cycle\w*|time\w*|instret\w*)\b", text))
    assert csrs == {"mstatus", "mtvec", "mscratch", "mepc", "mcause", "pmpaddr0", "pmpaddr1", "pmpcfg0"}


# ---- both images run, on a model of the chip ----


def _emulated(*options: str) -> Board:
    """The board, with the model for an emulator."""
    model = Path(__file__).with_name("esp32c3_chip.py")
    return dataclasses.replace(
        BOARD, emulate={"command": [sys.executable, str(model), "{image}", "{serial}", *options]}
    )


async def _use(board: Board, image: Path, said: list[str]) -> None:
    async with Emulator(board, image, on_text=said.append) as emulator:
        assert emulator.uri is not None
        async with Node(emulator.uri) as node:
            device = await node.device()
            assert (device["ep"], device["board"]) == ("esp32c3-58cf790102fe", NAME)
            assert device["reset"] == "power"
            await node.push(app("fib"), name="fib")
            assert (await node.call("fib/fib", [20])).value == 6765
            # Some hundred bytes at once, more than the FIFO has: blocks of 1024 bytes both ways.
            await node.push(app("wordcount"), name="wordcount")
            reply = await node.call("wordcount", input=b"one two\nthree\n" * 300)
            assert [int(word) for word in reply.output.split()] == [600, 900, 4200]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", "-ram"])
def test_image_runs_on_the_model(suffix: str) -> None:
    """Start, watchdogs, UART and its interrupt, timer, sleep, fuses: esp32c3_chip.py says what that shows."""
    said: list[str] = []
    asyncio.run(_use(_emulated(*["--ram"] * bool(suffix)), _image(suffix), said))
    assert f"wasmote 0.1.0 {NAME} {NAME} reset: power" in said


@pytest.mark.slow
def test_stack_is_large_enough_on_the_model() -> None:
    """The deepest that requests and functions get leaves what the budget asks for, at the board's limit of nesting."""
    image = _image()
    use = asyncio.run(probe_stack(_emulated(), image))
    assert use is not None
    assert over_budget(BOARD, image_size(image), use) == []
    assert min(use.nesting.values()) + 1 >= 64


@pytest.mark.slow
def test_image_runs_in_espressifs_emulator(tmp_path: Path) -> None:
    """Direct boot through the chip's real ROM, where somebody has that emulator; Debian's does not know the machine."""
    qemu = find_tool("qemu-system-riscv32")
    known = (
        ""
        if qemu is None
        else subprocess.run([qemu, "-M", "help"], capture_output=True, text=True, check=True).stdout
    )
    if qemu is None or "esp32c3" not in known:
        pytest.skip("no qemu-system-riscv32 with the machine esp32c3 (Espressif's QEMU) is in PATH")
    image = _image()
    flash = tmp_path / "flash.bin"
    flash.write_bytes(image.with_suffix(".bin").read_bytes().ljust(BOARD.memory["flash"]["size"], b"\xff"))
    command = [str(qemu), "-M", "esp32c3", "-nographic", "-monitor", "none", "-serial", "{serial}"]
    board = dataclasses.replace(
        BOARD, emulate={"command": [*command, "-drive", f"file={flash},if=mtd,format=raw"]}
    )

    async def run() -> None:
        async with Emulator(board, image) as emulator:
            assert emulator.uri is not None
            async with Node(emulator.uri) as node:
                await node.push(app("fib"), name="fib")
                assert (await node.call("fib/fib", [20])).value == 6765

    asyncio.run(run())
