"""Keys: who may read, call and deploy. Kept as keys/<id>, the secret only as its SHA-256.

A key is `wmk_<id>_<secret>`. The secret has 256 random bits, so one round of a hash is enough: there is no dictionary
to try. Each role includes the ones before it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from dataclasses import dataclass
from enum import IntEnum

from wasmote_fleet.engine import Engine

_KEY = re.compile(r"wmk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
_ID = re.compile(r"[0-9a-f]{12}")


class Role(IntEnum):
    """What a key allows: look; call functions; change the fleet."""

    READ = 1
    CALL = 2
    DEPLOY = 3

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key without its secret."""

    id: str
    role: Role
    label: str
    made_at: float


class Keys:
    """The keys in an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def add(self, role: Role, *, label: str = "") -> str:
        """A new key. It is told once, here."""
        key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        value = {"role": role.word, "sha256": _hash(secret), "label": label, "at": self._engine.clock.time()}
        await self._engine.kv.put(f"keys/{key_id}", json.dumps(value).encode(), expected=0)
        return f"wmk_{key_id}_{secret}"

    async def role_of(self, key: str) -> Role | None:
        """What a key allows; None: it is no key."""
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        entry = await self._engine.kv.get(f"keys/{match[1]}")
        if entry is None:
            return None
        value = json.loads(entry.value)
        return Role[value["role"].upper()] if hmac.compare_digest(value["sha256"], _hash(match[2])) else None

    async def list(self) -> list[KeyInfo]:
        """All of them, without their secrets."""
        found = []
        for entry in await self._engine.kv.entries("keys/"):
            value = json.loads(entry.value)
            found.append(
                KeyInfo(entry.key.partition("/")[2], Role[value["role"].upper()], value["label"], value["at"])
            )
        return found

    async def remove(self, key_id: str) -> bool:
        """Make a key worthless, by its id; whether there was one."""
        return bool(_ID.fullmatch(key_id)) and await self._engine.kv.delete(f"keys/{key_id}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
