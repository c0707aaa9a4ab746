"""What a node says in `/d` that it cannot take, before anything is sent to it: imports, quotas, memory. Sans-IO.

Only what is certain: where `/d` lacks a fact, or the tools are of another version than the firmware and so may not know
all functions of an import module, the node is the judge. The order and the words are the node's
(firmware/src/functions/image.c, firmware/src/wasm/engine.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from wasmote.protocol import messages
from wasmote.protocol.imports import offered_by
from wasmote.protocol.module import Module, ModuleError, parse_module
from wasmote.protocol.problem import MODULE_REFUSED, Problem
from wasmote.protocol.section import Section, SectionError, memory_bytes, section_of

# Of `limits` in `/d` and of Section -> what the node says to more than that. Fuel is not among them: a node cuts it.
_QUOTAS = {
    "stack": "asks for a larger wasm stack than this node gives",
    "native": "asks for a larger native stack than this node gives",
    "output": "asks for more output than this node gives",
    "log": "asks for more log lines a second than this node gives",
}


def misfit(data: bytes, device: Mapping[str, Any]) -> Problem | None:
    """Why a node that describes itself so refuses a module, whatever else it holds; None: it may take it. data: what a
    validator has accepted; of anything else nothing is said. device: `/d`. The problem is the node's 4.22, with `most`
    beside `need` where a limit is passed; or its 4.13, where the whole pool is too small."""
    try:
        module = parse_module(data)
        section = section_of(module) or Section()
    except (ModuleError, SectionError):
        return None
    abi = device.get("abi")
    if section.abi is not None and _is_size(abi) and section.abi > abi:
        return _refused("section", "made for another version of the host interface")
    memory = memory_bytes(module, section)
    return (
        _over_a_quota(section, memory, _map(device, "limits"))
        or _too_large(module, section, memory, device)
        or _missing_import(module, device)
    )


def fuel_cut(data: bytes, device: Mapping[str, Any]) -> tuple[int, int] | None:
    """The fuel a call that a module asks for and what the node gives instead; None: the node gives what it asks for, or
    does not say."""
    try:
        section = section_of(parse_module(data))
    except (ModuleError, SectionError):
        return None
    most = _map(device, "limits").get("fuel")
    asked = None if section is None else section.fuel
    return (asked, most) if asked is not None and _is_size(most) and asked > most else None


def _over_a_quota(section: Section, memory: int, limits: Mapping[str, Any]) -> Problem | None:
    for quota, text in _QUOTAS.items():
        asked, most = getattr(section, quota), limits.get(quota)
        if asked is not None and _is_size(most) and asked > most:
            return _refused("limit", text, need=asked, most=most)
    most = limits.get("memory")
    if _is_size(most) and memory > most:
        text = "asks for more memory than this node gives to one function"
        return _refused("memory", text, need=memory, most=most)
    return None


def _too_large(module: Module, section: Section, memory: int, device: Mapping[str, Any]) -> Problem | None:
    """What an instance takes at least, against all that the node has for functions."""
    total = _map(device, "ram").get("total")
    stack = section.stack if section.stack is not None else _map(device, "defaults").get("stack")
    # A node that tells of flash keeps modules there.
    need = memory + (stack if _is_size(stack) else 0) + (0 if "flash" in device else len(module.data))
    if not _is_size(total) or need <= total:
        return None
    text = "the function pool has no room for an instance of this module"
    return Problem(messages.TOO_LARGE, "too large", text, {"need": need, "most": total})


def _missing_import(module: Module, device: Mapping[str, Any]) -> Problem | None:
    offered = offered_by(device)
    if offered is None:
        return None
    for entry in module.imports:
        functions = offered.get(entry.module, {})
        if functions is None:
            continue  # the node has the module, but which functions are in it is not known here
        name = [entry.module, entry.name]
        if entry.kind != "func" or entry.type_index is None:
            return _refused("import", "only functions can be imported", **{"import": name})
        known = functions.get(entry.name)
        if known is None:
            text = "this node does not offer an import of the module"
            return _refused("import", text, **{"import": name})
        if module.types[entry.type_index] != known:
            text = "an import has another type than the node's function"
            return _refused("import", text, **{"import": name})
    return None


def _refused(reason: str, text: str, **members: Any) -> Problem:
    return Problem(messages.UNPROCESSABLE, MODULE_REFUSED, text, {"reason": reason, **members})


def _map(device: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = device.get(key)
    return value if isinstance(value, Mapping) else {}


def _is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
