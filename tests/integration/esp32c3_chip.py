"""A model of an ESP32-C3 that runs the node's images: esp32c3_chip.py IMAGE.elf unix:SOCKET,... [--ram]

The processor is Unicorn's (QEMU's RISC-V); memory, watchdogs, interrupt matrix, UART0, system timer and fuses are
modelled here from the Technical Reference Manual, as far as firmware/ports/esp32c3 uses them. What the ROM does before
is played: direct boot with both windows on the flash, or an image loaded into RAM. So it shows that the images run, and
that the port does what the manual says as we read it; it proves neither the manual nor our reading. Whatever the port
touches beyond the model ends it with a text.
"""

from __future__ import annotations

import ctypes
import mmap
import random
import select
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

import unicorn
from elftools.elf.elffile import ELFFile
from unicorn import riscv_const as riscv

IROM, DROM, FLASH_BYTES = 0x42000000, 0x3C000000, 4 * 1024 * 1024
IRAM, DRAM, RAM_BYTES = 0x40380000, 0x3FC80000, 384 * 1024
PERIPHERALS, PERIPHERALS_BYTES = 0x60000000, 0x100000
MAGIC = struct.pack("<II", 0xAEDB041D, 0xAEDB041D)

UART = 0x000
INTERRUPTS, SYSTIMER, RTC = 0xC2000, 0x23000, 0x8000
TIMER_HZ = 16_000_000
FIFO_BYTES = 128
SLICE = 20_000  # instructions between two looks at the interrupts
WATCHDOG_KEY, SUPER_KEY = 0x50D83AA1, 0x8F1D312A
MAC = 0x58CF790102FE

# Registers that are plain storage: offset -> value after reset.
PLAIN = {
    **{UART + at: 0 for at in (0x0C, 0x14, 0x20, 0x24, 0x60, 0x78)},
    0x9054: 0,
    0x9058: 0,
    0xC0010: 0,
    0xC0018: 1 << 2 | 1 << 24 | 1 << 29,  # UART and timer are held in reset: the port lets them go
    0xC2054: 0,
    0xC2094: 0,
    0xC2104: 0,
    0xC2108: 0,
    0xC2194: 0,
    **{0xC2114 + 4 * line: 0 for line in range(32)},
    SYSTIMER + 0x00: 1 << 30,
    SYSTIMER + 0x34: 0,
    SYSTIMER + 0x64: 0,
    RTC + 0xA8: 0,
    RTC + 0xB0: 0,
    0x1F064: 0,
    0x20064: 0,
}
# Watchdogs: configuration -> (its protection, the key, what is set after the ROM).
WATCHDOGS = {
    0x1F048: (0x1F064, WATCHDOG_KEY, 1 << 31 | 1 << 14),
    0x20048: (0x20064, WATCHDOG_KEY, 0),
    RTC + 0x90: (RTC + 0xA8, WATCHDOG_KEY, 1 << 31 | 1 << 12),
    RTC + 0xAC: (RTC + 0xB0, SUPER_KEY, 0),
}


