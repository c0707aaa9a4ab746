"""What functions may import from a node: modules, names and types, as in docs/PROTOCOL.md, 7.

A node lists the modules that it offers in `/d` (`imports`), and has all functions of those. MODULES are those that the
tools can play themselves; OFFERED are all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wasmote import __version__
from wasmote.protocol.module import FuncType
from wasmote.protocol.section import ABI_VERSION

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
# The same of WASI preview 1: signature -> names.
_WASI = {
    "i(ii)": (
        "args_get args_sizes_get clock_res_get environ_get environ_sizes_get fd_fdstat_get "
        "fd_fdstat_set_flags fd_filestat_get fd_prestat_get fd_renumber fd_tell random_get sock_shutdown"
    ),
    "i(iIi)": "clock_time_get",
    "i(iIIi)": "fd_advise fd_filestat_set_times",
    "i(iII)": "fd_allocate fd_fdstat_set_rights",
    "i(i)": "fd_close fd_datasync fd_sync proc_raise",
    "i(iI)": "fd_filestat_set_size",
    "i(iiiIi)": "fd_pread fd_pwrite fd_readdir",
    "i(iii)": "fd_prestat_dir_name path_create_directory path_remove_directory path_unlink_file sock_accept",
    "i(iiii)": "fd_read fd_write poll_oneoff",
    "i(iIii)": "fd_seek",
    "i(iiiii)": "path_filestat_get path_symlink sock_send",
    "i(iiiiIIi)": "path_filestat_set_times",
    "i(iiiiiii)": "path_link",
    "i(iiiiiIIii)": "path_open",
    "i(iiiiii)": "path_readlink path_rename sock_recv",
    "(i)": "proc_exit",
    "i()": "sched_yield",
}
OFFERED: Mapping[str, Mapping[str, FuncType]] = {
    **MODULES,
    "wasi_snapshot_preview1": {
        name: _signature(kind) for kind, names in _WASI.items() for name in names.split()
    },
}
SENSORS = ("temperature", "humidity", "rainfall")  # what `dht` and `env` are about


def letters(module: str, name: str) -> str:
    """The signature of a function of MODULES, as pywasm3 and the firmware write it."""
    return _MODULES[module][name]


def offered_by(device: Mapping[str, Any]) -> dict[str, Mapping[str, FuncType] | None] | None:
    """The import modules that a node lists in its `/d`, in its order, each with its functions; None for those of a
    module that are not known for certain: it is the port's own, or the firmware is of another version than the tools.
    None if `/d` does not list them."""
    listed = device.get("imports")
    if not isinstance(listed, list | tuple) or not all(isinstance(name, str) for name in listed):
        return None
    same = device.get("fw") == __version__ and device.get("abi") == ABI_VERSION
    return {name: OFFERED.get(name) if same else None for name in listed}
