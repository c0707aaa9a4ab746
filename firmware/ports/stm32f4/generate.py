#!/usr/bin/env python3
"""Makes a board's board.h, limits.h and link.ld from its board.toml: generate.py BOARD.TOML FOLDER

The build runs it (port.cmake). It needs Python 3.11 and nothing else. A file is only written when it changes.
Exit code 1 and a text on stderr: board.toml is wrong, or asks for what the chip cannot do.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

HSI_HZ = 16_000_000  # the internal oscillator
PLL_INPUT_HZ = (1_000_000, 2_000_000)  # RM0090 7.3.2, RM0383 6.3.2: so for all of the next four
PLL_OUTPUT_HZ = (100_000_000, 432_000_000)
PLL_M = (2, 63)
PLL_N = (50, 432)
PLL_Q = (2, 15)
PLL_48_HZ_MAX = 48_000_000  # the random number generator's clock
RCC_APB = {"apb1": 0x40023840, "apb2": 0x40023844}  # RCC_APB1ENR, RCC_APB2ENR
GPIO_BASE, GPIO_STEP = 0x40020000, 0x400  # RM0090 2.3: port A, and each next one
APB_DIVISORS = {1: 0, 2: 4, 4: 5, 8: 6, 16: 7}  # RCC_CFGR.PPRE1 and PPRE2
INTERRUPT_BYTES = (
    256  # frames of an interrupt (104 bytes with the float registers, PM0214 2.3.7) and what it calls
)


class BoardError(Exception):
    """board.toml is wrong; the text says where and why."""


def chip_facts(chips: dict[str, Any], name: str) -> dict[str, Any]:
    """The entry of chips.toml for a chip."""
    found = max((known for known in chips if name.startswith(known)), key=len, default=None)
    if found is None:
        raise BoardError(
            f"chip '{name}' is unknown: add it to firmware/ports/stm32f4/chips.toml ({', '.join(chips)})"
        )
    facts: dict[str, Any] = chips[found]
    return facts


def pin(text: str, what: str) -> tuple[int, int]:
    """(address of the port's registers, number of the pin) of a pin like PA9."""
    match = re.fullmatch(r"P([A-K])(\d|1[0-5])", text)
    if match is None:
        raise BoardError(f"{what} = '{text}' is no pin: write it like PA9")
    return GPIO_BASE + GPIO_STEP * (ord(match[1]) - ord("A")), int(match[2])


def between(what: str, value: int, limits: tuple[int, int]) -> None:
    if not limits[0] <= value <= limits[1]:
        raise BoardError(f"{what} is {value:,}, but must be {limits[0]:,} to {limits[1]:,}")


def clock_lines(clock: dict[str, Any], facts: dict[str, Any]) -> tuple[list[str], int]:
    """The clock's part of board.h, and the core's frequency."""
    source, pll = clock["source"], clock["pll"]
    if source not in ("internal", "crystal", "external"):
        raise BoardError(f"clock.source is '{source}', but must be internal, crystal or external")
    hz = clock.get("hz", HSI_HZ)
    if (source == "internal") != (hz == HSI_HZ and "hz" not in clock):
        raise BoardError("clock.hz is for a crystal or an external clock, and needed there")
    m, n, p, q = (pll[name] for name in "mnpq")
    between("clock.pll.m", m, PLL_M)
    between("clock.pll.n", n, PLL_N)
    between("clock.pll.q", q, PLL_Q)
    if p not in (2, 4, 6, 8):
        raise BoardError(f"clock.pll.p is {p}, but must be 2, 4, 6 or 8")
    if hz % m != 0 or HSI_HZ % (hz // m) != 0:
        raise BoardError(
            "clock.hz / clock.pll.m must be whole, and go into 16 MHz: the internal oscillator stands in"
        )
    pll_in = hz // m
    between("the PLL's input, clock.hz / pll.m,", pll_in, PLL_INPUT_HZ)
    between("the PLL's output, clock.hz / pll.m * pll.n,", pll_in * n, PLL_OUTPUT_HZ)
    core = pll_in * n // p
    between("the core's clock, clock.hz / pll.m * pll.n / pll.p,", core, (HSI_HZ, facts["core_hz_max"]))
    if facts["random"] and pll_in * n // q > PLL_48_HZ_MAX:
        raise BoardError(
            f"the random number generator's clock, clock.hz / pll.m * pll.n / pll.q, is above {PLL_48_HZ_MAX:,}"
        )
    wait = next(states for states, mhz in enumerate(facts["wait_states_hz"]) if core <= mhz * 1_000_000)
    divisors = {bus: next(d for d in APB_DIVISORS if core // d <= facts[f"{bus}_hz_max"]) for bus in RCC_APB}
    rest = n << 6 | (p // 2 - 1) << 16 | q << 24
    lines = [
        "/* Clock: RM0090 7.3, RM0383 6.3. */",
        f"#define BOARD_CORE_HZ {core}u",
        f"#define BOARD_FLASH_WAIT {wait}u",
        f"#define BOARD_CFGR_APB {APB_DIVISORS[divisors['apb1']] << 10 | APB_DIVISORS[divisors['apb2']] << 13:#x}u"
        f" /* APB1 = core / {divisors['apb1']}, APB2 = core / {divisors['apb2']} */",
        f"#define BOARD_APB1_DIVISOR {divisors['apb1']}u",
        f"#define BOARD_APB2_DIVISOR {divisors['apb2']}u",
        f"#define BOARD_PLLCFGR {HSI_HZ // pll_in | rest:#010x}u /* from the internal oscillator */",
    ]
    if source != "internal":
        lines.append(f"#define BOARD_PLLCFGR_HSE {m | rest | 1 << 22:#010x}u /* from {hz} Hz */")
        lines.append(
            f"#define BOARD_HSE_EXTERNAL {int(source == 'external')} /* no crystal, but a clock that is fed in */"
        )
    if "voltage_scale" in facts:
        lines.append(f"#define BOARD_PWR_VOS {facts['voltage_scale']}u")
    return lines, core


def uart_lines(link: dict[str, Any], facts: dict[str, Any], uarts: dict[str, Any]) -> list[str]:
    """The UART's part of board.h."""
    name = link["uart"]
    if name not in facts["uarts"]:
        raise BoardError(f"links.serial.uart is '{name}', but the chip has {', '.join(facts['uarts'])}")
    uart = uarts[name]
    clocks = 0
    lines = [
        f"/* {name}: TX is {link['tx']}, RX is {link['rx']}. */",
        f"#define BOARD_UART {uart['base']:#x}u",
        f"#define BOARD_UART_IRQ {uart['irq']}u",
        f"#define BOARD_UART_ENR {RCC_APB[uart['bus']]:#x}u",
        f"#define BOARD_UART_ENR_BIT {1 << uart['clock_bit']:#x}u",
        f"#define BOARD_UART_DIVISOR BOARD_{uart['bus'].upper()}_DIVISOR",
        f"#define BOARD_UART_AF {uart['af']}u",
        f"#define BOARD_BAUD {link['baud']}u",
    ]
    for way in ("tx", "rx"):
        if link[way] not in uart[way]:
            raise BoardError(f"links.serial.{way} is '{link[way]}', but {name} has {', '.join(uart[way])}")
        port, number = pin(link[way], f"links.serial.{way}")
        clocks |= 1 << (port - GPIO_BASE) // GPIO_STEP
        lines.append(f"#define BOARD_{way.upper()} {port:#x}u, {number}u")
    lines.append(f"#define BOARD_UART_GPIO_ENR {clocks:#x}u")
    return lines


def led_lines(led: dict[str, Any]) -> list[str]:
    """The LED's part of board.h."""
    port, number = pin(led["pin"], "led.pin")
    on, off = (number, number + 16) if led["lit"] == "high" else (number + 16, number)
    if led["lit"] not in ("high", "low"):
        raise BoardError(f"led.lit is '{led['lit']}', but must be high or low")
    return [
        f"/* The LED at {led['pin']}, lit when it is {led['lit']}: words for GPIO_BSRR. */",
        f"#define BOARD_LED {port:#x}u, {number}u",
        f"#define BOARD_LED_BSRR {port + 0x18:#x}u",
        f"#define BOARD_LED_ON {1 << on:#x}u",
        f"#define BOARD_LED_OFF {1 << off:#x}u",
        f"#define BOARD_LED_GPIO_ENR {1 << (port - GPIO_BASE) // GPIO_STEP:#x}u",
    ]


def board_h(board: dict[str, Any], chips: dict[str, Any]) -> str:
    """board.h: what the port's C code has to know of the board, as values of registers."""
    facts = chip_facts(chips["chip"], board["chip"])
    clock, _core = clock_lines(board["clock"], facts)
    parts = [
        f"/* board.h of {board['name']}, made by ports/stm32f4/generate.py from board.toml: change that. */",
        "#ifndef WM_BOARD_H",
        "#define WM_BOARD_H",
        "",
        f'#define BOARD_CHIP "{board["chip"]}"',
        f"#define BOARD_UID {board['unique_id']:#x}u /* 96 bits */",
        f"#define BOARD_RANDOM {int(facts['random'])} /* has a random number generator */",
        f"#define BOARD_STACK_RESERVE_BYTES {INTERRUPT_BYTES}u /* stack that a function may not use: an interrupt's */",
        "",
        *clock,
        "",
        *uart_lines(board["links"]["serial"], facts, chips["uart"]),
        "",
        *([*led_lines(board["led"]), ""] if "led" in board else []),
        "#endif",
    ]
    return "\n".join(parts) + "\n"


def limits_h(board: dict[str, Any], defaults: str) -> str:
    """The limits header (wasmote/config.h): the board's own limits, then the port's."""
    lines = [
        f"/* limits.h of {board['name']}, made by ports/stm32f4/generate.py from board.toml: change that. */"
    ]
    for name, value in board.get("limits", {}).items():
        default = re.search(rf"^#define WM_{name.upper()} (.*)$", defaults, re.MULTILINE)
        if default is None:
            raise BoardError(f"limits.{name} is no limit of include/wasmote/config_default.h")
        if not isinstance(value, int) or value < 0:
            raise BoardError(f"limits.{name} is {value!r}, but must be a number")
        suffix = "u" if re.search(r"\du\b", default[1]) else ""  # the type that the code reckons with
        lines.append(f"#define WM_{name.upper()} {value}{suffix}")
    port = Path(__file__).resolve().parent / "wm_config_stm32f4.h"
    return "\n".join([*lines, f'#include "{port.as_posix()}"']) + "\n"


def link_ld(board: dict[str, Any]) -> str:
    """The linker script. Where core-coupled RAM is used, stack and static data lie there and the pool is all of RAM."""
    memory, budget = board["memory"], board["budget"]
    ccm = memory.get("ccm", {}).get("use", False)
    own = "CCM" if ccm else "RAM"
    regions = {"FLASH (rx)": memory["flash"], "RAM (rw)": memory["ram"]} | (
        {"CCM (rw)": memory["ccm"]} if ccm else {}
    )
    bytes_mapped = sum(unit["count"] * unit["bytes"] for unit in board["flash"]["sectors"])
    if bytes_mapped != memory["flash"]["size"]:
        raise BoardError(
            f"flash.sectors are {bytes_mapped:,} bytes, memory.flash.size is {memory['flash']['size']:,}"
        )
    return f"""\
/* link.ld of {board["name"]}, made by ports/stm32f4/generate.py from board.toml: change that. */
ENTRY(wm_isr_reset)

MEMORY {{
{chr(10).join(f"    {name} : ORIGIN = {at['origin']:#010x}, LENGTH = {at['size']}" for name, at in regions.items())}
}}

wm_stack_bytes = {budget["stack_bytes"]};

SECTIONS {{
    .text : {{
        KEEP(*(.vectors))
        *(.text .text.*)
        *(.rodata .rodata.*)
        . = ALIGN(4);
    }} > FLASH

    .ARM.exidx : {{ *(.ARM.exidx*) }} > FLASH

    /* The stack has nothing below it: an overflow is a bus fault, not somebody else's data. */
    .stack (NOLOAD) : {{
        wm_stack_bottom = .;
        . += wm_stack_bytes;
        wm_stack_top = .;
    }} > {own}

    .data : ALIGN(8) {{
        wm_data_start = .;
        *(.data .data.*)
        . = ALIGN(4);
        wm_data_end = .;
    }} > {own} AT > FLASH
    wm_data_load = LOADADDR(.data);

    .bss (NOLOAD) : ALIGN(8) {{
        wm_bss_start = .;
        *(.bss .bss.* COMMON)
        . = ALIGN(8);
        wm_bss_end = .;
    }} > {own}

    wm_pool_bottom = {"ORIGIN(RAM)" if ccm else "."};
    wm_pool_top = ORIGIN(RAM) + LENGTH(RAM);
    ASSERT(wm_pool_top - wm_pool_bottom >= {budget["pool_bytes_min"]}, \
"less than {budget["pool_bytes_min"]} bytes left for functions")

    /DISCARD/ : {{ *(.comment) *(.ARM.attributes) }}
}}
"""


def main(arguments: list[str]) -> int:
    file, folder = (Path(argument) for argument in arguments)
    try:
        board = tomllib.loads(file.read_text(encoding="utf-8"))
        chips = tomllib.loads((Path(__file__).parent / "chips.toml").read_text(encoding="utf-8"))
        defaults = Path(__file__).parents[2] / "include/wasmote/config_default.h"
        made = {
            "board.h": board_h(board, chips),
            "limits.h": limits_h(board, defaults.read_text(encoding="utf-8")),
            "link.ld": link_ld(board),
        }
    except (BoardError, tomllib.TOMLDecodeError) as err:
        print(f"{file}: {err}", file=sys.stderr)
        return 1
    except KeyError as err:
        print(f"{file}: {err} is missing; boards/README.md has the schema", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        target = folder / name
        if not target.is_file() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
