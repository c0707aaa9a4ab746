"""Blobs, on every driver."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator

import pytest
from worlds import World

from wasmote_fleet.engine import MAX_VALUE_BYTES, DigestMismatch, Engine, NotFound
from wasmote_fleet.engine.blobs import UNUSED_S

BIG = random.Random(1).randbytes(3_500_000)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def never(_digest: str) -> bool:
    return False


@pytest.mark.parametrize("size", [0, 1, MAX_VALUE_BYTES, MAX_VALUE_BYTES + 1, len(BIG)])
async def test_what_was_put_comes_back(engine: Engine, size: int) -> None:
    data = BIG[:size]
    info = await engine.blobs.put(data)
    assert (info.digest, info.size_bytes) == (digest_of(data), size)
    assert await engine.blobs.stat(info.digest) == info
    assert await engine.blobs.read(info.digest) == data
    assert await engine.blobs.stored() == [info]
    async for piece in engine.blobs.get(info.digest):
        assert 0 < len(piece) <= MAX_VALUE_BYTES


@pytest.mark.parametrize("size", [7919, 700_000])
async def test_a_stream_in_pieces_of_any_size(engine: Engine, size: int) -> None:
    data = BIG[:1_500_000]
    info = await engine.blobs.put(pieces(data, size), digest=digest_of(data))
    assert await engine.blobs.read(info.digest) == data


async def test_ranges(engine: Engine) -> None:
    data = BIG[:1_200_000]
    digest = (await engine.blobs.put(data)).digest
    edge = MAX_VALUE_BYTES
    for start, length in [
        (0, 10), (5, 0), (edge - 3, 6), (edge, edge), (10, None), (len(data) - 1, 100), (len(data), 5),
        (len(data) + 10, None), (0, len(data) * 2),
    ]:  # fmt: skip
        end = None if length is None else start + length
        assert await engine.blobs.read(digest, start=start, length=length) == data[start:end]
    with pytest.raises(ValueError, match="not a range"):
        await engine.blobs.read(digest, start=-1)


async def test_missing_and_ill_formed(engine: Engine) -> None:
    digest = digest_of(b"nothing")
    assert await engine.blobs.stat(digest) is None
    assert await engine.blobs.delete(digest) is False
    with pytest.raises(NotFound):
        await engine.blobs.read(digest)
    with pytest.raises(NotFound):
        await engine.blobs.touch(digest)
    for wrong in ("", digest[:-1], digest.upper(), "../" + digest[3:]):
        with pytest.raises(ValueError, match="not a SHA-256 digest"):
            await engine.blobs.stat(wrong)


async def test_bytes_of_another_digest_are_not_stored(world: World, engine: Engine) -> None:
    wanted = digest_of(b"wanted")
    with pytest.raises(DigestMismatch):
        await engine.blobs.put(BIG[:600_000], digest=wanted)
    assert await engine.blobs.stored() == []
    assert await engine.blobs._bucket.keys() == []
    info = await engine.blobs.put(b"wanted", digest=wanted)
    assert info.digest == wanted


async def test_put_of_a_known_digest_reads_nothing(engine: Engine) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("it was read")
        yield b""

    first = await engine.blobs.put(b"once")
    assert await engine.blobs.put(unread(), digest=first.digest) == first
    assert await engine.blobs.put(b"once") == first
    bucket = engine.blobs._bucket
    assert len(await bucket.keys("chunk/")) == 1 and await bucket.keys("pending/") == []


async def test_a_source_that_fails_leaves_nothing(engine: Engine) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield BIG[:600_000]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await engine.blobs.put(failing())
    assert await engine.blobs._bucket.keys() == []


async def test_collect_takes_what_was_unused_for_a_day(world: World, engine: Engine) -> None:
    old = await engine.blobs.put(b"old")
    kept = await engine.blobs.put(b"pinned")
    used = await engine.blobs.put(b"used")
    world.clock.advance(UNUSED_S - 10)
    touched = await engine.blobs.touch(used.digest)
    assert touched.used_at == world.clock.time()
    young = await engine.blobs.put(b"young")

    async def pinned(digest: str) -> bool:
        return digest == kept.digest

    assert await engine.blobs.collect(pinned) == []
    world.clock.advance(20)
    assert await engine.blobs.collect(pinned) == [old.digest]
    assert await engine.blobs.stat(old.digest) is None
    assert {info.digest for info in await engine.blobs.stored()} == {kept.digest, used.digest, young.digest}
    assert await engine.blobs.read(kept.digest) == b"pinned"
    assert sorted(await engine.blobs.collect(never, unused_s=120)) == [kept.digest]


async def test_a_touch_while_it_is_collected_saves_it(world: World, engine: Engine) -> None:
    digest = (await engine.blobs.put(b"wanted again")).digest
    world.clock.advance(UNUSED_S + 10)

    async def pinned(_digest: str) -> bool:
        await engine.blobs.touch(digest)  # somebody refers to it just after it was looked up
        return False

    assert await engine.blobs.collect(pinned) == []
    assert await engine.blobs.read(digest) == b"wanted again"
    assert await engine.blobs._bucket.keys("pending/") == []


async def test_an_interrupted_upload_is_collected(world: World, engine: Engine) -> None:
    bucket = engine.blobs._bucket

    async def crash() -> AsyncIterator[bytes]:
        yield BIG[:600_000]
        # As a killed process leaves it: chunks, and nobody to remove them.
        for key in await bucket.keys():
            entry = await bucket.get(key)
            assert entry is not None
            await bucket.put(key.replace("/", "/dead", 1), entry.value)

    info = await engine.blobs.put(crash())
    assert len(await bucket.keys("pending/")) == 1
    assert await engine.blobs.collect(never) == []
    assert len(await bucket.keys("pending/")) == 1
    world.clock.advance(UNUSED_S + 1)
    await engine.blobs.touch(info.digest)
    assert await engine.blobs.collect(never) == []
    assert await bucket.keys("pending/") == []
    assert await engine.blobs.read(info.digest) == BIG[:600_000]
    assert len(await bucket.keys("chunk/")) == 2


async def test_damage_is_found(engine: Engine) -> None:
    digest = (await engine.blobs.put(b"sound")).digest
    bucket = engine.blobs._bucket
    (chunk,) = await bucket.keys("chunk/")
    await bucket.put(chunk, b"s0und")
    with pytest.raises(DigestMismatch, match="damaged"):
        await engine.blobs.read(digest)
    await bucket.put(chunk, b"so")
    with pytest.raises(DigestMismatch, match="damaged"):
        await engine.blobs.read(digest)
    assert await engine.blobs.delete(digest) is True
    await engine.blobs.put(b"sound")
    assert await engine.blobs.read(digest) == b"sound"
