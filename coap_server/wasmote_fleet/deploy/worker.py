"""One deployment, reconciled under its lease: a plan, its steps, and again whenever something has changed."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from wasmote.errors import UnreachableError, WasmoteError
from wasmote_fleet.deploy.facts import Facts
from wasmote_fleet.deploy.hands import Hands, back_off_s, is_absent, is_for_good
from wasmote_fleet.deploy.mirror import Mirror
from wasmote_fleet.deploy.plan import Finish, GiveUp, Install, Leave, Picture, Plan, Step, Stop, plan
from wasmote_fleet.deploy.records import Boot, Deployment, Failure, Placed, RolloutState
from wasmote_fleet.deploy.transitions import Claim, Foreign, There, claim, late, leave, not_done, ready
from wasmote_fleet.engine import Clock, EngineError, Lease
from wasmote_fleet.engine.tasks import end, sleep_or_bell

log = logging.getLogger("wasmote.fleet.deploy")

TICK_S = 10.0  # in case something was missed
LOOK_S = 15.0
PUSH_S = 120.0
# While a change rolls, a node that is up and takes it at none of so many tries has failed.
ROLLING_TRIES = 6
_TOGETHER_S = 0.02  # changes that come together are looked at together


class LeaseGone(Exception):
    """Another server reconciles it now."""


@dataclass
class Shared:
    """What the workers of a server share. installs: nodes that are worked on at a time; nodes: one thing at a time on
    each."""

    mirror: Mirror
    facts: Facts
    hands: Hands
    clock: Clock
    installs: asyncio.Semaphore
    nodes: dict[str, asyncio.Lock] = field(default_factory=dict)

    def node(self, id: str) -> asyncio.Lock:
        return self.nodes.setdefault(id, asyncio.Lock())


class Worker:
    """run() until the lease is gone or the deployment is. lease: renewed by Deployments."""

    def __init__(self, id: str, lease: Lease, shared: Shared) -> None:
        self.id = id
        self.lease = lease
        self._shared = shared
        self._bell = asyncio.Event()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._not_before: dict[tuple[str, str], tuple[float, int]] = {}
        self._asking: asyncio.Task[None] | None = None

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()

    async def run(self) -> None:
        """Raises LeaseGone, EngineError."""
        try:
            while True:
                self._bell.clear()
                self._check_lease()
                done = await self._turn()
                if done is None:
                    return
                await self._wait(done)
        finally:
            await end(*self._tasks.values(), *([self._asking] if self._asking else []))

    def _check_lease(self) -> None:
        if self._shared.clock.time() >= self.lease.expires_at:
            raise LeaseGone

    def picture(self) -> Picture | None:
        mirror = self._shared.mirror
        deployment = mirror.deployments.get(self.id)
        if deployment is None:
            return None
        return Picture(
            deployment,
            mirror.rollouts.get(self.id) or RolloutState(self.id),
            self._shared.facts.all(mirror.placed),
            mirror.placed,
            self._shared.clock.time(),
        )

    async def _turn(self) -> Plan | None:
        """One plan and the beginning of its steps; a plan without steps where it should be made again at once, None
        when the deployment is gone."""
        picture = self.picture()
        if picture is None:
            return None
        made = plan(picture)
        unknown = self._ask(made)
        self._end_lost(picture)
        own = [step for step in made.steps if not isinstance(step, Install)]
        if own:
            await asyncio.gather(*(self._do(step) for step in own))
            return Plan((), made.progress, self._shared.clock.time())
        waits = [made.wake_at] if made.wake_at is not None else []
        for step in made.steps:
            assert isinstance(step, Install)
            if step.new and step.node in unknown:
                continue  # whether it has room is being asked
            at = self._begin(step, picture.deployment)
            if at is not None:
                waits.append(at)
        return Plan(made.steps, made.progress, min(waits, default=None))

    def _ask(self, made: Plan) -> set[str]:
        """Nodes that would get something new, and have not said lately what they have free: they are asked."""
        new = (step.node for step in made.steps if isinstance(step, Install) and step.new)
        unknown = set(self._shared.facts.unknown(new))
        if unknown and (self._asking is None or self._asking.done()):
            self._asking = asyncio.create_task(self._shared.facts.ask(unknown))
            self._asking.add_done_callback(lambda _done: self._bell.set())
        return unknown

    def _end_lost(self, picture: Picture) -> None:
        """A node that is down takes nothing: what waits for its answer gives up, and begins anew when it is back."""
        for (id, _name), task in self._tasks.items():
            if id not in picture.nodes or not picture.nodes[id].there:
                task.cancel()

    async def _wait(self, made: Plan) -> None:
        now = self._shared.clock.time()
        delay_s = TICK_S if made.wake_at is None else min(max(made.wake_at - now, 0.0), TICK_S)
        if delay_s > 0:
            await sleep_or_bell(delay_s, self._bell, self._shared.clock)
        await asyncio.sleep(_TOGETHER_S)

    # ---- steps ----

    async def _do(self, step: Step) -> None:
        now = self._shared.clock.time()
        mirror = self._shared.mirror
        if isinstance(step, Leave):
            await mirror.write_placed(step.node, step.name, lambda placed: leave(placed, self.id, now))
        elif isinstance(step, GiveUp):
            await self._failed(step.failure)
        elif isinstance(step, Stop):
            await self._write_rollout(lambda state: state.changed(stopped=step.cause))
        elif isinstance(step, Finish):
            await self._finish()

    async def _finish(self) -> None:
        mirror = self._shared.mirror
        while (deployment := mirror.deployments.get(self.id)) is not None and deployment.removing:
            if not await mirror.delete(f"rollouts/{self.id}"):
                continue
            if await mirror.delete(deployment.key):
                return

    async def _write_rollout(self, change: Callable[[RolloutState], RolloutState]) -> None:
        mirror = self._shared.mirror
        while (deployment := mirror.deployments.get(self.id)) is not None:
            self._check_lease()
            state = mirror.rollouts.get(self.id) or RolloutState(self.id)
            if state.token > self.lease.token:
                raise LeaseGone
            if state.generation != deployment.generation:
                state = RolloutState(self.id, deployment.generation)
            if await mirror.put(state.key, change(state).changed(token=self.lease.token).encode()):
                return

    async def _failed(self, failure: Failure) -> None:
        log.warning("%s: %s on %s failed: %s", self.id, failure.function, failure.node, failure.cause)

        def add(state: RolloutState) -> RolloutState:
            others = tuple(
                one for one in state.failures if (one.node, one.function) != (failure.node, failure.function)
            )
            return state.changed(failures=(*others, failure))

        await self._write_rollout(add)

    def _begin(self, step: Install, deployment: Deployment) -> float | None:
        """Begin it, unless it runs or there are enough; when to look again, if it must wait."""
        key = (step.node, step.name)
        if key in self._tasks or len(self._tasks) >= deployment.spec.rollout.parallel:
            return None
        wait_until, _tries = self._not_before.get(key, (0.0, 0))
        if self._shared.clock.time() < wait_until:
            return wait_until
        task = asyncio.create_task(self._install(step, deployment.generation))
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))
        return None

    def _ended(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._tasks.pop(key, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._later(key)
            if isinstance(error, EngineError | LeaseGone):
                log.warning("%s: %s on %s: %s", self.id, key[1], key[0], error)
            else:
                log.error("%s: %s on %s: %r", self.id, key[1], key[0], error, exc_info=error)
        self._bell.set()

    def _later(self, key: tuple[str, str]) -> int:
        """Not at once again; how often in a row."""
        tries = self._not_before.get(key, (0.0, 0))[1] + 1
        wait_s = back_off_s(tries, random.random())
        self._not_before[key] = self._shared.clock.time() + wait_s, tries
        return tries

    # ---- one function on one node ----

    async def _install(self, step: Install, generation: int) -> None:
        shared, key = self._shared, (step.node, step.name)
        async with shared.installs, shared.node(step.node):
            self._check_lease()
            node = shared.facts.one(step.node, shared.mirror.placed.get(step.node, {}))
            deployment = shared.mirror.deployments.get(self.id)
            if node is None or not node.up or deployment is None or deployment.generation != generation:
                return  # the next plan knows
            try:
                there = await self._look(step)
                pushed = await self._claim(step, there)
                if pushed is None:
                    self._later(key)
                    return
                if pushed:
                    self._check_lease()
                    await shared.hands.push(step.node, step.name, step.digest, deadline_s=PUSH_S)
                    now = shared.clock.time()
                    await shared.mirror.write_placed(
                        step.node, step.name, lambda placed: late(placed, step, self.id, now)
                    )
                    there = await self._look(step)
                    if there is None or there.digest != step.digest:
                        raise UnreachableError(
                            f"{step.name} is not there after it was pushed",
                            cause="another module is there"
                            if there
                            else "the node has rebooted, or somebody removed it",
                            next_step="it is tried again",
                        )
                assert there is not None
                await self._ready(step, there, node.boot)
            except WasmoteError as error:
                if isinstance(error, EngineError):
                    raise
                await self._not_done(step, error, node.boot, generation)
            else:
                self._not_before.pop(key, None)

    async def _look(self, step: Install) -> There | None:
        """What the node has under this name; None for nothing."""
        try:
            info = await self._shared.hands.function(step.node, step.name, deadline_s=LOOK_S)
        except WasmoteError as error:
            if is_absent(error):
                return None
            raise
        ram = info.raw.get("ram", 0)
        return There(info.sha256.hex(), ram if isinstance(ram, int) else 0)

    async def _claim(self, step: Install, there: There | None) -> bool | None:
        """Write down what will be done, before it is. Whether the module must be pushed; None: not now. Raises
        Foreign."""
        now = self._shared.clock.time()
        made = Claim(None, None)

        def change(placed: Placed | None) -> Placed | None:
            nonlocal made
            made = claim(placed, step, self.id, there, now)
            return made.placed

        await self._shared.mirror.write_placed(step.node, step.name, change)
        return made.push

    async def _ready(self, step: Install, there: There, boot: Boot | None) -> None:
        now = self._shared.clock.time()
        await self._shared.mirror.write_placed(
            step.node, step.name, lambda placed: ready(placed, step, there, boot, now)
        )

    async def _not_done(self, step: Install, error: WasmoteError, boot: Boot | None, generation: int) -> None:
        now, mirror = self._shared.clock.time(), self._shared.mirror
        cause = f"{error.message}: {error.cause}" if error.cause else error.message
        tries = self._later((step.node, step.name))
        placed = mirror.placed.get(step.node, {}).get(step.name)
        if placed is not None and self.id in placed.deployments:
            tries = max(tries, placed.attempts)
        foreign = isinstance(error, Foreign)
        failed = foreign or is_for_good(error) or (step.rolling and tries >= ROLLING_TRIES)
        chance = random.random()

        await mirror.write_placed(
            step.node,
            step.name,
            lambda placed: not_done(placed, step, self.id, cause, now, failed=failed, chance=chance),
        )
        deployment = mirror.deployments.get(self.id)
        if failed and deployment is not None and deployment.generation == generation:
            self._not_before.pop((step.node, step.name), None)
            await self._failed(
                Failure(step.node, step.function, cause, now, step.rolling and not foreign, boot)
            )
        else:
            log.info("%s: %s on %s: %s", self.id, step.name, step.node, cause)
