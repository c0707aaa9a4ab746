"""Our nodes, and the whole fleet, as wasmiot describes a device."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wasmote.errors import WasmoteError
from wasmote.protocol.imports import MODULES
from wasmote_fleet.compat.wasmiot.errors import NotThere
from wasmote_fleet.registry import NodeView, Registry, State

FLEET = ""  # the whole of it, as one device
ASK_S = 2.0  # a node, for its free memory
_THERE = (State.UP, State.SILENT)

# What a node has of WASI preview 1, but for what leads to files by a path and to sockets: it has neither.
_WASI = (
    "args_get", "args_sizes_get", "environ_get", "environ_sizes_get", "clock_res_get", "clock_time_get",
    "fd_advise", "fd_allocate", "fd_close", "fd_datasync", "fd_fdstat_get", "fd_fdstat_set_flags",
    "fd_fdstat_set_rights", "fd_filestat_get", "fd_filestat_set_size", "fd_filestat_set_times", "fd_pread",
    "fd_prestat_get", "fd_prestat_dir_name", "fd_pwrite", "fd_read", "fd_renumber", "fd_seek", "fd_sync",
    "fd_tell", "fd_write", "poll_oneoff", "proc_exit", "proc_raise", "sched_yield", "random_get",
)  # fmt: skip
# The functions of each import module that a node may offer. wasmiot names functions only.
_INTERFACES: dict[str, Sequence[str]] = {
    **{module: tuple(functions) for module, functions in MODULES.items()},
    "wasi_snapshot_preview1": _WASI,
}


def interfaces(modules: Sequence[str]) -> list[str]:
    """The names of what a node with these import modules offers."""
    return list(dict.fromkeys(name for module in modules for name in _INTERFACES.get(module, ())))


def is_there(view: NodeView) -> bool:
    """Whether the node answers, as far as is known."""
    return view.state in _THERE


class Devices:
    """A device is "" for the whole fleet, or a node's id. Raises NotThere for others."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def node(self, device: str) -> NodeView:
        view = self._registry.get(device)
        if view is None or view.state is State.LEFT:
            raise NotThere(
                f"there is no device '{device}'", next_step="`wasmote fleet nodes` lists the nodes"
            )
        return view

    def nodes(self) -> list[NodeView]:
        """Those that belong to the fleet."""
        return [view for view in self._registry.nodes() if view.state is not State.LEFT]

    def description(self, device: str) -> dict[str, Any]:
        """What an orchestrator places modules by. The fleet has the memory of all its nodes, and offers what any of
        them does; what is not known is null."""
        if device == FLEET:
            views = self.nodes()
            chips = sorted(
                {str(view.record.device["chip"]) for view in views if "chip" in view.record.device}
            )
            memory = sum(view.record.memory_bytes for view in views)
            modules = [name for view in views for name in view.record.imports]
            return _description(memory or None, ", ".join(chips) or None, modules)
        record = self.node(device).record
        return _description(record.memory_bytes or None, record.device.get("chip"), record.imports)

    def thing(self, device: str, base: str) -> dict[str, Any]:
        """A W3C Web of Things description (version 1.1): the description and the health as properties."""
        described = self.description(device)
        title = "wasmote fleet" if device == FLEET else self.node(device).record.ep

        def form(path: str) -> list[dict[str, str]]:
            return [{"op": "readproperty", "href": f"{base}{path}", "contentType": "application/json"}]

        return {
            "@context": "https://www.w3.org/2022/wot/td/v1.1",
            "@type": "Thing",
            "title": title,
            "securityDefinitions": {"nosec": {"scheme": "nosec"}},
            "security": "nosec",
            "properties": {
                "platform": {
                    "type": "object",
                    "readOnly": True,
                    "const": described["platform"],
                    "forms": form("/.well-known/wasmiot-device-description"),
                },
                "health": {
                    "type": "object",
                    "readOnly": True,
                    "properties": {"cpuUsage": {"type": "number"}, "memoryUsage": {"type": "number"}},
                    "forms": form("/health"),
                },
            },
        }

    async def health(self, device: str) -> Mapping[str, float | None] | None:
        """cpuUsage in percent, memoryUsage as a part of 1; what is not known is null. None: it is not there. A node's
        are of its pool for functions; the fleet's of the server's machine, and it is there while a node is."""
        if device == FLEET:
            if not any(is_there(view) for view in self.nodes()):
                return None
            return await asyncio.to_thread(_machine)
        view = self.node(device)
        return {"cpuUsage": None, "memoryUsage": await self._memory(view)} if is_there(view) else None

    async def _memory(self, view: NodeView) -> float | None:
        """The part of a node's pool that is in use; None where another server speaks with it, or it is busy."""
        try:
            async with asyncio.timeout(ASK_S):
                ram = (await (await self._registry.node(view.record.id)).device()).get("ram", {})
            return round(1 - int(ram["free"]) / int(ram["total"]), 4)
        except (WasmoteError, TimeoutError, KeyError, TypeError, ZeroDivisionError):
            return None


def _description(memory: int | None, chip: str | None, modules: Sequence[str]) -> dict[str, Any]:
    return {
        "platform": {
            "memory": {"bytes": memory},
            "cpu": {"humanReadableName": chip, "clockSpeed": {"Hz": None}},
        },
        "supervisorInterfaces": interfaces(modules),
    }


def _machine() -> dict[str, float | None]:
    """The load of this machine, and its memory in use."""
    try:
        cpu: float | None = round(min(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0) * 100, 1)
    except (OSError, AttributeError):
        cpu = None
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        memory: float | None = round(1 - free / total, 4)
    except (OSError, ValueError, KeyError, IndexError):
        memory = None
    return {"cpuUsage": cpu, "memoryUsage": memory}
