"""Whether a deployment can be what should be: refused before anything changes, with the reason of each node. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from wasmote.errors import RefusedError
from wasmote_fleet.deploy.joints import misfit
from wasmote_fleet.deploy.plan import Picture, targets
from wasmote_fleet.deploy.spec import Spec, StepSpec
from wasmote_fleet.registry import State
from wasmote_fleet.repository import ModuleInfo
from wasmote_fleet.repository.modules import ExportInfo

_SHOWN = 10


class Refused(RefusedError):
    """A deployment was not admitted. function: which of its functions, "" for none. reasons: why, by node."""

    def __init__(
        self,
        message: str,
        *,
        cause: str,
        next_step: str,
        function: str = "",
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, cause=cause, next_step=next_step)
        self.function = function
        self.reasons = dict(reasons or {})


def check_modules(spec: Spec, modules: Mapping[str, ModuleInfo]) -> None:
    """Hold a spec with digests against its modules. Raises Refused."""
    names = [function.on_node for function in spec.functions]
    for name in names:
        if names.count(name) > 1:
            raise Refused(
                f"'{spec.id}' was not admitted",
                cause=f"two of its functions would be called '{name}' on a node",
                next_step="give one of them another name there (`as`)",
            )
    for chain in spec.chains:
        for step in chain.steps:
            function = spec.function(step.function)
            assert function is not None  # parse.py
            module = modules[function.digest or ""]
            exports = [export.name for export in module.exports]
            known = f"its exports: {', '.join(exports) or 'none'}"
            numbered = (step.export or "").startswith(":")
            if step.export is not None and step.export not in exports and not numbered:
                raise Refused(
                    f"'{spec.id}' was not admitted",
                    cause=f"chain {chain.name}: {step.function} has no export '{step.export}' ({known})",
                    next_step="correct the step",
                    function=step.function,
                )
            if step.export is None and module.default is None and function.on_node not in exports:
                raise Refused(
                    f"'{spec.id}' was not admitted",
                    cause=f"chain {chain.name}: {step.function} has no default export ({known})",
                    next_step=f"write the step as {step.function}/EXPORT",
                    function=step.function,
                )
        for before, after in pairwise(chain.steps):
            giver, taker = (_export(spec, step, modules) for step in (before, after))
            why = None if giver is None or taker is None else misfit(giver, taker)
            if why is not None:
                raise Refused(
                    f"'{spec.id}' was not admitted",
                    cause=f"chain {chain.name}: the output of {before} is no input for {after}: {why}",
                    next_step="put a function between them that converts it",
                    function=after.function,
                )


def _export(spec: Spec, step: StepSpec, modules: Mapping[str, ModuleInfo]) -> ExportInfo | None:
    """What a step calls; None if only a node knows."""
    function = spec.function(step.function)
    assert function is not None
    module = modules[function.digest or ""]
    wanted = step.export or module.default or function.on_node
    for export in module.exports:
        if wanted in (export.name, f":{export.index}"):
            return export
    return None


def admit(picture: Picture) -> None:
    """Raises Refused unless enough nodes fit, and one that fits is there. Nodes that are down count as fitting: they
    may come back."""
    deployment = picture.deployment
    nodes = {
        id: node if node.state is State.LEFT else replace(node, state=State.UP)
        for id, node in picture.nodes.items()
    }
    chosen, why = targets(replace(picture, nodes=nodes, at_once=True))
    for function in deployment.spec.functions:
        reasons = dict(why[function.name])
        for id in function.nodes or ():
            reasons.setdefault(id, "there is no such node") if id not in nodes else None
        if function.nodes is not None:
            reasons = {id: reason for id, reason in reasons.items() if id in function.nodes}
        found = [target.node for target in chosen[function.name]]
        count = 1 if function.count is None else function.count
        there = [id for id in nodes if id not in why[function.name] and picture.nodes[id].there]
        for id in nodes:
            if id not in why[function.name] and not picture.nodes[id].there:
                reasons[id] = f"it fits, but is {picture.nodes[id].state}"
        if len(found) >= count and there:
            continue
        if not nodes:
            cause, step = "there are no nodes", "add some with `wasmote fleet adopt URI`"
        else:
            away = ", none of them is up" if found and not there else ""
            cause = f"{len(found)} of {count} nodes fit{away}: {_told(reasons)}"
            if not reasons:
                cause = f"there are {len(found)} nodes that fit, {count} are wanted"
            step = "ask for less (`count`, `where`, `nodes`), make room, or add nodes that fit"
            if any("another module" in reason for reason in reasons.values()):
                step = f"name it otherwise on the nodes: `as`; or {step}"
        raise Refused(
            f"'{deployment.id}' was not admitted: no place for {function.name}",
            cause=cause,
            next_step=step,
            function=function.name,
            reasons=reasons,
        )


def _told(reasons: Mapping[str, str]) -> str:
    shown: Sequence[str] = [f"{node}: {reason}" for node, reason in sorted(reasons.items())]
    more = len(shown) - _SHOWN
    return "; ".join(shown[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
