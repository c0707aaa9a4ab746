"""What a library takes of an image, from the linker's map."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import MPS2, STM32, built

from wasmote.adapters.image import image_size
from wasmote.adapters.link_map import LibrarySize, library_size
from wasmote.errors import InputError

# As GNU ld writes it: long names stand on a line of their own.
MAP = """\
Discarded input sections

 .text.gone     0x00000000       0xf0 libone.a(a.c.obj)

Linker script and memory map

 .text          0x00000000       0x10 libone.a(a.c.obj)
 .text.a_function_with_a_long_name
                0x00000010      0x102 libone.a(a.c.obj)
                0x00000010                a_function_with_a_long_name
 .rodata.x      0x00000200        0x3 sub/libone.a(b.c.obj)
 .rodata.str1.1
                0x00000203        0x5 libone.a(b.c.obj)
                                 0x9 (size before relaxing)
 .text          0x00000300     0x1000 libtwo.a(a.c.obj)
 .data.y        0x20000000        0x4 libone.a(b.c.obj)
 *(.bss .bss.* COMMON)
 .bss.z         0x20000004       0x20 libone.a(b.c.obj)
 COMMON         0x20000024        0x8 libone.a(b.c.obj)
 .bss           0x20000030       0x40 main.c.obj
 .debug_info    0x00000000     0x4000 libone.a(a.c.obj)
"""


def test_library_size_counts_what_was_kept(tmp_path: Path) -> None:
    file = tmp_path / "image.map"
    file.write_text(MAP)
    one = library_size(file, "one")
    assert one == LibrarySize(text=0x10 + 0x102 + 3 + 5, data=4, bss=0x28)
    assert one.static_ram == 0x2C
    assert library_size(file, "two") == LibrarySize(text=0x1000, data=0, bss=0)
    assert library_size(file, "three") is None


def test_library_size_without_a_map(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        library_size(tmp_path / "none.map", "one")


@pytest.mark.slow
def test_library_size_of_lwip() -> None:
    image = built(MPS2)
    whole, lwip = image_size(image), library_size(image.with_suffix(".map"), "wm_lwip")
    assert lwip is not None
    assert 20_000 < lwip.text < 32_000 < whole.text
    assert 6_000 < lwip.static_ram < 12_000 < whole.static_ram
    assert library_size(built(STM32).with_suffix(".map"), "wm_lwip") is None
