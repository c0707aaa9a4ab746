"""protocol/stm32_boot.py and stm32_flash.py against the simulated chip, byte by byte and without any port."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator
from typing import Any

import pytest
from stm32_chip import Stm32Chip

from wasmote.protocol import stm32_boot as boot
from wasmote.protocol import stm32_flash
from wasmote.protocol.stm32_boot import Exchange, Progress
from wasmote.protocol.stm32_flash import ImageError, Plan, Report, Sector, Segment, VerifyError

BASE = 0x08000000


class Host:
    """Runs operations on a chip. damage: changes what is sent or received; sent: counts bytes that went out."""

    def __init__(self, chip: Stm32Chip) -> None:
        self.chip = chip
        self.incoming = b""
        self.damage: Callable[[bytes], bytes] = lambda data: data
        self.damage_back: Callable[[bytes], bytes] = lambda data: data
        self.progress: list[Progress] = []

    def run(self, steps: Generator[Any, bytes, Any]) -> Any:
        answer = b""
        try:
            step = next(steps)
            while True:
                if isinstance(step, Exchange):
                    self.incoming += self.damage_back(self.chip.feed(self.damage(step.send)))
                    answer, self.incoming = self.incoming[: step.receive], self.incoming[step.receive :]
                else:
                    self.progress.append(step)
                    answer = b""
                step = steps.send(answer)
        except StopIteration as done:
            return done.value

    def connect(self) -> boot.BootInfo:
        self.run(boot.synchronise())
        info: boot.BootInfo = self.run(boot.identify())
        return info

    def flash(self, plan: Plan) -> Report:
        info = self.connect()
        report: Report = self.run(stm32_flash.flash(plan, info, self.run(stm32_flash.compare(plan))))
        return report


def sectors(chip: Stm32Chip) -> list[Sector]:
    starts = [0, *itertools.accumulate(chip.sector_bytes)]
    return [Sector(number, BASE + starts[number], size) for number, size in enumerate(chip.sector_bytes)]


def image(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def plan_for(chip: Stm32Chip, data: bytes) -> Plan:
    return Plan([Segment(BASE, data)], sectors(chip))


def test_identify_reads_version_commands_and_chip() -> None:
    info = Host(Stm32Chip(chip_id=0x419)).connect()
    assert info.version_text == "3.1"
    assert info.chip_id == 0x419 and "STM32F42" in info.chip_text
    assert boot.EXTENDED_ERASE in info.commands and boot.ERASE not in info.commands


def test_synchronise_twice_is_no_error() -> None:
    host = Host(Stm32Chip())
    for _ in range(3):
        host.connect()


def test_synchronise_ends_a_command_that_was_cut_off_anywhere() -> None:
    data = image(256)
    body = bytes([255]) + data
    whole = (
        bytes([0x31, 0xCE]) + BASE.to_bytes(4, "big") + bytes([0x08]) + body + bytes([boot.checksum(body)])
    )
    for cut in range(1, len(whole)):
        chip = Stm32Chip()
        host = Host(chip)
        host.connect()
        chip.feed(whole[:cut])
        assert host.connect().chip_id == 0x413, f"cut off after {cut} bytes"
        assert chip.flash.count(0xFF) == len(chip.flash)


def test_synchronise_tells_silence_from_garbage() -> None:
    chip = Stm32Chip(boot0=False)
    with pytest.raises(boot.Silent):
        Host(chip).run(boot.synchronise())
    host = Host(Stm32Chip())
    host.damage_back = lambda data: bytes(len(data))
    with pytest.raises(boot.Garbled):
        host.run(boot.synchronise())


def test_read_write_erase_and_go() -> None:
    chip = Stm32Chip()
    host = Host(chip)
    info = host.connect()
    host.run(boot.write(BASE + 0x100, b"\x12\x34\x56\x78"))
    host.run(boot.write(BASE + 0x100, b"\xff\xff\xff\x0f"))
    assert host.run(boot.read(BASE + 0xFE, 8)) == b"\xff\xff\x12\x34\x56\x08\xff\xff"
    chip.flash[0x4000] = 0
    host.run(boot.erase([0], info))
    assert chip.erased == [0] and chip.flash[0x100] == 0xFF and chip.flash[0x4000] == 0
    host.run(boot.erase_all(info))
    assert chip.flash[0x4000] == 0xFF
    with pytest.raises(boot.Refused):
        host.run(boot.read(0x40000000, 4))
    host.run(boot.go(BASE))
    assert chip.started_at == BASE


def test_erase_of_an_older_bootloader() -> None:
    chip = Stm32Chip(commands=bytes([0x00, 0x01, 0x02, 0x11, 0x21, 0x31, 0x43, 0x63, 0x73, 0x82, 0x92]))
    host = Host(chip)
    report = host.flash(plan_for(chip, image(40_000)))
    assert report.erased_sectors == [0, 1, 2] == chip.erased
    assert chip.flash[:40_000] == image(40_000)
    host.run(boot.erase_all(host.connect()))
    assert chip.flash.count(0xFF) == len(chip.flash)


def test_protection_is_seen_and_taken_off() -> None:
    chip = Stm32Chip()
    host = Host(chip)
    host.connect()
    assert host.run(boot.is_locked(BASE)) is False
    host.run(boot.readout_protect())
    host.connect()
    assert host.run(boot.is_locked(BASE)) is True
    chip.flash[5] = 0
    host.run(boot.readout_unprotect())
    host.connect()
    assert host.run(boot.is_locked(BASE)) is False
    assert chip.flash[5] == 0xFF, "a chip that is unlocked erases itself"
    chip.protected = {1, 2}
    host.run(boot.write_unprotect())
    assert chip.protected == set()


def test_flash_erases_only_what_the_image_covers() -> None:
    chip = Stm32Chip()
    chip.flash[:] = b"\x55" * len(chip.flash)
    data = image(70_000)
    report = Host(chip).flash(plan_for(chip, data))
    assert chip.erased == [0, 1, 2, 3, 4] == report.erased_sectors
    assert chip.flash[:70_000] == data
    assert chip.flash[131_072:].count(0x55) == len(chip.flash) - 131_072
    assert report.verified_bytes == report.written_bytes == report.image_bytes


def test_flash_leaves_alone_what_is_there() -> None:
    chip = Stm32Chip()
    host = Host(chip)
    data = image(70_000)
    host.flash(plan_for(chip, data))
    chip.erased.clear()
    assert host.flash(plan_for(chip, data)).written_bytes == 0
    assert chip.erased == []
    changed = bytearray(data)
    changed[40_000] ^= 1  # in sector 2
    report = host.flash(plan_for(chip, bytes(changed)))
    assert report.erased_sectors == [0, 2], "the vector table goes first, whatever differs"
    assert chip.flash[:70_000] == changed


def test_flash_that_is_cut_off_leaves_no_vector_table_and_goes_on() -> None:
    """At each of the writes: the chip starts nothing until all is there, and the next run ends it."""
    data = image(40_000)
    writes = len(plan_for(Stm32Chip(), data).blocks)

    class CutOff(Exception):
        pass

    for at in [*range(0, writes, 13), writes - 1]:
        chip = Stm32Chip()
        chip.flash[: len(data)] = bytes(len(data))  # an older image

        def cut(count: int, at: int = at) -> None:
            if count == at:
                raise CutOff

        chip.on_write = cut
        with pytest.raises(CutOff):
            Host(chip).flash(plan_for(chip, data))
        assert chip.flash[:256].count(0xFF) == 256, f"cut off at write {at}"
        chip.on_write = lambda _count: None
        chip.reset()
        report = Host(chip).flash(plan_for(chip, data))
        assert chip.flash[: len(data)] == data
        assert (report.unchanged_bytes > 0) == (at >= 127), "two sectors of 64 blocks, less the first block"


def test_flash_goes_on_over_damaged_bytes() -> None:
    chip = Stm32Chip()
    host = Host(chip)
    dice = random.Random(7)

    def damage(data: bytes) -> bytes:
        if len(data) > 100 and dice.random() < 0.05:
            at = dice.randrange(1, len(data) - 1)
            if dice.random() < 0.5:
                return data[:at] + data[at + 1 :]  # lost
            return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
        return data

    host.damage = damage
    data = image(40_000)
    report = host.flash(plan_for(chip, data))
    assert chip.flash[: len(data)] == data
    assert report.repeated > 3


def test_flash_reports_a_cell_that_is_worn_out_and_a_protected_sector() -> None:
    class Worn(Stm32Chip):
        def feed(self, data: bytes) -> bytes:
            answer = super().feed(data)
            self.flash[5_000] &= 0xFE
            return answer

    data = bytearray(image(20_000))
    data[5_000] |= 1
    chip: Stm32Chip = Worn()
    with pytest.raises(VerifyError, match="0x08001388"):
        Host(chip).flash(plan_for(chip, bytes(data)))
    chip = Stm32Chip(protected={1})
    with pytest.raises(VerifyError) as caught:
        Host(chip).flash(plan_for(chip, bytes(data)))
    assert caught.value.protected and caught.value.sector.number == 1
    assert chip.flash[:256].count(0xFF) == 256


def test_plan_refuses_what_does_not_fit() -> None:
    chip = Stm32Chip()
    for segments in (
        [],
        [Segment(BASE, b"")],
        [Segment(BASE - 4, b"1234")],
        [Segment(BASE + 0x100000, b"1")],
    ):
        with pytest.raises(ImageError):
            Plan(segments, sectors(chip))
    with pytest.raises(ImageError):
        Plan([Segment(BASE, b"x")], [])


def test_plan_puts_segments_together() -> None:
    chip = Stm32Chip()
    plan = Plan([Segment(BASE + 250, b"a" * 10), Segment(BASE + 0x5001, b"b")], sectors(chip))
    assert list(plan.blocks) == [BASE, BASE + 0x100, BASE + 0x5000]
    assert plan.blocks[BASE] == b"\xff" * 250 + b"a" * 6
    assert plan.blocks[BASE + 0x100] == b"a" * 4 + b"\xff" * 252
    assert [one.number for one in plan.sectors] == [0, 1]


def test_progress_goes_up_to_its_total() -> None:
    chip = Stm32Chip()
    host = Host(chip)
    host.flash(plan_for(chip, image(40_000)))
    for stage in ("compare", "erase", "write", "verify"):
        seen = [one for one in host.progress if one.stage == stage]
        assert [one.done for one in seen] == sorted(one.done for one in seen)
        assert seen[-1].done == seen[-1].total
