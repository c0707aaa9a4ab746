"""Deployments: what should run where, and where it runs.

    async with Deployments(engine, repository, registry, gateway) as deployments:
        await deployments.apply(parse_toml(text))
        progress = await deployments.wait("flood", timeout_s=60)
        for place in await deployments.places("flood", "pre"): ...

Several servers on one engine share them: each deployment is reconciled by the one that holds its lease
`deployments/<id>`; all know all of them.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, replace
from types import TracebackType

from wasmote.errors import InputError, WasmoteError
from wasmote_fleet.deploy.admission import Refused, admit, check_modules
from wasmote_fleet.deploy.facts import Facts, boot_of
from wasmote_fleet.deploy.hands import Hands, is_absent
from wasmote_fleet.deploy.mirror import Mirror
from wasmote_fleet.deploy.needs import Needs, needs_of
from wasmote_fleet.deploy.plan import Phase, Picture, Progress, plan
from wasmote_fleet.deploy.records import DEPLOYMENTS, Deployment, Placed, PlacedState, RolloutState
from wasmote_fleet.deploy.spec import FunctionSpec, Spec, is_id
from wasmote_fleet.deploy.sweeper import LEASE, Sweeper
from wasmote_fleet.deploy.worker import LOOK_S, LeaseGone, Shared, Worker
from wasmote_fleet.engine import ChangeKind, Engine, EngineError, EngineUnavailable, LeaseLost, SnapshotEnd
from wasmote_fleet.engine.tasks import end, sleep_or_bell
from wasmote_fleet.registry import Registry, State
from wasmote_fleet.repository import ModuleInfo, Repository

log = logging.getLogger("wasmote.fleet.deploy")

LEASE_S = 15.0
INSTALLS = 32  # nodes that one server works on at a time
_PARALLEL_LOOKS = 32
_NEWS_S = 0.2  # between two tellings of progress
_LOOK_AGAIN_S = 2.0


_Group = tuple[int, bool, int]  # of places that are as good as each other, the best first


class UnknownDeployment(InputError):
    """There is no deployment of this id, or it has no function of this name."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"there is no {what}", next_step="`wasmote fleet deployments` lists what is deployed"
        )


@dataclass(frozen=True, slots=True)
class Place:
    """A node that has a function. name_on_node: what it is called there. digest: which module that is, as last seen.
    state: ready, or pending while it is replaced, or looked for after a reboot."""

    node_id: str
    name_on_node: str
    digest: str
    state: PlacedState = PlacedState.READY


