"""Actions: what is kept of them, and the functions that they are on the fleet.

The entity decides; the published module and the deployment follow from it. Both are found by names that are made of the
action's, so nothing else has them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wasmote.errors import UnansweredError, WasmoteError
from wasmote.protocol.answers import CallResult
from wasmote_fleet.compat.openwhisk import jsons
from wasmote_fleet.compat.openwhisk.bodies import (
    SEQUENCE,
    WASM,
    ActionBody,
    KeyValues,
    SequenceExec,
    WasmExec,
    as_map,
    merged,
    next_version,
    truthy,
)
from wasmote_fleet.compat.openwhisk.errors import EXISTS, Rejected, bad_request, conflict
from wasmote_fleet.compat.openwhisk.limits import (
    MAX_COMPONENTS,
    MAX_PARAMETERS_BYTES,
    ActionLimits,
    check_size,
    parse_limits,
)
from wasmote_fleet.compat.openwhisk.names import Name, parse_name
from wasmote_fleet.compat.openwhisk.store import Doc, Entities
from wasmote_fleet.engine import Clock
from wasmote_fleet.repository import ModuleInfo

FUNCTION = "main"  # what an action's deployment calls its only function
DEPLOYMENT_PREFIX = "ow-"
_INTERNAL = "wasmote"  # the member of a kept action that no client sees
# What those are told to do who have an app and a deployment, and what who has an action does.
_STEPS = (
    ("in the app's app.toml", "in its module's section `wasmote` and update the action"),
    ("(`count`, `where`, `nodes`)", "(its annotations `count`, `labels`, `nodes`)"),
)
_UNANSWERED = "Invoke it again if running it twice does no harm"
_NODE_NAMES = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an action runs, by its annotations. nodes: in order of preference, None: any; count: None for all."""

    nodes: tuple[str, ...] | None
    count: int | None
    labels: Mapping[str, str]


class Fleet(Protocol):
    """What actions need of the fleet."""

    async def publish(self, function: str, module: bytes) -> ModuleInfo:
        """Put a module into the repository; what was published. Raises WasmoteError."""
        ...

    async def deploy(self, id: str, function: str, digest: str, on_node: str, placement: Placement) -> None:
        """Make the deployment of one function what should be. Raises WasmoteError with the reason."""
        ...

    async def withdraw(self, id: str, function: str) -> None:
        """Remove deployment and published versions; that there are none is no error."""
        ...

    async def read(self, digest: str) -> bytes:
        """A module's bytes. Raises WasmoteError."""
        ...

    async def ready(self, id: str) -> None:
        """Wait until the deployment runs somewhere, or will not without help. Raises WasmoteError."""
        ...

    async def call(
        self, id: str, export: str, body: list[Any] | bytes | None, *, deadline_s: float, tap: Tap | None
    ) -> CallResult:
        """Call the deployment's function where it runs; waits until it runs somewhere. tap: hears what it logs. Raises
        WasmoteError."""
        ...

    def tap(self) -> Tap:
        """To listen to a call's log."""
        ...


class Tap(Protocol):
    """What the functions of one call log on their nodes."""

    async def lines(self) -> list[str]:
        """After the call: as activations have them."""
        ...


