"""What is kept of wasmiot's side, in the engine's kv below `wasmiot/`. A device is "" for the whole fleet, or a node's
id.

    deployments/<device>/<deployment>   a body of POST /deploy that was accepted, and what became of its modules
    history/<device>/<call>             one call, for HISTORY_S, the latest MAX_HISTORY
    files/<device>/<module>/<file>      the latest output file of that name, for HISTORY_S
    orchestrators/<device>              who registered as its orchestrator

Names that others chose are hashed in keys, and stand in the values as they are.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from email.utils import formatdate
from typing import Any, Self

from wasmote_fleet.compat.wasmiot import bodies
from wasmote_fleet.engine import Engine

ROOT = "wasmiot/"
HISTORY_S = 12 * 3600.0  # blobs that nobody uses live twice as long
MAX_HISTORY = 5000  # calls of a device
MAX_DEPLOYMENTS = 1000  # on a device


def hashed(*names: str) -> str:
    """Segments of a key."""
    return "/".join(hashlib.sha256(name.encode()).hexdigest()[:20] for name in names)


@dataclass(frozen=True)
class Deployed:
    """A deployment on a device. fleet_id: its id among the fleet's deployments. names: of each module's function there,
    by module; digests: of the modules; files: blobs of files that came with it, by module and name. caller: the address
    of who deployed it."""

    device: str
    plan: bodies.Plan
    names: dict[str, str]
    digests: dict[str, str]
    files: dict[str, dict[str, str]]
    caller: str = ""

    @property
    def fleet_id(self) -> str:
        return fleet_id(self.device, self.plan.deployment_id)

    @property
    def key(self) -> str:
        return deployment_key(self.device, self.plan.deployment_id)

    def encode(self) -> bytes:
        raw = {name: getattr(self, name) for name in ("device", "names", "digests", "files", "caller")}
        return json.dumps({**raw, "body": self.plan.raw}, ensure_ascii=False).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        raw = json.loads(value)
        plan = bodies.parse(raw.pop("body"))
        return cls(plan=plan, **raw)


def fleet_id(device: str, deployment: str) -> str:
    """An id among the fleet's deployments that no other device's deployment has."""
    return f"wasmiot-{hashlib.sha256(f'{device}/{deployment}'.encode()).hexdigest()[:24]}"


def is_key(id: str) -> bool:
    """Whether it could be an id that was given here: a short word."""
    return id.isascii() and id.isalnum() and len(id) <= 64


def deployment_key(device: str, deployment: str) -> str:
    return f"{ROOT}deployments/{hashed(device, deployment)}"


@dataclass(frozen=True)
class Call:
    """A call in the history. id: also the fleet's request's, where queued. at: when it came. done: it has ended; then
    success and result are as wasmiot has them. began: the next call of
    the chain was about to be sent."""

    id: str
    device: str
    deployment: str
    module: str
    function: str
    method: str
    args: dict[str, str]
    files: dict[str, str]
    at: float
    done: bool = False
    success: bool = False
    result: Any = None
    began: bool = False
    until: float = 0.0
    hops: int = 0

    @property
    def request_id(self) -> str:
        """As wasmiot has it: `deployment:module:function:number`, the number being ours."""
        return f"{self.deployment}:{self.module}:{self.function}:{self.id}"

    @property
    def key(self) -> str:
        return call_key(self.device, self.id)

    def changed(self, **changes: Any) -> Call:
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """An entry of the history."""
        return {
            "request_id": self.request_id,
            "deployment_id": self.deployment,
            "module_name": self.module,
            "function_name": self.function,
            "method": self.method,
            "request_args": self.args,
            "request_files": self.files,
            "work_queued_at": formatdate(self.at, usegmt=True),
            "result": self.result,
            "success": self.success,
        }

    def encode(self) -> bytes:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Self:
        return cls(**json.loads(value))


def call_key(device: str, id: str) -> str:
    return f"{ROOT}history/{hashed(device)}/{id}"


def file_key(device: str, module: str, file: str) -> str:
    return f"{ROOT}files/{hashed(device, module, file)}"


def orchestrator_key(device: str) -> str:
    return f"{ROOT}orchestrators/{hashed(device)}"


async def holds(engine: Engine, digest: str) -> bool:
    """Whether somebody needs this blob: a file that came with a deployment, or one of an uploaded module."""
    for entry in await engine.kv.entries(f"{ROOT}modules/"):
        if digest in json.loads(entry.value)["blobs"].values():
            return True
    for entry in await engine.kv.entries(f"{ROOT}deployments/"):
        if any(digest in files.values() for files in json.loads(entry.value)["files"].values()):
            return True
    return False


async def trim_history(engine: Engine, keep: int = MAX_HISTORY) -> int:
    """Forget the oldest calls of each device beyond so many; how many went."""
    by_device: dict[str, list[str]] = {}
    for key in await engine.kv.keys(f"{ROOT}history/"):
        by_device.setdefault(key.rpartition("/")[0], []).append(key)
    gone = 0
    for keys in by_device.values():
        for key in keys[:-keep]:  # their ids begin with the time
            gone += await engine.kv.delete(key)
    return gone
