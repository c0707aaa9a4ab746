"""The modules that an orchestrator keeps: uploaded, described, and handed to supervisors. `wasmiot/modules/<id>` in the
engine's kv; the bytes are blobs."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from wasmote_fleet.compat.wasmiot.bodies import MAX_NAME
from wasmote_fleet.compat.wasmiot.describe import describe, facts
from wasmote_fleet.compat.wasmiot.errors import BadBody, NotThere
from wasmote_fleet.compat.wasmiot.multipart import Part
from wasmote_fleet.compat.wasmiot.records import ROOT, is_key
from wasmote_fleet.engine import Engine, RevisionConflict

PREFIX = f"{ROOT}modules/"
MAX_MODULES = 1000
Document = dict[str, Any]


def new_id() -> str:
    """24 hexadecimal digits, as wasmiot's are."""
    return secrets.token_hex(12)


class Uploads:
    """Modules as documents; `blobs` has the digest of each file and is ours, public() leaves it out."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def create(self, parts: Sequence[Part]) -> str:
        """The id of a new module. Raises BadBody, ModuleError."""
        fields = {part.name: part.data.decode("utf-8", "replace") for part in parts if part.filename is None}
        name = fields.get("name", "")
        if not 1 <= len(name) <= MAX_NAME or any(c in "/?#" or not c.isprintable() for c in name):
            raise BadBody(f"'{name[:40]}' is no module's name", next_step="send a field 'name'")
        binary = next((part for part in parts if part.filename is not None), None)
        if binary is None:
            raise BadBody("file-submission missing", next_step="send the .wasm file with it")
        if len(await self._engine.kv.keys(PREFIX)) >= MAX_MODULES:
            raise BadBody(f"there are {MAX_MODULES} modules", next_step="delete some")
        digest = (await self._engine.blobs.put(binary.data)).digest
        made: Document = {
            **{key: value for key, value in fields.items() if key not in ("_id", "blobs")},
            "_id": new_id(),
            "name": name,
            "wasm": {"originalFilename": binary.filename, "fileName": digest},
            **facts(binary.data),
            "blobs": {"wasm": digest},
        }
        await self._engine.kv.put(PREFIX + made["_id"], _encode(made), expected=0)
        return str(made["_id"])

    async def upload(self, which: str, functions: Any, files: Sequence[Part]) -> Document:
        """Describe a module's functions, with the files that they need. Returns the OpenAPI description. Raises
        NotThere, BadBody."""
        while True:
            module = await self.get(which)
            entry = await self._engine.kv.get(PREFIX + module["_id"])
            known = module.get("dataFiles", {})
            types = {name: str(has.get("mediaType", "")) for name, has in known.items()}
            found = describe(
                module["name"],
                functions,
                types | {part.name: part.media_type for part in files},
            )
            blobs = dict(module["blobs"])
            for part in files:
                if part.name == "wasm":
                    raise BadBody("data cannot be wasm", next_step="POST /file/module makes a new module")
                blobs[part.name] = (await self._engine.blobs.put(part.data)).digest
                known[part.name] = {"originalFilename": part.filename, "mediaType": part.media_type}
            module |= {
                "dataFiles": known,
                "mounts": found.mounts,
                "description": found.description,
                "blobs": blobs,
            }
            try:
                await self._engine.kv.put(
                    PREFIX + module["_id"], _encode(module), expected=entry.revision if entry else 0
                )
            except RevisionConflict:
                continue
            return found.description

    async def all(self) -> list[Document]:
        """All of them."""
        return [json.loads(entry.value) for entry in await self._engine.kv.entries(PREFIX)]

    async def get(self, which: str) -> Document:
        """By its id, or else by its name. Raises NotThere."""
        entry = await self._engine.kv.get(PREFIX + which) if is_key(which) else None
        if entry is not None:
            found: Document = json.loads(entry.value)
            return found
        named = [module for module in await self.all() if module["name"] == which]
        if not named:
            raise NotThere(f"no matches for ID {which}", next_step="GET /file/module lists the modules")
        if len(named) > 1:
            raise BadBody(f"too many matches for ID {which}", next_step="give its id instead of its name")
        return named[0]

    async def read(self, module: Document, name: str) -> bytes:
        """A file of a module; `wasm` is the module itself. Raises NotThere."""
        digest = module["blobs"].get(name)
        if digest is None:
            raise NotThere(
                f"file '{name}' missing from module '{module['name']}'",
                cause=f"it has {', '.join(module['blobs'])}",
                next_step="upload it",
            )
        return await self._engine.blobs.read(digest)

    async def delete(self, which: str | None) -> int:
        """One, or all; how many went. One that is not there is none."""
        gone = 0
        for module in await self.all():
            if which is None or which in (module["_id"], module["name"]):
                gone += await self._engine.kv.delete(PREFIX + module["_id"])
        return gone


def public(module: Document) -> Document:
    """Without what is ours."""
    return {name: value for name, value in module.items() if name != "blobs"}


def _encode(module: Document) -> bytes:
    return json.dumps(module, ensure_ascii=False).encode()
