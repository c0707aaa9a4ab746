"""Which nodes should run a function: what fits, and who is chosen. Pure functions.

Who runs a function keeps it while it is there and fits, so a node that comes back finds itself replaced, and nothing
moves twice. A new node is taken only while fewer than `count` have the function, those that are to lose it included,
unless they are down.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from wasmote_fleet.deploy.needs import Needs
from wasmote_fleet.deploy.records import Boot, Placed, PlacedState
from wasmote_fleet.deploy.spec import FunctionSpec
from wasmote_fleet.registry import State

DEFAULT_STACK_BYTES = 2048
# A node in one of these may have what it had: nobody else takes its place yet.
THERE = (State.UP, State.SILENT, State.UNKNOWN, State.JOINED)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node as placement sees it. boot: None while it was not heard of. ram_free, flash_free: as it last said, None
    if it was not asked; totals are None if not known. limits: of /d. functions: how many it has, as far as known.
    known: it has said what it can do. since: when it got its state. stack:
    bytes of a module that does not say."""

    id: str
    state: State = State.UP
    boot: Boot | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ("wasmote",)
    abi: int | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    ram_total: int | None = None
    ram_free: int | None = None
    flash_total: int | None = None
    flash_free: int | None = None
    functions: int = 0
    known: bool = True
    since: float = 0.0
    stack: int = DEFAULT_STACK_BYTES

    @property
    def there(self) -> bool:
        """It may run what it had."""
        return self.state in THERE

    @property
    def up(self) -> bool:
        """It answers."""
        return self.state is State.UP


def misfit(
    function: FunctionSpec,
    needs: Needs,
    node: NodeFacts,
    *,
    deployment: str,
    there: Placed | None,
    found: str | None = None,
    has_it: bool = False,
    known_ram: int = 0,
) -> str:
    """Why a node cannot run a function; "" if it can. there: the node's record under the function's name. found: the
    digest of a function of this name that no deployment put there. has_it: the function, or an older one of it, is
    there, so that its memory counts as free. known_ram: bytes that it takes, as another node measured it."""
    if function.nodes is not None and node.id not in function.nodes:
        return "it is not among `nodes`"
    if node.state is State.LEFT:
        return "it left the fleet"
    for name, value in function.where.labels.items():
        if node.labels.get(name) != value:
            has = f"{name} is '{node.labels[name]}'" if name in node.labels else f"it has no label {name}"
            return f"{has}, '{value}' is wanted"
    if not node.known:
        return "it has not said yet what it can do"
    offered = {"wasmote", *node.imports}
    missing = [name for name in (*needs.imports, *function.where.imports) if name not in offered]
    if missing:
        return (
            f"it does not offer {', '.join(dict.fromkeys(missing))} (it offers {', '.join(sorted(offered))})"
        )
    if needs.abi is not None and node.abi is not None and needs.abi > node.abi:
        return f"its host interface is version {node.abi}, the module is for version {needs.abi}"
    over = _over_a_limit(needs, node.limits)
    if over:
        return over
    others = [] if there is None else [id for id in there.deployments if id != deployment]
    if there is not None and others:
        if there.digest == function.digest:
            return ""  # it is there already, or will be
        return f"'{function.on_node}' is another module there, of deployment {', '.join(others)}"
    if found is not None and found == function.digest:
        return ""
    if found is not None:
        return f"a function '{function.on_node}' is there that no deployment put there"
    return _no_room(function, needs, node, has_it, known_ram)


def _over_a_limit(needs: Needs, limits: Mapping[str, int]) -> str:
    asked = {
        "module": needs.size,
        "memory": needs.memory,
        "stack": needs.stack,
        "native": needs.native,
        "output": needs.output,
        "log": needs.log,
    }
    for name, value in asked.items():
        most = limits.get(name)
        if value is not None and isinstance(most, int) and value > most:
            what = {
                "module": f"the module has {value} bytes",
                "memory": f"the module wants {value} bytes of memory",
                "log": f"the module wants {value} log lines a second",
            }.get(name, f"the module wants {value} bytes of {name}")
            return f"{what}, the node gives {most} at most"
    return ""