class Deployments:
    """`async with`, or start() and close(). hands: the gateway. lease_s: how long after a server's death another one
    goes on with its deployments."""

    def __init__(
        self,
        engine: Engine,
        repository: Repository,
        registry: Registry,
        hands: Hands,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        self._engine = engine
        self._repository = repository
        self._registry = registry
        self._hands = hands
        self._lease_s = lease_s
        self._mirror = Mirror(engine, self._ring)
        self._facts = Facts(registry, hands, engine.clock)
        self._shared = Shared(self._mirror, self._facts, hands, engine.clock, asyncio.Semaphore(INSTALLS))
        self._workers: dict[str, tuple[Worker, asyncio.Task[None]]] = {}
        self._sweeper: tuple[Sweeper, asyncio.Task[None]] | None = None
        self._held: set[str] = set()  # leases that somebody holds
        self._tasks: builtins.list[asyncio.Task[None]] = []
        self._bells: set[asyncio.Event] = set()
        self._settle = asyncio.Event()
        self._places: dict[tuple[str, str], builtins.list[tuple[_Group, Place]]] = {}
        self._places_version = (-1, -1)

    # ---- life ----

    async def start(self) -> None:
        """Read what is known, and go on with it. Raises EngineError."""
        await self._mirror.start()
        self._tasks = [
            asyncio.create_task(work())
            for work in (self._follow_leases, self._follow_nodes, self._take_over, self._renew)
        ]

    async def close(self) -> None:
        """Stop, and let other servers go on at once. What is being sent to nodes is dropped; it is taken up again."""
        workers = self._running()
        tasks = [*self._tasks, *(task for _, task in workers)]
        await end(*tasks)
        for worker, _ in workers:
            try:
                await self._engine.leases.release(worker.lease)
            except EngineError as error:
                log.warning("the lease %s was not released and will expire: %s", worker.lease.name, error)
        self._workers.clear()
        self._sweeper = None
        await self._mirror.close()

    async def __aenter__(self) -> Deployments:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # ---- what should be ----

    async def apply(self, spec: Spec) -> Deployment:
        """Make spec what should be, as a new generation, with the modules that its versions are now. The same again
        goes on with a rollout that stopped; an older one rolls back. Raises Refused with the reason of each node,
        UnknownFunction, InputError, EngineError."""
        pinned, modules, needs = await self._pinned(spec)
        check_modules(pinned, modules)
        while True:
            before = self._mirror.deployments.get(spec.id)
            wanted = Deployment(
                pinned,
                1 if before is None else before.generation + 1,
                self._engine.clock.time(),
                needs if before is None else {**_kept(before, self._mirror.placed), **needs},
                _previous(pinned, before, self._mirror.rollouts.get(spec.id)),
            )
            await self._admit(wanted)
            if await self._mirror.put(wanted.key, wanted.encode()):
                self._settle.set()
                return wanted

    async def rollback(self, id: str) -> Deployment:
        """Apply the spec before the present one; specs whose rollout stopped do not count. Raises as apply(),
        UnknownDeployment."""
        deployment = await self.get(id)
        if deployment.previous is None:
            raise InputError(
                f"'{id}' has nothing to go back to",
                cause="nothing else that was deployed under this id came about",
                next_step=f"apply another one, or remove it: `wasmote fleet deployments {id} --rm`",
            )
        return await self.apply(deployment.previous)

    async def get(self, id: str) -> Deployment:
        """Raises UnknownDeployment."""
        found = self._mirror.deployments.get(id)
        if found is None:
            # Another server may have it since a moment ago.
            entry = await self._engine.kv.get(DEPLOYMENTS + id) if is_id(id) else None
            if entry is None:
                raise UnknownDeployment(f"deployment '{id}'")
            found = Deployment.decode(entry.value)
        return found

    async def list(self) -> builtins.list[Deployment]:
        """All of them, by id."""
        return [found for _, found in sorted(self._mirror.deployments.items())]

    async def remove(self, id: str) -> Deployment:
        """It should run nowhere any more; it is gone when that is so on all nodes that are there. Raises
        UnknownDeployment, EngineError."""
        while True:
            before = await self.get(id)
            if before.removing:
                return before
            wanted = before.changed(removing=True, generation=before.generation + 1)
            if await self._mirror.put(wanted.key, wanted.encode()):
                self._settle.set()
                return wanted

    # ---- how far it is ----

    async def now(self, id: str) -> Progress:
        """How far a deployment is. Raises UnknownDeployment."""
        await self.get(id)
        return self.progress_of(id)

    async def progress(self, id: str) -> AsyncGenerator[Progress, None]:
        """How far it is, now and whenever that changes; ends when it was removed. Raises UnknownDeployment."""
        last = await self.now(id)
        yield last
        bell = asyncio.Event()
        self._bells.add(bell)
        try:
            while last.phase is not Phase.REMOVED:
                if await sleep_or_bell(_LOOK_AGAIN_S, bell, self._engine.clock):
                    await asyncio.sleep(_NEWS_S)
                bell.clear()
                found = self.progress_of(id)
                if found != last:
                    last = found
                    yield last
        finally:
            self._bells.discard(bell)

    async def wait(self, id: str, *, timeout_s: float) -> Progress:
        """How far it is when nothing more happens by itself (progress.settled), or at the latest after timeout_s.
        Raises UnknownDeployment."""
        found = await self.now(id)
        try:
            async with asyncio.timeout(timeout_s):
                async for found in self.progress(id):
                    if found.settled:
                        break
        except TimeoutError:
            pass
        return found

    def progress_of(self, id: str) -> Progress:
        """How far it is, as this server knows; removed, if it knows no such deployment."""
        picture = self._picture(id)
        return Progress(id, 0, Phase.REMOVED) if picture is None else plan(picture).progress

    def _picture(self, id: str) -> Picture | None:
        deployment = self._mirror.deployments.get(id)
        if deployment is None:
            return None
        return Picture(
            deployment,
            self._mirror.rollouts.get(id) or RolloutState(id),
            self._facts.all(self._mirror.placed),
            self._mirror.placed,
            self._engine.clock.time(),
        )

    # ---- where it runs ----

    async def places(self, deployment_id: str, function_name: str) -> builtins.list[Place]:
        """Where to call a function, in the order in which to try: nodes that are up and have it ready first, those that
        are down last; in between by preference (its `nodes`), then those that do less now, then those with fewer
        functions. Empty: nowhere yet. Asks nobody. Raises UnknownDeployment."""
        function = self._function(await self.get(deployment_id), function_name)
        # Each call asks for them; with hundreds of nodes it takes longer than the call to find them anew.
        version = self._mirror.version, self._registry.version
        if version != self._places_version:
            self._places, self._places_version = {}, version
        found = self._places.get((deployment_id, function_name))
        if found is None:
            found = self._places[deployment_id, function_name] = self._find_places(deployment_id, function)
        busy_at = self._hands.busy_at
        return [place for _, place in sorted(found, key=lambda one: (one[0], busy_at(one[1].node_id)))]

    def _find_places(self, deployment_id: str, function: FunctionSpec) -> builtins.list[tuple[_Group, Place]]:
        """Places in their order, but for what nodes do now: it counts within a group."""
        found: builtins.list[tuple[_Group, int, Place]] = []
        for node, on_node in self._mirror.placed.items():
            placed = on_node.get(function.on_node)
            if placed is None or deployment_id not in placed.deployments:
                continue
            digest = placed.digest if placed.rolled else placed.before
            view = self._registry.get(node)
            if not digest or view is None:
                continue
            ready = placed.state is PlacedState.READY and placed.boot == boot_of(view)
            preferred = function.nodes.index(node) if function.nodes and node in function.nodes else 0
            group = _presence(view.state), not ready, preferred
            state = PlacedState.READY if ready else PlacedState.PENDING
            found.append((group, len(on_node), Place(node, function.on_node, digest, state)))
        found.sort(key=lambda one: (one[0], one[1], one[2].node_id))
        return [(group, place) for group, _, place in found]

    async def chain(self, deployment_id: str, name: str) -> tuple[str, ...] | None:
        """A chain's steps, FUNCTION or FUNCTION/EXPORT; None if there is no such chain. Raises UnknownDeployment."""
        chain = (await self.get(deployment_id)).spec.chain(name)
        return None if chain is None else tuple(str(step) for step in chain.steps)

    async def module(self, deployment_id: str, function_name: str) -> str | None:
        """The digest of a function's module; None if it has no such function. Raises UnknownDeployment."""
        function = (await self.get(deployment_id)).spec.function(function_name)
        return None if function is None else function.digest

    async def around(self, node_id: str, name_on_node: str | None) -> builtins.list[str]:
        """The deployments that have this function on this node, by id; None: any function."""
        on_node = self._mirror.placed.get(node_id, {})
        found = {
            id
            for name, placed in on_node.items()
            if name_on_node is None or name == name_on_node
            for id in placed.deployments
        }
        return sorted(found)

    def records(self) -> Mapping[str, Mapping[str, Placed]]:
        """What is on nodes because of deployments, as this server knows it: by node, then by name there."""
        return self._mirror.placed

    async def pinned(self, digest: str) -> bool:
        """Whether a deployment, or what runs because of one, refers to this module."""
        for deployment in self._mirror.deployments.values():
            for spec in (deployment.spec, deployment.previous):
                if spec is not None and any(function.digest == digest for function in spec.functions):
                    return True
        return any(
            digest in (placed.digest, placed.before)
            for on_node in self._mirror.placed.values()
            for placed in on_node.values()
        )

    @staticmethod
    def _function(deployment: Deployment, name: str) -> FunctionSpec:
        function = deployment.spec.function(name)
        if function is None:
            raise UnknownDeployment(f"function '{name}' in deployment '{deployment.id}'")
        return function

    # ---- admission ----

    async def _pinned(self, spec: Spec) -> tuple[Spec, dict[str, ModuleInfo], dict[str, Needs]]:
        """The spec with versions and digests, and what is known of its modules, which count as used from now on."""
        functions, modules, needs = [], {}, {}
        for function in spec.functions:
            version, digest = function.version, function.digest
            if digest is None:
                found = await self._repository.find(function.published, version)
                version, digest = found.version, found.digest
            if digest not in needs:
                needs[digest] = needs_of(await self._repository.read(digest))
                modules[digest] = await self._repository.module(digest)
            functions.append(replace(function, function=function.published, version=version, digest=digest))
        return replace(spec, functions=tuple(functions)), modules, needs

    async def _admit(self, wanted: Deployment) -> None:
        """Raises Refused."""
        candidates = [
            view.record.id
            for view in self._registry.nodes()
            if view.state is State.UP
            and any(
                function.nodes is None or view.record.id in function.nodes
                for function in wanted.spec.functions
            )
        ]
        await self._facts.ask(candidates)
        found = await self._foreign(wanted.spec, candidates)
        admit(
            Picture(
                wanted,
                RolloutState(wanted.id, wanted.generation),
                self._facts.all(self._mirror.placed),
                self._mirror.placed,
                self._engine.clock.time(),
                found,
            )
        )

    async def _foreign(self, spec: Spec, candidates: builtins.list[str]) -> dict[str, dict[str, str]]:
        """By node and name, the digests of functions that no deployment put there."""
        found: dict[str, dict[str, str]] = {}
        slots = asyncio.Semaphore(_PARALLEL_LOOKS)

        async def look(node: str, name: str) -> None:
            async with slots:
                try:
                    info = await self._hands.function(node, name, deadline_s=LOOK_S)
                except WasmoteError as error:
                    if not is_absent(error):
                        log.info("%s on %s: %s", name, node, error)
                    return
            if name not in self._mirror.placed.get(node, {}):
                found.setdefault(node, {})[name] = info.sha256.hex()

        await asyncio.gather(
            *(
                look(node, function.on_node)
                for function in spec.functions
                for node in candidates
                if (function.nodes is None or node in function.nodes)
                and function.on_node not in self._mirror.placed.get(node, {})
            )
        )
        return found

    # ---- who reconciles what ----

    def _ring(self, ids: Collection[str]) -> None:
        for id in ids:
            if id in self._workers:
                self._workers[id][0].ring()
        self._tell()

    def _ring_all(self) -> None:
        for worker, _ in self._workers.values():
            worker.ring()
        self._tell()

    def _tell(self) -> None:
        if self._sweeper is not None:
            self._sweeper[0].ring()
        for bell in self._bells:
            bell.set()
        self._settle.set()

    async def _follow_nodes(self) -> None:
        while True:
            await self._registry.news()
            self._ring_all()
            await asyncio.sleep(0.01)

    async def _follow_leases(self) -> None:
        while True:
            try:
                self._held.clear()
                async with self._engine.leases.watch(DEPLOYMENTS) as changes:
                    async for change in changes:
                        if isinstance(change, SnapshotEnd):
                            continue
                        if change.kind is ChangeKind.PUT:
                            self._held.add(change.key)
                        else:
                            self._held.discard(change.key)
                            self._settle.set()
            except EngineUnavailable as error:
                log.warning("leases of deployments: %s", error)
                await self._engine.clock.sleep(1.0)

    async def _take_over(self) -> None:
        """Reconcile what nobody does."""
        while True:
            self._settle.clear()
            try:
                await self._take_what_is_free()
            except EngineError as error:
                log.warning("deployments: %s", error)
            await sleep_or_bell(_LOOK_AGAIN_S, self._settle, self._engine.clock)
            await asyncio.sleep(0.02)

    async def _take_what_is_free(self) -> None:
        leases, holder = self._engine.leases, self._registry.holder
        if self._sweeper is None or self._sweeper[1].done():
            lease = await leases.acquire(LEASE, holder, self._lease_s)
            if lease is not None:
                sweeper = Sweeper(lease, self._shared)
                self._sweeper = sweeper, self._task(sweeper)
        for id in list(self._mirror.deployments):
            known = self._workers.get(id)
            if (known is not None and not known[1].done()) or DEPLOYMENTS + id in self._held:
                continue
            lease = await leases.acquire(DEPLOYMENTS + id, holder, self._lease_s)
            if lease is not None:
                worker = Worker(id, lease, self._shared)
                self._workers[id] = worker, self._task(worker)

    def _running(self) -> builtins.list[tuple[Worker | Sweeper, asyncio.Task[None]]]:
        found: builtins.list[tuple[Worker | Sweeper, asyncio.Task[None]]] = [*self._workers.values()]
        return [*found, self._sweeper] if self._sweeper else found

    def _task(self, worker: Worker | Sweeper) -> asyncio.Task[None]:
        task = asyncio.create_task(self._work(worker))
        task.add_done_callback(lambda _done: self._settle.set())
        return task

    async def _work(self, worker: Worker | Sweeper) -> None:
        try:
            await worker.run()
        except LeaseGone:
            log.warning("the lease %s is lost", worker.lease.name)
            return
        except EngineError as error:
            log.warning("%s: %s", worker.lease.name, error)
            await asyncio.sleep(1.0)
        except Exception:
            log.exception("%s: a bug in wasmote", worker.lease.name)
            await asyncio.sleep(1.0)
        try:
            await self._engine.leases.release(worker.lease)
        except EngineError as error:
            log.warning("the lease %s was not released and will expire: %s", worker.lease.name, error)
        if isinstance(worker, Worker) and self._workers.get(worker.id, (None,))[0] is worker:
            del self._workers[worker.id]

    async def _renew(self) -> None:
        while True:
            await self._engine.clock.sleep(self._lease_s / 3)
            workers = self._running()
            await asyncio.gather(
                *(self._renew_one(worker, task) for worker, task in workers if not task.done())
            )

    async def _renew_one(self, worker: Worker | Sweeper, task: asyncio.Task[None]) -> None:
        try:
            worker.lease = await self._engine.leases.renew(worker.lease)
        except LeaseLost:
            if not task.done():
                log.warning("the lease %s is lost", worker.lease.name)
                task.cancel()
        except EngineError as error:
            log.warning("the lease %s was not renewed: %s", worker.lease.name, error)


def _presence(state: State) -> int:
    if state is State.UP:
        return 0
    return 2 if state in (State.DOWN, State.LEFT) else 1


def _previous(pinned: Spec, before: Deployment | None, rollout: RolloutState | None) -> Spec | None:
    """What a rollback goes back to: the last spec that was another one, and whose rollout did not stop."""
    if before is None or before.removing:
        return None
    stopped = rollout is not None and rollout.generation == before.generation and rollout.stopped
    found = before.previous if stopped or before.spec == pinned else before.spec
    return None if found == pinned else found


def _kept(before: Deployment, placed: Mapping[str, Mapping[str, Placed]]) -> dict[str, Needs]:
    """What is known of modules that still run somewhere."""
    used = {
        one
        for of_node in placed.values()
        for record in of_node.values()
        for one in (record.digest, record.before)
    }
    return {digest: needs for digest, needs in before.needs.items() if digest in used}


__all__ = ["Deployments", "Place", "Refused", "UnknownDeployment"]
