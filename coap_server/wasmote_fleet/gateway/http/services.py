"""What the endpoints use."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from wasmote_fleet.deploy import Deployments
from wasmote_fleet.engine import Engine
from wasmote_fleet.gateway.calls import Gateway
from wasmote_fleet.gateway.http.problems import HttpProblem
from wasmote_fleet.registry import Feed, Registry
from wasmote_fleet.registry.discovery import Discovery
from wasmote_fleet.repository import Repository
from wasmote_fleet.requests import Requests

Endpoint = Callable[[Request], Awaitable[Response]]

DEADLINE_S = 30.0
MAX_DEADLINE_S = 300.0
MIN_DEADLINE_S = 0.1


@dataclass
class Streams:
    """How many answers that go on for ever are being sent."""

    open: int = 0


@dataclass(frozen=True)
class Services:
    """One for an application."""

    engine: Engine
    repository: Repository
    registry: Registry
    gateway: Gateway
    deployments: Deployments
    requests: Requests
    feed: Feed
    discovery: Discovery
    keys_needed: bool
    streams: Streams = field(default_factory=Streams)


def services(request: Request) -> Services:
    """Those of the application that got the request."""
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def query(request: Request, *known: str) -> dict[str, str]:
    """The query's parameters, each once. Raises HttpProblem (400) for unknown or repeated ones."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in known or name in found:
            raise HttpProblem(
                400,
                "query",
                f"the parameter '{name}' is {'given twice' if name in found else 'not known here'}",
                cause=f"known here: {', '.join(known) or 'none'}",
                next_step="see /openapi.json",
            )
        found[name] = value
    return found


def deadline(text: str | None, most_s: float | None = None) -> float:
    """The deadline that `timeout_s` asks for; most_s: the longest, otherwise MAX_DEADLINE_S. Raises HttpProblem
    (400)."""
    most_s = most_s or MAX_DEADLINE_S
    return DEADLINE_S if text is None else seconds(text, "timeout_s", MIN_DEADLINE_S, most_s)


def seconds(text: str | None, name: str, low: float, high: float) -> float:
    """The seconds that a parameter asks for; low if it is absent. Raises HttpProblem (400)."""
    if text is None:
        return low
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not low <= found <= high:
        raise HttpProblem(
            400,
            "query",
            f"{name} is '{text}'",
            cause=f"it is {low:g} to {high:g} seconds",
            next_step="choose another one",
        )
    return found
