"""What an image takes: flash and RAM, read from its ELF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from wasmote.errors import InputError


@dataclass(frozen=True)
class ImageSize:
    """Bytes. text: code and constants, in flash. data: initialized variables, in flash and RAM. bss: zeroed variables.
    stack: reserved for the C stack. pool: what the linker script leaves for functions (0 where the system gives it)."""

    text: int
    data: int
    bss: int
    pool: int
    stack: int

    @property
    def flash(self) -> int:
        return self.text + self.data

    @property
    def static_ram(self) -> int:
        """RAM beside the pool and the stack."""
        return self.data + self.bss


def image_size(path: Path) -> ImageSize:
    """Sizes of an ELF file. Raises InputError."""
    text = data = bss = pool = stack = 0
    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            for section in elf.iter_sections():
                if not section["sh_flags"] & SH_FLAGS.SHF_ALLOC:
                    continue
                size = section["sh_size"]
                if section["sh_type"] == "SHT_NOBITS":
                    if section.name.strip(".") == "stack":
                        stack += size
                    else:
                        bss += size
                elif section["sh_flags"] & SH_FLAGS.SHF_WRITE:
                    data += size
                else:
                    text += size
            table = elf.get_section_by_name(".symtab")
            if isinstance(table, SymbolTableSection):
                top, bottom = (table.get_symbol_by_name(f"wm_pool_{end}") for end in ("top", "bottom"))
                if top and bottom:
                    pool = top[0]["st_value"] - bottom[0]["st_value"]
    except (OSError, ELFError) as err:
        raise InputError(
            f"cannot read the image {path}",
            cause=str(err) or "no ELF file",
            next_step="build it: `wasmote build BOARD`",
        ) from err
    return ImageSize(text, data, bss, pool, stack)
