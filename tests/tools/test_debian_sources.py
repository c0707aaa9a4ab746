"""Archives from Debian's package pool: apt itself fetches them, from mirrors that are folders here."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from wasmote.adapters import debian
from wasmote.adapters.project import Project
from wasmote.adapters.sources import Source, ensure_sources, read_pins
from wasmote.errors import MissingError

PINS = Project.find().firmware / "third_party.toml"
needs_apt = pytest.mark.skipif(not debian.APT_HELPER.is_file(), reason="there is no apt here")


def _archive() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as tar:
        info = tarfile.TarInfo("thing-1.0/src/a.c")
        info.size = 7
        tar.addfile(info, io.BytesIO(b"int a;\n"))
    return out.getvalue()


ARCHIVE = _archive()
THING = Source(
    "thing",
    "1.0",
    "thing_1.0+dfsg1.orig.tar.xz",
    hashlib.sha256(ARCHIVE).hexdigest(),
    "src",
    "MIT",
    "a thing",
    index="debian",
)


def _put(mirror: Path, data: bytes, pool: str = "pool/main") -> None:
    folder = mirror / pool / "t" / "thing"
    folder.mkdir(parents=True)
    (folder / THING.filename).write_bytes(data)


@pytest.fixture
def mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two mirrors without any file, which are all that apt knows."""
    folders = [tmp_path / "first", tmp_path / "second"]
    sources = tmp_path / "sources.list"
    lines = []
    for folder in folders:
        folder.mkdir()
        lines += [f"deb copy:{folder}/ stable main", f"deb copy:{folder} stable-updates main"]
    sources.write_text("\n".join(lines) + "\n")
    config = tmp_path / "apt.conf"
    config.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n'
        'APT::Sandbox::User "root";\n'  # who may read the test's folder
    )
    monkeypatch.setenv("APT_CONFIG", str(config))
    return folders


@needs_apt
def test_debian_mirrors_are_those_of_apt(mirrors: list[Path]) -> None:
    assert debian.mirrors() == [f"copy:{folder}" for folder in mirrors]


@needs_apt
@pytest.mark.parametrize("pool", ["pool/main", "pool/universe"])
def test_debian_source_comes_from_the_mirror_that_has_it(
    mirrors: list[Path], tmp_path: Path, pool: str
) -> None:
    _put(mirrors[1], ARCHIVE, pool)
    told: list[str] = []
    (made,) = ensure_sources([THING], tmp_path / "third_party", progress=told.append)
    assert made == tmp_path / "third_party" / "thing-1.0"
    assert (made / "src" / "a.c").read_bytes() == b"int a;\n"
    assert told == [f"fetching {THING.filename} (a thing)"]


@needs_apt
def test_debian_source_with_another_digest_is_refused(mirrors: list[Path], tmp_path: Path) -> None:
    _put(mirrors[0], ARCHIVE + b"\0")
    with pytest.raises(MissingError) as caught:
        ensure_sources([THING], tmp_path / "third_party")
    assert "Hash Sum mismatch" in caught.value.cause
    assert not (tmp_path / "third_party" / "thing-1.0").exists()
    # A mirror that is wrong does not keep a right one from being asked.
    _put(mirrors[1], ARCHIVE)
    ensure_sources([THING], tmp_path / "third_party")


@needs_apt
def test_debian_source_that_no_mirror_has(mirrors: list[Path], tmp_path: Path) -> None:
    into = tmp_path / "third_party"
    with pytest.raises(MissingError) as caught:
        ensure_sources([THING], into)
    assert "cannot fetch" in caught.value.message
    for folder in mirrors:
        assert f"{folder}/pool/main/t/thing/thing_1.0" in caught.value.cause
    assert "source package thing 1.0" in caught.value.next_step
    assert str(into / "archives") in caught.value.next_step


def test_debian_source_without_apt_is_taken_from_the_folder_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "APT_HELPER", tmp_path / "none")
    into = tmp_path / "third_party"
    with pytest.raises(MissingError) as caught:
        ensure_sources([THING], into)
    assert "no apt" in caught.value.cause
    by_hand = into / "archives"
    assert str(by_hand) in caught.value.next_step
    by_hand.mkdir()
    (by_hand / THING.filename).write_bytes(ARCHIVE[:-1])
    with pytest.raises(MissingError, match="not the file that is pinned") as caught:
        ensure_sources([THING], into)
    assert "remove" in caught.value.next_step
    (by_hand / THING.filename).write_bytes(ARCHIVE)
    (made,) = ensure_sources([THING], into)
    assert (made / "src" / "a.c").is_file()


def test_pins_of_a_port_are_for_that_port() -> None:
    common = [pin.name for pin in read_pins(PINS)]
    assert "lwip" not in common
    assert [pin.name for pin in read_pins(PINS, ["stm32f4", "host"])] == common
    with_lwip = read_pins(PINS, ["mps2_an386"])
    assert [pin.name for pin in with_lwip] == [*common, "lwip"]
    lwip = with_lwip[-1]
    assert (lwip.index, lwip.directory) == ("debian", "lwip-2.2.1")
    assert replace(lwip, ports=()) != lwip
