"""The node's own validator on this machine: validate.c as WebAssembly, in the engine that the tools have anyway.

    validator = Validator.load()
    refused = validator.check(module, device["validate"])     # a Problem as the node's 4.22, or None

It says what a node with these limits says, in its words: malformed, invalid, limit, unsupported. What a node looks at
afterwards (the `wasmote` section and its quotas, imports, memory, the start function) is not asked here; see
protocol/fit.py for what `/d` tells of that.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import wasm3

from wasmote.adapters import validator_build
from wasmote.adapters.project import Project
from wasmote.errors import MissingError
from wasmote.protocol import messages
from wasmote.protocol.problem import MODULE_REFUSED, Problem

_PACKAGED = Path(__file__).resolve().parents[1] / "data" / validator_build.FILE_NAME
_STACK_BYTES = 64 * 1024  # of the engine


class Validator:
    """One instance; threads take turns. default_limits: of a node whose port sets none, by their keys in `/d`."""

    def __init__(self, wasm: bytes) -> None:
        self._lock = threading.Lock()
        environment = wasm3.Environment()
        self._runtime = environment.new_runtime(_STACK_BYTES)
        self._runtime.load(environment.parse_module(wasm))
        self._limits: dict[str, int] = {}  # key -> number of the limit
        self.default_limits: dict[str, int] = {}
        while address := self._call("limit_key", len(self._limits)):
            key = self._text(address)
            self.default_limits[key] = self._call("limit_default", len(self._limits))
            self._limits[key] = len(self._limits)

    @classmethod
    def load(cls) -> Self:
        """The one that this package carries; in a checkout it is compiled when its sources have changed (a second).
        Raises BuildError, MissingError."""
        return cls(validator_wasm())

    def check(self, module: bytes, limits: Mapping[str, Any]) -> Problem | None:
        """What the node would answer to a PUT of this module; None: its validator accepts it. limits: `validate` of the
        node's `/d`, or default_limits. A limit that is not among them is as large as it can be."""
        with self._lock:
            larger = False
            for key, number in self._limits.items():
                wanted = _u32(limits.get(key, 0xFFFF_FFFF))
                larger |= (
                    self._call("limit_set", number, _i32(wanted)) & 0xFFFF_FFFF < wanted and key in limits
                )
            address = self._call("input", _i32(len(module))) if len(module) < 1 << 31 else 0
            if not address:
                raise MemoryError(f"no room to validate {len(module)} bytes")
            self._runtime.get_memory(0)[address : address + len(module)] = module
            if self._call("check", len(module)):
                return None
            members: dict[str, Any] = {"reason": self._text(self._call("reason"))}
            for member, name in (("index", "function"), ("offset", "offset")):
                if (value := self._call(name)) >= 0:
                    members[member] = value
            if larger and members["reason"] == "limit":
                return None  # this node has larger tables than the tools: it may accept the module
            return Problem(messages.UNPROCESSABLE, MODULE_REFUSED, self._text(self._call("text")), members)

    def _call(self, name: str, *args: int) -> int:
        return int(self._runtime.find_function(name)(*args))

    def _text(self, address: int) -> str:
        memory = self._runtime.get_memory(0)
        end = address
        while memory[end]:
            end += 1
        return bytes(memory[address:end]).decode("utf-8")


def validator_wasm() -> bytes:
    """The validator as a WebAssembly module without imports (docs/VALIDATOR.md). Raises BuildError, MissingError."""
    if _PACKAGED.is_file():
        return _PACKAGED.read_bytes()
    try:
        project = Project.find()
    except MissingError as err:
        raise MissingError(
            "the validator is missing",
            cause=f"neither {_PACKAGED} nor a checkout is there",
            next_step="install wasmote again",
        ) from err
    name = f"validator-{validator_build.digest(project.firmware)[:16]}.wasm"
    path = project.build / "validator" / name
    if not path.is_file():
        validator_build.compile_validator(project.firmware, path)
        for old in path.parent.glob("validator-*.wasm"):
            if old != path:
                old.unlink(missing_ok=True)
    return path.read_bytes()


def _u32(value: Any) -> int:
    """A limit as a node gave it; as large as can be where that is no number."""
    return value if isinstance(value, int) and 0 <= value <= 0xFFFF_FFFF else 0xFFFF_FFFF


def _i32(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value