class Chip:
    """elf: for the address of the node's one WFI. serial: the other end of UART0."""

    def __init__(self, elf: Path, ram: bool, serial: socket.socket) -> None:
        self.serial = serial
        self.registers = PLAIN | {at: value for at, (_, _, value) in WATCHDOGS.items()}
        self.rx: deque[int] = deque()
        self.raised = 0  # of the UART's interrupts
        self.latched = 0
        self.alarm_s: float | None = None
        self.timer_raised = False
        self.failure = ""
        self.uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
        # One memory under two addresses, as in the chip.
        self.flash = self._memory(FLASH_BYTES, (IROM, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC), (DROM, 1))
        self.memory = self._memory(RAM_BYTES, (IRAM, unicorn.UC_PROT_ALL), (DRAM, 3))
        self.uc.mmio_map(PERIPHERALS, PERIPHERALS_BYTES, self._read, None, self._write, None)
        image = elf.with_suffix(".bin").read_bytes()
        self.pc = self._load(image) if ram else self._direct_boot(image)
        with elf.open("rb") as file:
            self.wfi = (
                ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("wm_chip_wfi")[0]["st_value"]
            )
        self.asleep = False
        self.uc.hook_add(unicorn.UC_HOOK_CODE, self._on_wfi, begin=self.wfi, end=self.wfi)

    def _memory(self, size: int, *places: tuple[int, int]) -> mmap.mmap:
        memory = mmap.mmap(-1, size)
        pointer = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for address, rights in places:
            self.uc.mem_map_ptr(address, size, rights, pointer)
        return memory

    # ---- what the ROM does ----

    def _direct_boot(self, image: bytes) -> int:
        assert image.startswith(MAGIC), "the ROM finds no direct-boot image"
        self.flash[: len(image)] = image
        return IROM + len(MAGIC)

    def _load(self, image: bytes) -> int:
        magic, count = image[:2]
        assert magic == 0xE9, "the ROM finds no image"
        at = 24
        for _ in range(count):
            address, size = struct.unpack_from("<II", image, at)
            at += 8
            offset = address - (IRAM if address >= IRAM else DRAM)
            self.memory[offset : offset + size] = image[at : at + size]
            at += size
        return int(struct.unpack_from("<I", image, 4)[0])

    # ---- registers ----

    def _fail(self, text: str) -> None:
        self.failure = self.failure or text
        self.uc.emu_stop()

    def _read(self, _uc: unicorn.Uc, at: int, size: int, _data: object) -> int:
        if size != 4:
            self._fail(f"read of {size} bytes at {PERIPHERALS + at:#x}")
        if at == UART + 0x00:
            return self.rx.popleft() if self.rx else 0
        if at == UART + 0x1C:
            return len(self.rx)  # and nothing waits to be sent
        if at in (UART + 0x6C, UART + 0x80):
            return 0
        if at == SYSTIMER + 0x04:
            return 1 << 29
        if at == SYSTIMER + 0x44:
            return self.latched
        if at == RTC + 0x38:
            return 1  # power
        if at in (0x8844, 0x8848):
            return MAC & 0xFFFFFFFF if at == 0x8844 else MAC >> 32
        if at == 0x260B0:
            return random.getrandbits(32)
        if at == RTC + 0x00:
            return 0
        if at not in self.registers:
            self._fail(f"read of {PERIPHERALS + at:#x}, which the model does not have")
            return 0
        return self.registers[at]

    def _write(self, _uc: unicorn.Uc, at: int, size: int, value: int, _data: object) -> None:
        if size != 4:
            self._fail(f"write of {size} bytes at {PERIPHERALS + at:#x}")
        if at == UART + 0x00:
            self._transmit(value)
        elif at == UART + 0x10:
            self.raised &= ~value
        elif at == UART + 0x80:
            pass  # taken over at once
        elif at == SYSTIMER + 0x04:
            self.latched = int(time.monotonic() * TIMER_HZ) & 0xFFFFFFFF
        elif at == SYSTIMER + 0x50:
            self.alarm_s = time.monotonic() + self._period_s()
        elif at == SYSTIMER + 0x6C:
            self.timer_raised = self.timer_raised and not value & 1
        elif at == RTC + 0x00:
            self._fail("reset by software" if value >> 31 else "a write to RTC_CNTL_OPTIONS0")
        elif at in WATCHDOGS:
            protection, key, _ = WATCHDOGS[at]
            if self.registers[protection] == key:
                self.registers[at] = value
        elif at in self.registers:
            self.registers[at] = value
        else:
            self._fail(f"write to {PERIPHERALS + at:#x}, which the model does not have")

    def _period_s(self) -> float:
        return (self.registers[SYSTIMER + 0x34] & 0x3FFFFFF) / TIMER_HZ

    # ---- UART0 ----

    def _transmit(self, value: int) -> None:
        clock, divisor = self.registers[UART + 0x78], self.registers[UART + 0x14]
        rate = 40_000_000 / ((divisor & 0xFFF) + (divisor >> 20) / 16)
        if (clock >> 20 & 3, clock >> 24 & 3) != (3, 3) or abs(rate / 115200 - 1) > 0.01:
            self._fail(f"the UART sends at {rate:.0f} baud, clock {clock:#x}")
        if self.registers[UART + 0x20] & 0x3F != 0x1C:
            self._fail("the UART is not set to 8N1")
        if self.registers[0xC0018] & (1 << 2 | 1 << 24) or self.registers[0x9058] & 7 << 12:
            self._fail("the UART is held in reset, or not connected to its pin")
        self.serial.sendall(bytes([value & 0xFF]))

    def _receive(self, wait_s: float) -> None:
        readable, _, _ = select.select([self.serial], [], [], wait_s)
        if readable and len(self.rx) < FIFO_BYTES:
            data = self.serial.recv(FIFO_BYTES - len(self.rx))
            if not data:
                raise SystemExit(0)  # the other end is gone
            self.rx.extend(data)
        if len(self.rx) >= self.registers[UART + 0x24] & 0x1FF:
            self.raised |= 1
        if self.rx and self.registers[UART + 0x24] >> 21 & 1:  # what has come is followed by silence
            self.raised |= 1 << 8

    # ---- interrupts ----

    def _tick(self) -> None:
        if self.alarm_s is not None and self.registers[SYSTIMER + 0x34] >> 30 & 1:
            on = self.registers[SYSTIMER] >> 24 & 1 and self.registers[SYSTIMER] >> 30 & 1
            if on and time.monotonic() >= self.alarm_s:
                self.alarm_s = max(self.alarm_s + self._period_s(), time.monotonic())
                self.timer_raised = True

    def _pending(self) -> int | None:
        """The line of the CPU that is to be served."""
        lines = []
        if self.raised & self.registers[UART + 0x0C]:
            lines.append(self.registers[INTERRUPTS + 0x54])
        if self.timer_raised and self.registers[SYSTIMER + 0x64] & 1:
            lines.append(self.registers[INTERRUPTS + 0x94])
        for line in lines:
            enabled = self.registers[INTERRUPTS + 0x104] >> line & 1
            above = self.registers[INTERRUPTS + 0x114 + 4 * line] >= max(
                1, self.registers[INTERRUPTS + 0x194]
            )
            if line and enabled and above:
                return line
        return None

    def _enter(self, line: int) -> None:
        uc = self.uc
        status = uc.reg_read(riscv.UC_RISCV_REG_MSTATUS)
        vectors = uc.reg_read(riscv.UC_RISCV_REG_MTVEC)
        assert vectors & 0xFF == 1, (
            f"mtvec is {vectors:#x}: the chip takes a table of jumps, aligned to 256 bytes"
        )
        uc.reg_write(riscv.UC_RISCV_REG_MEPC, self.pc)
        uc.reg_write(riscv.UC_RISCV_REG_MCAUSE, 1 << 31 | line)
        uc.reg_write(riscv.UC_RISCV_REG_MSTATUS, (status & ~0x1888) | 0x1800 | (status & 8) << 4)
        self.pc = (vectors & ~0xFF) + 4 * line

    def _on_wfi(self, uc: unicorn.Uc, _at: int, _size: int, _data: object) -> None:
        self.asleep = True
        uc.emu_stop()

    # ---- the processor ----

    def run(self) -> None:
        instructions = 0
        while True:
            try:
                self.uc.emu_start(self.pc, 0xFFFFFFFE, count=SLICE)
            except unicorn.UcError as err:
                at = self.uc.reg_read(riscv.UC_RISCV_REG_PC)
                raise SystemExit(f"esp32c3: fault at {at:#x}: {err}") from err
            self.pc = self.uc.reg_read(riscv.UC_RISCV_REG_PC)
            if self.failure:
                raise SystemExit(f"esp32c3: {self.failure}, at {self.pc:#x}")
            instructions += SLICE
            if instructions == 50 * SLICE:
                self._check_watchdogs()
            self._receive(0)
            self._tick()
            if self.asleep:
                self._sleep()
            elif self.uc.reg_read(riscv.UC_RISCV_REG_MSTATUS) & 8 and (line := self._pending()) is not None:
                self._enter(line)

    def _sleep(self) -> None:
        """At WFI, with interrupts on: one that is pending is taken before it; otherwise its end is what one brings."""
        self.asleep = False
        self.pc = self.wfi
        assert self.uc.reg_read(riscv.UC_RISCV_REG_MSTATUS) & 8, "WFI with interrupts off"
        if (line := self._pending()) is not None:
            self._enter(
                line
            )  # its return has to leave WFI out: nothing else would end it before the next alarm
            return
        while (line := self._pending()) is None:
            self._receive(max(0.0, min(0.1, (self.alarm_s or 0) - time.monotonic())))
            self._tick()
        self.pc += 4
        self._enter(line)

    def _check_watchdogs(self) -> None:
        running = [
            at
            for at, (_, _, _) in WATCHDOGS.items()
            if at != RTC + 0xAC and self.registers[at] & (1 << 31 | 1 << 14)
        ]
        running += [RTC + 0x90] if self.registers[RTC + 0x90] & 1 << 12 else []
        if running or not self.registers[RTC + 0xAC] >> 31:
            raise SystemExit(f"esp32c3: reset by a watchdog: {[hex(PERIPHERALS + at) for at in running]}")


def main(arguments: list[str]) -> None:
    elf, serial = Path(arguments[0]), arguments[1].removeprefix("unix:").split(",")[0]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(serial)
        listener.listen(1)
        print(f"QEMU waiting for connection on: {serial}", flush=True)  # what the tools wait for
        connection, _ = listener.accept()
    with connection:
        Chip(elf, "--ram" in arguments, connection).run()


if __name__ == "__main__":
    main(sys.argv[1:])
