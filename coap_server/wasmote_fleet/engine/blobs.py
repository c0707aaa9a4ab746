"""Blobs: large immutable bytes by their SHA-256. Made of a bucket's values, so the same for all drivers.

Keys: chunk/<upload>/<number> bytes; meta/<digest> size, time of last use, and the upload that has the bytes;
pending/<upload> while an upload has chunks and no meta. Each upload has chunks of its own, so that a blob which is
collected while somebody puts it again is never half there.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from wasmote_fleet.engine.clock import Clock
from wasmote_fleet.engine.errors import DigestMismatch, NotFound, RevisionConflict
from wasmote_fleet.engine.interface import MAX_VALUE_BYTES, Entry, KeyValue

UNUSED_S = 24 * 3600.0
# A use is written down when the last one written is older than this.
TOUCH_GRAIN_S = 60.0
DIGEST_PATTERN = r"[0-9a-f]{64}"


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """digest: SHA-256, 64 hexadecimal digits. used_at: when it was last put or touched by Clock.time(), to a minute."""

    digest: str
    size_bytes: int
    used_at: float


@dataclass(frozen=True, slots=True)
class _Meta:
    info: BlobInfo
    upload: str
    revision: int

    def encode(self, used_at: float) -> bytes:
        return _encode(self.info.size_bytes, self.upload, used_at)


class Blobs:
    """Digests that are not 64 lower-case hexadecimal digits raise ValueError. Durability is that of the bucket: a put
    that returned is kept, one that did not may leave chunks, which collect() removes."""

    def __init__(self, bucket: KeyValue, clock: Clock) -> None:
        self._bucket = bucket
        self._clock = clock

    async def put(self, source: bytes | AsyncIterator[bytes], *, digest: str | None = None) -> BlobInfo:
        """Store what source yields, in pieces of any size; one that is there already counts as used now. digest: what
        it must be; if that is there already, source is not read. Raises DigestMismatch, and what source raises; then
        nothing is stored. Memory: two chunks of 512 KiB."""
        if digest is not None:
            try:
                return await self.touch(_check(digest))
            except NotFound:
                pass
        upload = secrets.token_hex(8)
        await self._bucket.put(f"pending/{upload}", json.dumps(self._clock.time()).encode())
        try:
            hashed, size = hashlib.sha256(), 0
            async for chunk in _chunks(source):
                hashed.update(chunk)
                await self._bucket.put(f"chunk/{upload}/{size // MAX_VALUE_BYTES:06}", chunk)
                size += len(chunk)
            found = hashed.hexdigest()
            if digest is not None and found != digest:
                raise DigestMismatch(f"the bytes are not those of {digest}", cause=f"their digest is {found}")
            info = await self._finish(found, size, upload)
        except BaseException:
            await self._drop(upload)
            raise
        return info

    async def _finish(self, digest: str, size: int, upload: str) -> BlobInfo:
        while True:
            now = self._clock.time()
            try:
                await self._bucket.put(f"meta/{digest}", _encode(size, upload, now), expected=0)
            except RevisionConflict:
                try:
                    info = await self.touch(digest)
                except NotFound:
                    continue
                await self._drop(upload)
                return info
            await self._bucket.delete(f"pending/{upload}")
            return BlobInfo(digest, size, now)

    async def _drop(self, upload: str) -> None:
        for key in await self._bucket.keys(f"chunk/{upload}/"):
            await self._bucket.delete(key)
        await self._bucket.delete(f"pending/{upload}")

    async def stat(self, digest: str) -> BlobInfo | None:
        """Size and time of last use; None if it is not there."""
        meta = await self._meta(digest)
        return None if meta is None else meta.info

    async def get(self, digest: str, *, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from start on, length of them or to the end, in pieces of at most 512 KiB; a range beyond the end
        gives what there is of it. Not a use: touch() it. Raises NotFound; DigestMismatch at the end of a whole blob
        whose stored bytes were damaged."""
        if start < 0 or (length is not None and length < 0):
            raise ValueError(f"not a range: {start}, {length}")
        meta = await self._meta(digest)
        if meta is None:
            raise _not_found(digest)
        size = meta.info.size_bytes
        end = size if length is None else min(size, start + length)
        hashed = hashlib.sha256() if start == 0 and end == size else None
        while start < end:
            number, off = divmod(start, MAX_VALUE_BYTES)
            entry = await self._bucket.get(f"chunk/{meta.upload}/{number:06}")
            if entry is None:
                raise _not_found(digest)
            piece = entry.value[off : off + end - start]
            if not piece:
                raise DigestMismatch(f"{digest} is damaged", cause="a chunk is shorter than it was")
            if hashed is not None:
                hashed.update(piece)
            start += len(piece)
            yield piece
        if hashed is not None and hashed.hexdigest() != digest:
            raise DigestMismatch(f"{digest} is damaged", next_step="delete() it and put it again")

    async def read(self, digest: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As get, in one piece."""
        return b"".join([piece async for piece in self.get(digest, start=start, length=length)])

    async def touch(self, digest: str) -> BlobInfo:
        """It is used now: collect() leaves it for another while. Raises NotFound."""
        while True:
            meta = await self._meta(digest)
            if meta is None:
                raise _not_found(digest)
            now = self._clock.time()
            if now - meta.info.used_at < TOUCH_GRAIN_S:
                return meta.info
            try:
                await self._bucket.put(f"meta/{digest}", meta.encode(now), expected=meta.revision)
            except RevisionConflict:
                continue
            return BlobInfo(digest, meta.info.size_bytes, now)

    async def stored(self) -> list[BlobInfo]:
        """All of them, by digest."""
        return [_decode(entry).info for entry in await self._bucket.entries("meta/")]

    async def delete(self, digest: str) -> bool:
        """Remove it, whoever uses it; False if it was not there."""
        meta = await self._meta(digest)
        return meta is not None and await self._remove(meta)

    async def collect(
        self, pinned: Callable[[str], Awaitable[bool]], *, unused_s: float = UNUSED_S
    ) -> list[str]:
        """Remove what was neither put nor touched for unused_s and is not pinned (asked with each such digest); also
        what interrupted uploads left so long ago. Returns the digests that went. Whoever writes a new reference to a
        blob touches it before; then it is not collected, even if pinned was asked in between.

        A use is written down to a minute, so unused_s below two minutes may collect what is in use."""
        horizon = self._clock.time() - unused_s
        pending = await self._bucket.entries("pending/")
        metas = [_decode(entry) for entry in await self._bucket.entries("meta/")]
        gone = []
        for meta in metas:
            if meta.info.used_at > horizon or await pinned(meta.info.digest):
                continue
            if await self._remove(meta):
                gone.append(meta.info.digest)
        uploads = {meta.upload for meta in metas}
        for entry in pending:
            upload = entry.key.partition("/")[2]
            if json.loads(entry.value) <= horizon:
                if upload in uploads:
                    await self._bucket.delete(entry.key)
                else:
                    await self._drop(upload)
        return gone

    async def compact(self, older_than_s: float) -> int:
        """As KeyValue.compact."""
        return await self._bucket.compact(older_than_s)

    async def _meta(self, digest: str) -> _Meta | None:
        entry = await self._bucket.get(f"meta/{_check(digest)}")
        return None if entry is None else _decode(entry)

    async def _remove(self, meta: _Meta) -> bool:
        """Meta first, and only if nobody touched it since it was read. The chunks are pending until they are gone."""
        await self._bucket.put(f"pending/{meta.upload}", json.dumps(self._clock.time()).encode())
        try:
            await self._bucket.delete(f"meta/{meta.info.digest}", expected=meta.revision)
        except RevisionConflict:
            current = await self._meta(meta.info.digest)
            if current is not None and current.upload == meta.upload:
                await self._bucket.delete(f"pending/{meta.upload}")
                return False
            await self._drop(meta.upload)
            return False
        await self._drop(meta.upload)
        return True


def _encode(size: int, upload: str, used_at: float) -> bytes:
    return json.dumps({"size": size, "upload": upload, "used_at": used_at}).encode()


def _decode(entry: Entry) -> _Meta:
    value = json.loads(entry.value)
    info = BlobInfo(entry.key.partition("/")[2], value["size"], value["used_at"])
    return _Meta(info, value["upload"], entry.revision)


def _check(digest: str) -> str:
    if not re.fullmatch(DIGEST_PATTERN, digest):
        raise ValueError(f"not a SHA-256 digest: {digest!r}")
    return digest


def _not_found(digest: str) -> NotFound:
    return NotFound(f"no blob {digest}", next_step="put it, or ask stat() first")


async def _chunks(source: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """source in pieces of exactly MAX_VALUE_BYTES, the last one shorter."""
    if isinstance(source, bytes):
        for start in range(0, len(source), MAX_VALUE_BYTES):
            yield source[start : start + MAX_VALUE_BYTES]
        return
    buffer = bytearray()
    async for piece in source:
        buffer += piece
        while len(buffer) >= MAX_VALUE_BYTES:
            yield bytes(buffer[:MAX_VALUE_BYTES])
            del buffer[:MAX_VALUE_BYTES]
    if buffer:
        yield bytes(buffer)
