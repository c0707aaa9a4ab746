"""Publish, find, read and collect modules.

Keys: modules/<digest> what is known about a module; names/<name>/<version> which module that is. The bytes are blobs.
A name's latest version is the one that was published last: the key with the highest revision.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from wasmote.adapters.validator import Validator
from wasmote.errors import InputError
from wasmote.protocol.refusal import error_from_problem
from wasmote.protocol.section import NAME_MAX_BYTES, is_function_name
from wasmote_fleet.engine import Engine, NotFound, RevisionConflict
from wasmote_fleet.engine.blobs import UNUSED_S
from wasmote_fleet.repository.modules import ModuleInfo, describe

# A body larger than this is not even validated; what a node takes is far less.
MAX_MODULE_BYTES = 1 << 20
VERSION_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"

# Whether somebody else refers to a module.
Pinned = Callable[[str], Awaitable[bool]]


class UnknownFunction(InputError):
    """There is no function, version or module of this name."""


class VersionTaken(InputError):
    """This version is another module."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a function, and the module that it is. revision: later published is higher."""

    name: str
    version: str
    digest: str
    published_at: float
    revision: int


@dataclass(frozen=True, slots=True)
class Published:
    """created: there was no such version before."""

    version: Version
    module: ModuleInfo
    created: bool


class Repository:
    """Functions in an engine. Several servers on one engine share them. Texts that are no name or version raise
    InputError."""

    def __init__(self, engine: Engine, validator: Validator) -> None:
        self._engine = engine
        self._validator = validator

    async def publish(
        self, name: str, module: bytes, *, version: str | None = None, replace: bool = False
    ) -> Published:
        """Make module the latest version of name. version: otherwise the one in the module, or the first 12 digits of
        its digest. A version is a promise, so one that is another module is changed only with replace. Raises
        RefusedError with the validator's reason, InputError."""
        _check_name(name)
        # Half a megabyte takes the validator a moment; other requests go on meanwhile.
        refused = await asyncio.to_thread(self._validator.check, module, self._validator.default_limits)
        if refused is not None:
            raise error_from_problem(refused, f"'{name}' was not published", module=module)
        info = describe(module)
        chosen = _check_version(version or info.version or info.digest[:12])
        key = f"names/{name}/{chosen}"
        while True:
            before = await self._engine.kv.get(key)
            if before is not None and not replace and json.loads(before.value)["digest"] != info.digest:
                raise VersionTaken(
                    f"{name} {chosen} is there already",
                    cause="it is another module, and a version stays what it was",
                    next_step="give it another version, or ask to replace it",
                )
            # The blob counts as used from here on, so it is not collected before the name points at it.
            await self._engine.blobs.put(module, digest=info.digest)
            await self._engine.kv.put(f"modules/{info.digest}", info.encode())
            at = self._engine.clock.time()
            value = json.dumps({"digest": info.digest, "at": at}).encode()
            try:
                revision = await self._engine.kv.put(
                    key, value, expected=0 if before is None else before.revision
                )
            except RevisionConflict:
                continue
            return Published(Version(name, chosen, info.digest, at, revision), info, before is None)

    async def latest(self) -> list[Version]:
        """The latest version of each function, by name."""
        found: dict[str, Version] = {}
        for version in await self._versions("names/"):
            if version.name not in found or found[version.name].revision < version.revision:
                found[version.name] = version
        return sorted(found.values(), key=lambda version: version.name)

    async def versions(self, name: str) -> list[Version]:
        """All versions, the latest first. Raises UnknownFunction."""
        _check_name(name)
        found = await self._versions(f"names/{name}/")
        if not found:
            raise _unknown(f"function '{name}'")
        return sorted(found, key=lambda version: -version.revision)

    async def find(self, name: str, version: str | None = None) -> Version:
        """A version; None: the latest. Raises UnknownFunction."""
        if version is None:
            return (await self.versions(name))[0]
        _check_name(name)
        entry = await self._engine.kv.get(f"names/{name}/{_check_version(version)}")
        if entry is None:
            raise _unknown(f"{name} {version}")
        return _version(entry.key, entry.value, entry.revision)

    async def module(self, digest: str) -> ModuleInfo:
        """What is known about a module. Raises UnknownFunction."""
        entry = await self._engine.kv.get(f"modules/{digest}")
        if entry is None:
            raise _unknown(f"module {digest}")
        return ModuleInfo.decode(entry.value)

    async def read(self, digest: str) -> bytes:
        """The module's bytes; this counts as a use. Raises UnknownFunction, DigestMismatch."""
        try:
            await self._engine.blobs.touch(digest)
            return await self._engine.blobs.read(digest)
        except NotFound:
            raise _unknown(f"module {digest}") from None

    async def remove(self, name: str, version: str | None = None) -> int:
        """Forget a version, or all of them; their modules go once nothing uses them. Returns how many versions went.
        Raises UnknownFunction."""
        gone = 0
        for found in [await self.find(name, version)] if version else await self.versions(name):
            gone += await self._engine.kv.delete(f"names/{found.name}/{found.version}")
        return gone

    async def collect(self, pinned: Pinned | None = None, *, unused_s: float = UNUSED_S) -> list[str]:
        """Remove modules that no name points at, pinned does not hold, and nobody used for unused_s. Returns their
        digests. Whoever pins a module reads it, or publishes it, before."""
        # Names that come later than this belong to blobs that were touched later than their state was read.
        named: set[str] | None = None

        async def held(digest: str) -> bool:
            nonlocal named
            if named is None:
                named = {version.digest for version in await self._versions("names/")}
            return digest in named or (pinned is not None and await pinned(digest))

        await self._engine.blobs.collect(held, unused_s=unused_s)
        gone = []
        for entry in await self._engine.kv.entries("modules/"):
            digest = entry.key.partition("/")[2]
            if await self._engine.blobs.stat(digest) is None:
                try:
                    await self._engine.kv.delete(entry.key, expected=entry.revision)
                except RevisionConflict:
                    continue  # published again meanwhile
                gone.append(digest)
        return gone

    async def _versions(self, prefix: str) -> list[Version]:
        return [
            _version(entry.key, entry.value, entry.revision)
            for entry in await self._engine.kv.entries(prefix)
        ]


def _version(key: str, value: bytes, revision: int) -> Version:
    _, name, version = key.split("/")
    raw = json.loads(value)
    return Version(name, version, raw["digest"], raw["at"], revision)


def _check_name(name: str) -> str:
    if not is_function_name(name):
        raise InputError(
            f"'{name}' is no function name",
            cause=f"it has 1 to {NAME_MAX_BYTES} of the characters a-z A-Z 0-9 _ - . and does not start with a dot",
            next_step="check its spelling",
        )
    return name


def _check_version(version: str) -> str:
    if not re.fullmatch(VERSION_PATTERN, version):
        raise InputError(
            f"'{version}' is no version",
            cause="it has 1 to 64 of the characters a-z A-Z 0-9 . _ + - and starts with a letter or a digit",
            next_step="choose another one, such as 1.0.0",
        )
    return version


def _unknown(what: str) -> UnknownFunction:
    return UnknownFunction(
        f"there is no {what}", next_step="`wasmote fleet functions` lists what is published"
    )
