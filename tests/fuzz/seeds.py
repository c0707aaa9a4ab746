"""Inputs to start fuzzing from, made anew in each run: messages, slipmux frames, modules, whole conversations.

One folder a target. The formats of the inputs are told at the top of each fuzz_*.c.
"""

from __future__ import annotations

import argparse
import random
import shutil
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cbor2
from aiocoap import CON, DELETE, FETCH, GET, NON, POST, PUT, Message
from aiocoap.numbers.codes import EMPTY, Code
from aiocoap.optiontypes import BlockOption

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "conformance"))
import core_suite
import known_crashes
from fuzz_targets import MODULE_BYTES

from wasmote.adapters import apps
from wasmote.adapters.tools import need_tool, run_tool
from wasmote.adapters.wast import convert
from wasmote.protocol import slipmux
from wasmote.protocol.section import Section, with_section

ROOT = Path(__file__).resolve().parents[2]
MODULE = 0x80  # fuzz_node: these bytes are a module to be pushed
WAIT = 3  # fuzz_node: the shift of the exponent of the milliseconds that pass


def modules() -> dict[str, bytes]:
    """Whole modules of up to 1 KB, most of them of our apps."""
    found = {
        name: apps.load(name).data for name in ("fib", "crc32", "counter", "spin", "wordcount", "climate")
    }
    out = ROOT / "build" / "fuzz-modules"
    out.mkdir(parents=True, exist_ok=True)
    for source in sorted((ROOT / "tests" / "unit" / "modules").glob("*.wat")):
        target = out / f"{source.stem}.wasm"
        if run_tool([need_tool("wat2wasm"), "--no-check", "-o", target, source]).returncode == 0:
            found[source.stem] = target.read_bytes()
    return {name: module for name, module in found.items() if len(module) <= 1000}


def message(
    code: Code, path: str, payload: bytes = b"", *, mid: int = 1, confirmable: bool = True, **options: object
) -> bytes:
    """One request; options are those that aiocoap's Message has as attributes of `opt`."""
    made = Message(code=code, _mid=mid, _token=b"tk", payload=payload, _mtype=CON if confirmable else NON)
    made.opt.uri_path = tuple(path.strip("/").split("/")) if path.strip("/") else ()
    for name, value in options.items():
        setattr(made.opt, name, value)
    return bytes(made.encode())


def block(num: int, more: bool, szx: int) -> BlockOption.BlockwiseTuple:
    return BlockOption.BlockwiseTuple(num, more, szx)


def requests(module: bytes) -> list[bytes]:
    """Each thing that can be asked of a node, once."""
    cut = [module[at : at + 64] for at in range(0, len(module), 64)]
    put = [
        message(
            PUT,
            "f/b",
            part,
            mid=100 + num,
            content_format=42,
            block1=block(num, num + 1 < len(cut), 2),
            size1=len(module),
        )
        for num, part in enumerate(cut)
    ]
    text = b"some words to count\n" * 8
    body = [message(POST, "f/a", text[at : at + 64], mid=200 + at, block1=block(at // 64, at + 64 < len(text), 2))
            for at in range(0, len(text), 64)]  # fmt: skip
    return [
        bytes(Message(code=EMPTY, _mid=9, _mtype=CON).encode()),
        message(GET, ".well-known/core", mid=2, uri_query=("rt=wm.*",)),
        *(
            message(GET, path, mid=10 + n)
            for n, path in enumerate(("d", "d/m", "d/log", "f", "f/a", "j", "j/x", "none"))
        ),
        message(GET, "d/m", mid=30, observe=0),
        message(GET, "d/log", mid=31, observe=0, uri_query=("from=1",)),
        message(GET, "d", mid=32, block2=block(1, False, 2)),
        message(GET, "f/a", mid=33, accept=42, block2=block(0, False, 3)),
        message(PUT, "f/a", module, mid=40, content_format=42),
        *put,
        message(POST, "f/a/fib", cbor2.dumps([9]), mid=50, content_format=60),
        message(POST, "f/a/:0", cbor2.dumps([1, -2, 3.5, 2**63]), mid=51, content_format=60),
        message(POST, "f/a", b"", mid=52, confirmable=False),
        message(FETCH, "f/a/fib", cbor2.dumps([3]), mid=53, content_format=60),
        *body,
        message(PUT, "j/x", cbor2.dumps([7]), mid=60, uri_query=("f=a/fib",), if_none_match=True),
        message(GET, "j/x", mid=61, observe=0),
        message(DELETE, "j/x", mid=62),
        message(DELETE, "f/a", mid=63, if_match=[b""]),
    ]


def conversation(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """An input of fuzz_node: (kind, bytes) a datagram."""
    return b"".join(struct.pack("<BH", kind, len(data)) + data for kind, data in parts)


def node_seeds(found: dict[str, bytes], rng: random.Random) -> list[bytes]:
    seeds = []
    for module in found.values():
        asked = requests(module)
        seeds.append(conversation([(MODULE, module), *((rng.randrange(8) << WAIT, data) for data in asked)]))
        seeds.append(
            conversation(
                [(MODULE, module), (0, message(POST, "f/a", mid=7)), (0, message(GET, "f/a", mid=8))]
            )
        )
        shuffled = rng.sample(asked, len(asked))
        seeds.append(conversation((rng.randrange(4) | rng.randrange(12) << WAIT, data) for data in shuffled))
    return seeds + [rpc_seed(found["host"], answers) for answers in ANSWERS]


# What a server says to one request after the other: a code, and perhaps a Block1 option.
ANSWERS = ((b"\x41",), (b"\x84",), (b"\x5f\x0e", b"\x5f\x19", b"\x5f\x2a", b"\x41"), (b"\x88\x06",))


def rpc_seed(module: bytes, answers: Sequence[bytes]) -> bytes:
    """A conversation with a function that asks for a call, with 3,000 bytes of data."""
    ask = message(
        POST, "f/a/rpc", cbor2.dumps([0, 3, 0, 3000]), mid=70, content_format=60, uri_query=("x=c.1",)
    )
    return conversation([(MODULE, module), (0, b"\x44"), (0, ask), *((0, answer) for answer in answers)])


def write(folder: Path, inputs: Sequence[bytes]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, data in enumerate(inputs):
        (folder / f"{number:04}").write_bytes(data)


def suite_modules() -> list[bytes]:
    """The binary modules of the core test suite, valid and invalid, where it is present. They stay in build/."""
    found: set[bytes] = set()
    for wast in core_suite.files() if core_suite.missing() is None else ():
        for command in convert(wast.name, wast.read_text(encoding="utf-8")):
            if command.module is not None:
                found.add(command.module)
    return sorted(found)


def main(folder: Path, *, suite: bool = False) -> None:
    """Write all of them. suite: also the core test suite's modules."""
    rng = random.Random(1)
    found = modules()
    plain = requests(found["fib"])
    bare = [*list(found.values()), with_section(found["fib"], Section(name="x", heap=64, pure=("fib",)))]
    write(folder / "fuzz_coap_msg", plain)
    write(
        folder / "fuzz_slipmux",
        [slipmux.encode(slipmux.COAP, data) for data in plain] + [slipmux.encode(slipmux.TEXT, b"hello")],
    )
    bare += [case.data for case in known_crashes.CASES]
    bare += suite_modules() if suite else []
    bare = [module for module in bare if len(module) <= MODULE_BYTES]
    for target in ("fuzz_validate", "fuzz_module"):
        write(folder / target, bare)
    write(folder / "fuzz_node", node_seeds(found, rng))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the seeds go: a folder a target")
    main(parser.parse_args().folder)
