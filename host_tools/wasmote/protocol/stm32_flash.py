"""How an image gets into an STM32 through its bootloader. Pure, like stm32_boot.py, whose Steps it makes.

Order, and what it guarantees: compare (sectors that hold their part already are left alone, so an interrupted run
goes on where it was), erase, write all but the first block, read all of it back, write the first block, read it
back. The first block holds the vector table: a chip whose flashing was cut off has none, so it never starts half an
image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from wasmote.protocol import stm32_boot as boot
from wasmote.protocol.stm32_boot import BLOCK_BYTES, BootError, BootInfo, Progress, Steps

ERASED = 0xFF
_ATTEMPTS = 3


@dataclass(frozen=True)
class Sector:
    """The smallest piece that can be erased. number: as the bootloader counts them."""

    number: int
    address: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True)
class Segment:
    """Bytes of an image and where they belong."""

    address: int
    data: bytes


class ImageError(ValueError):
    """The image does not fit this chip's flash memory."""


class VerifyError(BootError):
    """The flash memory holds something else than what was written. address: of the first byte that differs."""

    def __init__(self, address: int, sector: Sector, *, protected: bool) -> None:
        super().__init__(f"the byte at 0x{address:08x} (sector {sector.number}) is not the one written")
        self.address, self.sector = address, sector
        self.protected = protected  # as far as one can tell: the sector took no change


@dataclass
class Report:
    """What was done. Sizes in bytes; repeated: blocks that had to be written again."""

    image_bytes: int = 0
    written_bytes: int = 0
    unchanged_bytes: int = 0
    erased_sectors: list[int] = field(default_factory=list)
    verified_bytes: int = 0
    repeated: int = 0


class Plan:
    """An image cut into blocks and the sectors that they lie in. Raises ImageError."""

    def __init__(self, segments: Iterable[Segment], sectors: Sequence[Sector]) -> None:
        self.blocks: dict[int, bytes] = _blocks(segments)
        if not self.blocks:
            raise ImageError("the image is empty")
        self.sectors: list[Sector] = []
        for address in self.blocks:
            sector = next((one for one in sectors if one.address <= address < one.end), None)
            if sector is None:
                end = max((one.end for one in sectors), default=0)
                raise ImageError(
                    f"0x{address:08x} of the image is not in the flash memory"
                    f" (0x{sectors[0].address:08x} to 0x{end:08x})"
                    if sectors
                    else "the board has no flash map"
                )
            if sector not in self.sectors:
                self.sectors.append(sector)
        self.start = min(self.blocks)
        self.image_bytes = sum(len(data) for data in self.blocks.values())

    def in_sector(self, sector: Sector) -> list[int]:
        """Addresses of the blocks in a sector, in order."""
        return [address for address in self.blocks if sector.address <= address < sector.end]


def _blocks(segments: Iterable[Segment]) -> dict[int, bytes]:
    """Blocks by address, in order; they begin at multiples of 256, and what no segment covers stays erased."""
    blocks: dict[int, bytearray] = {}
    for segment in segments:
        for at, byte in enumerate(segment.data, segment.address):
            block = at & ~(BLOCK_BYTES - 1)
            if block not in blocks:
                blocks[block] = bytearray([ERASED]) * BLOCK_BYTES
            blocks[block][at - block] = byte
    return {address: bytes(blocks[address]) for address in sorted(blocks)}


def compare(plan: Plan) -> Steps[list[Sector]]:
    """The sectors that do not hold their part of the image yet."""
    differing = []
    done = 0
    report = Report()
    yield Progress("compare", 0, plan.image_bytes)
    for sector in plan.sectors:
        addresses = plan.in_sector(sector)
        for address in addresses:
            if (yield from _read(address, report)) != plan.blocks[address]:
                differing.append(sector)
                break
        done += len(addresses) * BLOCK_BYTES
        yield Progress("compare", done, plan.image_bytes)
    return differing


def flash(plan: Plan, info: BootInfo, differing: Sequence[Sector]) -> Steps[Report]:
    """Write what compare() found to differ. Raises VerifyError, BootError."""
    report = Report(image_bytes=plan.image_bytes)
    sectors = list(differing)
    first = plan.sectors[0]
    if sectors and first not in sectors:
        sectors.insert(0, first)  # its vector table would start what is not whole
    todo = [address for sector in sectors for address in plan.in_sector(sector)]
    report.unchanged_bytes = plan.image_bytes - len(todo) * BLOCK_BYTES
    if not todo:
        return report
    erase_bytes = sum(sector.size for sector in sectors)
    done = 0
    for sector in sectors:  # the first one first: from here on nothing starts
        yield Progress("erase", done, erase_bytes)
        yield from _repeated(lambda one=sector: boot.erase([one.number], info), report)  # type: ignore[misc]
        report.erased_sectors.append(sector.number)
        done += sector.size
    yield Progress("erase", done, erase_bytes)
    for part in ([address for address in todo if address != plan.start], [plan.start]):
        yield from _write(plan, part, report)
        yield from _verify(plan, part, report)
    return report


def _write(plan: Plan, addresses: Sequence[int], report: Report) -> Steps[None]:
    total = len(addresses) * BLOCK_BYTES
    for done, address in enumerate(addresses):
        if done:  # the last block, which comes alone, is not worth a bar
            yield Progress("write", done * BLOCK_BYTES, total)
        data = plan.blocks[address]
        if data.count(ERASED) != len(data):
            yield from _repeated(lambda at=address: boot.write(at, plan.blocks[at]), report)  # type: ignore[misc]
        report.written_bytes += BLOCK_BYTES
    if len(addresses) > 1:
        yield Progress("write", total, total)


def _verify(plan: Plan, addresses: Sequence[int], report: Report) -> Steps[None]:
    total = len(addresses) * BLOCK_BYTES
    for done, address in enumerate(addresses):
        if done:
            yield Progress("verify", done * BLOCK_BYTES, total)
        wanted = plan.blocks[address]
        found = yield from _read(address, report)
        if found != wanted:
            at = next(i for i in range(BLOCK_BYTES) if found[i] != wanted[i])
            sector = next(one for one in plan.sectors if one.address <= address < one.end)
            # A protected sector is neither erased (programming only clears bits: one that should have stayed set
            # was not) nor programmed, and the bootloader reports neither.
            protected = found.count(ERASED) == len(found) or any(
                want & ~have for want, have in zip(wanted, found, strict=True)
            )
            raise VerifyError(address + at, sector, protected=protected)
        report.verified_bytes += BLOCK_BYTES
    if len(addresses) > 1:
        yield Progress("verify", total, total)


def _read(address: int, report: Report) -> Steps[bytes]:
    for attempt in range(_ATTEMPTS):
        try:
            return (yield from boot.read(address, BLOCK_BYTES))
        except BootError:
            if attempt == _ATTEMPTS - 1:
                raise
        report.repeated += 1
        yield from boot.synchronise()
    raise AssertionError


def _repeated(make: Callable[[], Steps[None]], report: Report) -> Steps[None]:
    """Run a step again when the line damaged it: what a repeat programs or erases is what is there already."""
    for attempt in range(_ATTEMPTS):
        try:
            yield from make()
            return
        except BootError:
            if attempt == _ATTEMPTS - 1:
                raise
        report.repeated += 1
        yield from boot.synchronise()
