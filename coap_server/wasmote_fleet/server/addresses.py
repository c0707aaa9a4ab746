"""Where the server listens, and where its data is."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wasmote.errors import InputError, LocalError


@dataclass(frozen=True, slots=True)
class Address:
    """host: an IP address; port 0: any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_listen(text: str, default_port: int) -> Address:
    """ADDRESS, ADDRESS:PORT, [IPV6]:PORT or :PORT (loopback). Raises InputError."""
    host, colon, port = text.rpartition(":")
    bare_ipv6 = ":" in host and not host.startswith("[")
    if text.endswith("]") or not colon or bare_ipv6:
        host, port = text, str(default_port)
    host = "127.0.0.1" if text.startswith(":") and not bare_ipv6 else host.strip("[]")
    host = "127.0.0.1" if host == "localhost" else host
    try:
        ipaddress.ip_address(host)
        number = int(port)
        if not 0 <= number <= 65535:
            raise ValueError(port)
    except ValueError:
        raise InputError(
            f"'{text}' is no address to listen at",
            cause="it is an IP address, with :PORT behind it where the port is another one",
            next_step=f"write 127.0.0.1:{default_port}, or 0.0.0.0:{default_port} for all networks",
        ) from None
    return Address(host, number)


def bind(address: Address, kind: socket.SocketKind, what: str, option: str) -> socket.socket:
    """A socket there. Raises LocalError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio turns off Nagle's delay only where a socket says that it is TCP, and its connections inherit that.
    made = socket.socket(family, kind, socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0)
    try:
        if kind == socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        raise LocalError(
            f"{what} cannot listen at {address}",
            cause=error.strerror or str(error),
            next_step=f"stop what is there, or choose another place with {option} ADDRESS:PORT",
        ) from None
    made.setblocking(False)
    return made


def check_addresses(addresses: Sequence[str]) -> None:
    """IP addresses of this machine's interfaces. Raises InputError."""
    for text in addresses:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise InputError(
                f"'{text}' is no IP address", next_step="give one of this machine's, such as 192.0.2.7"
            ) from None


def check_name(name: str) -> str:
    """A server's name. Raises InputError."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,31}", name):
        raise InputError(
            f"'{name}' is no name for a server",
            cause="it has 1 to 31 of the characters a-z A-Z 0-9 _ -",
            next_step="give another one with --name",
        )
    return name


def default_name() -> str:
    """This machine's, as far as a server's name may have it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", socket.gethostname().partition(".")[0])[:31].strip("-") or "fleet"


def default_data() -> Path:
    """`wasmote/fleet.db` where this system keeps a user's data."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "wasmote" / "fleet.db"
