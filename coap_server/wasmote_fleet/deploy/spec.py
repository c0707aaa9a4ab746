"""What should run where, as a person or another program says it. Sans-IO; parse.py reads it from TOML and JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ALL = "all"
MAX_COUNT = 10_000
MAX_FUNCTIONS = 256
MAX_STEPS = 64
MAX_FREE_BYTES = 1 << 32  # that a function may ask of a node
MAX_WAVES = 100
MAX_PARALLEL = 256
MAX_PAUSE_S = 24 * 3600.0
ID_PATTERN = r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}"
PERCENT_PATTERN = r"\d{1,3}(\.\d{1,3})? ?%"


def is_id(text: str) -> bool:
    """Whether it can be a deployment's id, or the name of one of its functions or chains: 1 to 64 of A-Z a-z 0-9 _ - .
    and no dot in front."""
    return re.fullmatch(ID_PATTERN, text) is not None


@dataclass(frozen=True, slots=True)
class Where:
    """What a node must have. labels: with these values. imports: import modules, beside the module's own. ram, flash:
    free bytes, instead of what the module is known to need where that is less."""

    labels: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    ram: int = 0
    flash: int = 0


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """One function. name: what calls name it by. function, version: in the repository; None: the function called name,
    its latest version. digest: the module itself; filled in when it is applied, and given by who knows no version.
    nodes: candidates in order of preference; None: any node. count: how many nodes run it at a time; None: each that
    fits. as_name: its name on the nodes; None: name."""

    name: str
    function: str | None = None
    version: str | None = None
    digest: str | None = None
    nodes: tuple[str, ...] | None = None
    count: int | None = 1
    where: Where = field(default_factory=Where)
    as_name: str | None = None

    @property
    def on_node(self) -> str:
        """Its name on the nodes."""
        return self.as_name or self.name

    @property
    def published(self) -> str:
        """Its name in the repository."""
        return self.function or self.name


@dataclass(frozen=True, slots=True)
class StepSpec:
    """A step of a chain. function: of this deployment. export: None for the default one."""

    function: str
    export: str | None = None

    def __str__(self) -> str:
        return self.function if self.export is None else f"{self.function}/{self.export}"


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """Steps: the output of one is the input of the next."""

    name: str
    steps: tuple[StepSpec, ...]


@dataclass(frozen=True, slots=True)
class Wave:
    """How many nodes a wave takes: a number, or a part of all nodes of the deployment (at least one node)."""

    nodes: int | None = None
    part: float | None = None

    def of(self, total: int) -> int:
        """In nodes, of so many."""
        return self.nodes if self.nodes is not None else max(1, math.ceil(total * (self.part or 0.0) - 1e-9))

    def __str__(self) -> str:
        return str(self.nodes) if self.nodes is not None else f"{(self.part or 0.0) * 100:g}%"


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a change goes through the fleet. waves: one after the other; after the last one come all other nodes.
    max_failures: it stops when so many nodes failed. parallel: nodes that are worked on at a time. pause_s: how long a
    wave must have been ready before the next begins."""

    waves: tuple[Wave, ...] = (Wave(nodes=1), Wave(part=0.1))
    max_failures: int = 1
    parallel: int = 16
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Spec:
    """A deployment as it should be."""

    id: str
    functions: tuple[FunctionSpec, ...] = ()
    chains: tuple[ChainSpec, ...] = ()
    rollout: Rollout = field(default_factory=Rollout)

    def function(self, name: str) -> FunctionSpec | None:
        """One of its functions."""
        return next((function for function in self.functions if function.name == name), None)

    def chain(self, name: str) -> ChainSpec | None:
        """One of its chains."""
        return next((chain for chain in self.chains if chain.name == name), None)

    def changed(self, **changes: Any) -> Spec:
        return replace(self, **changes)


def spec_json(spec: Spec) -> dict[str, Any]:
    """What parse_json reads; members that have their defaults are left out."""
    raw: dict[str, Any] = {"id": spec.id, "functions": [_function_json(found) for found in spec.functions]}
    if spec.chains:
        raw["chains"] = [
            {"name": chain.name, "steps": [str(step) for step in chain.steps]} for chain in spec.chains
        ]
    rollout, usual = spec.rollout, Rollout()
    changed: dict[str, Any] = {}
    if rollout.waves != usual.waves:
        changed["waves"] = [wave.nodes if wave.nodes is not None else str(wave) for wave in rollout.waves]
    for name in ("max_failures", "parallel", "pause_s"):
        if getattr(rollout, name) != getattr(usual, name):
            changed[name] = getattr(rollout, name)
    if changed:
        raw["rollout"] = changed
    return raw


def _function_json(function: FunctionSpec) -> dict[str, Any]:
    raw: dict[str, Any] = {"name": function.name}
    for name in ("function", "version", "digest"):
        if (value := getattr(function, name)) is not None:
            raw[name] = value
    if function.as_name is not None:
        raw["as"] = function.as_name
    if function.nodes is not None:
        raw["nodes"] = list(function.nodes)
    if function.count != 1:
        raw["count"] = ALL if function.count is None else function.count
    where: dict[str, Any] = {}
    if function.where.labels:
        where["labels"] = dict(function.where.labels)
    if function.where.imports:
        where["imports"] = list(function.where.imports)
    for name in ("ram", "flash"):
        if value := getattr(function.where, name):
            where[name] = value
    if where:
        raw["where"] = where
    return raw
