"""Third-party sources: the user's pip configuration, verification, unpacking."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from wasmote.adapters.pip_config import PipConfig, parse_pip_config
from wasmote.adapters.project import Project
from wasmote.adapters.sources import Source, ensure_sources, fetch, read_pins, unpack
from wasmote.errors import ExitCode, InputError, MissingError


def archive(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1_600_000_000
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


GOOD = archive({"thing-1.0/src/a.c": b"int a;\n", "thing-1.0/LICENSE": b"free\n"})
BAD = archive({"thing-1.0/src/a.c": b"int evil;\n"})


def source(data: bytes = GOOD, folder: str = "src") -> Source:
    digest = hashlib.sha256(data).hexdigest()
    return Source("thing", "1.0", "thing-1.0.tar.gz", digest, folder, "MIT", "a thing")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A simple index on this machine: its address and the folder that it serves."""
    served = tmp_path / "served"
    (served / "simple" / "thing").mkdir(parents=True)
    (served / "simple" / "thing" / "index.html").write_text(
        '<!DOCTYPE html><a href="thing-1.0.tar.gz#sha256=00">thing-1.0.tar.gz</a> <a href="other-2.0.zip">other</a>'
    )

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, directory=str(served), **kwargs)  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple", served / "simple" / "thing"
    server.shutdown()
    thread.join()
    server.server_close()


