"""The user's own pip configuration: which indexes, links, certificate and proxy they use. Nothing is written here
that pip does not say; where pip says nothing, its own default index is meant (`index_url` None)."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

# A later section wins over an earlier one, as in `pip download`.
_SECTIONS = ("global", "install", "download", ":env:")


@dataclass(frozen=True)
class PipConfig:
    """index_url None: pip's default. cert: a file of CA certificates. timeout_s: for one read."""

    index_url: str | None = None
    extra_index_urls: tuple[str, ...] = ()
    find_links: tuple[str, ...] = ()
    no_index: bool = False
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout_s: float = 15.0


def read_pip_config() -> PipConfig:
    """Asks `pip config list`, which also knows PIP_* variables; without pip, the variables alone."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_pip_config(asked.stdout if asked.returncode == 0 else "", os.environ)


def parse_pip_config(listing: str, environ: Mapping[str, str]) -> PipConfig:
    """listing: the output of `pip config list`, lines such as  global.index-url='https://...'"""
    values: dict[str, str] = {}
    found: list[tuple[int, str, str]] = []
    for line in listing.splitlines():
        key, equals, quoted = line.partition("=")
        section, dot, name = key.rpartition(".")
        if not equals or not dot or section not in _SECTIONS:
            continue
        try:
            value = ast.literal_eval(quoted)
        except (ValueError, SyntaxError):
            value = quoted
        found.append((_SECTIONS.index(section), name, str(value)))
    for _rank, name, value in sorted(found, key=lambda item: item[0]):
        values[name] = value
    for variable, value in environ.items():
        if variable.startswith("PIP_") and value:
            values[variable.removeprefix("PIP_").lower().replace("_", "-")] = value
    timeout = values.get("timeout") or values.get("default-timeout") or "15"
    try:
        timeout_s = float(timeout)
    except ValueError:
        timeout_s = 15.0
    return PipConfig(
        index_url=values.get("index-url") or values.get("pypi-url"),
        extra_index_urls=tuple(values.get("extra-index-url", "").split()),
        find_links=tuple(values.get("find-links", "").split()),
        no_index=values.get("no-index", "").lower() in ("1", "true", "yes", "on"),
        cert=values.get("cert"),
        client_cert=values.get("client-cert"),
        proxy=values.get("proxy"),
        timeout_s=timeout_s,
    )
