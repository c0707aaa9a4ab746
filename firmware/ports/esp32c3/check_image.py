#!/usr/bin/env python3
"""Checks a direct-boot image of an ESP32-C3, which esptool has no word for: check_image.py IMAGE.BIN

The build runs it. Exit code 1 and a text on stderr where the ROM would not start the image, or not all of it.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

MAGIC = 0xAEDB041D  # twice: otherwise the ROM takes the start of the flash for an image in its usual format
ENTRY = 8
MAPPED_BYTES = 4 * 1024 * 1024  # of the flash, by the ROM
INTERRUPTS_OFF = 0x30047073  # csrci mstatus, 8: what startup.c begins with


def fault(image: bytes) -> str | None:
    """What is wrong with an image, None if nothing is."""
    if len(image) < ENTRY + 4:
        return f"it has {len(image)} bytes"
    first, second, entry = struct.unpack_from("<3I", image)
    if (first, second) != (MAGIC, MAGIC):
        return f"it begins with {first:#010x} {second:#010x}, not with {MAGIC:#x} twice"
    if entry != INTERRUPTS_OFF:
        return f"at offset {ENTRY}, where the ROM jumps to, is {entry:#010x} and not the start of wm_entry"
    if len(image) > MAPPED_BYTES:
        return f"it has {len(image):,} bytes, of which the ROM maps {MAPPED_BYTES:,}"
    return None


def main(arguments: list[str]) -> int:
    file = Path(arguments[0])
    wrong = fault(file.read_bytes())
    if wrong is not None:
        print(f"{file} cannot be booted directly: {wrong}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
