"""STM32's UART bootloader as a host sees it (ST AN3155). Pure: it says what to send and reads what came.

An operation is a generator. It yields Exchange ("send this, then bring up to so many bytes") and gets the bytes
that came, fewer if the time ran out; adapters/stm32_uart.py runs it on a port. All of them raise BootError.

The line: 8 data bits, even parity, 1 stop bit, 1200 to 115200 baud; the bootloader measures the rate of the first 7F.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import xor
from typing import TypeVar

ACK, NACK = 0x79, 0x1F
SYNC = 0x7F
BLOCK_BYTES = 256  # of one read or write

GET, GET_VERSION, GET_ID = 0x00, 0x01, 0x02
READ, GO, WRITE = 0x11, 0x21, 0x31
ERASE, EXTENDED_ERASE = 0x43, 0x44
WRITE_PROTECT, WRITE_UNPROTECT = 0x63, 0x73
READOUT_PROTECT, READOUT_UNPROTECT = 0x82, 0x92

_REPLY_S = 1.0
_SYNC_S = 0.25
_QUIET_S = 0.03
_PROGRAM_S = 5.0
_SECTOR_ERASE_S = 15.0  # 128 KB at 8-bit parallelism: 4 s by the data sheet of the STM32F405
_MASS_ERASE_S = 70.0  # 1 MB at 8-bit parallelism: 32 s; there are chips with 2 MB

# Device IDs (AN2606, "bootloader device-dependent parameters"), for texts about a chip that was not expected.
CHIPS = {
    0x410: "STM32F10x medium density",
    0x411: "STM32F2",
    0x413: "STM32F405/407/415/417",
    0x414: "STM32F10x high density",
    0x419: "STM32F42x/F43x",
    0x421: "STM32F446",
    0x423: "STM32F401xB/C",
    0x431: "STM32F411",
    0x433: "STM32F401xD/E",
    0x441: "STM32F412",
    0x449: "STM32F74x/F75x",
    0x450: "STM32H74x/H75x",
    0x451: "STM32F76x/F77x",
    0x458: "STM32F410",
    0x463: "STM32F413/423",
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Exchange:
    """Send `send`, then take what comes until `receive` bytes are there or timeout_s has passed."""

    send: bytes
    receive: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage of flashing is, in bytes; nothing is to be done for it."""

    stage: str
    done: int
    total: int


Steps = Generator[Exchange | Progress, bytes, T]


class BootError(Exception):
    """A bootloader's answer that is not the one hoped for."""


class Silent(BootError):
    """No answer, or an answer that broke off."""


class Refused(BootError):
    """NACK: the bootloader does not do this."""


class Garbled(BootError):
    """Bytes that no bootloader sends: another baud rate or parity, or something else on this line."""


@dataclass(frozen=True)
class BootInfo:
    """version: of the protocol, 0x31 is 3.1. commands: those that the bootloader knows. chip_id: the product ID.
    locked: readout protection is on, so that only GET, GET VERSION, GET ID and READOUT UNPROTECT work."""

    version: int
    commands: frozenset[int]
    chip_id: int
    locked: bool = False

    @property
    def version_text(self) -> str:
        return f"{self.version >> 4}.{self.version & 15}"

    @property
    def chip_text(self) -> str:
        return f"{CHIPS.get(self.chip_id, 'an unknown chip')} (ID 0x{self.chip_id:03x})"


def checksum(data: bytes) -> int:
    """XOR of all bytes."""
    return reduce(xor, data, 0)


def _acknowledged(reply: bytes, what: str) -> None:
    if not reply:
        raise Silent(f"no answer to {what}")
    if reply[0] == NACK:
        raise Refused(f"{what} was refused")
    if reply[0] != ACK:
        raise Garbled(f"0x{reply[0]:02x} came as the answer to {what}")


def _ack(send: bytes, what: str, timeout_s: float = _REPLY_S) -> Steps[None]:
    _acknowledged((yield Exchange(send, 1, timeout_s)), what)


def _command(code: int, what: str) -> Steps[None]:
    yield from _ack(bytes([code, code ^ 0xFF]), what)


def _bytes(count: int, what: str, timeout_s: float = _REPLY_S) -> Steps[bytes]:
    data = yield Exchange(b"", count, timeout_s)
    if len(data) < count:
        raise Silent(f"{len(data)} of {count} bytes came as the answer to {what}")
    return data


def synchronise(rounds: int = 4) -> Steps[None]:
    """Get the bootloader to wait for a command, whatever it was in the middle of.

    A fresh one takes the first 7F as the measure of the line and acknowledges. One that is waiting for a command
    takes two 7F as a command with a wrong check byte and refuses it. One that another program left within a command
    eats 7F until that is complete, and then refuses it for its checksum (but for a list of sectors that was not
    begun, which could be of any length: a reset helps). Each round takes a second or two when nothing comes."""
    garbled: bytes = b""
    for number in range(rounds):
        for _ in range(2):
            reply = yield Exchange(bytes([SYNC]), 1, _SYNC_S)
            if reply and reply[0] in (ACK, NACK):
                if reply[0] == NACK:
                    # It may have been the answer to something older, and the one to this 7F is still to come.
                    yield Exchange(b"", BLOCK_BYTES, _QUIET_S)
                return
            garbled = reply or garbled
        # 258 bytes are the longest rest of a command: 256 data bytes, a count and a checksum. Nothing but 7F would
        # have the right checksum where a count is waited for; what is programmed then would be overwritten all the
        # same.
        rest = b"" if garbled or number == 0 else b"\x01" + bytes([SYNC]) * (BLOCK_BYTES + 1)
        for byte in rest:
            reply = yield Exchange(bytes([byte]), 1, 0.002)
            if reply:
                break
        # What comes late belongs to the bytes above.
        yield Exchange(b"", BLOCK_BYTES, 0.05)
    if garbled:
        raise Garbled(f"0x{garbled[0]:02x} came as the answer to 7F")
    raise Silent("no answer to 7F")


