"""The serial loader in an ESP32-C3's ROM, and the flasher stub that esptool loads into its RAM: bytes in, bytes out.

Written from Espressif's description of the serial protocol; the real esptool drives it. What the stub does is
played here: its code, which esptool sends, is kept in the simulated RAM but not run."""

from __future__ import annotations

import hashlib
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import xor

(
    FLASH_BEGIN,
    FLASH_DATA,
    FLASH_END,
    MEM_BEGIN,
    MEM_END,
    MEM_DATA,
    SYNC,
    WRITE_REG,
    READ_REG,
    SPI_SET_PARAMS,
) = range(2, 12)
SPI_ATTACH, CHANGE_BAUDRATE = 0x0D, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5, GET_SECURITY_INFO = 0x13, 0x14

_SPI = 0x60002000
_SPI_CMD, _SPI_USR2, _SPI_W0 = _SPI, _SPI + 0x20, _SPI + 0x58
_EFUSE_BLOCK1 = 0x60008844
_RDID = 0x9F
_JEDEC = 0x1640C8  # GigaDevice, 4 MB: bytes C8 40 16
_SECTOR = 4096
_BAD_LENGTH, _BAD_CHECKSUM, _DEFLATE_ERROR, _BAD_COMMAND = 0xC1, 0x07, 0x0B, 0x05
_RISE_S = 0.08  # of EN: more than over TCP passes between two lines, less than the time that esptool holds the boot pin
_SECURE_DOWNLOAD = 1 << 2