def ram_needed(function: FunctionSpec, needs: Needs, node: NodeFacts, known: int = 0) -> int:
    """Bytes of a node's pool that it takes at least. known: as a node measured it."""
    in_pool = needs.size if node.flash_total is None else 0
    stack = node.stack if needs.stack is None else needs.stack
    return max(function.where.ram, known, in_pool + needs.memory + stack)


def _no_room(function: FunctionSpec, needs: Needs, node: NodeFacts, has_it: bool, known_ram: int) -> str:
    ram = ram_needed(function, needs, node, known_ram)
    if node.ram_total is not None and ram > node.ram_total:
        return f"it has {node.ram_total} bytes of memory for functions, {ram} are needed"
    most = node.limits.get("functions")
    if not has_it and isinstance(most, int) and node.functions >= most:
        return f"it has {node.functions} functions, and takes {most}"
    if not has_it and node.ram_free is not None and ram > node.ram_free:
        return f"it has {node.ram_free} bytes of memory free, {ram} are needed"
    flash = max(function.where.flash, needs.size if node.flash_total is not None else 0)
    if function.where.flash and node.flash_total is None:
        return "it has no flash for functions"
    if node.flash_total is not None and flash > node.flash_total:
        return f"it has {node.flash_total} bytes of flash for functions, {flash} are needed"
    if not has_it and node.flash_free is not None and flash > node.flash_free:
        return f"it has {node.flash_free} bytes of flash free, {flash} are needed"
    return ""


def choose(
    function: FunctionSpec,
    nodes: Mapping[str, NodeFacts],
    *,
    has: Mapping[str, Placed],
    misfits: Mapping[str, str],
    failed: Collection[str] = (),
    limbo: Collection[str] = (),
    frozen: bool = False,
    at_once: bool = False,
) -> list[str]:
    """The nodes that should run it, in order of preference. has: this deployment's records of it, by node, also those
    that are going. misfits: why a node does not fit; nodes that are not in it do. failed: nodes that others are
    preferred to. limbo: nodes that went down while it was installed, and may come back. frozen: nobody new. at_once: as
    if those that must go were gone already."""
    keeps = {id for id, placed in has.items() if not placed.going and id in nodes and not misfits.get(id)}
    order = _by_preference(function, nodes, has)
    free = [
        id
        for id in order
        if not frozen
        and id not in keeps
        and id not in failed
        and not misfits.get(id)
        and nodes[id].up
        # A removal that was begun ends first.
        and (id not in has or has[id].state is not PlacedState.REMOVING)
    ]
    if function.count is None:
        return [id for id in order if id in keeps or id in free]
    bad = {id for id in keeps if id in failed or not (nodes[id].there or id in limbo)}
    good = [id for id in order if id in keeps and id not in bad][: function.count]
    wanted = free[: function.count - len(good)]
    # Who is down, or refused it, keeps its place as long as nobody else takes it.
    rest = [id for id in order if id in bad][: function.count - len(good) - len(wanted)]
    # Never more at a time than count: whoever has it and may answer takes a place until it is gone.
    having = set() if at_once else {id for id in has if id in nodes and (nodes[id].there or id in limbo)}
    taken = len({*good, *having, *rest})
    new = []
    for id in wanted:
        if id in having:
            new.append(id)
        elif taken < function.count:
            new.append(id)
            taken += 1
    chosen = {*good, *new, *rest}
    return [id for id in order if id in chosen]


def _by_preference(
    function: FunctionSpec, nodes: Mapping[str, NodeFacts], has: Mapping[str, Placed]
) -> Sequence[str]:
    if function.nodes is not None:
        return [id for id in function.nodes if id in nodes]

    def rank(id: str) -> tuple[int, int, int, str]:
        node = nodes[id]
        mine = has.get(id)
        held = 2 if mine is None or mine.going else 0 if mine.state is PlacedState.READY else 1
        return held, node.functions, -(node.ram_free or node.ram_total or 0), id

    return sorted(nodes, key=rank)
