"""What a library takes of an image, from the linker's map: its input sections that the linker kept.

Libraries that went through link-time optimization are not in it by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from wasmote.errors import InputError

# An input section: ` .text.name  ADDRESS  SIZE  FOLDER/library.a(member)`; a long name stands on a line of its own.
_SECTION = re.compile(r"^ \.?(\w+)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (?:\S*/)?([\w.+-]+\.a)\(", re.MULTILINE)
_KEPT_FROM = "Linker script and memory map"
_TEXT, _DATA, _BSS = {"text", "rodata"}, {"data"}, {"bss", "COMMON"}


@dataclass(frozen=True)
class LibrarySize:
    """Bytes. text: code and constants. data: initialized variables, in flash and RAM. bss: zeroed variables."""

    text: int
    data: int
    bss: int

    @property
    def static_ram(self) -> int:
        return self.data + self.bss


def library_size(map_file: Path, library: str) -> LibrarySize | None:
    """Of libLIBRARY.a in the image of this map; None if the image has nothing of it. Raises InputError."""
    try:
        kept = map_file.read_text(encoding="utf-8", errors="replace").partition(_KEPT_FROM)[2]
    except OSError as err:
        raise InputError(
            f"cannot read {map_file}", cause=str(err), next_step="build it: `wasmote build BOARD`"
        ) from err
    return sum_sections(kept, f"lib{library}.a")


def sum_sections(kept: str, archive: str) -> LibrarySize | None:
    """The same of the map's text behind its discarded sections."""
    sizes = dict.fromkeys((*_TEXT, *_DATA, *_BSS), 0)
    for kind, size, found in _SECTION.findall(kept):
        if found == archive and kind in sizes:
            sizes[kind] += int(size, 16)
    text, data, bss = (sum(sizes[kind] for kind in kinds) for kinds in (_TEXT, _DATA, _BSS))
    return LibrarySize(text, data, bss) if text or data or bss else None
