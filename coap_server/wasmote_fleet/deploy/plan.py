"""What to do next about one deployment. Pure: the same picture gives the same steps, and each step may be repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from wasmote_fleet.deploy.needs import Needs
from wasmote_fleet.deploy.placement import NodeFacts, choose, misfit, ram_needed
from wasmote_fleet.deploy.records import Deployment, Failure, Placed, PlacedState, RolloutState
from wasmote_fleet.deploy.spec import FunctionSpec
from wasmote_fleet.deploy.waves import WaveState, wave_now

# A node that went down while a change came to it may come back for so long before it counts as failed.
GRACE_S = 30.0
# What a node has is looked at again after so long, for somebody may have removed it.
VERIFY_S = 300.0

OnNode = Mapping[str, Placed]  # by the function's name there


@dataclass(frozen=True, slots=True)
class Picture:
    """All that a plan depends on. placed: all records, of other deployments, too, by node. now: the engine's time.
    found: by node, digests by names of functions that no deployment put there, where somebody looked. at_once: as if
    what must go was gone already."""

    deployment: Deployment
    rollout: RolloutState
    nodes: Mapping[str, NodeFacts]
    placed: Mapping[str, OnNode]
    now: float
    found: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    at_once: bool = False

    @property
    def fresh(self) -> RolloutState:
        """The state of this generation."""
        deployment, rollout = self.deployment, self.rollout
        if rollout.generation == deployment.generation:
            return rollout
        return RolloutState(deployment.id, deployment.generation)


@dataclass(frozen=True, slots=True)
class Install:
    """Make the node have the module: look, and push it unless it is there. rolling: a change comes to this node, so
    that a failure counts. new: the node had no record of it. ram: bytes that it is known to need at least."""

    node: str
    function: str
    name: str
    digest: str
    rolling: bool
    new: bool
    ram: int


@dataclass(frozen=True, slots=True)
class Leave:
    """The deployment no longer wants what the node has under this name."""

    node: str
    name: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A node that went down while a change came to it has failed."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Stop:
    """The rollout goes no further."""

    cause: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing of a deployment that is being removed is left."""


Step = Install | Leave | GiveUp | Stop | Finish


class Phase(StrEnum):
    """rolling: there is something to do. ready: all is as it should be. waiting: too few nodes are there or fit.
    degraded: done, but for nodes that failed. stopped: too many nodes failed. removing, removed."""

    ROLLING = "rolling"
    READY = "ready"
    WAITING = "waiting"
    DEGRADED = "degraded"
    STOPPED = "stopped"
    REMOVING = "removing"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """A function on a node. state: waiting, for its wave or for the node; pending, ready, failed, leaving."""

    node: str
    function: str
    state: str
    digest: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """wanted: functions times nodes; for `all` those that fit now. wave: of waves, 0 for none. cause: why it waits or
    stopped."""

    id: str
    generation: int
    phase: Phase
    wanted: int = 0
    ready: int = 0
    failed: int = 0
    wave: int = 0
    waves: int = 0
    cause: str = ""
    nodes: tuple[NodeProgress, ...] = ()

    @property
    def settled(self) -> bool:
        """Nothing more happens by itself, or nothing more needs to."""
        return self.phase in (Phase.READY, Phase.DEGRADED, Phase.STOPPED, Phase.REMOVED)


@dataclass(frozen=True, slots=True)
class Plan:
    """steps: to be done now, in this order of preference. wake_at: when there may be more to do; None: only when
    something changes."""

    steps: tuple[Step, ...]
    progress: Progress
    wake_at: float | None = None


@dataclass
class _Target:
    """A function that a node should have."""

    node: str
    function: FunctionSpec
    placed: Placed | None  # this deployment's record of it
    new: bool
    failure: Failure | None = None
    settled: bool = False
    begun: bool = False


@dataclass
class _Draft:
    steps: list[Step] = field(default_factory=list)
    wake_at: list[float] = field(default_factory=list)
    nodes: list[NodeProgress] = field(default_factory=list)


