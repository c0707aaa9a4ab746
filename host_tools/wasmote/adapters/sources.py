"""Third-party C sources: found through the user's pip or apt configuration, verified by SHA-256, unpacked.

The pins are in firmware/third_party.toml. An archive counts only if its digest is the pinned one, so it does not
matter which index, mirror or folder it comes from; one that a person put into build/third_party/archives comes first. A
source is unpacked beside its place and renamed into it: what is in build/third_party is whole and verified, or not
there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit
from urllib.request import url2pathname

import filelock
import pypi_simple
import requests

from wasmote.adapters.debian import NotInPool, fetch_from_pool
from wasmote.adapters.pip_config import PipConfig, read_pip_config
from wasmote.errors import InputError, MissingError

_ARCHIVE_MAX_BYTES = 32 * 1024 * 1024
_UNPACKED_MAX_BYTES = 128 * 1024 * 1024
_STAMP = ".wasmote-sha256"
_BY_HAND = "archives"
_UNPACK_STEP = (
    "remove build/third_party and build again; if that does not help, correct firmware/third_party.toml"
)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Source:
    """One pinned archive. folder: what of it is used, relative to the unpacked folder. index: "pypi", or "debian" for
    the upstream archive of Debian's source package of this name. ports: the only ones that need it; empty: all do."""

    name: str
    version: str
    filename: str
    sha256: str
    folder: str
    licence: str
    what: str
    index: str = "pypi"
    ports: tuple[str, ...] = ()

    @property
    def directory(self) -> str:
        """The name of its folder in build/third_party."""
        return f"{self.name}-{self.version}"


