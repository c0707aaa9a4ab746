"""From the name of what is called to what is called: exports, their types, and where they are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from wasmote.errors import InputError, RefusedError, UnansweredError, UnreachableError
from wasmote.protocol.answers import Export, FunctionInfo
from wasmote_fleet.gateway.errors import DeadlinePassed, Overloaded
from wasmote_fleet.repository import Repository
from wasmote_fleet.repository.modules import ModuleInfo
from wasmote_fleet.requests.errors import NoPlace, UnknownTarget
from wasmote_fleet.requests.failover import BUSY_CODES, Step
from wasmote_fleet.requests.places import Caller, Place, Places
from wasmote_fleet.requests.records import Target, step_text

_ASK_S = 10.0  # a node, for what it knows about a function


@dataclass(frozen=True, slots=True)
class OnNode:
    """The only place of a call that names its node."""

    node_id: str
    name_on_node: str
    digest: str = ""


class Resolver:
    def __init__(self, places: Places, repository: Repository, caller: Caller) -> None:
        self._places = places
        self._repository = repository
        self._caller = caller
        self._modules: dict[str, ModuleInfo] = {}

    async def steps(self, target: Target) -> tuple[tuple[str, str | None], ...]:
        """The functions and exports that a target means, in order. Raises UnknownTarget, InputError."""
        if target.chain is None:
            assert target.function is not None
            return ((target.function, target.export),)
        assert target.deployment is not None
        chain = await self._places.chain(target.deployment, target.chain)
        if chain is None:
            raise UnknownTarget(
                f"deployment '{target.deployment}' has no chain '{target.chain}'",
                next_step=f"`wasmote fleet deployments {target.deployment}` shows what it has",
            )
        found = []
        for text in chain:
            function, _, export = text.partition("/")
            found.append((function, export or None))
        return tuple(found)

    async def export(self, target: Target, function: str, export: str | None) -> Export | None:
        """The export that is called, as the deployment's module has it; None where only the node knows it. Raises
        UnknownTarget, InputError."""
        if target.deployment is None:
            return None
        digest = await self._places.module(target.deployment, function)
        if digest is None:
            is_chain = await self._places.chain(target.deployment, function) is not None
            step = f"`wasmote fleet deployments {target.deployment}` shows what it has"
            raise UnknownTarget(
                f"deployment '{target.deployment}' has no function '{function}'",
                cause="it has a chain of this name" if is_chain else "",
                next_step="call it as a chain (`wasmote fleet call --chain`)" if is_chain else step,
            )
        return await self._found(target.deployment, digest, function, export)

    async def _found(self, deployment: str, digest: str, function: str, export: str | None) -> Export:
        module = await self._module(digest)
        names = {function}
        if export is None and module.default is None:
            # Then a node calls the export that is called as the function is there.
            names = {place.name_on_node for place in await self._places.places(deployment, function)}
        return find_export(module, function, export, names)

    async def step(self, target: Target, function: str, export: str | None, *, within_s: float) -> Step:
        """What to call, and where. Raises UnknownTarget, InputError, and what asking a node raises."""
        if target.node is not None:
            info = await self._ask(target.node, function, min(within_s, _ASK_S))
            found = info.find(export or info.default or "")
            if found is None:
                raise _no_export(function, export, [each.ref for each in info.exports])
            return Step(None, function, found, [(OnNode(target.node, function), found)])
        known = await self.export(target, function, export)
        assert known is not None and target.deployment is not None
        exports: dict[str, Export | None] = {}  # by digest: hundreds of places have one or two modules
        there: list[tuple[Place, Export]] = []
        for place in await self._places.places(target.deployment, function):
            if place.digest not in exports:
                exports[place.digest] = await self._export_of(place.digest, function, known.ref)
            if (export_there := exports[place.digest]) is not None:
                there.append((place, export_there))
        return Step(target.deployment, function, known, there)

    async def _export_of(self, digest: str, function: str, ref: str) -> Export | None:
        """None where this version has no such export."""
        try:
            return find_export(await self._module(digest), function, ref)
        except InputError:
            return None

    async def _ask(self, node_id: str, function: str, within_s: float) -> FunctionInfo:
        """What a node knows about a function. Raises NoPlace where it may answer another time."""
        try:
            return await self._caller.function(node_id, function, deadline_s=within_s)
        except (UnreachableError, UnansweredError, DeadlinePassed, RefusedError) as error:
            busy = isinstance(error, Overloaded) or error.details.get("code") in BUSY_CODES
            if isinstance(error, RefusedError) and not busy:
                raise
            raise NoPlace(
                f"{function} was not called",
                cause=f"{node_id}: {error}",
                next_step="try again in a moment",
                busy=busy,
            ) from None

    async def _module(self, digest: str) -> ModuleInfo:
        """What is known about a module never changes, so it is kept."""
        found = self._modules.get(digest)
        if found is None:
            if len(self._modules) >= 1024:
                self._modules.clear()
            found = self._modules[digest] = await self._repository.module(digest)
        return found


def find_export(module: ModuleInfo, function: str, export: str | None, names: Collection[str] = ()) -> Export:
    """The export of a name or of `:N`; None: the default one, or else one with one of these names. Raises
    UnknownTarget."""
    exports = [
        Export(each.name, each.params, each.results, each.kind, each.pure, each.idempotent, each.index)
        for each in module.exports
    ]
    wanted = export or module.default or next((each.name for each in exports if each.name in names), "")
    by_index = int(wanted[1:]) if wanted.startswith(":") and wanted[1:].isdecimal() else None
    for each in exports:
        if each.index == by_index or (by_index is None and each.name == wanted):
            return each
    raise _no_export(function, export, [each.ref for each in exports])


def _no_export(function: str, export: str | None, there: list[str]) -> InputError:
    listed = f"its exports: {', '.join(there) or 'none'}"
    if export is None:
        return UnknownTarget(
            f"'{function}' has no default export", cause=listed, next_step="name one, as FUNCTION/EXPORT"
        )
    return UnknownTarget(
        f"{step_text(function, export)}: there is no such export",
        cause=listed,
        next_step="name one that it has",
    )
