"""app.toml: what an app is made of, what it needs, and what it must answer. Schema: wasm_apps/README.md."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wasmote.errors import InputError
from wasmote.protocol.imports import SENSORS
from wasmote.protocol.section import ABI_VERSION, NAME_MAX_BYTES, Section, is_function_name

OPTIMIZE = ("s", "z", "2", "3")
TRAPS = (  # docs/PROTOCOL.md, 6
    "fuel",
    "stack-native",
    "stack-wasm",
    "memory",
    "memory-quota",
    "table",
    "null-call",
    "signature",
    "div-zero",
    "int-overflow",
    "int-convert",
    "unreachable",
    "output",
    "log",
    "cancelled",
    "host",
    "exit",
    "other",
)

Number = int | float


class AppError(InputError):
    """An app.toml is wrong."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(
            f"{where} is wrong", cause=cause, next_step="wasm_apps/README.md lists what an app.toml may say"
        )


@dataclass(frozen=True)
class Expect:
    """One call and what it must give. Calls of one app run in order, on one instance.

    Either args (numbers; results: what comes back) or, for an export that reads and writes streams, input and output:
    the bytes, or the name of a file beside app.toml that holds them. trap: the kind of trap it must end in. sensors:
    what they say from this call on.
    """

    export: str
    args: tuple[Number, ...] = ()
    results: tuple[Number, ...] | None = None
    input: bytes | None = None
    input_file: str | None = None
    output: bytes | None = None
    output_file: str | None = None
    status: int = 0
    trap: str | None = None
    sensors: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class App:
    """sources: relative to the folder of app.toml. optimize: -O's letter. c_stack: bytes of C stack in the instance's
    memory. The rest as in Section."""

    name: str
    version: str
    sources: tuple[str, ...]
    optimize: str = "s"
    defines: Mapping[str, str] = field(default_factory=dict)
    default: str | None = None
    c_stack: int = 2048
    heap: int = 0
    stack: int | None = None
    fuel: int | None = None
    output: int | None = None
    log: int | None = None
    native: int | None = None
    permissions: tuple[str, ...] = ()
    pure: tuple[str, ...] = ()
    idempotent: tuple[str, ...] = ()
    expect: tuple[Expect, ...] = ()

    @property
    def section(self) -> Section:
        """What the module itself will say."""
        return Section(
            name=self.name,
            version=self.version,
            default=self.default,
            abi=ABI_VERSION,
            heap=self.heap,
            stack=self.stack,
            fuel=self.fuel,
            output=self.output,
            log=self.log,
            native=self.native,
            permissions=self.permissions,
            pure=self.pure,
            idempotent=self.idempotent,
        )


class _Table:
    """Takes values out of a TOML table, and finds what nobody took."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self.raw, self.where, self.seen = raw, where, set[str]()

    def _get(self, key: str, kind: type | tuple[type, ...], what: str) -> Any:
        self.seen.add(key)
        value = self.raw.get(key)
        if value is None:
            return None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise AppError(self.where, f"{key} = {value!r} is no {what}")
        return value

    def text(self, key: str) -> str | None:
        value = self._get(key, str, "text")
        assert value is None or isinstance(value, str)
        return value

    def need_text(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise AppError(self.where, f"{key} is missing")
        return value

    def uint(self, key: str) -> int | None:
        value = self._get(key, int, "number")
        assert value is None or isinstance(value, int)
        if value is not None and not 0 <= value < 1 << 32:
            raise AppError(self.where, f"{key} = {value} is not between 0 and 2^32 - 1")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._get(key, list, "list of texts") or []
        if not all(isinstance(value, str) for value in values):
            raise AppError(self.where, f"{key} = {values!r} is no list of texts")
        return tuple(values)

    def numbers(self, key: str) -> tuple[Number, ...] | None:
        values = self._get(key, list, "list of numbers")
        if values is None:
            return None
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise AppError(self.where, f"{key} = {values!r} is no list of numbers")
        return tuple(values)

    def done(self) -> None:
        unknown = sorted(set(self.raw) - self.seen)
        if unknown:
            known = ", ".join(sorted(self.seen))
            raise AppError(self.where, f"unknown: {', '.join(unknown)} (known: {known})")


def parse_app(text: str, where: str = "app.toml") -> App:
    """The app that an app.toml describes. Raises AppError, whose text starts with where."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise AppError(where, str(err)) from None
    table = _Table(raw, where)
    name = table.need_text("name")
    if not is_function_name(name):
        raise AppError(
            where, f"name = '{name}' is not 1 to {NAME_MAX_BYTES} of a-z A-Z 0-9 _ - . (no dot in front)"
        )
    sources = table.texts("sources")
    if not sources:
        raise AppError(where, "sources is missing")
    if len(sources) > 1 and any(source.endswith(".wat") for source in sources):
        raise AppError(where, "a .wat file is a whole module: it must be the only source")
    optimize = table.text("optimize") or "s"
    if optimize not in OPTIMIZE:
        raise AppError(where, f"optimize = '{optimize}' is none of {', '.join(OPTIMIZE)}")
    defines = raw.get("defines", {})
    table.seen.update(("defines", "expect"))
    if not isinstance(defines, dict) or not all(isinstance(value, str) for value in defines.values()):
        raise AppError(where, "defines is no table of texts")
    expects = raw.get("expect", [])
    if not isinstance(expects, list) or not all(isinstance(entry, dict) for entry in expects):
        raise AppError(where, "expect is no list of tables: write [[expect]]")
    c_stack = table.uint("c_stack")
    app = App(
        name=name,
        version=table.need_text("version"),
        sources=sources,
        optimize=optimize,
        defines=defines,
        default=table.text("default"),
        c_stack=App.c_stack if c_stack is None else c_stack,
        heap=table.uint("heap") or 0,
        stack=table.uint("stack"),
        fuel=table.uint("fuel"),
        output=table.uint("output"),
        log=table.uint("log"),
        native=table.uint("native"),
        permissions=table.texts("permissions"),
        pure=table.texts("pure"),
        idempotent=table.texts("idempotent"),
        expect=tuple(
            _expect(entry, f"[[expect]] {number} of {where}") for number, entry in enumerate(expects, 1)
        ),
    )
    table.done()
    return app


def _expect(raw: Mapping[str, Any], where: str) -> Expect:
    table = _Table(raw, where)
    input_text, output_text = table.text("input_text"), table.text("output_text")
    result = table._get("result", (int, float), "number")
    results = table.numbers("results")
    if result is not None and results is not None:
        raise AppError(where, "either result or results")
    trap = table.text("trap")
    if trap is not None and trap not in TRAPS:
        raise AppError(where, f"trap = '{trap}' is none of {', '.join(TRAPS)}")
    sensors = table._get("sensors", dict, "table") or {}
    for name, value in sensors.items():
        if name not in SENSORS or not isinstance(value, (int, float)) or isinstance(value, bool):
            raise AppError(where, f"sensors: {name} = {value!r} is no number for one of {', '.join(SENSORS)}")
    expect = Expect(
        export=table.need_text("export"),
        args=table.numbers("args") or (),
        results=results if result is None else (result,),
        input=None if input_text is None else input_text.encode(),
        input_file=table.text("input"),
        output=None if output_text is None else output_text.encode(),
        output_file=table.text("output"),
        status=table.uint("status") or 0,
        trap=trap,
        sensors={name: float(value) for name, value in sensors.items()},
    )
    table.done()
    if expect.input is not None and expect.input_file is not None:
        raise AppError(where, "either input or input_text")
    if expect.output is not None and expect.output_file is not None:
        raise AppError(where, "either output or output_text")
    return expect