def identify() -> Steps[BootInfo]:
    """Version, commands and product ID of a synchronised bootloader, and whether it is locked."""
    yield from _command(GET, "GET")
    count = (yield from _bytes(1, "GET"))[0]
    answer = yield from _bytes(count + 2, "GET")
    _acknowledged(answer[-1:], "GET")
    version, commands = answer[0], frozenset(answer[1:-1])
    yield from _command(GET_ID, "GET ID")
    count = (yield from _bytes(1, "GET ID"))[0]
    answer = yield from _bytes(count + 2, "GET ID")
    _acknowledged(answer[-1:], "GET ID")
    chip_id = int.from_bytes(answer[:-1], "big")
    return BootInfo(version, commands, chip_id)


def is_locked(address: int) -> Steps[bool]:
    """Readout protection refuses READ MEMORY at its first step; without it the byte at address is read."""
    try:
        yield from _command(READ, "READ MEMORY")
    except Refused:
        return True
    yield from _ack(_address(address), "the address of READ MEMORY")
    yield from _ack(bytes([0, 0xFF]), "the length of READ MEMORY")
    yield from _bytes(1, "READ MEMORY")
    return False


def read(address: int, length: int) -> Steps[bytes]:
    """1 to 256 bytes of memory."""
    assert 1 <= length <= BLOCK_BYTES
    yield from _command(READ, "READ MEMORY")
    yield from _ack(_address(address), f"reading at 0x{address:08x}")
    yield from _ack(bytes([length - 1, (length - 1) ^ 0xFF]), f"reading {length} bytes at 0x{address:08x}")
    return (yield from _bytes(length, f"reading at 0x{address:08x}"))


def write(address: int, data: bytes) -> Steps[None]:
    """Program 4 to 256 bytes, a multiple of 4, at an address that is one too. Flash must be erased there."""
    assert 4 <= len(data) <= BLOCK_BYTES and len(data) % 4 == 0 and address % 4 == 0
    yield from _command(WRITE, "WRITE MEMORY")
    yield from _ack(_address(address), f"writing at 0x{address:08x}")
    body = bytes([len(data) - 1]) + data
    yield from _ack(body + bytes([checksum(body)]), f"writing at 0x{address:08x}", _PROGRAM_S)


def erase(sectors: Sequence[int], info: BootInfo) -> Steps[None]:
    """Erase sectors (pages on other families) by number, with the command that this bootloader knows."""
    assert sectors
    what = "erasing sectors " + ", ".join(map(str, sectors))
    patience_s = _SECTOR_ERASE_S * len(sectors)
    if EXTENDED_ERASE in info.commands:
        yield from _command(EXTENDED_ERASE, what)
        body = b"".join(number.to_bytes(2, "big") for number in (len(sectors) - 1, *sectors))
    else:
        yield from _command(ERASE, what)
        body = bytes([len(sectors) - 1, *sectors])
    yield from _ack(body + bytes([checksum(body)]), what, patience_s)


def erase_all(info: BootInfo) -> Steps[None]:
    """Erase the whole flash memory."""
    what = "erasing the chip"
    if EXTENDED_ERASE in info.commands:
        yield from _command(EXTENDED_ERASE, what)
        yield from _ack(b"\xff\xff\x00", what, _MASS_ERASE_S)
    else:
        yield from _command(ERASE, what)
        yield from _ack(b"\xff\x00", what, _MASS_ERASE_S)


def go(address: int) -> Steps[None]:
    """Start the program whose vector table is at address; the bootloader is gone then."""
    yield from _command(GO, "GO")
    yield from _ack(_address(address), f"GO to 0x{address:08x}")


def readout_unprotect() -> Steps[None]:
    """Take the lock away. The chip erases all its flash memory for it, then resets."""
    yield from _command(READOUT_UNPROTECT, "READOUT UNPROTECT")
    yield from _ack(b"", "READOUT UNPROTECT", _MASS_ERASE_S)


def readout_protect() -> Steps[None]:
    """Lock the chip against reading; it resets then."""
    yield from _command(READOUT_PROTECT, "READOUT PROTECT")
    yield from _ack(b"", "READOUT PROTECT", _PROGRAM_S)


def write_unprotect() -> Steps[None]:
    """Take the write protection off all sectors; the chip resets then. Flash memory keeps its content."""
    yield from _command(WRITE_UNPROTECT, "WRITE UNPROTECT")
    yield from _ack(b"", "WRITE UNPROTECT", _PROGRAM_S)


def _address(address: int) -> bytes:
    raw = address.to_bytes(4, "big")
    return raw + bytes([checksum(raw)])
