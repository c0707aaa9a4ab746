"""What functions may import from a node: modules, names and types, as in docs/PROTOCOL.md, 7.

A node lists the modules that it offers in `/d` (`imports`), and has all functions of those. Left out here:
`wasi_snapshot_preview1`, which is WASI's own list.
"""

from __future__ import annotations

from collections.abc import Mapping

from wasmote.protocol.module import FuncType

_TYPES = {"i": "i32", "I": "i64", "f": "f32", "F": "f64"}


def _signature(text: str) -> FuncType:
    """Of "results(parameters)", a letter a type, as the firmware writes it."""
    results, _, params = text.removesuffix(")").partition("(")
    return FuncType(
        params=tuple(_TYPES[letter] for letter in params),
        results=tuple(_TYPES[letter] for letter in results),
    )


# module -> name -> signature
_MODULES = {
    "wasmote": {"input": "i(ii)", "output": "i(ii)", "log": "(iii)", "millis": "I()"},
    "sys": {"millis": "i()", "delay": "(i)", "print": "(ii)", "println": "(i)", "printInt": "(i)"},
    "communication": {"rpcCall": "(iiii)"},
    "dht": {"getTemperature": "f()", "getHumidity": "f()"},
    "env": {"get_rainfall": "f()", "set_rainfall": "(f)"},
}
MODULES: Mapping[str, Mapping[str, FuncType]] = {
    module: {name: _signature(text) for name, text in functions.items()}
    for module, functions in _MODULES.items()
}
SENSORS = ("temperature", "humidity", "rainfall")  # what `dht` and `env` are about


def letters(module: str, name: str) -> str:
    """The signature of a function of MODULES, as pywasm3 and the firmware write it."""
    return _MODULES[module][name]