def plan(picture: Picture) -> Plan:
    """The next steps, and how far it is."""
    deployment = picture.deployment
    if deployment.removing:
        return _removal(picture)
    state = picture.fresh
    draft = _Draft()
    chosen, why = targets(picture)
    found = [target for of_one in chosen.values() for target in of_one]
    leaving = _leave_others(picture, found, draft)
    given_up = _give_up(picture, found, draft)
    draft.steps += [GiveUp(failure) for failure in given_up]
    causes = {failure.node: failure.cause for failure in (*state.failures, *given_up) if failure.rolling}
    failures = set(causes)
    stopped = state.stopped
    if not stopped and len(failures) >= deployment.spec.rollout.max_failures:
        stopped = "; ".join([f"{node}: {cause}" for node, cause in causes.items()][:5])
        draft.steps.append(Stop(stopped))
    wave = _wave(picture, found, failures)
    if wave.resume_at is not None:
        draft.wake_at.append(wave.resume_at)
    allowed = () if stopped else wave.allowed
    for target in sorted(found, key=lambda each: _turn(wave, each.node)):
        _one(picture, target, target.node in allowed, draft)
    progress = _progress(picture, found, leaving, wave, stopped, why, draft)
    wake = [at for at in draft.wake_at if at > picture.now]
    return Plan(tuple(draft.steps), progress, min(wake, default=None))


def _turn(wave: WaveState, node: str) -> int:
    return wave.allowed.index(node) if node in wave.allowed else len(wave.allowed)


def mine(picture: Picture, name: str) -> dict[str, Placed]:
    """This deployment's records under a name, by node, those that are going from it included."""
    id = picture.deployment.id
    found = {}
    for node, on_node in picture.placed.items():
        placed = on_node.get(name)
        if placed is not None and (id in placed.deployments or (placed.going and id in placed.was)):
            found[node] = placed
    return found


def targets(picture: Picture) -> tuple[dict[str, list[_Target]], dict[str, dict[str, str]]]:
    """By function: the nodes that should have it, and why the others cannot. Functions that share a node are counted
    together."""
    deployment, state = picture.deployment, picture.fresh
    nodes = dict(picture.nodes)
    chosen: dict[str, list[_Target]] = {}
    why: dict[str, dict[str, str]] = {}
    for function in deployment.spec.functions:
        needs = deployment.needs.get(function.digest or "", Needs())
        has = mine(picture, function.on_node)
        known_ram = max(
            (placed.ram for placed in has.values() if placed.digest == function.digest), default=0
        )
        failed = {
            failure.node: failure
            for failure in state.failures
            if failure.function == function.name
            and failure.node in nodes
            and (failure.rolling or failure.boot == nodes[failure.node].boot)
        }
        misfits = {
            id: misfit(
                function,
                needs,
                node,
                deployment=deployment.id,
                there=picture.placed.get(id, {}).get(function.on_node),
                found=picture.found.get(id, {}).get(function.on_node),
                has_it=id in has and not has[id].going,
                known_ram=known_ram,
            )
            for id, node in nodes.items()
        }
        names = choose(
            function,
            nodes,
            has=has,
            misfits=misfits,
            failed=failed,
            limbo=[
                id for id, placed in has.items() if id in nodes and in_limbo(placed, nodes[id], picture.now)
            ],
            frozen=bool(state.stopped),
            at_once=picture.at_once,
        )
        why[function.name] = {id: reason for id, reason in misfits.items() if reason} | {
            id: failure.cause for id, failure in failed.items()
        }
        chosen[function.name] = []
        for id in names:
            placed = has.get(id)
            target = _Target(
                id,
                function,
                None if placed is None or placed.going else placed,
                id not in has,
                failed.get(id),
            )
            target.settled = (
                target.placed is not None and target.placed.rolled and target.placed.digest == function.digest
            )
            target.begun = (
                target.placed is not None and not target.settled and target.placed.digest == function.digest
            )
            chosen[function.name].append(target)
            if target.new:
                nodes[id] = _with_one_more(nodes[id], function, needs, known_ram)
    return chosen, why


