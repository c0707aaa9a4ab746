"""Names of namespaces, packages and entities, as OpenWhisk has them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from wasmote_fleet.compat.openwhisk.errors import BAD_FQN, Rejected, bad_request, malformed

# A fleet is one namespace: who has a key has it for all of the fleet.
NAMESPACE = "guest"
SYSTEM = "whisk.system"
DEFAULT_PACKAGE = "default"
RESERVED_PACKAGES = (DEFAULT_PACKAGE, "settings")
_ENTITY = re.compile(r"[A-Za-z0-9_]|[A-Za-z0-9_][A-Za-z0-9_@ .&-]{0,254}[A-Za-z0-9_@.&-]")
_LONGEST = 256
_ACTIVATION_ID_CHARS = 32
_KEY_BYTES = 100  # of a name in a key of the engine, whose keys are short


@dataclass(frozen=True, slots=True)
class Name:
    """An entity. package: "" for the default one."""

    namespace: str
    package: str
    name: str

    @property
    def path(self) -> str:
        """Without the entity's name: `guest`, or `guest/package`."""
        return f"{self.namespace}/{self.package}" if self.package else self.namespace

    @property
    def text(self) -> str:
        """`guest/package/name`."""
        return f"{self.path}/{self.name}"

    @property
    def short(self) -> str:
        """`package/name`, or `name` in the default package."""
        return f"{self.package}/{self.name}" if self.package else self.name

    @property
    def key(self) -> str:
        """The end of its key in the engine."""
        return f"{key_part(self.package or DEFAULT_PACKAGE)}/{key_part(self.name)}"

    def as_json(self) -> dict[str, str]:
        return {"path": self.path, "name": self.name}


def key_part(name: str) -> str:
    """A name as a part of a key. A long one ends in its hash; `~` is in no name, so nothing else looks like it."""
    if len(name) <= _KEY_BYTES:
        return name
    return f"{name[:60]}~{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def check_entity(name: str) -> str:
    """Raises Rejected."""
    if len(name) > _LONGEST:
        raise Rejected(413, f"Name longer than allowed: {len(name)} > {_LONGEST}.")
    if not _ENTITY.fullmatch(name):
        raise bad_request("The name of the entity contains illegal characters.")
    return name


def check_namespace(name: str) -> str:
    """The namespace that a path or a body means: `_` is one's own. Raises Rejected."""
    if name == "_":
        return NAMESPACE
    if len(name) > _LONGEST or not _ENTITY.fullmatch(name):
        raise bad_request("The namespace contains illegal characters.")
    return name


def parse_name(value: Any) -> Name:
    """A fully qualified name: `/ns/name`, `/ns/package/name`, or {path, name}. Raises Rejected."""
    if isinstance(value, dict):
        path, name = value.get("path"), value.get("name")
        if not isinstance(path, str) or not isinstance(name, str):
            raise malformed(BAD_FQN)
        value = f"{path}/{name}"
    if not isinstance(value, str):
        raise malformed(BAD_FQN)
    parts = value.removeprefix("/").split("/")
    if not 2 <= len(parts) <= 3:
        raise malformed(BAD_FQN)
    namespace = check_namespace(parts[0])
    package = check_entity(parts[1]) if len(parts) == 3 else ""
    return Name(namespace, "" if package == DEFAULT_PACKAGE else package, check_entity(parts[-1]))


def check_activation_id(text: str) -> str:
    """Raises Rejected."""
    if len(text) != _ACTIVATION_ID_CHARS:
        raise bad_request(f"Activation id length is {len(text)} but must be {_ACTIVATION_ID_CHARS}.")
    if not re.fullmatch(r"[0-9a-f]+", text):
        raise bad_request("The activation id is not valid.")
    return text


def derived_id(*parts: str) -> str:
    """An activation id that is the same whenever it is asked for."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_ACTIVATION_ID_CHARS]