@dataclass
class Esp32C3:
    """chip_id: what GET_SECURITY_INFO says; 5 is the ESP32-C3. secure: secure download mode, as a locked chip has it.
    download: the ROM loader runs; otherwise the program in flash, which says nothing here. on_data: called with the
    number of blocks of flash data so far, before each is taken. ran_at: entry of the program loaded into RAM."""

    chip_id: int = 5
    secure: bool = False
    download: bool = True
    knows_stub: bool = True
    on_data: Callable[[int], None] = lambda _count: None
    baud: int | None = None
    blocks: int = 0
    begins: int = 0
    erased_bytes: int = 0
    resets: int = 0
    ran_at: int | None = None
    ram: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.flash = bytearray(b"\xff" * 4 * 1024 * 1024)
        self._registers: dict[int, int] = {_EFUSE_BLOCK1: 0x01020304, _EFUSE_BLOCK1 + 4: 0x0000A0B0}
        self._lines = (False, False)
        self._start()

    def _start(self) -> None:
        self.stub = False
        self.baud = None
        self._packet = bytearray()
        self._escaped = False
        self._inside = False
        self._at = self._mem_at = 0
        self._inflate: zlib._Decompress | None = None

    # ---- control lines: the two transistors of a development board on EN and GPIO9 ----

    def lines(self, dtr: bool, rts: bool) -> None:
        """RTS alone pulls EN low, DTR alone pulls the boot pin low; a capacitor delays EN's rise."""
        held_before = self._lines[1] and not self._lines[0]
        self._lines = dtr, rts
        if held_before and not (rts and not dtr):
            threading.Timer(_RISE_S, self._boot).start()

    def _boot(self) -> None:
        dtr, rts = self._lines
        self.resets += 1
        self._start()
        self.download = dtr and not rts

    # ---- the line ----

    def feed(self, data: bytes) -> bytes:
        """Bytes from the host; what the chip sends back."""
        if not self.download:
            return b""
        answer = b""
        for byte in data:
            if byte == 0xC0:
                if self._inside and self._packet:
                    answer += self._take(bytes(self._packet))
                self._packet.clear()
                self._inside, self._escaped = True, False
            elif self._inside and self._escaped:
                self._escaped = False
                self._packet.append({0xDC: 0xC0, 0xDD: 0xDB}.get(byte, byte))
            elif self._inside and byte == 0xDB:
                self._escaped = True
            elif self._inside:
                self._packet.append(byte)
        return answer

    def _take(self, packet: bytes) -> bytes:
        if len(packet) < 8 or packet[0] != 0:
            return b""
        _, code, size, check = struct.unpack_from("<BBHI", packet)
        body = packet[8:]
        if len(body) != size:
            return self._reply(code, error=_BAD_LENGTH)
        if code in (FLASH_DATA, FLASH_DEFL_DATA, MEM_DATA) and reduce(xor, body[16:], 0xEF) != check & 0xFF:
            return self._reply(code, error=_BAD_CHECKSUM)
        if self.secure and code in (READ_REG, WRITE_REG, MEM_BEGIN, MEM_DATA, MEM_END):
            return self._reply(code, error=_BAD_COMMAND)
        handler = getattr(self, f"_do_{code:02x}", None)
        if handler is None:
            return self._reply(code, error=_BAD_COMMAND)
        answer: bytes = handler(body)
        return answer

    def _reply(self, code: int, value: int = 0, data: bytes = b"", error: int = 0) -> bytes:
        status = bytes([1 if error else 0, error]) + (b"" if self.stub else b"\0\0")
        body = struct.pack("<BBHI", 1, code, len(data) + len(status), value) + data + status
        return self._slip(body)

    @staticmethod
    def _slip(body: bytes) -> bytes:
        return b"\xc0" + body.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"

    # ---- commands ----

    def _do_08(self, _body: bytes) -> bytes:
        return self._reply(SYNC, 0 if self.stub else 0x20120707) * 8

    def _do_14(self, _body: bytes) -> bytes:
        flags = _SECURE_DOWNLOAD if self.secure else 0
        return self._reply(
            GET_SECURITY_INFO, data=struct.pack("<IB7BII", flags, 0, *[0] * 7, self.chip_id, 3)
        )

    def _do_0a(self, body: bytes) -> bytes:
        (address,) = struct.unpack("<I", body[:4])
        if address == _SPI_CMD:
            return self._reply(READ_REG, 0)  # each operation is done at once
        if address == _SPI_W0:
            command = self._registers.get(_SPI_USR2, 0) & 0xFF
            return self._reply(READ_REG, _JEDEC if command == _RDID else 0)
        return self._reply(READ_REG, self._registers.get(address, 0))

    def _do_09(self, body: bytes) -> bytes:
        for at in range(0, len(body), 16):
            address, value, mask, _delay = struct.unpack_from("<IIII", body, at)
            self._registers[address] = self._registers.get(address, 0) & ~mask | value & mask
        return self._reply(WRITE_REG)

    def _do_0b(self, _body: bytes) -> bytes:
        return self._reply(SPI_SET_PARAMS)

    def _do_0d(self, _body: bytes) -> bytes:
        return self._reply(SPI_ATTACH)

    def _do_0f(self, body: bytes) -> bytes:
        answer = self._reply(CHANGE_BAUDRATE)
        (self._next_baud,) = struct.unpack_from("<I", body)
        threading.Timer(0.01, self._change_baud).start()  # once the answer is out
        return answer

    def _change_baud(self) -> None:
        self.baud = self._next_baud

    def _do_05(self, body: bytes) -> bytes:
        _size, _blocks, self._mem_block, self._mem_at = struct.unpack_from("<IIII", body)
        return self._reply(MEM_BEGIN)

    def _do_07(self, body: bytes) -> bytes:
        size, number = struct.unpack_from("<II", body)
        at = self._mem_at + number * self._mem_block
        self.ram |= dict(enumerate(body[16 : 16 + size], at))
        return self._reply(MEM_DATA)

    def _do_06(self, body: bytes) -> bytes:
        stay, entry = struct.unpack_from("<II", body)
        answer = self._reply(MEM_END)
        if stay:
            return answer
        if entry not in self.ram:
            return self._reply(MEM_END, error=_BAD_COMMAND)
        self.ran_at = entry
        if not self.knows_stub:
            self.download = False
            return answer
        self.stub = True
        return answer + self._slip(b"OHAI")

    # Writing to flash. The ROM erases at the beginning, the stub as it goes; either way a sector is whole or
    # untouched.

    def _erase(self, start: int, size: int) -> None:
        first, last = start // _SECTOR, (start + size + _SECTOR - 1) // _SECTOR
        self.flash[first * _SECTOR : last * _SECTOR] = b"\xff" * ((last - first) * _SECTOR)
        self.erased_bytes += (last - first) * _SECTOR

    def _program(self, data: bytes) -> None:
        end = self._at + len(data)
        for offset, byte in enumerate(data, self._at):
            self.flash[offset] &= byte
        self._at = end

    def _begin(self, code: int, body: bytes) -> bytes:
        size, _blocks, _block, self._at = struct.unpack_from("<IIII", body)
        self.begins += 1
        self._erase(self._at, size)
        self._end = self._at + size
        self._inflate = zlib.decompressobj() if code == FLASH_DEFL_BEGIN else None
        return self._reply(code)

    def _do_02(self, body: bytes) -> bytes:
        return self._begin(FLASH_BEGIN, body)

    def _do_10(self, body: bytes) -> bytes:
        return self._begin(FLASH_DEFL_BEGIN, body)

    def _do_03(self, body: bytes) -> bytes:
        return self._data(FLASH_DATA, body)

    def _do_11(self, body: bytes) -> bytes:
        return self._data(FLASH_DEFL_DATA, body)

    def _data(self, code: int, body: bytes) -> bytes:
        self.on_data(self.blocks)
        self.blocks += 1
        (size,) = struct.unpack_from("<I", body)
        data = body[16 : 16 + size]
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data)
            except zlib.error:
                return self._reply(code, error=_DEFLATE_ERROR)
        self._program(data[: max(0, self._end - self._at)])
        return self._reply(code)

    def _do_04(self, body: bytes) -> bytes:
        return self._finish(FLASH_END, body)

    def _do_12(self, body: bytes) -> bytes:
        return self._finish(FLASH_DEFL_END, body)

    def _finish(self, code: int, body: bytes) -> bytes:
        answer = self._reply(code)
        if struct.unpack_from("<I", body)[0] == 0:
            self.download = False
        return answer

    def _do_13(self, body: bytes) -> bytes:
        start, size = struct.unpack_from("<II", body)
        digest = hashlib.md5(self.flash[start : start + size])
        return self._reply(SPI_FLASH_MD5, data=digest.digest() if self.stub else digest.hexdigest().encode())
