"""What is kept of deployments, one JSON each in the engine's kv:

    deployments/<id>      what should be; written by who applies or removes it
    rollouts/<id>         how far it is, what failed; written under the lease deployments/<id>
    placed/<node>/<name>  what runs on a node because of deployments, and what is being done about it

A function on a node that has no placed/ record belongs to somebody else and is never touched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from wasmote_fleet.deploy.needs import Needs
from wasmote_fleet.deploy.parse import parse_mapping
from wasmote_fleet.deploy.spec import Spec, spec_json

DEPLOYMENTS = "deployments/"
ROLLOUTS = "rollouts/"
PLACED = "placed/"

Boot = tuple[int, float]  # a node's boot counter, and when it began: one boot of one node


@dataclass(frozen=True, slots=True)
class Deployment:
    """What should be. spec: with versions and digests filled in. generation: goes up with each apply. needs: by
    digest. previous: the spec before, for a rollback. removing: it should run nowhere any more, and then go."""

    spec: Spec
    generation: int = 1
    applied_at: float = 0.0
    needs: Mapping[str, Needs] = field(default_factory=dict)
    previous: Spec | None = None
    removing: bool = False

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def key(self) -> str:
        return DEPLOYMENTS + self.id

    def changed(self, **changes: Any) -> Deployment:
        return replace(self, **changes)

    def encode(self) -> bytes:
        raw = {
            "spec": spec_json(self.spec),
            "generation": self.generation,
            "applied_at": self.applied_at,
            "needs": {digest: asdict(needs) for digest, needs in self.needs.items()},
            "previous": None if self.previous is None else spec_json(self.previous),
            "removing": self.removing,
        }
        return json.dumps(raw, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Deployment:
        raw = json.loads(value)
        previous = raw.get("previous")
        return cls(
            parse_mapping(raw["spec"]),
            raw["generation"],
            raw["applied_at"],
            {digest: Needs.of_json(needs) for digest, needs in raw["needs"].items()},
            None if previous is None else parse_mapping(previous),
            raw.get("removing", False),
        )


class PlacedState(StrEnum):
    """pending: to be installed, or looked at. ready: there, seen in this boot of the node. failed: the node refused it.
    leaving: to be removed. removing: its removal was begun."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    LEAVING = "leaving"
    REMOVING = "removing"


@dataclass(frozen=True, slots=True)
class Placed:
    """A function on a node. deployments: that want it there. was: those that wanted it and no longer do, until it is
    gone. digest: which module should be there. rolled: the digest was there once, so that it is put back after a reboot
    without waiting for a wave. owned: put there by a deployment; False where it was found. before: the
    digest that was there before, while a change comes to the node. attempts: since the last success; retry_at: not
    before. at: when it got its state. boot: of the node when it was seen there, at seen_at. ready_at: when this digest
    first was. ram: bytes that it takes, as the node says, or at least."""

    node: str
    name: str
    digest: str
    deployments: tuple[str, ...] = ()
    was: tuple[str, ...] = ()
    state: PlacedState = PlacedState.PENDING
    rolled: bool = False
    owned: bool = True
    before: str = ""
    attempts: int = 0
    retry_at: float = 0.0
    cause: str = ""
    at: float = 0.0
    boot: Boot | None = None
    seen_at: float = 0.0
    ready_at: float = 0.0
    ram: int = 0

    @property
    def key(self) -> str:
        return f"{PLACED}{self.node}/{self.name}"

    @property
    def going(self) -> bool:
        """It should no longer be there."""
        return self.state in (PlacedState.LEAVING, PlacedState.REMOVING)

    def changed(self, **changes: Any) -> Placed:
        return replace(self, **changes)

    def encode(self) -> bytes:
        raw = {name: value for name, value in asdict(self).items() if name not in ("node", "name")}
        return json.dumps(raw, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, key: str, value: bytes) -> Placed:
        _, node, name = key.split("/")
        raw = json.loads(value)
        known = {key: raw[key] for key in cls.__dataclass_fields__ if key in raw}
        boot = raw.get("boot")
        return cls(
            **known
            | {
                "node": node,
                "name": name,
                "deployments": tuple(raw["deployments"]),
                "was": tuple(raw.get("was", ())),
                "state": PlacedState(raw["state"]),
                "boot": None if boot is None else (boot[0], boot[1]),
            }
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A node that failed. rolling: while a change came to it, which counts for max_failures. boot: of the node then; it
    gets another chance after a reboot."""

    node: str
    function: str
    cause: str
    at: float
    rolling: bool
    boot: Boot | None = None


@dataclass(frozen=True, slots=True)
class RolloutState:
    """How far a generation is. stopped: why it goes no further, "" while it does. token: of the lease that it was
    written under."""

    id: str
    generation: int = 0
    failures: tuple[Failure, ...] = ()
    stopped: str = ""
    token: int = 0

    @property
    def key(self) -> str:
        return ROLLOUTS + self.id

    def changed(self, **changes: Any) -> RolloutState:
        return replace(self, **changes)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> RolloutState:
        raw = json.loads(value)
        failures = tuple(
            Failure(**{**failure, "boot": None if failure["boot"] is None else tuple(failure["boot"])})
            for failure in raw.pop("failures")
        )
        return cls(**raw, failures=failures)