@dataclass(frozen=True, slots=True)
class Action:
    """An action as it is kept. doc: what clients see, and our own member."""

    doc: Doc

    @property
    def name(self) -> Name:
        namespace, _, package = self.doc["namespace"].partition("/")
        return Name(namespace, package, self.doc["name"])

    @property
    def kind(self) -> str:
        return str(self.doc["exec"]["kind"])

    @property
    def version(self) -> str:
        return str(self.doc["version"])

    @property
    def limits(self) -> ActionLimits:
        kept = self.doc["limits"]
        return ActionLimits(kept["timeout"], kept["memory"], kept["logs"], kept["concurrency"])

    @property
    def parameters(self) -> KeyValues:
        return list(self.doc["parameters"])

    @property
    def annotations(self) -> KeyValues:
        return list(self.doc["annotations"])

    def annotation(self, key: str) -> Any:
        return as_map(self.annotations).get(key)

    def says(self, key: str) -> bool:
        """Whether an annotation says yes."""
        return truthy(self.annotations, key)

    @property
    def components(self) -> list[Name]:
        """Of a sequence."""
        return [parse_name(text) for text in self.doc["exec"]["components"]]

    @property
    def digest(self) -> str:
        return str(self.doc[_INTERNAL]["digest"])

    @property
    def export(self) -> ExportFacts:
        return ExportFacts(**self.doc[_INTERNAL]["export"])

    @property
    def deployment(self) -> str:
        return deployment_id(self.name)

    @property
    def on_node(self) -> str:
        """What nodes call its function."""
        return f"{_slug(self.name.name, 18)}-{self.digest[:12]}"

    def in_its_words(self, error: WasmoteError) -> str:
        """What the fleet says of its function, and what to do about it, for who knows only the action. In one line."""
        name, export = f"'{self.name.short}'", self.export.name
        text = str(error).replace(f"{self.on_node}/{export}", name).replace(f"'{self.on_node}'", name)
        text = text.replace(self.on_node, name).replace(f"'{self.deployment}'", name)
        text = text.replace(f"no place for {FUNCTION}", "no place for it")
        if text.startswith(f"{FUNCTION}/{export}"):
            text = name + text.removeprefix(f"{FUNCTION}/{export}")
        if isinstance(error, UnansweredError):
            return f"{text}. {_UNANSWERED}"
        if not error.next_step:
            return text
        step = error.next_step
        for theirs, ours in _STEPS:
            step = step.replace(theirs, ours)
        return f"{text}. {step[0].upper()}{step[1:]}"

    def as_json(self, *, code: str | None = None) -> Doc:
        """As clients get it. code: base64, for who asks for it."""
        doc = {key: value for key, value in self.doc.items() if key != _INTERNAL}
        if code is not None:
            doc["exec"] = {**doc["exec"], "code": code}
        return doc

    def summary(self) -> Doc:
        """As lists have it."""
        doc = self.as_json()
        doc["exec"] = {"binary": bool(doc["exec"].get("binary"))}
        del doc["parameters"]
        return doc


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """What an invocation must know of the export without reading the module. logs: the module can write to the log."""

    name: str
    kind: str
    params: list[str]
    results: list[str]
    repeatable: bool
    logs: bool


def deployment_id(name: Name) -> str:
    """Of an action; also the function's name in the repository, so 31 characters at most."""
    return f"{DEPLOYMENT_PREFIX}{_slug(name.name, 16)}-{hashlib.sha256(name.text.encode()).hexdigest()[:8]}"


def _slug(text: str, most: int) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", text)[:most]


def counted(count: int, thing: str) -> str:
    """`1 number`, `2 numbers`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def placement(annotations: KeyValues) -> Placement:
    """What the annotations `nodes`, `count` and `labels` ask for. Raises Rejected."""
    found = as_map(annotations)
    nodes, count, labels = found.get("nodes"), found.get("count", 1), found.get("labels", {})
    if isinstance(nodes, str):
        nodes = [node for node in _NODE_NAMES.split(nodes) if node]
    if nodes is not None and not (
        isinstance(nodes, list) and nodes and all(isinstance(node, str) and node for node in nodes)
    ):
        raise bad_request("The annotation 'nodes' is a list of names of nodes.")
    if count == "all":
        count = None
    elif isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise bad_request("The annotation 'count' is a number of nodes from 1 on, or \"all\".")
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        raise bad_request("The annotation 'labels' is an object of texts.")
    return Placement(None if nodes is None else tuple(nodes), count, labels)


def parameter_names(annotations: KeyValues, export: ExportFacts) -> list[str] | None:
    """How the annotation `parameter-names` names an export's parameters; None: it is not there. Raises Rejected."""
    names = as_map(annotations).get("parameter-names")
    if names is None:
        return None
    if isinstance(names, str):
        names = [name for name in _NODE_NAMES.split(names) if name]
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise bad_request("The annotation 'parameter-names' is a list of names.")
    if export.kind == "numbers" and len(names) != len(export.params):
        raise bad_request(
            f"The annotation 'parameter-names' has {counted(len(names), 'name')}, and '{export.name}' takes"
            f" {counted(len(export.params), 'number')}."
        )
    if len(set(names)) != len(names):
        raise bad_request("The annotation 'parameter-names' has a name twice.")
    return names


