"""What goes into a chip's flash memory: the loaded parts of an ELF file, or a raw binary."""

from __future__ import annotations

from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from wasmote.errors import InputError
from wasmote.protocol.stm32_flash import ERASED, Segment


def read_segments(path: Path, origin: int) -> list[Segment]:
    """The segments of an image, in order; a file that is no ELF file goes to origin as it is. Raises InputError."""
    try:
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                file.seek(0)
                return _whole(path, [Segment(origin, file.read())])
            found = [
                Segment(part["p_paddr"], part.data())
                for part in ELFFile(file).iter_segments()
                if part["p_type"] == "PT_LOAD" and part["p_filesz"] > 0
            ]
    except (OSError, ELFError) as err:
        raise InputError(
            f"cannot read the image {path}",
            cause=str(err) or "it is damaged",
            next_step="build it again: `wasmote build BOARD`, or give another with --image",
        ) from err
    return _whole(path, sorted(found, key=lambda segment: segment.address))


def _whole(path: Path, segments: list[Segment]) -> list[Segment]:
    if not any(segment.data for segment in segments):
        raise InputError(f"the image {path} is empty", next_step="build it again: `wasmote build BOARD`")
    return segments


def flat(segments: list[Segment]) -> tuple[int, bytes]:
    """Address and bytes of one piece; what lies between segments stays erased."""
    start = segments[0].address
    end = max(segment.address + len(segment.data) for segment in segments)
    data = bytearray([ERASED]) * (end - start)
    for segment in segments:
        data[segment.address - start : segment.address - start + len(segment.data)] = segment.data
    return start, bytes(data)
