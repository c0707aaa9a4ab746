"""Other systems' HTTP beside ours: paths of their own, and errors in their own shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response
from starlette.routing import BaseRoute

from wasmote.errors import WasmoteError
from wasmote_fleet.gateway.http.problems import problem

Render = Callable[[WasmoteError], Response]


@dataclass(frozen=True)
class Mount:
    """prefixes: whole segments ("/api/v1/web"), which decide whose error shape a path has. render: how its errors
    look, also those of the guard."""

    prefixes: tuple[str, ...]
    routes: Sequence[BaseRoute]
    render: Render


def render_for(mounts: Sequence[Mount], path: str) -> Render:
    """How an error looks at this path."""
    for mount in mounts:
        for prefix in mount.prefixes:
            if path == prefix or path.startswith(prefix + "/"):
                return mount.render
    return problem