def _with_one_more(node: NodeFacts, function: FunctionSpec, needs: Needs, known_ram: int) -> NodeFacts:
    ram = ram_needed(function, needs, node, known_ram)
    return replace(
        node,
        functions=node.functions + 1,
        ram_free=None if node.ram_free is None else node.ram_free - ram,
        flash_free=None if node.flash_free is None else node.flash_free - needs.size,
    )


def in_limbo(placed: Placed, node: NodeFacts, now: float) -> bool:
    """The node went down while a change came to it, not long ago."""
    return (
        not node.there
        and not placed.rolled
        and placed.attempts > 0
        and placed.state is PlacedState.PENDING
        and now < node.since + GRACE_S
    )


def _leave_others(picture: Picture, found: Sequence[_Target], draft: _Draft) -> int:
    """Steps for what this deployment has and should not; how many are on their way out of nodes that are there."""
    wanted = {(target.node, target.function.on_node) for target in found}
    id = picture.deployment.id
    leaving = 0
    for node, on_node in sorted(picture.placed.items()):
        for name, placed in sorted(on_node.items()):
            if placed.going and id in placed.was and node in picture.nodes and picture.nodes[node].there:
                leaving += 1
                draft.nodes.append(NodeProgress(node, name, "leaving", placed.digest, placed.cause))
            elif id in placed.deployments and (node, name) not in wanted:
                draft.steps.append(Leave(node, name))
                leaving += 1
    return leaving


def _give_up(picture: Picture, found: Sequence[_Target], draft: _Draft) -> list[Failure]:
    """Nodes that went down while the change came to them, and did not come back."""
    failed = {failure.node for failure in picture.fresh.failures if failure.rolling}
    made = []
    for target in found:
        placed, node = target.placed, picture.nodes[target.node]
        if placed is None or not target.begun or target.node in failed or node.there:
            continue
        if in_limbo(placed, node, picture.now):
            draft.wake_at.append(node.since + GRACE_S)
        elif placed.attempts > 0 and placed.state is PlacedState.PENDING:
            cause = "it went down while the change came to it"
            made.append(Failure(target.node, target.function.name, cause, picture.now, True, node.boot))
    return made


def _wave(picture: Picture, found: Sequence[_Target], failures: set[str]) -> WaveState:
    by_node: dict[str, list[_Target]] = {}
    for target in found:
        by_node.setdefault(target.node, []).append(target)
    done: list[str] = []
    begun: list[str] = []
    waiting: list[str] = []
    done_at = 0.0
    for id, of_node in by_node.items():
        open_ = [target for target in of_node if not target.settled]
        limbo = any(
            target.placed is not None and in_limbo(target.placed, picture.nodes[id], picture.now)
            for target in open_
        )
        if not open_:
            done.append(id)
            ready = [target.placed.ready_at for target in of_node if target.placed is not None]
            done_at = max(done_at, *ready)
        elif id in failures:
            done.append(id)
        elif any(target.begun for target in open_) and (picture.nodes[id].there or limbo):
            begun.append(id)
        elif picture.nodes[id].there:
            waiting.append(id)
    return wave_now(
        picture.deployment.spec.rollout,
        done=done,
        begun=begun,
        waiting=waiting,
        done_at=done_at,
        now=picture.now,
    )


