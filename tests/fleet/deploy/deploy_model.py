"""A fleet in memory, for the pure parts: nodes, their records, and what each step does, with failures and crashes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from wasmote_fleet.deploy import parse_mapping
from wasmote_fleet.deploy.needs import Needs
from wasmote_fleet.deploy.placement import NodeFacts
from wasmote_fleet.deploy.plan import Finish, GiveUp, Install, Leave, Picture, Plan, Step, Stop, plan
from wasmote_fleet.deploy.records import Deployment, Failure, Placed, PlacedState, RolloutState
from wasmote_fleet.deploy.transitions import (
    Foreign,
    There,
    claim,
    leave,
    not_done,
    not_removed,
    ready,
    removing,
)
from wasmote_fleet.registry import State

Spec = Mapping[str, object]


@dataclass
class ModelNode:
    """has: digests by names, as they are on the node. keeps: whether a reboot leaves them there. refuses: digests."""

    id: str
    state: State = State.UP
    boot: int = 1
    labels: dict[str, str] = field(default_factory=dict)
    has: dict[str, str] = field(default_factory=dict)
    keeps: bool = False
    refuses: set[str] = field(default_factory=set)
    since: float = 0.0

    def facts(self) -> NodeFacts:
        return NodeFacts(
            self.id,
            self.state,
            (self.boot, float(self.boot)),
            self.labels,
            since=self.since,
            ram_total=1 << 20,
        )

    def reboot(self) -> None:
        self.boot += 1
        if not self.keeps:
            self.has.clear()


class Model:
    """One deployment, or several. pushes: all that were sent: node, name, digest, and what was there."""

    def __init__(self, *nodes: ModelNode) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.placed: dict[str, dict[str, Placed]] = {}
        self.deployments: dict[str, Deployment] = {}
        self.rollouts: dict[str, RolloutState] = {}
        self.now = 1000.0
        self.pushes: list[tuple[str, str, str, str | None]] = []

    def apply(self, spec: Spec) -> None:
        """Admitted without a look: what admission keeps out must not break the rest."""
        wanted = parse_mapping(spec)
        before = self.deployments.get(wanted.id)
        digests = {function.digest or "" for function in wanted.functions}
        needs = {digest: Needs(size=100) for digest in digests}
        generation = 1 if before is None else before.generation + 1
        self.deployments[wanted.id] = Deployment(wanted, generation, self.now, needs)

    def remove(self, id: str) -> None:
        before = self.deployments[id]
        self.deployments[id] = before.changed(removing=True, generation=before.generation + 1)

    def plan(self, id: str) -> Plan:
        return plan(
            Picture(
                self.deployments[id],
                self.rollouts.get(id) or RolloutState(id),
                {node.id: node.facts() for node in self.nodes.values()},
                self.placed,
                self.now,
            )
        )

    def write(self, node: str, name: str, record: Placed | None) -> None:
        if record is not None:
            self.placed.setdefault(node, {})[name] = record

    def record(self, node: str, name: str) -> Placed | None:
        return self.placed.get(node, {}).get(name)

    def all_placed(self) -> list[Placed]:
        return [record for of_node in self.placed.values() for record in of_node.values()]

    # ---- steps, cut into pieces: between two of them a server may die ----

    def do(self, id: str, step: Step) -> Iterator[str]:
        """The step as a server does it. Each yield is a point at which it may end for good."""
        if isinstance(step, Leave):
            self.write(step.node, step.name, leave(self.record(step.node, step.name), id, self.now))
        elif isinstance(step, GiveUp):
            self.failed(id, step.failure)
        elif isinstance(step, Stop):
            state = self.rollout(id)
            self.rollouts[id] = state.changed(stopped=step.cause)
        elif isinstance(step, Finish):
            self.rollouts.pop(id, None)
            yield "between the two keys"
            self.deployments.pop(id, None)
        else:
            yield from self.install(id, step)

    def rollout(self, id: str) -> RolloutState:
        generation = self.deployments[id].generation
        state = self.rollouts.get(id)
        return state if state and state.generation == generation else RolloutState(id, generation)

    def failed(self, id: str, failure: Failure) -> None:
        state = self.rollout(id)
        self.rollouts[id] = state.changed(failures=(*state.failures, failure))

    def install(self, id: str, step: Install) -> Iterator[str]:
        node = self.nodes[step.node]
        if node.state is not State.UP:
            return
        boot = (node.boot, float(node.boot))
        digest = node.has.get(step.name)
        there = None if digest is None else There(digest)
        cause, refused = "", False
        try:
            made = claim(self.record(step.node, step.name), step, id, there, self.now)
        except Foreign as error:
            self.failed(id, Failure(step.node, step.function, error.message, self.now, False, boot))
            return
        self.write(step.node, step.name, made.placed)
        yield "claimed"
        if made.push is None:
            return
        if made.push:
            if node.state is not State.UP:
                cause = "unreachable"
            elif step.digest in node.refuses:
                cause, refused = "no room", True
            else:
                self.pushes.append((step.node, step.name, step.digest, node.has.get(step.name)))
                node.has[step.name] = step.digest
            yield "pushed"
        record = self.record(step.node, step.name)
        if cause:
            changed = not_done(record, step, id, cause, self.now, failed=refused, chance=0.5)
            self.write(step.node, step.name, changed)
            yield "not done"
            if refused:
                self.failed(id, Failure(step.node, step.function, cause, self.now, step.rolling, boot))
            return
        self.write(step.node, step.name, ready(record, step, There(step.digest), boot, self.now))

    def sweep(self, placed: Placed) -> Iterator[str]:
        """One turn of the sweeper for one record."""
        node = self.nodes.get(placed.node)
        if not placed.going or self.now < placed.retry_at:
            return
        if node is not None and placed.owned:
            if node.state is not State.UP:
                return
            begun = removing(placed)
            self.write(placed.node, placed.name, begun)
            yield "removal begun"
            if node.state is not State.UP:
                self.write(placed.node, placed.name, not_removed(begun, "unreachable", self.now, chance=0.5))
                return
            node.has.pop(placed.name, None)
            yield "removed"
        record = self.record(placed.node, placed.name)
        if record is not None and record.going:
            del self.placed[placed.node][placed.name]

    def orphans(self) -> None:
        for record in self.all_placed():
            for id in record.deployments:
                if id not in self.deployments:
                    self.write(
                        record.node, record.name, leave(self.record(record.node, record.name), id, self.now)
                    )

    # ---- until nothing is left to do ----

    def settle(self, turns: int = 400) -> None:
        """Everything that is to be done, with nothing in the way; time passes where it must."""
        for _ in range(turns):
            steps = 0
            wakes = []
            for id in list(self.deployments):
                made = self.plan(id)
                wakes += [] if made.wake_at is None else [made.wake_at]
                for step in made.steps:
                    steps += 1
                    for _point in self.do(id, step):
                        pass
            self.orphans()
            for record in self.all_placed():
                if record.going:
                    up = self.nodes[record.node].state is State.UP if record.node in self.nodes else True
                    if up and self.now < record.retry_at:
                        wakes.append(record.retry_at)
                    steps += sum(1 for _ in self.sweep(record))
            if steps == 0:
                wakes = [at for at in wakes if at < self.now + 120]  # not for the look every five minutes
                if not wakes:
                    return
                self.now = min(wakes)
        raise AssertionError("it does not come to rest")

    def going_or_ready(self, id: str, name: str) -> list[str]:
        """Nodes that are there and have the function, or are to have it, because of this deployment."""
        return [
            record.node
            for record in self.all_placed()
            if record.name == name
            and (id in record.deployments or id in record.was)
            and self.nodes[record.node].state in (State.UP, State.SILENT, State.UNKNOWN)
        ]


def function(name: str, digest: str, **more: object) -> dict[str, object]:
    """A function of a spec; digest: a letter."""
    return {"name": name, "digest": digest * 64, **more}


def states(model: Model) -> dict[tuple[str, str], PlacedState]:
    return {(record.node, record.name): record.state for record in model.all_placed()}
