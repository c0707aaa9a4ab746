"""The repository, on each driver: publish, find, read, collect, and what it refuses."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio
from worlds import World

from wasmote.adapters.tools import need_tool
from wasmote.adapters.validator import Validator
from wasmote.errors import InputError, RefusedError
from wasmote.protocol.module import parse_module
from wasmote.protocol.section import Section, with_section
from wasmote_fleet.engine import Engine
from wasmote_fleet.engine.blobs import UNUSED_S
from wasmote_fleet.repository import ModuleInfo, Repository, UnknownFunction, VersionTaken, describe

MODULES = Path(__file__).resolve().parents[1] / "integration" / "modules"


@functools.cache
def module(name: str) -> bytes:
    """A .wat file of the integration tests as WebAssembly."""
    wat2wasm = need_tool("wat2wasm")
    done = subprocess.run([wat2wasm, "--output=-", MODULES / f"{name}.wat"], capture_output=True, check=True)
    return done.stdout


@functools.cache
def validator() -> Validator:
    return Validator.load()


@pytest_asyncio.fixture
async def repository(engine: Engine) -> Repository:
    return Repository(engine, validator())


async def test_publish_find_and_read(repository: Repository) -> None:
    published = await repository.publish("sum", module("sum"), version="1.0")
    assert published.created and published.version.digest == published.module.digest
    found = await repository.find("sum")
    assert found == published.version
    assert await repository.read(found.digest) == module("sum")
    info = await repository.module(found.digest)
    assert info == published.module
    assert [(e.name, e.params, e.results, e.kind) for e in info.exports] == [
        ("add", ("i32",), ("i32",), "numbers")
    ]
    again = await repository.publish("sum", module("sum"), version="1.0")
    assert not again.created and again.version.digest == found.digest


async def test_latest_is_what_was_published_last(repository: Repository) -> None:
    await repository.publish("f", module("sum"), version="2")
    await repository.publish("f", module("echo"), version="1")
    await repository.publish("g", module("sum"), version="1")
    assert (await repository.find("f")).version == "1"
    await repository.publish("f", module("sum"), version="2")
    assert [found.version for found in await repository.versions("f")] == ["2", "1"]
    assert [(found.name, found.version) for found in await repository.latest()] == [("f", "2"), ("g", "1")]
    assert (await repository.find("f", "1")).digest == describe(module("echo")).digest


async def test_version_comes_from_the_module_or_its_digest(repository: Repository) -> None:
    section = Section(name="sum", version="3.1", pure=("add",))
    with_version = await repository.publish("sum", with_section(module("sum"), section))
    assert with_version.version.version == "3.1" and with_version.module.exports[0].pure
    bare = await repository.publish("sum", module("sum"))
    assert bare.version.version == bare.module.digest[:12]


async def test_a_version_stays_what_it_was(repository: Repository) -> None:
    await repository.publish("f", module("sum"), version="1")
    with pytest.raises(VersionTaken, match="f 1 is there already"):
        await repository.publish("f", module("echo"), version="1")
    assert (await repository.find("f", "1")).digest == describe(module("sum")).digest
    await repository.publish("f", module("echo"), version="1", replace=True)
    assert (await repository.find("f", "1")).digest == describe(module("echo")).digest


async def test_what_a_node_would_refuse_is_refused(repository: Repository) -> None:
    wrong = bytearray(module("sum"))
    wrong[wrong.rindex(0x0B)] = 0xFF  # the end of a function becomes an opcode that there is not
    with pytest.raises(RefusedError) as refused:
        await repository.publish("f", bytes(wrong))
    assert refused.value.details["code"] == "4.22" and refused.value.details["reason"] in (
        "malformed",
        "invalid",
    )
    with pytest.raises(RefusedError, match="'f' was not published"):
        await repository.publish("f", b"\0asm nothing")
    assert await repository.latest() == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "a\nb", "x" * 32])
async def test_names_that_are_none(repository: Repository, name: str) -> None:
    for asked in (repository.publish(name, module("sum")), repository.find(name), repository.versions(name)):
        with pytest.raises(InputError, match="no function name"):
            await asked


@pytest.mark.parametrize("version", ["../x", "a/b", "-1", "1 2", "x" * 65])
async def test_versions_that_are_none(repository: Repository, version: str) -> None:
    for asked in (repository.publish("f", module("sum"), version=version), repository.find("f", version)):
        with pytest.raises(InputError, match="is no version"):
            await asked


async def test_what_is_not_there(repository: Repository) -> None:
    await repository.publish("f", module("sum"), version="1")
    for asked in (
        repository.find("g"),
        repository.versions("g"),
        repository.find("f", "2"),
        repository.remove("g"),
    ):
        with pytest.raises(UnknownFunction):
            await asked
    with pytest.raises(UnknownFunction):
        await repository.module("0" * 64)
    with pytest.raises(UnknownFunction):
        await repository.read("0" * 64)


async def test_collect_leaves_what_is_named_used_or_pinned(repository: Repository, world: World) -> None:
    named = await repository.publish("named", module("sum"))
    freed = await repository.publish("freed", module("echo"))
    pinned = await repository.publish("pinned", module("forever"))
    used = await repository.publish("used", module("traps"))
    for name in ("freed", "pinned", "used"):
        assert await repository.remove(name) == 1

    async def is_pinned(digest: str) -> bool:
        return digest == pinned.module.digest

    assert await repository.collect(is_pinned) == []
    world.clock.advance(UNUSED_S - 60)
    await repository.read(used.module.digest)
    assert await repository.collect(is_pinned) == []
    world.clock.advance(120)
    assert await repository.collect(is_pinned) == [freed.module.digest]
    with pytest.raises(UnknownFunction):
        await repository.module(freed.module.digest)
    for kept in (named, pinned, used):
        assert (await repository.module(kept.module.digest)) == kept.module
        assert len(await repository.read(kept.module.digest)) == kept.module.size_bytes
    back = await repository.publish("freed", module("echo"))
    assert await repository.read(back.module.digest) == module("echo")


async def test_a_name_given_while_its_module_is_collected_keeps_it(
    repository: Repository, world: World
) -> None:
    old = await repository.publish("f", module("sum"))
    await repository.remove("f")
    world.clock.advance(UNUSED_S + 60)

    async def published_meanwhile(_digest: str) -> bool:
        await repository.publish("again", module("sum"))
        return False

    assert await repository.collect(published_meanwhile) == []
    assert await repository.read(old.module.digest) == module("sum")


async def test_all_of_it_is_there_after_a_restart(world: World) -> None:
    engine = await world.open()
    published = await Repository(engine, validator()).publish("sum", module("sum"), version="1")
    await engine.close()
    repository = Repository(await world.open(), validator())
    assert await repository.versions("sum") == [published.version]
    assert await repository.read(published.module.digest) == module("sum")


def test_description_survives_json_and_has_imports() -> None:
    info = describe(module("echo"))
    assert ModuleInfo.decode(info.encode()) == info
    wanted = [(found.module, found.name) for found in info.imports]
    assert wanted == [(found.module, found.name) for found in parse_module(module("echo")).imports] != []