def read_pins(path: Path, ports: Collection[str] = ()) -> list[Source]:
    """The sources of firmware/third_party.toml that every port needs, and those for these ports. Raises InputError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        sources = [Source(**{**entry, "ports": tuple(entry.get("ports", ()))}) for entry in raw["source"]]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as err:
        raise InputError(
            f"cannot read the source pins in {path}",
            cause=str(err),
            next_step="restore the file from the repository",
        ) from err
    for source in sources:
        named = {"pypi": source.directory, "debian": f"{source.name}_{source.version}"}
        if len(source.sha256) != 64 or not source.filename.startswith(named.get(source.index, "\0")):
            raise InputError(
                f"wrong pin of '{source.name}' in {path}", next_step="restore the file from the repository"
            )
    return [source for source in sources if not source.ports or set(source.ports) & set(ports)]


def ensure_sources(
    sources: list[Source],
    into: Path,
    *,
    config: PipConfig | None = None,
    progress: Progress = lambda _text: None,
) -> list[Path]:
    """The unpacked folder of each source; fetches those that are missing. Raises MissingError."""
    into.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(into / ".lock"):
        for source in sources:
            if _stamp(into / source.directory) == source.sha256:
                continue
            for cut_off in into.glob(".unpack-*"):
                shutil.rmtree(cut_off, ignore_errors=True)
            archive = _by_hand(source, into / _BY_HAND)
            if archive is None:
                progress(f"fetching {source.filename} ({source.what})")
                if source.index == "debian":
                    archive = _fetch_debian(source, into / _BY_HAND)
                else:
                    config = config or read_pip_config()
                    archive = fetch(source, config)
            _install(source, archive, into)
    return [into / source.directory for source in sources]


def _by_hand(source: Source, folder: Path) -> bytes | None:
    """The archive, if somebody has put it there. Raises MissingError if it is another file."""
    try:
        data = (folder / source.filename).read_bytes()
    except FileNotFoundError:
        return None
    digest = hashlib.sha256(data).hexdigest()
    if digest != source.sha256:
        raise MissingError(
            f"{folder / source.filename} is not the file that is pinned (SHA-256 {source.sha256})",
            cause=f"its SHA-256 is {digest}",
            next_step="put the right file there, or remove this one",
        )
    return data


def _fetch_debian(source: Source, by_hand: Path) -> bytes:
    try:
        return fetch_from_pool(source.name, source.filename, source.sha256)
    except NotInPool as err:
        raise MissingError(
            f"cannot fetch {source.filename} ({source.what})",
            cause=str(err),
            next_step=f"it is the upstream archive of Debian's source package {source.name} {source.version}: `apt-get "
            f"update` where the sources are old, or get it from a mirror of Debian or from Debian's archive of former "
            f"packages, and put it into {by_hand}",
        ) from err


def fetch(source: Source, config: PipConfig) -> bytes:
    """The bytes of the archive, verified. Asks find-links, the index and the extra indexes, in this order."""
    failures: list[str] = []
    wrong = False
    with requests.Session() as session:
        if config.cert:
            session.verify = config.cert
        if config.client_cert:
            session.cert = config.client_cert
        if config.proxy:
            session.proxies = {"http": config.proxy, "https": config.proxy}
        for place, urls in _places(source, config, session):
            try:
                for url in urls():
                    data = _read(url, session, config.timeout_s)
                    digest = hashlib.sha256(data).hexdigest()
                    if digest == source.sha256:
                        return data
                    wrong = True
                    failures.append(f"{_shown(url)}: SHA-256 is {digest}")
            except (
                requests.RequestException,
                OSError,
                ValueError,
                pypi_simple.UnsupportedContentTypeError,
            ) as err:
                failures.append(f"{_shown(place)}: {_shown(str(err))}")
            except pypi_simple.NoSuchProjectError:
                failures.append(f"{_shown(place)}: has no {source.name}")
    tried = "\n".join(failures) or "the pip configuration names no place to look at"
    if wrong:
        raise MissingError(
            f"{source.filename} is not the file that is pinned (SHA-256 {source.sha256})",
            cause=tried,
            next_step="use another index (pip config list shows yours): the file was changed or damaged on its way, and"
            " nothing was unpacked",
        )
    raise MissingError(
        f"cannot fetch {source.filename}",
        cause=tried,
        next_step="the places are those of your pip configuration (pip config list): correct it, or put the file into "
        "a folder and set PIP_FIND_LINKS to it.",
    )


def _places(
    source: Source, config: PipConfig, session: requests.Session
) -> Iterator[tuple[str, Callable[[], Iterator[str]]]]:
    """(a place, and the addresses there of files named like the source's)."""

    def page(url: str, *, is_index: bool) -> Callable[[], Iterator[str]]:
        def urls() -> Iterator[str]:
            for name, address in _links(url, source.name, session, config.timeout_s, is_index=is_index):
                if name.lower() == source.filename.lower():
                    yield address

        return urls

    for place in config.find_links:
        yield place, page(place, is_index=False)
    if config.no_index:
        return
    for place in (config.index_url or pypi_simple.PYPI_SIMPLE_ENDPOINT, *config.extra_index_urls):
        yield place, page(place, is_index=True)


def _links(
    place: str, project: str, session: requests.Session, timeout_s: float, *, is_index: bool
) -> Iterator[tuple[str, str]]:
    """(file name, address) of what a place offers for a project."""
    local = _local_path(place)
    if local is None and is_index:
        client = pypi_simple.PyPISimple(place, session=session)
        for package in client.get_project_page(project, timeout=timeout_s).packages:
            yield package.filename, package.url
        return
    if local is not None and is_index:
        local = local / project
    if local is not None and local.is_dir():
        if not (local / "index.html").is_file():
            for file in sorted(local.iterdir()):
                yield file.name, file.resolve().as_uri()
            return
        local = local / "index.html"
    if local is not None:
        html, base = local.read_bytes(), local.resolve().as_uri()
    else:
        reply = session.get(place, timeout=timeout_s)
        reply.raise_for_status()
        html, base = reply.content, reply.url
    for link in pypi_simple.RepositoryPage.from_html(html, base_url=base).links:
        yield PurePosixPath(urlsplit(link.url).path).name, link.url


def _local_path(place: str) -> Path | None:
    """The folder or file that a file: address or a path means; None for other addresses."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place)


def _read(url: str, session: requests.Session, timeout_s: float) -> bytes:
    local = _local_path(url)
    if local is not None:
        if local.stat().st_size > _ARCHIVE_MAX_BYTES:
            raise ValueError("the file is too large")
        return local.read_bytes()
    data = io.BytesIO()
    with session.get(url, stream=True, timeout=timeout_s) as reply:
        reply.raise_for_status()
        for chunk in reply.iter_content(65536):
            data.write(chunk)
            if data.tell() > _ARCHIVE_MAX_BYTES:
                raise ValueError("the file is too large")
    return data.getvalue()


def _shown(text: str) -> str:
    """text without a password that an address may carry."""
    if "@" in text and "://" in text:
        scheme, _, rest = text.partition("://")
        head, at, tail = rest.partition("@")
        if at and "/" not in head:
            return f"{scheme}://***@{tail}"
    return text


def _stamp(directory: Path) -> str | None:
    try:
        return (directory / _STAMP).read_text(encoding="ascii").strip()
    except OSError:
        return None


def _install(source: Source, archive: bytes, into: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=".unpack-", dir=into))
    try:
        unpack(archive, temporary)
        top = temporary / source.directory
        if not (top / source.folder).is_dir():
            raise MissingError(
                f"{source.filename} has no folder {source.directory}/{source.folder}",
                next_step="correct the pin in firmware/third_party.toml",
            )
        (top / _STAMP).write_text(source.sha256 + "\n", encoding="ascii")
        final = into / source.directory
        if final.exists():
            final.rename(temporary / ".old")
        top.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(archive: bytes, into: Path) -> None:
    """The regular files of a .tar.gz or .tar.xz. Anything that would land elsewhere, and any link, is refused."""
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                if path.is_absolute() or ".." in path.parts:
                    raise MissingError(
                        f"the archive has a file outside of its folder: {member.name}", next_step=_UNPACK_STEP
                    )
                target = into.joinpath(*path.parts)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                if not member.isfile():
                    raise MissingError(
                        f"the archive has a link or a device: {member.name}", next_step=_UNPACK_STEP
                    )
                total += member.size
                if total > _UNPACKED_MAX_BYTES:
                    raise MissingError("the archive is too large when unpacked", next_step=_UNPACK_STEP)
                content = tar.extractfile(member)
                assert content is not None
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(content), target.open("wb") as file:
                    shutil.copyfileobj(content, file)
                # Build tools compare times: an unpacked file is as old as it is in the archive.
                os.utime(target, (member.mtime, member.mtime))
    except (tarfile.TarError, EOFError, OSError) as err:
        raise MissingError("the archive cannot be unpacked", cause=str(err), next_step=_UNPACK_STEP) from err