def chosen_export(info: ModuleInfo, main: str | None) -> ExportFacts:
    """The export that `main` means; without it `main`, the module's default, or its only one. Raises Rejected."""
    names = [export.name for export in info.exports]
    if not names:
        raise bad_request("The module exports no function.")
    wanted = main or next((name for name in ("main", info.default) if name in names), None)
    if wanted is None:
        raise bad_request(f"Missing main: name one of the module's exports: {', '.join(names)}.")
    found = next((export for export in info.exports if export.name == wanted), None)
    if found is None:
        raise bad_request(f"The module has no export '{wanted}'. It has: {', '.join(names)}.")
    logs = any(
        (item.module, item.name) == ("wasmote", "log")
        or item.module in ("sys", "wasi_snapshot_preview1")
        or item.name.startswith("print")
        for item in info.imports
    )
    return ExportFacts(
        found.name,
        found.kind,
        list(found.params),
        list(found.results),
        found.pure or found.idempotent,
        logs,
    )


class Actions:
    """The actions of the namespace."""

    def __init__(self, entities: Entities, packages: Entities, fleet: Fleet, clock: Clock) -> None:
        self._entities = entities
        self._packages = packages
        self._fleet = fleet
        self._clock = clock
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, name: Name) -> Action:
        """Raises Rejected (404)."""
        return Action(await self._entities.get(name.key))

    async def code(self, action: Action) -> bytes:
        return await self._fleet.read(action.digest)

    async def all(self, package: str | None) -> list[Action]:
        """All, or those of a package; the last changed first."""
        docs = await self._entities.newest("" if package is None else f"{package}/")
        return [Action(doc) for doc in docs]

    async def put(self, name: Name, body: ActionBody, *, overwrite: bool) -> Action:
        """Create or update. Raises Rejected."""
        if name.package:
            await self._packages.get(name.package)  # 404 unless it is there
        async with self._lock(name.key):
            found = await self._entities.find(name.key)
            if found is not None and not overwrite:
                raise conflict(EXISTS)
            before = None if found is None else Action(found.doc)
            doc = self._doc(name, body, before)
            if isinstance(body.exec, SequenceExec):
                await self._check_sequence(name, body.exec.components)
            elif doc["exec"]["kind"] == WASM:
                await self._publish(name, body, before, doc)
                await self._deploy(Action(doc))
            try:
                kept = Action(await self._entities.put(name.key, lambda _before: doc, overwrite=overwrite))
            except Rejected:
                winner = await self._entities.find(name.key)  # somebody else was faster: follow that one
                if winner is not None and Action(winner.doc).kind == WASM:
                    await self._deploy(Action(winner.doc))
                raise
            if kept.kind != WASM and before is not None and before.kind == WASM:
                await self._fleet.withdraw(before.deployment, before.deployment)
            return kept

    async def remove(self, name: Name) -> Action:
        """Raises Rejected (404)."""
        async with self._lock(name.key):
            gone = Action(await self._entities.remove(name.key))
            if gone.kind == WASM:
                await self._fleet.withdraw(gone.deployment, gone.deployment)
            return gone

    def _lock(self, key: str) -> asyncio.Lock:
        if len(self._locks) > 256:
            self._locks = {key: lock for key, lock in self._locks.items() if lock.locked()}
        return self._locks.setdefault(key, asyncio.Lock())

    def _doc(self, name: Name, body: ActionBody, before: Action | None) -> Doc:
        if before is None and body.exec is None:
            raise bad_request("exec undefined")
        old = None if before is None else before.doc
        if isinstance(body.exec, SequenceExec):
            components = [f"/{component.text}" for component in body.exec.components]
            spec: Doc = {"kind": SEQUENCE, "components": components}
            parameters: KeyValues = [{"key": "_actions", "value": components}]
        elif isinstance(body.exec, WasmExec):
            spec = {"kind": WASM, "binary": True}
            if body.exec.main is not None:
                spec["main"] = body.exec.main
            was_wasm = old is not None and old["exec"]["kind"] == WASM
            parameters = (
                body.parameters
                if body.parameters is not None
                else (old["parameters"] if was_wasm and old else [])
            )
        else:
            assert old is not None
            spec = old["exec"]
            keep = body.parameters is None or spec["kind"] == SEQUENCE
            parameters = old["parameters"] if keep else (body.parameters or [])
        annotations: KeyValues = [] if old is None else list(old["annotations"])
        annotations = [item for item in annotations if item["key"] not in body.del_annotations]
        annotations = merged(annotations, body.annotations or [])
        if old is None and "provide-api-key" not in as_map(annotations):
            annotations = [*annotations, {"key": "provide-api-key", "value": False}]
        annotations = merged(annotations, [{"key": "exec", "value": spec["kind"]}])
        check_size("annotations", jsons.size_of(annotations), MAX_PARAMETERS_BYTES)
        limits = parse_limits(body.limits, ActionLimits() if before is None else before.limits)
        version = body.version or ("0.0.1" if before is None else next_version(before.version))
        doc: Doc = {
            "namespace": name.path,
            "name": name.name,
            "exec": spec,
            "parameters": parameters,
            "annotations": annotations,
            "limits": limits.as_json(),
            "version": version,
            "publish": body.publish if body.publish is not None else bool(old and old["publish"]),
            "updated": int(self._clock.time() * 1000),
        }
        if spec["kind"] == WASM and old is not None and _INTERNAL in old:
            doc[_INTERNAL] = old[_INTERNAL]
        return doc

    async def _publish(self, name: Name, body: ActionBody, before: Action | None, doc: Doc) -> None:
        """Fill in which module it is."""
        if isinstance(body.exec, WasmExec):
            try:
                info = await self._fleet.publish(deployment_id(name), body.exec.code)
            except WasmoteError as error:
                if isinstance(error, Rejected):
                    raise
                raise bad_request(_text(error)) from None
            export = chosen_export(info, body.exec.main)
            doc[_INTERNAL] = {
                "digest": info.digest,
                "export": {
                    "name": export.name,
                    "kind": export.kind,
                    "params": export.params,
                    "results": export.results,
                    "repeatable": export.repeatable,
                    "logs": export.logs,
                },
            }
        parameter_names(doc["annotations"], Action(doc).export)

    async def _deploy(self, action: Action) -> None:
        wanted = placement(action.annotations)
        try:
            await self._fleet.deploy(
                action.deployment, action.deployment, action.digest, action.on_node, wanted
            )
        except WasmoteError as error:
            raise bad_request(f"The action was not deployed: {action.in_its_words(error)}") from None

    async def _check_sequence(self, name: Name, components: tuple[Name, ...]) -> None:
        """Components are there, do not lead back to name, and are not too many. Raises Rejected."""
        if name in components:
            raise bad_request("Sequence may not refer to itself.")
        total = 0
        trail: list[tuple[Name, tuple[Name, ...]]] = [
            (component, (name,)) for component in reversed(components)
        ]
        while trail:
            component, above = trail.pop()
            if component in above:
                raise bad_request("Sequence may not refer to itself.")
            found = await self._entities.find(component.key)
            if found is None:
                raise bad_request("Sequence component does not exist.")
            action = Action(found.doc)
            if action.kind == SEQUENCE:
                trail += [(inner, (*above, component)) for inner in reversed(action.components)]
            else:
                total += 1
            if total > MAX_COMPONENTS:
                raise bad_request("Too many actions in the sequence.")


def _text(error: WasmoteError) -> str:
    """The error and what to do about it, in one line."""
    return f"{error}. {error.next_step}" if error.next_step else str(error)
