"""Where a node is: `coap://host:port`, a serial device, or a name that the user's configuration gives to
one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from wasmote.errors import InputError

COAP_PORT = 5683
BAUD = 115200

_SERIAL = re.compile(r"(/dev/.+|COM[0-9]+|\\\\\.\\.+|unix:.+|tcp:.+:[0-9]+)\Z")
_SPELLINGS = (
    "coap://host:port, a serial device such as /dev/ttyUSB0, or a name from [targets] of the configuration"
)


@dataclass(frozen=True)
class Target:
    """A node's address. kind "udp": host and port; kind "serial": device and baud."""

    kind: Literal["udp", "serial"]
    host: str = ""
    port: int = COAP_PORT
    device: str = ""
    baud: int = BAUD

    @property
    def uri(self) -> str:
        """coap://host:port of a UDP target (an IPv6 host in brackets)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"coap://{host}:{self.port}"

    def __str__(self) -> str:
        if self.kind == "udp":
            return self.uri
        return f"serial:{self.device}" + (f"@{self.baud}" if self.baud != BAUD else "")


def parse_target(text: str, names: Mapping[str, str] | None = None) -> Target:
    """The target that text means. A name is looked up first in names, once: a name may not point to a name.

    Serial devices: `/dev/...`, `COMn`, `serial:DEVICE`, each with `@BAUD` behind it where it is not 115200.
    An emulator's serial port: `unix:PATH` or `tcp:HOST:PORT`. Raises InputError for anything else.
    """
    if names is not None and text in names:
        try:
            return parse_target(names[text])
        except InputError as err:
            raise InputError(
                f"target '{text}' of the configuration is '{names[text]}'",
                cause=str(err),
                next_step=err.next_step,
            ) from None
    serial = text.removeprefix("serial:")
    device, at, baud = serial.rpartition("@")
    if not at:
        device, baud = serial, str(BAUD)
    if text.startswith("serial:") or _SERIAL.match(device):
        if not device or not baud.isascii() or not baud.isdigit() or int(baud) == 0:
            raise InputError(f"no serial target: '{text}'", next_step="write DEVICE or DEVICE@BAUD")
        return Target("serial", device=device, baud=int(baud))
    if text.startswith("coap://"):
        try:
            parts = urlsplit(text)
            host, port = parts.hostname, parts.port
            if host is not None and (not host.isprintable() or " " in host or not host.encode("idna")):
                raise ValueError("the host's name has characters that no name has")
        except ValueError as err:
            raise InputError(
                f"no CoAP address: '{text}'", cause=str(err), next_step=f"write {_SPELLINGS}"
            ) from None
        if not host or parts.path not in ("", "/") or parts.query or parts.username is not None:
            raise InputError(
                f"no CoAP address of a node: '{text}'", next_step="write coap://host or coap://host:port"
            )
        return Target("udp", host=host, port=COAP_PORT if port is None else port)
    if "://" in text:
        scheme = text.partition("://")[0]
        raise InputError(
            f"no target: '{text}'", cause=f"scheme '{scheme}' is not coap", next_step=f"write {_SPELLINGS}"
        )
    known = ", ".join(sorted(names)) if names else "none"
    raise InputError(
        f"unknown target '{text}'",
        cause=f"names in the configuration: {known}",
        next_step=f"write {_SPELLINGS}",
    )
