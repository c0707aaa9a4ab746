"""Hold the firmware's includes to its layers: exit code 1 and a line for each breach.

    base <- {coap, link, wasm, store, secure}, blind to each other <- functions (wasm, store, secure)
         <- resources (coap, functions) <- node.c <- ports

A layer sees those named for it and all that these see. Only the adapters see third-party headers.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

# Folder below firmware/src -> folders whose headers it may include.
LAYERS: dict[str, set[str]] = {
    "base": set(),
    "coap": {"base"},
    "link": {"base"},
    "wasm": {"base"},
    "store": {"base"},
    "secure": {"base"},
    "oscore": {"base", "coap", "secure"},
    "functions": {"base", "wasm", "store", "secure"},
    "resources": {"base", "coap", "wasm", "store", "secure", "functions"},
    "node": {"base", "coap", "link", "wasm", "store", "secure", "oscore", "functions", "resources"},
}
# Beside include/wasmote and its own folders, a port may include these: framing is a port's business.
PORT_CORE_HEADERS = {"link/slipmux.h"}

# Third-party header -> the files that may include it; both are patterns.
ADAPTERS: list[tuple[str, str]] = [
    (r"zcbor_.*\.h", r"base/cbor\.c"),
    (r"(wasm3.*|m3_.*)\.h|m3_compile\.c", r"wasm/(engine\.c|m3_.*)"),
    (r"(sha2|hmac|ccm|rijndael)\.h", r"secure/sha256\.c"),
]
# The freestanding C library and what every C library has for memory and text; no files, clocks, allocation.
C_LIBRARY = {
    "assert.h",
    "inttypes.h",
    "limits.h",
    "math.h",
    "stdarg.h",
    "stdbool.h",
    "stddef.h",
    "stdint.h",
    "string.h",
}
C_LIBRARY_EXTRA = {
    "base/heap.c": {"sanitizer/asan_interface.h"},
    "wasm/m3_config_wasmote.h": {"stdlib.h"},  # before it renames what is in it
    "wasm/m3_unit.h": {"setjmp.h"},  # the way out of wasm3 when an arena is full
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^">]+)[">]', re.MULTILINE)


def includes(file: Path) -> Iterator[tuple[int, bool, str]]:
    """Yield (line number, whether in angle brackets, name) of each include; macros are not resolved."""
    text = re.sub(
        r"/\*.*?\*/",
        lambda m: "\n" * m.group().count("\n"),
        file.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start(1)) + 1, match.group(1) == "<", match.group(2)


def core_breach(name: str, angle: bool, header: str, layer: str, src: Path) -> str | None:
    """What is wrong with `header` in the core's file `name` (relative to src), or None."""
    for pattern, users in ADAPTERS:
        if re.fullmatch(pattern, header) and not (src / name).parent.joinpath(header).exists():
            return None if re.fullmatch(users, name) else f"is for {users} only"
    if angle:
        allowed = C_LIBRARY | C_LIBRARY_EXTRA.get(name, set())
        return None if header in allowed else "is not among the C headers that every target has"
    if header.startswith("wasmote/"):
        return None
    top = header.split("/")[0] if "/" in header else None
    if top is None:
        return f'is written without its folder; write "{layer}/{header}"'
    if top == layer or top in LAYERS[layer]:
        return None
    return f"is in a layer that '{layer}' may not see ({', '.join(sorted(LAYERS[layer])) or 'none'})"


def port_breach(file: Path, angle: bool, header: str, src: Path) -> str | None:
    """What is wrong with `header` in a port's file, or None."""
    if any(re.fullmatch(pattern, header) for pattern, _ in ADAPTERS):
        return "is a third-party header; a port sees include/wasmote only"
    if ".." in header.split("/"):
        return "leaves the include path"
    ours = (file.parent / header).is_file()
    if not angle and not ours and (src / header).is_file() and header not in PORT_CORE_HEADERS:
        return "is inside of the core; a port sees include/wasmote and link/slipmux.h only"
    return None


def check(root: Path) -> list[str]:
    """Return a line for each breach under root/firmware."""
    firmware = root / "firmware"
    src = firmware / "src"
    breaches = []
    for file in sorted(
        [*src.rglob("*.[ch]"), *(firmware / "include").rglob("*.h"), *(firmware / "ports").rglob("*.[ch]")]
    ):
        for line, angle, header in includes(file):
            if src in file.parents:
                name = file.relative_to(src).as_posix()
                layer = name.split("/")[0].removesuffix(".c").removesuffix(".h")
                if layer not in LAYERS:
                    breach: str | None = f"is in '{layer}', a layer that {Path(__file__).name} does not know"
                else:
                    breach = core_breach(name, angle, header, layer, src)
            elif firmware / "ports" in file.parents:
                breach = port_breach(file, angle, header, src)
            else:
                inside = header.startswith("wasmote/") or (angle and header in C_LIBRARY)
                breach = None if inside else "is not public; include/wasmote stands alone"
            if breach is not None:
                breaches.append(f"{file.relative_to(root)}:{line}: {header} {breach}")
    return breaches


def main() -> int:
    """Print the breaches. Returns the exit code."""
    breaches = check(Path(__file__).resolve().parent.parent)
    for line in breaches:
        print(line, file=sys.stderr)
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
