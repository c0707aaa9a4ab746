"""Upstream archives in Debian's package pool: found below the user's own apt mirrors, fetched by apt itself.

So proxy, certificates and mirrors are those of apt's configuration, and the project names no host.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from wasmote.adapters.tools import find_tool, run_tool

# Of the package apt: downloads with apt's own configuration, and compares the digest.
APT_HELPER = Path("/usr/lib/apt/apt-helper")
# Where a source package lies below a mirror, by distribution: Debian, Ubuntu.
_POOLS = ("pool/main", "pool/universe")


class NotInPool(Exception):
    """The archive could not be fetched; args[0] has a line for each place and what happened there."""


def mirrors() -> list[str]:
    """Addresses of the archives in apt's sources, each once, in apt's order; without a slash at the end. apt need not
    have fetched their lists (--no-release-info)."""
    apt_get = find_tool("apt-get")
    if apt_get is None:
        return []
    asked = run_tool([apt_get, "indextargets", "--no-release-info", "--format", "$(SITE)"])
    sites = (line.strip().rstrip("/") for line in asked.stdout.splitlines())
    return list(dict.fromkeys(site for site in sites if site))


def fetch_from_pool(package: str, filename: str, sha256: str) -> bytes:
    """The archive of a source package. Raises NotInPool."""
    if not APT_HELPER.is_file():
        raise NotInPool(f"{APT_HELPER} is not there: this system has no apt")
    sites = mirrors()
    if not sites:
        raise NotInPool("apt has no sources: apt-get indextargets lists none")
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="wasmote-") as folder:
        # apt downloads as a user of its own, if root lets it.
        Path(folder).chmod(0o777)
        target = Path(folder) / filename
        for site in sites:
            for pool in _POOLS:
                address = f"{site}/{pool}/{package[0]}/{package}/{filename}"
                done = run_tool([APT_HELPER, "download-file", address, target, f"SHA256:{sha256}"])
                if done.returncode == 0:
                    return target.read_bytes()
                said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
                failures.append("\n".join(said) or f"{address}: {done.stderr.strip()}")
    raise NotInPool("\n".join(failures))
