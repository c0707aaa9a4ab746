"""What PUT bodies say, checked. Sans-IO; everything here raises Rejected."""

from __future__ import annotations

import base64
import binascii
import io
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.errors import bad_request, malformed
from wasmote_fleet.compat.openwhisk.limits import (
    MAX_CODE_BYTES,
    MAX_COMPONENTS,
    MAX_PARAMETERS_BYTES,
    check_size,
)
from wasmote_fleet.compat.openwhisk.names import NAMESPACE, Name, parse_name

KeyValues = list[dict[str, Any]]

LISTS = ("parameters", "annotations")

WASM = "wasm"
SEQUENCE = "sequence"
_KINDS = f"'{WASM}', '{SEQUENCE}'"
_MAGIC = b"\0asm"
_ZIP = b"PK\x03\x04"
_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.(\d{1,6})")


@dataclass(frozen=True, slots=True)
class WasmExec:
    """main: the export; None: the module's default."""

    code: bytes
    main: str | None


@dataclass(frozen=True, slots=True)
class SequenceExec:
    components: tuple[Name, ...]


@dataclass(frozen=True, slots=True)
class ActionBody:
    """None: the body does not say it. limits: as it is, to be read over those of before."""

    exec: WasmExec | SequenceExec | None
    parameters: KeyValues | None
    annotations: KeyValues | None
    del_annotations: tuple[str, ...]
    limits: Any
    version: str | None
    publish: bool | None


def parse_action(body: dict[str, Any]) -> ActionBody:
    removed = body.get("delAnnotations")
    if removed is not None and not (isinstance(removed, list) and all(isinstance(r, str) for r in removed)):
        raise malformed("delAnnotations malformed!")
    return ActionBody(
        _exec(body.get("exec")),
        key_values(body, "parameters"),
        key_values(body, "annotations"),
        tuple(removed or ()),
        body.get("limits"),
        version(body),
        publish(body),
    )


def key_values(body: dict[str, Any], member: str) -> KeyValues | None:
    """A list of {key, value}; of several with one key the last counts."""
    value = body.get(member)
    if value is None:
        return None
    if not isinstance(value, list):
        raise malformed(f"{member} malformed!")
    found: dict[str, dict[str, Any]] = {}
    for item in value:
        key = item.get("key") if isinstance(item, dict) else None
        if not isinstance(key, str) or not key.strip():
            raise malformed(f"{member} malformed!")
        found[key] = {"key": key, "value": item.get("value")}
    listed = list(found.values())
    check_size(member, jsons.size_of(listed), MAX_PARAMETERS_BYTES)
    return listed


def as_map(listed: KeyValues) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in listed}


def merged(before: KeyValues, over: KeyValues) -> KeyValues:
    """The items of both; those of over count."""
    found = {item["key"]: item for item in [*before, *over]}
    return list(found.values())


def truthy(annotations: KeyValues, key: str) -> bool:
    """Whether an annotation says yes, as OpenWhisk reads it."""
    value = as_map(annotations).get(key)
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value != 0
    return isinstance(value, str) and value not in ("", "false")


def version(body: dict[str, Any]) -> str | None:
    value = body.get("version")
    if value is None:
        return None
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise malformed("bad semantic version")
    return value


def next_version(before: str) -> str:
    major, minor, patch = before.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def publish(body: dict[str, Any]) -> bool | None:
    value = body.get("publish")
    if value is not None and not isinstance(value, bool):
        raise malformed("publish must be true or false")
    return value


def revised(
    name: str,
    body: dict[str, Any],
    before: dict[str, Any] | None,
    lists: Mapping[str, KeyValues | None],
    now_s: float,
) -> dict[str, Any]:
    """What triggers, rules and packages share, after a PUT. before: None for a new one. lists: those of LISTS that the
    kind has, as key_values() read them from the body. now_s: since 1970."""
    old = before or {}
    shared = publish(body)
    return {
        "namespace": NAMESPACE,
        "name": name,
        "version": version(body) or (next_version(old["version"]) if old else "0.0.1"),
        "publish": old.get("publish", False) if shared is None else shared,
        **{member: old.get(member, []) if listed is None else listed for member, listed in lists.items()},
        "updated": int(now_s * 1000),
    }


def _exec(value: Any) -> WasmExec | SequenceExec | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise malformed("exec malformed!")
    kind = value["kind"]
    if kind == SEQUENCE:
        return _sequence(value.get("components"))
    if kind.partition(":")[0] != WASM or kind.partition(":")[2] not in ("", "default"):
        raise bad_request(
            f"The specified runtime '{kind}' is not supported by this platform. Valid values are: {_KINDS}."
            + (" Container images do not run on microcontrollers." if kind == "blackbox" else "")
        )
    main = value.get("main")
    if main is not None and (not isinstance(main, str) or len(main.encode()) > 255):
        raise malformed("main must be the name of an export")
    code = value.get("code")
    if not isinstance(code, str) or not code.strip():
        raise malformed("'code' must be a string or attachment object defined in 'exec' for 'wasm' actions")
    return WasmExec(_module(code), main or None)


def _sequence(components: Any) -> SequenceExec:
    if not isinstance(components, list):
        raise malformed("'components' must be defined for sequence kind")
    if not components:
        raise bad_request("No component specified for the sequence.")
    if len(components) > MAX_COMPONENTS:
        raise bad_request("Too many actions in the sequence.")
    return SequenceExec(tuple(parse_name(component) for component in components))


def _module(code: str) -> bytes:
    """The module that code is: base64 of a module, or of a zip archive with one in it."""
    try:
        data = base64.b64decode("".join(code.split()), validate=True)
    except (binascii.Error, ValueError):
        raise malformed(
            "'code' of kind 'wasm' is the module in base64; `wsk` sends a .zip so, and any other file as it is"
        ) from None
    if data.startswith(_ZIP):
        data = _unzip(data)
    check_size("exec", len(data), MAX_CODE_BYTES)
    if not data.startswith(_MAGIC):
        raise bad_request("'code' is no WebAssembly module: it does not begin with '\\0asm'.")
    return data


def _unzip(data: bytes) -> bytes:
    """The archive's only .wasm, or its main.wasm. Never more of it than a module may have."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            modules = [info for info in archive.infolist() if info.filename.endswith(".wasm")]
            chosen = [info for info in modules if info.filename == "main.wasm"] or modules
            if len(chosen) != 1:
                raise bad_request(f"The archive has {len(chosen)} .wasm files; name one of them main.wasm.")
            with archive.open(chosen[0]) as file:
                module = file.read(MAX_CODE_BYTES + 1)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise bad_request(f"The archive in 'code' cannot be read: {error}") from None
    return module
