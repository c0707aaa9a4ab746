"""What schemathesis must know of the fleet server, beside its document; loaded by SCHEMATHESIS_HOOKS."""

from __future__ import annotations

import zlib
from typing import Any

import schemathesis


@schemathesis.serializer("application/wasm")
def wasm(_ctx: Any, value: Any) -> bytes:
    """A body that is mostly no module."""
    return value if isinstance(value, bytes) else str(value).encode()


@schemathesis.serializer("application/toml")
def toml(_ctx: Any, value: Any) -> bytes:
    """A body that is mostly no TOML."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")


@schemathesis.hook
def map_path_parameters(ctx: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Half of the requests go to what is there, or they would end at the first unknown name; but none that removes."""
    if not path_parameters or ctx.operation.method.upper() == "DELETE":
        return path_parameters
    there = {"node": "n", "function": "fib", "export": "fib", "name": "fib", "request": "seen"}
    there["deployment"] = "d"
    return {
        name: there.get(name, value) if zlib.crc32(f"{name}{value}".encode(errors="replace")) % 2 else value
        for name, value in path_parameters.items()
    }


@schemathesis.hook
def before_call(_ctx: Any, case: Any, _options: dict[str, Any]) -> None:
    """A stream of events never ends: where one would begin, the list is asked for. And nobody waits for nodes."""
    if (
        case.operation.path == "/api/v1/events"
        and str((case.query or {}).get("wait", "true")).lower() == "true"
    ):
        case.query = {**(case.query or {}), "wait": "false"}
    if case.operation.path == "/api/v1/discovery" and _waits(case.query or {}):
        case.query = {"timeout_s": 0.2}


def _waits(query: dict[str, Any]) -> bool:
    if set(query) - {"timeout_s"}:
        return False
    try:
        return float(query.get("timeout_s", 6)) <= 30
    except (TypeError, ValueError):
        return False
