"""A device as an orchestrator knows it, and requests to one that is elsewhere."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from wasmote_fleet.compat.fetch import Answer, Limits, Reach, exchange

# A body: its Content-Type, and its bytes.
Content = tuple[str, bytes]
# The URL of one of the fleet's devices for who is at this address; "" for this machine.
UrlOf = Callable[[str, str], str]
_KEPT = ("id", "name", "addresses", "port", "url", "description", "there", "changes")


@dataclass(frozen=True)
class Device:
    """own: which of the fleet's devices it is, None for one elsewhere. addresses: the first is the one that answered.
    url: where it answers. there: it did lately. barred: nothing may be deployed on it. failed, ok: beats in a row that
    it missed, or answered."""

    id: str
    name: str
    addresses: tuple[str, ...]
    port: int
    url: str
    description: dict[str, Any] = field(repr=False)
    there: bool
    own: str | None = None
    barred: bool = False
    failed: int = 0
    ok: int = 0
    changes: tuple[dict[str, str], ...] = ()
    health: dict[str, Any] | None = None

    @property
    def usable(self) -> bool:
        """Whether a step may run there now."""
        return self.there and not self.barred

    @property
    def interfaces(self) -> list[str]:
        found = self.description.get("supervisorInterfaces")
        return [str(name) for name in found] if isinstance(found, list) else []

    @property
    def reached(self) -> tuple[str, ...]:
        """The IP address that answered: requests for it may go there, and to nothing else that it says of itself."""
        try:
            return (str(ipaddress.ip_address(self.addresses[0])),)
        except ValueError:
            return ()  # a name, whose addresses are judged each time

    def as_json(self) -> dict[str, Any]:
        """As wasmiot has it."""
        return {
            "_id": self.id,
            "name": self.name,
            "communication": {"addresses": list(self.addresses), "port": self.port},
            "description": self.description,
            "status": "active" if self.there else "inactive",
            "failedHealthCheckCount": self.failed,
            "okHealthCheckCount": self.ok,
            "statusLog": list(self.changes),
            "health": self.health,
            "blacklisted": self.barred,
        }

    def encode(self) -> bytes:
        return json.dumps({name: getattr(self, name) for name in _KEPT}).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        raw = json.loads(value)
        return cls(**{**raw, "addresses": tuple(raw["addresses"]), "changes": tuple(raw["changes"])})


def own_id(device: str) -> str:
    """The id of one of the fleet's devices, in the form that wasmiot's have."""
    return hashlib.sha256(f"wasmote/{device}".encode()).hexdigest()[:24]


async def ask(
    device: Device,
    method: str,
    path: str,
    *,
    reach: Reach,
    limits: Limits,
    headers: Mapping[str, str] | None = None,
    content: Content | None = None,
) -> Answer:
    """One request to a device elsewhere and its answer, whatever its status. Beside what reach allows it goes only to
    the address that answered. Raises what exchange() raises."""
    lines, body = dict(headers or {}), b""
    if content is not None:
        lines["Content-Type"], body = content
    return await exchange(
        method, device.url + path, reach=reach.also(*device.reached), limits=limits, headers=lines, body=body
    )


def json_content(told: Any) -> Content:
    """As JSON."""
    return "application/json", json.dumps(told).encode()


def json_of(answer: Answer) -> Any:
    """The JSON of an answer; None for none."""
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
