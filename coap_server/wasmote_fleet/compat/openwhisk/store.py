"""Entities in the engine: JSON under ow/<kind>/..., changed by compare and swap. What is too large for a value is a
blob, and the value says which."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.errors import (
    EXISTS,
    Rejected,
    conflict,
    not_found,
)
from wasmote_fleet.compat.openwhisk.limits import MAX_ENTITIES
from wasmote_fleet.engine import Engine, NotFound, RevisionConflict

Doc = dict[str, Any]

PREFIX = "ow/"
_INLINE_BYTES = 128 * 1024
_BLOB = "blob"
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Stored:
    doc: Doc
    revision: int


class Vault:
    """JSON of any size as a value of a key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def pack(self, value: Any) -> bytes:
        """What to keep for it."""
        data = jsons.encode(value)
        if len(data) <= _INLINE_BYTES:
            return b'{"doc":' + data + b"}"
        return json.dumps({_BLOB: (await self._engine.blobs.put(data)).digest}).encode()

    async def unpack(self, kept: bytes) -> Any:
        """Raises NotFound if its blob is gone."""
        value = json.loads(kept)
        if _BLOB in value:
            return json.loads(await self._engine.blobs.read(value[_BLOB]))
        return value["doc"]

    async def touch(self, kept: bytes) -> None:
        """Its blob is in use."""
        value = json.loads(kept)
        if _BLOB in value:
            await self._engine.blobs.touch(value[_BLOB])


class Entities:
    """One kind of entity. what: `actions`, ..."""

    def __init__(self, engine: Engine, what: str) -> None:
        self._engine = engine
        self._vault = Vault(engine)
        self.prefix = f"{PREFIX}{what}/"

    async def find(self, key: str) -> Stored | None:
        entry = await self._engine.kv.get(self.prefix + key)
        if entry is None:
            return None
        try:
            return Stored(await self._vault.unpack(entry.value), entry.revision)
        except NotFound:
            return None  # removed meanwhile

    async def get(self, key: str) -> Doc:
        """Raises Rejected (404)."""
        found = await self.find(key)
        if found is None:
            raise not_found()
        return found.doc

    async def all(self, below: str = "") -> list[Doc]:
        """All below a prefix of the key, by key."""
        docs = []
        for entry in await self._engine.kv.entries(self.prefix + below):
            try:
                docs.append(await self._vault.unpack(entry.value))
            except NotFound:
                continue
        return docs

    async def newest(self, below: str = "") -> list[Doc]:
        """All below a prefix of the key, the last changed first, as OpenWhisk lists them."""
        return sorted(await self.all(below), key=lambda doc: -doc["updated"])

    async def put(self, key: str, make: Callable[[Doc | None], Doc], *, overwrite: bool = True) -> Doc:
        """Write what make() gives for what is there, or None. Raises Rejected: 409 for something that is there
        already, unless overwrite, or that changes all the time; 403 for one too many; what make() raises."""
        for _ in range(_TRIES):
            before = await self.find(key)
            if before is not None and not overwrite:
                raise conflict(EXISTS)
            if before is None and len(await self._engine.kv.keys(self.prefix)) >= MAX_ENTITIES:
                raise Rejected(403, f"There are {MAX_ENTITIES} entities of this kind already.")
            doc = make(None if before is None else before.doc)
            value = await self._vault.pack(doc)
            try:
                await self._engine.kv.put(
                    self.prefix + key, value, expected=0 if before is None else before.revision
                )
            except RevisionConflict:
                continue
            return doc
        raise conflict("Concurrent modification to resource detected.")

    async def replace(self, key: str, doc: Doc, revision: int) -> None:
        """Write over what find() gave. Raises RevisionConflict."""
        await self._engine.kv.put(self.prefix + key, await self._vault.pack(doc), expected=revision)

    async def remove(self, key: str) -> Doc:
        """Raises Rejected (404)."""
        found = await self.find(key)
        if found is None or not await self._engine.kv.delete(self.prefix + key):
            raise not_found()
        return found.doc

    async def touch(self) -> None:
        """Keep the blobs of all of them."""
        for entry in await self._engine.kv.entries(self.prefix):
            try:
                await self._vault.touch(entry.value)
            except NotFound:
                continue