def _one(picture: Picture, target: _Target, allowed: bool, draft: _Draft) -> None:
    """The step for one function on one node, if there is one to be done now; and what to tell of it."""
    placed, node, now = target.placed, picture.nodes[target.node], picture.now
    wanted = target.function.digest or ""

    def tell(state: str, cause: str = "") -> None:
        digest = wanted if placed is None else placed.digest
        draft.nodes.append(NodeProgress(target.node, target.function.name, state, digest, cause))

    had = "" if placed is None else placed.digest if placed.rolled else placed.before
    rolling, digest = not target.settled, wanted
    if target.failure is not None or (rolling and not allowed):
        state = ("failed", target.failure.cause) if target.failure else ("waiting", "its wave has not come")
        if not had or had == wanted or not node.up:
            tell(*state)
            return
        rolling, digest = False, had  # what it had before, until its wave comes
    elif not node.up:
        tell("waiting", f"the node is {node.state}")
        return
    else:
        state = ("ready", "")
    if placed is not None and placed.digest == digest and placed.state is PlacedState.READY:
        if placed.boot == node.boot:
            tell(*state)
            if now < placed.seen_at + VERIFY_S:
                draft.wake_at.append(placed.seen_at + VERIFY_S)
                return
        else:
            tell("pending", "the node has rebooted")
    elif target.failure is not None:
        tell(*state)
    else:
        tell("pending", "" if placed is None else placed.cause)
    failing = placed is not None and placed.digest == digest and placed.state is not PlacedState.READY
    if placed is not None and failing and now < placed.retry_at:
        draft.wake_at.append(placed.retry_at)
        return
    ram = 0
    needs = picture.deployment.needs.get(digest)
    if needs is not None:
        ram = ram_needed(target.function, needs, node)
    draft.steps.append(
        Install(target.node, target.function.name, target.function.on_node, digest, rolling, target.new, ram)
    )


def _progress(
    picture: Picture,
    found: Sequence[_Target],
    leaving: int,
    wave: WaveState,
    stopped: str,
    why: Mapping[str, Mapping[str, str]],
    draft: _Draft,
) -> Progress:
    functions = picture.deployment.spec.functions
    ready = sum(1 for one in draft.nodes if one.state == "ready")
    failed = sum(1 for one in draft.nodes if one.state == "failed")
    wanted = 0
    short = []
    for function in functions:
        have = sum(1 for target in found if target.function is function)
        wanted += have if function.count is None else function.count
        if have < (1 if function.count is None else function.count):
            short.append(_short(function, have, why[function.name]))
    open_ = [one for one in draft.nodes if one.state == "pending"]
    cause = ""
    if stopped:
        phase, cause = Phase.STOPPED, stopped
    elif ready >= wanted and not leaving and wanted:
        phase = Phase.READY
    elif open_ or leaving or wave.resume_at is not None or any(isinstance(s, Install) for s in draft.steps):
        phase = Phase.ROLLING
        cause = next((one.cause for one in open_ if one.cause), "")
    elif failed and ready + failed >= wanted:
        phase = Phase.DEGRADED
        cause = "; ".join(f"{one.node}: {one.cause}" for one in draft.nodes if one.state == "failed")
    else:
        phase = Phase.WAITING
        waits = [f"{one.node}: {one.cause}" for one in draft.nodes if one.state == "waiting"]
        cause = "; ".join([*short, *waits][:5])
    return Progress(
        picture.deployment.id,
        picture.deployment.generation,
        phase,
        wanted,
        ready,
        failed,
        wave.number,
        wave.of,
        cause,
        tuple(draft.nodes),
    )


def _short(function: FunctionSpec, have: int, why: Mapping[str, str]) -> str:
    count = "one node" if function.count is None else f"{function.count}"
    reasons = [f"{node}: {reason}" for node, reason in sorted(why.items()) if "not among" not in reason]
    text = f"{function.name} has {have} of {count}"
    return f"{text} ({'; '.join(reasons[:3])})" if reasons else f"{text}: no other node is up"


def _removal(picture: Picture) -> Plan:
    deployment = picture.deployment
    draft = _Draft()
    leaving = _leave_others(picture, (), draft)
    if not leaving:
        draft.steps.append(Finish())
    progress = Progress(
        deployment.id, deployment.generation, Phase.REMOVING, wanted=0, nodes=tuple(draft.nodes)
    )
    return Plan(tuple(draft.steps), progress)
