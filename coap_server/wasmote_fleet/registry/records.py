"""What is kept of a node: `nodes/<id>` in the engine's kv, one JSON. It is written when it changes, not by each
beat."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import quote

from wasmote.errors import InputError
from wasmote_fleet.registry.presence import State

PREFIX = "nodes/"
_ID = re.compile(r"[A-Za-z0-9_.~%@-]{1,200}")
_MAX_TEXT, _MAX_MEMBERS, _MAX_DEPTH = 128, 64, 3  # of what a node says of itself
_DEVICE = ("board", "chip", "fw", "abi", "sec", "engine", "limits", "defaults", "validate")


def node_id(ep: str, sector: str = "") -> str:
    """A node's id, which is also a segment of a key: its endpoint name, with what a path does not take as %XX."""
    return quote(ep, safe="") + ("@" + quote(sector, safe="") if sector else "")


def check_id(id: str) -> str:
    """Raises InputError unless it could be a node's."""
    if not _ID.fullmatch(id):
        raise InputError(
            f"'{id}' is no name of a node",
            cause="it has 1 to 200 of the characters a-z A-Z 0-9 _ - . ~ % @",
            next_step="check its spelling; `wasmote fleet nodes` lists the fleet",
        )
    return id


@dataclass(frozen=True, slots=True)
class Record:
    """A node. uri: how it is reached (coap://host:port or serial:DEVICE). adopted: by a person, and stays until
    removed. registered: by itself (rd/<id>), and leaves when that ends. since: when it got this state. boot,
    began_at: of its last boot. device: what does not change of its /d while it is up. server: who wrote the state;
    token: of its lease then."""

    id: str
    ep: str
    uri: str
    adopted: bool = False
    registered: bool = False
    beat_s: float = 5.0
    labels: Mapping[str, str] = field(default_factory=dict)
    state: State = State.JOINED
    since: float = 0.0
    boot: int | None = None
    began_at: float | None = None
    device: Mapping[str, Any] = field(default_factory=dict)
    server: str = ""
    token: int = 0

    @property
    def key(self) -> str:
        return PREFIX + self.id

    @property
    def imports(self) -> tuple[str, ...]:
        """The import modules that it offers to functions."""
        return tuple(self.device.get("imports", ()))

    @property
    def memory_bytes(self) -> int:
        """Its pool for functions and their modules; 0 while it is not known."""
        return int(self.device.get("ram", 0))

    @property
    def flash_bytes(self) -> int | None:
        """What its store of functions holds; None: it keeps them in memory."""
        flash = self.device.get("flash")
        return None if flash is None else int(flash)

    @property
    def features(self) -> tuple[str, ...]:
        """WebAssembly's, as its engine has them."""
        return tuple(self.device.get("engine", {}).get("features", ()))

    def changed(self, **changes: Any) -> Record:
        return replace(self, **changes)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def decode(value: bytes) -> Record:
    """The record of a value. Members that it does not know are left out: a newer server may have written them."""
    members = json.loads(value)
    known = {name: members[name] for name in Record.__dataclass_fields__ if name in members}
    if "state" not in members:
        # Adopted where no registry ran: the first beat tells what it can do.
        known |= {"id": node_id(members["ep"]), "adopted": True, "state": State.JOINED, "device": {}}
    known["state"] = State(known["state"])
    return Record(**known)


def device_facts(device: Mapping[str, Any]) -> dict[str, Any]:
    """What a record keeps of /d. ram and flash are totals in bytes; imports are those that /d lists, or what ABI
    version 1 says (docs/PROTOCOL.md, 7)."""
    facts: dict[str, Any] = {name: _plain(device[name]) for name in _DEVICE if name in device}
    for name in ("limits", "defaults"):
        if not isinstance(facts.get(name), dict):
            facts.pop(name, None)
    engine = facts.get("engine")
    if not isinstance(engine, dict) or not isinstance(engine.get("features", []), list):
        facts.pop("engine", None)
    for name in ("ram", "flash"):
        total = device.get(name, {}).get("total") if isinstance(device.get(name), dict) else None
        if isinstance(total, int) and 0 <= total < 2**53:
            facts[name] = total
    listed = device.get("imports")
    facts["imports"] = _texts(listed) if isinstance(listed, list) else ["wasmote"]
    return facts


def _plain(value: Any, depth: int = 0) -> Any:
    """What a node said, as far as it is a short text or a number, or few of them; None for all else. Whatever answers
    at an address may call itself a node."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) < 2**53):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_plain(each, depth + 1) for each in value[:_MAX_MEMBERS]]
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        members = [(name, each) for name, each in value.items() if isinstance(name, str)]
        return {_text(name): _plain(each, depth + 1) for name, each in members[:_MAX_MEMBERS]}
    return None


def _texts(listed: list[Any]) -> list[str]:
    return [_text(each) for each in listed[:_MAX_MEMBERS] if isinstance(each, str)]


def _text(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_TEXT])
