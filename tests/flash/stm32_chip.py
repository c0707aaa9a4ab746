"""An STM32 in its UART bootloader (ST AN3155): bytes in, bytes out, and the flash memory between.

Written from the application note, not from our client; tests/flash/test_stm32_simulator.py lets PyPI's stm32loader,
which nobody here wrote, read, erase and write it too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

ACK, NACK = b"\x79", b"\x1f"
F405_SECTORS = (*[16384] * 4, 65536, *[131072] * 7)
COMMANDS = bytes([0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x44, 0x63, 0x73, 0x82, 0x92])
_WHILE_LOCKED = (0x00, 0x01, 0x02, 0x92)

Machine = Generator[bytes, int, None]  # yields what to send before the next byte, gets that byte


class _Reset(Exception):
    """The chip starts over."""


@dataclass
class Stm32Chip:
    """sector_bytes: the flash map. chip_id: the product ID. locked: readout protection, level 1. protected: sectors
    that neither erase nor take writes. boot0: at reset the chip starts the bootloader and not its program.

    on_write: called with the number of blocks written so far, before each is. The flash memory behaves as NOR does:
    erased to ones by the sector, and programming only clears bits."""

    sector_bytes: Sequence[int] = F405_SECTORS
    chip_id: int = 0x413
    base: int = 0x08000000
    locked: bool = False
    protected: set[int] = field(default_factory=set)
    boot0: bool = True
    on_write: Callable[[int], None] = lambda _count: None
    on_go: Callable[[int], None] = lambda _address: None
    commands: bytes = COMMANDS
    started_at: int | None = None  # address of the program that runs; None: the bootloader does
    baud: int | None = None  # what the first 7F was sent at; None: not measured yet (wires.py)
    writes: int = 0
    erased: list[int] = field(default_factory=list)
    resets: int = 0

    def __post_init__(self) -> None:
        self.flash = bytearray(b"\xff" * sum(self.sector_bytes))
        self.ram = bytearray(0x20000)
        # Reference manual RM0090, 39: 96 bits of unique ID at 1FFF7A10, the flash size in KB at 1FFF7A22.
        self.system = bytearray(b"\xff" * 256)
        self.system[0x10:0x1C] = bytes(range(0x30, 0x3C))
        self.system[0x22:0x24] = (len(self.flash) // 1024).to_bytes(2, "little")
        self._outgoing = bytearray()
        self.reset()
        self.resets = 0

    def reset(self) -> None:
        """NRST: the bootloader or the program starts anew."""
        self.resets += 1
        self.baud = None
        self.started_at = None if self.boot0 else self.base
        self._machine: Machine | None = self._bootloader() if self.boot0 else None
        if self._machine is not None:
            self._outgoing += next(self._machine)
        elif self.started_at is not None:
            self.on_go(self.started_at)

    def feed(self, data: bytes) -> bytes:
        """Bytes from the host; what the chip sends back."""
        for byte in data:
            if self._machine is None:
                break
            try:
                self._outgoing += self._machine.send(byte)
            except _Reset:
                self._outgoing += ACK
                self.reset()
            except StopIteration:
                self._machine = None
        sent = bytes(self._outgoing)
        self._outgoing.clear()
        return sent

    # ---- the bootloader ----

    def _bootloader(self) -> Machine:
        reply = b""
        while (yield reply) != 0x7F:
            reply = b""
        reply = ACK
        while True:
            code = yield reply
            check = yield b""
            if (
                code ^ check != 0xFF
                or code not in self.commands
                or (self.locked and code not in _WHILE_LOCKED)
            ):
                reply = NACK
            else:
                reply = yield from getattr(self, f"_do_{code:02x}")()
                if self.started_at is not None:
                    # The acknowledgement is on its way; then the program owns the UART.
                    self._outgoing += reply
                    address = self.started_at
                    self._machine = None
                    self.on_go(address)
                    return

    def _take(self, first: bytes, count: int) -> Generator[bytes, int, bytes]:
        """count bytes from the host; first: what is sent before them."""
        taken = bytearray()
        for number in range(count):
            taken.append((yield first if number == 0 else b""))
        return bytes(taken)

    def _take_address(self) -> Generator[bytes, int, int | None]:
        raw = yield from self._take(ACK, 5)
        return None if reduce(xor, raw) else int.from_bytes(raw[:4], "big")

    def _memory(self, address: int, length: int) -> tuple[bytearray, int] | None:
        for memory, base in (
            (self.flash, self.base),
            (self.ram, 0x20000000),
            (self.system, 0x1FFF7A00),
        ):
            if base <= address and address + length <= base + len(memory):
                return memory, address - base
        return None

    def _do_00(self) -> Generator[bytes, int, bytes]:
        return ACK + bytes([len(self.commands), 0x31]) + self.commands + ACK
        yield

    def _do_01(self) -> Generator[bytes, int, bytes]:
        return ACK + b"\x31\x00\x00" + ACK
        yield

    def _do_02(self) -> Generator[bytes, int, bytes]:
        return ACK + b"\x01" + self.chip_id.to_bytes(2, "big") + ACK
        yield

    def _do_11(self) -> Generator[bytes, int, bytes]:
        address = yield from self._take_address()
        if address is None or self._memory(address, 1) is None:
            return NACK
        raw = yield from self._take(ACK, 2)
        found = self._memory(address, raw[0] + 1)
        if raw[0] ^ raw[1] != 0xFF or found is None:
            return NACK
        memory, at = found
        return ACK + bytes(memory[at : at + raw[0] + 1])

    def _do_21(self) -> Generator[bytes, int, bytes]:
        address = yield from self._take_address()
        if address is None or self._memory(address, 8) is None:
            return NACK
        self.started_at = address
        return ACK

    def _do_31(self) -> Generator[bytes, int, bytes]:
        address = yield from self._take_address()
        if address is None or address % 4 or self._memory(address, 1) is None:
            return NACK
        count = (yield from self._take(ACK, 1))[0] + 1
        data = yield from self._take(b"", count)
        check = (yield from self._take(b"", 1))[0]
        found = self._memory(address, count)
        if reduce(xor, data, count - 1) != check or count % 4 or found is None or found[0] is self.system:
            return NACK
        self.on_write(self.writes)
        self.writes += 1
        memory, at = found
        if memory is self.ram:
            memory[at : at + count] = data
            return ACK
        for offset, byte in enumerate(data, at):
            if not self.protected or self._sector_of(offset) not in self.protected:
                self.flash[offset] &= byte
        return ACK  # for protected sectors too: the application note says that no error is returned

    def _do_44(self) -> Generator[bytes, int, bytes]:
        head = yield from self._take(ACK, 2)
        count = int.from_bytes(head, "big")
        if count >= 0xFFFD:
            check = (yield from self._take(b"", 1))[0]
            if check != head[0] ^ head[1] or count != 0xFFFF:
                return NACK
            self._erase(range(len(self.sector_bytes)))
            return ACK
        body = yield from self._take(b"", 2 * (count + 1))
        check = (yield from self._take(b"", 1))[0]
        sectors = [int.from_bytes(body[at : at + 2], "big") for at in range(0, len(body), 2)]
        if reduce(xor, head + body) != check or any(one >= len(self.sector_bytes) for one in sectors):
            return NACK
        self._erase(sectors)
        return ACK

    def _do_43(self) -> Generator[bytes, int, bytes]:
        count = (yield from self._take(ACK, 1))[0]
        if count == 0xFF:
            check = (yield from self._take(b"", 1))[0]
            if check != 0x00:
                return NACK
            self._erase(range(len(self.sector_bytes)))
            return ACK
        sectors = yield from self._take(b"", count + 1)
        check = (yield from self._take(b"", 1))[0]
        if reduce(xor, sectors, count) != check or any(one >= len(self.sector_bytes) for one in sectors):
            return NACK
        self._erase(sectors)
        return ACK

    def _do_63(self) -> Generator[bytes, int, bytes]:
        count = (yield from self._take(ACK, 1))[0] + 1
        sectors = yield from self._take(b"", count)
        check = (yield from self._take(b"", 1))[0]
        if reduce(xor, sectors, count - 1) != check:
            return NACK
        self.protected |= set(sectors)
        raise _Reset

    def _do_73(self) -> Generator[bytes, int, bytes]:
        self._outgoing += ACK
        self.protected.clear()
        raise _Reset
        yield

    def _do_82(self) -> Generator[bytes, int, bytes]:
        self._outgoing += ACK
        self.locked = True
        raise _Reset
        yield

    def _do_92(self) -> Generator[bytes, int, bytes]:
        self._outgoing += ACK
        self.locked = False
        self.protected.clear()
        self._erase(range(len(self.sector_bytes)))
        raise _Reset
        yield

    # ---- its flash memory ----

    def _sector_of(self, offset: int) -> int:
        ends = itertools.accumulate(self.sector_bytes)
        return next(number for number, end in enumerate(ends) if offset < end)

    def _erase(self, sectors: Sequence[int]) -> None:
        starts = [0, *itertools.accumulate(self.sector_bytes)]
        for number in sectors:
            if number not in self.protected:
                self.flash[starts[number] : starts[number + 1]] = b"\xff" * self.sector_bytes[number]
                self.erased.append(number)