def test_sources_come_from_the_index(index: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = index
    (folder / "thing-1.0.tar.gz").write_bytes(GOOD)
    told: list[str] = []
    into = tmp_path / "third_party"
    (made,) = ensure_sources([source()], into, config=PipConfig(index_url=url), progress=told.append)
    assert (made / "src" / "a.c").read_bytes() == b"int a;\n"
    assert (made / "src" / "a.c").stat().st_mtime == 1_600_000_000
    assert told == ["fetching thing-1.0.tar.gz (a thing)"]
    # Nothing is asked again once it is there.
    (folder / "thing-1.0.tar.gz").unlink()
    assert ensure_sources([source()], into, config=PipConfig(index_url=url), progress=told.append) == [made]
    assert len(told) == 1


def test_sources_wrong_hash_is_an_error_and_leaves_nothing(index: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = index
    (folder / "thing-1.0.tar.gz").write_bytes(BAD)
    into = tmp_path / "third_party"
    with pytest.raises(MissingError) as caught:
        ensure_sources([source()], into, config=PipConfig(index_url=url))
    assert "not the file that is pinned" in caught.value.message
    assert hashlib.sha256(BAD).hexdigest() in caught.value.cause
    assert "nothing was unpacked" in caught.value.next_step
    assert caught.value.exit_code == ExitCode.MISSING
    assert [path.name for path in into.iterdir() if path.name != ".lock"] == []


def test_sources_another_place_may_have_the_right_file(index: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = index
    (folder / "thing-1.0.tar.gz").write_bytes(BAD)
    links = tmp_path / "links"
    links.mkdir()
    (links / "thing-1.0.tar.gz").write_bytes(GOOD)
    assert (
        fetch(
            source(),
            PipConfig(
                index_url=url, extra_index_urls=((tmp_path / "none").as_uri(),), find_links=(str(links),)
            ),
        )
        == GOOD
    )
    folder_index = tmp_path / "index" / "thing"
    folder_index.mkdir(parents=True)
    (folder_index / "thing-1.0.tar.gz").write_bytes(GOOD)
    config = PipConfig(index_url=url, extra_index_urls=((tmp_path / "index").as_uri(),))
    assert fetch(source(), config) == GOOD
    (folder_index / "thing-1.0.tar.gz").rename(tmp_path / "index" / "thing-1.0.tar.gz")
    (folder_index / "index.html").write_text('<a href="../thing-1.0.tar.gz">thing-1.0.tar.gz</a>')
    assert fetch(source(), config) == GOOD
    page = url.removesuffix("/simple") + "/simple/thing/index.html"
    (folder / "thing-1.0.tar.gz").write_bytes(GOOD)
    assert fetch(source(), PipConfig(no_index=True, find_links=(page,))) == GOOD


def test_sources_missing_everywhere_names_the_places(index: tuple[str, Path], tmp_path: Path) -> None:
    url, _folder = index
    config = PipConfig(index_url=url.replace("://", "://user:secret@"), find_links=(str(tmp_path / "gone"),))
    with pytest.raises(MissingError) as caught:
        fetch(source(), config)
    assert "gone" in caught.value.cause and "404" in caught.value.cause
    assert "secret" not in caught.value.cause
    assert "pip config list" in caught.value.next_step
    with pytest.raises(MissingError, match="cannot fetch"):
        fetch(source(), PipConfig(no_index=True))


def test_sources_after_an_unpacking_that_was_cut_off(index: tuple[str, Path], tmp_path: Path) -> None:
    """Killed between any two steps: a temporary folder is left, or a folder without its stamp."""
    url, served = index
    (served / "thing-1.0.tar.gz").write_bytes(GOOD)
    into = tmp_path / "third_party"
    for left in (".unpack-x/thing-1.0/src/a.c", "thing-1.0/src/b.c"):
        (into / left).parent.mkdir(parents=True)
        (into / left).write_bytes(b"half")
    ensure_sources([source()], into, config=PipConfig(index_url=url))
    found = {path.name for path in into.rglob("*") if path.is_file()}
    assert found == {".lock", ".wasmote-sha256", "LICENSE", "a.c"}
    assert (into / "thing-1.0/src/a.c").read_bytes() == b"int a;\n"


def test_sources_unreachable_index_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MissingError) as caught:
        fetch(source(), PipConfig(index_url="http://127.0.0.1:9/simple", timeout_s=2))
    assert "127.0.0.1" in caught.value.cause


@pytest.mark.parametrize("name", ["/etc/evil", "../evil", "thing-1.0/../../evil"])
def test_sources_unpack_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(MissingError, match="outside"):
        unpack(archive({name: b"x"}), tmp_path / "in")
    assert not (tmp_path / "evil").exists()


def test_sources_unpack_refuses_links_and_damage(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        info = tarfile.TarInfo("thing-1.0/link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(MissingError, match="link"):
        unpack(out.getvalue(), tmp_path)
    with pytest.raises(MissingError, match="cannot be unpacked"):
        unpack(GOOD[: len(GOOD) // 2], tmp_path)


def test_sources_archive_without_its_folder_leaves_nothing(tmp_path: Path) -> None:
    links = tmp_path / "links"
    links.mkdir()
    (links / "thing-1.0.tar.gz").write_bytes(GOOD)
    into = tmp_path / "third_party"
    with pytest.raises(MissingError, match=r"no folder thing-1\.0/lib"):
        ensure_sources(
            [source(folder="lib")], into, config=PipConfig(no_index=True, find_links=(str(links),))
        )
    assert [path.name for path in into.iterdir() if path.name != ".lock"] == []


def test_pins_of_this_repository() -> None:
    pins = read_pins(Project.find().firmware / "third_party.toml")
    assert [pin.name for pin in pins] == ["pywasm3", "zcbor", "dtlssocket"]


def test_pins_wrong_file(tmp_path: Path) -> None:
    file = tmp_path / "third_party.toml"
    for text in (
        "[[source]]\nname = 'x'",
        "source = 3",
        "[[source",
        "[[source]]\nname='a'\nversion='1'\nfilename='a-1.tgz'\n"
        "sha256='00'\nfolder='f'\nlicence='x'\nwhat='y'",
    ):
        file.write_text(text)
        with pytest.raises(InputError):
            read_pins(file)


def test_pip_config_listing() -> None:
    listing = (
        ":env:.cert='/env.pem'\nglobal.index-url='https://a.example/simple'\nglobal.cert='/global.pem'\n"
        "global.extra-index-url='https://b.example/simple\\nfile:///srv/simple'\ninstall.index-url='https://c.example/simple'\n"
        "global.default-timeout='7'\nnonsense\n"
    )
    config = parse_pip_config(
        listing, {"PIP_FIND_LINKS": "/w /x", "HOME": "/h", "PIP_NO_INDEX": "1", "PIP_PROXY": ""}
    )
    assert config == PipConfig(
        index_url="https://c.example/simple",
        extra_index_urls=("https://b.example/simple", "file:///srv/simple"),
        find_links=("/w", "/x"),
        no_index=True,
        cert="/env.pem",
        timeout_s=7.0,
    )
    assert parse_pip_config("", {}) == PipConfig()
