"""Placement and plans, as pure functions on a fleet in memory."""

from __future__ import annotations

from typing import Any

import pytest
from deploy_model import Model, ModelNode, function
from hypothesis import given, settings
from hypothesis import strategies as st

from wasmote_fleet.deploy.plan import Install, Phase
from wasmote_fleet.deploy.records import Placed, PlacedState
from wasmote_fleet.registry import State

NODES = ("a", "b", "c", "d", "e")
A, B = "a" * 64, "b" * 64


def fleet(*ids: str, **options: Any) -> Model:
    return Model(*(ModelNode(id, **options) for id in ids))


def having(model: Model, name: str = "f") -> list[str]:
    return sorted(id for id, node in model.nodes.items() if name in node.has)


# ---- placement ----


def test_plan_the_first_candidate_that_is_up_gets_it() -> None:
    model = fleet("a", "b", "c")
    model.nodes["c"].state = State.DOWN
    model.apply({"id": "d", "functions": [function("f", "a", nodes=["c", "b", "a"])]})
    model.settle()
    assert having(model) == ["b"]
    assert model.plan("d").progress.phase is Phase.READY


def test_plan_another_node_takes_over_and_the_first_one_loses_it_when_it_is_back() -> None:
    model = fleet("a", "b", keeps=True)
    model.apply({"id": "d", "functions": [function("f", "a", nodes=["a", "b"])]})
    model.settle()
    model.nodes["a"].state = State.SILENT
    model.settle()
    assert having(model) == ["a"]  # one missed beat is not enough
    model.nodes["a"].state = State.DOWN
    model.settle()
    assert having(model) == ["a", "b"]  # nobody can tell a
    model.nodes["a"].state = State.UP
    model.settle()
    assert having(model) == ["b"]
    assert list(model.placed["b"]) == ["f"]
    assert not model.placed["a"]


def test_plan_a_node_that_is_down_keeps_its_place_where_nobody_else_fits() -> None:
    model = fleet("a", "b")
    model.apply({"id": "d", "functions": [function("f", "a", nodes=["a"])]})
    model.settle()
    model.nodes["a"].state = State.DOWN
    model.settle()
    assert model.plan("d").progress.phase is Phase.WAITING
    assert "down" in model.plan("d").progress.cause
    model.nodes["a"].reboot()
    model.nodes["a"].state = State.UP
    model.settle()
    assert having(model) == ["a"]


def test_plan_a_rebooted_node_gets_it_back_and_one_that_kept_it_is_only_looked_at() -> None:
    model = fleet("a", "b")
    model.nodes["b"].keeps = True
    model.apply({"id": "d", "functions": [function("f", "a", count="all")]})
    model.settle()
    model.pushes.clear()
    for node in model.nodes.values():
        node.reboot()
    assert model.plan("d").progress.ready == 0
    model.settle()
    assert model.plan("d").progress.ready == 2
    assert [(node, had) for node, _, _, had in model.pushes] == [("a", None)]


def test_plan_labels_decide_and_a_node_whose_label_changes_loses_it_before_another_gets_it() -> None:
    model = fleet("a", "b")
    model.nodes["a"].labels["room"] = "1"
    model.apply({"id": "d", "functions": [function("f", "a", where={"labels": {"room": "1"}})]})
    model.settle()
    assert having(model) == ["a"]
    model.nodes["a"].labels["room"] = "2"
    model.nodes["b"].labels["room"] = "1"
    steps = model.plan("d").steps
    assert not any(isinstance(step, Install) for step in steps)
    model.settle()
    assert having(model) == ["b"]


def test_plan_what_no_deployment_put_there_stays_and_its_node_is_passed_over() -> None:
    model = fleet("a", "b")
    model.nodes["a"].has["f"] = B
    model.apply({"id": "d", "functions": [function("f", "a", nodes=["a", "b"])]})
    model.settle()
    assert model.nodes["a"].has == {"f": B}
    assert having(model) == ["a", "b"]
    model.remove("d")
    model.settle()
    assert model.nodes["a"].has == {"f": B}
    assert having(model) == ["a"]


def test_plan_the_same_module_that_was_there_is_used_and_left_there() -> None:
    model = fleet("a")
    model.nodes["a"].has["f"] = A
    model.apply({"id": "d", "functions": [function("f", "a")]})
    model.settle()
    assert model.plan("d").progress.phase is Phase.READY
    assert not model.pushes
    model.remove("d")
    model.settle()
    assert not model.deployments
    assert model.nodes["a"].has == {"f": A}


def test_plan_two_deployments_share_a_module_until_the_last_one_goes() -> None:
    model = fleet("a")
    model.apply({"id": "x", "functions": [function("f", "a")]})
    model.apply({"id": "y", "functions": [function("f", "a")]})
    model.settle()
    assert len(model.pushes) == 1
    assert model.placed["a"]["f"].deployments == ("x", "y")
    model.remove("x")
    model.settle()
    assert having(model) == ["a"]
    model.remove("y")
    model.settle()
    assert having(model) == []


# ---- waves ----


def waves_of(model: Model, id: str = "d") -> list[set[str]]:
    """The nodes of each wave, one after the other, as they are done."""
    found: list[set[str]] = []
    for _ in range(50):
        steps = [step for step in model.plan(id).steps if isinstance(step, Install)]
        if not steps:
            return found
        found.append({step.node for step in steps})
        for step in steps:
            for _point in model.do(id, step):
                pass
    raise AssertionError("no end")


def test_plan_waves_are_one_node_then_a_tenth_then_the_rest() -> None:
    model = fleet(*(f"n{index:02}" for index in range(40)))
    model.apply({"id": "d", "functions": [function("f", "a", count="all")]})
    assert [len(wave) for wave in waves_of(model)] == [1, 4, 35]
    model.apply({"id": "d", "functions": [function("f", "b", count="all")]})
    assert [len(wave) for wave in waves_of(model)] == [1, 4, 35]


def test_plan_waves_are_as_they_were_asked_for() -> None:
    model = fleet(*(f"n{index:02}" for index in range(20)))
    model.apply(
        {"id": "d", "functions": [function("f", "a", count="all")], "rollout": {"waves": ["25%", 3, "50%"]}}
    )
    assert [len(wave) for wave in waves_of(model)] == [5, 3, 10, 2]
    model.apply({"id": "d", "functions": [function("f", "b", count="all")], "rollout": {"waves": []}})
    assert [len(wave) for wave in waves_of(model)] == [20]


def test_plan_a_wave_waits_for_the_pause_after_the_one_before() -> None:
    model = fleet("a", "b", "c")
    model.apply(
        {
            "id": "d",
            "functions": [function("f", "a", count="all")],
            "rollout": {"waves": [1], "pause_s": 60},
        }
    )
    assert waves_of(model) == [{"a"}]
    made = model.plan("d")
    assert made.wake_at == model.now + 60
    model.now += 60
    assert waves_of(model) == [{"b", "c"}]


def test_plan_a_node_that_refuses_stops_the_rollout_and_the_same_again_goes_on() -> None:
    model = fleet(*NODES)
    spec = {"id": "d", "functions": [function("f", "a", count="all")]}
    model.apply(spec)
    model.settle()
    first = min(model.nodes)
    model.nodes[first].refuses.add(B)
    new = {"id": "d", "functions": [function("f", "b", count="all")]}
    model.apply(new)
    model.settle()
    progress = model.plan("d").progress
    assert progress.phase is Phase.STOPPED
    assert first in progress.cause
    assert "no room" in progress.cause
    assert {node.has["f"] for node in model.nodes.values()} == {A}
    # While it stands still, a node that reboots gets what it had.
    model.nodes["c"].reboot()
    model.settle()
    assert model.nodes["c"].has == {"f": A}
    model.nodes[first].refuses.clear()
    model.apply(new)
    model.settle()
    assert model.plan("d").progress.phase is Phase.READY
    assert {node.has["f"] for node in model.nodes.values()} == {B}


def test_plan_an_older_spec_again_rolls_back() -> None:
    model = fleet(*NODES)
    old = {"id": "d", "functions": [function("f", "a", count="all")]}
    model.apply(old)
    model.settle()
    model.nodes["c"].refuses.add(B)
    model.apply({"id": "d", "functions": [function("f", "b", count="all")]})
    model.settle()
    assert model.plan("d").progress.phase is Phase.STOPPED
    assert {node.has["f"] for node in model.nodes.values()} == {A, B}
    model.apply(old)
    model.settle()
    assert model.plan("d").progress.phase is Phase.READY
    assert {node.has["f"] for node in model.nodes.values()} == {A}


def test_plan_more_failures_are_borne_where_they_are_allowed() -> None:
    model = fleet(*NODES)
    for id in ("a", "c"):
        model.nodes[id].refuses.add(A)
    model.apply({"id": "d", "functions": [function("f", "a", count="all")], "rollout": {"max_failures": 3}})
    model.settle()
    progress = model.plan("d").progress
    assert progress.phase is Phase.DEGRADED
    assert (progress.ready, progress.failed) == (3, 2)
    assert having(model) == ["b", "d", "e"]


def test_plan_where_some_are_enough_another_node_takes_the_place_of_one_that_refused() -> None:
    model = fleet("a", "b", "c")
    model.nodes["a"].refuses.add(A)
    model.apply(
        {
            "id": "d",
            "functions": [function("f", "a", count=2, nodes=["a", "b", "c"])],
            "rollout": {"max_failures": 2},
        }
    )
    model.settle()
    assert having(model) == ["b", "c"]
    assert model.plan("d").progress.phase is Phase.READY


def test_plan_a_node_that_dies_of_the_change_stops_the_rollout_after_a_while() -> None:
    model = fleet(*NODES)
    model.apply({"id": "d", "functions": [function("f", "a", count="all")]})
    step = next(step for step in model.plan("d").steps if isinstance(step, Install))
    doing = model.do("d", step)
    assert next(doing) == "claimed"
    model.nodes[step.node].state = State.DOWN
    model.nodes[step.node].since = model.now
    made = model.plan("d")
    assert not any(isinstance(step, Install) for step in made.steps)  # the next wave has not begun
    model.settle()
    progress = model.plan("d").progress
    assert progress.phase is Phase.STOPPED
    assert "went down" in progress.cause
    assert len(model.pushes) == 0


def test_plan_a_node_that_reboots_in_the_middle_of_it_is_no_failure() -> None:
    model = fleet(*NODES)
    model.apply({"id": "d", "functions": [function("f", "a", count="all")]})
    step = next(step for step in model.plan("d").steps if isinstance(step, Install))
    doing = model.do("d", step)
    next(doing)
    model.nodes[step.node].state = State.DOWN
    model.nodes[step.node].since = model.now
    model.nodes[step.node].reboot()
    assert model.plan("d").progress.phase is not Phase.STOPPED
    model.nodes[step.node].state = State.UP
    model.settle()
    assert model.plan("d").progress.phase is Phase.READY
    assert having(model) == list(NODES)


# ---- whatever happens ----

DIGESTS = st.sampled_from("ab")
COUNTS = st.one_of(st.integers(1, 4), st.just("all"))
CANDIDATES = st.one_of(st.none(), st.lists(st.sampled_from(NODES), min_size=1, max_size=5, unique=True))
FUNCTIONS = st.builds(
    lambda digest, count, nodes: {"digest": digest, "count": count} | ({"nodes": nodes} if nodes else {}),
    DIGESTS,
    COUNTS,
    CANDIDATES,
)


def spec_of(id: str, functions: list[dict[str, Any]]) -> dict[str, Any]:
    made = [
        function(f"{id}{index}", one["digest"], **{name: one[name] for name in one if name != "digest"})
        for index, one in enumerate(functions)
    ]
    return {"id": id, "functions": made, "rollout": {"max_failures": 10000}}


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.sampled_from("xy"), st.lists(FUNCTIONS, min_size=1, max_size=2)),
        st.tuples(st.just("remove"), st.sampled_from("xy")),
        st.tuples(st.just("state"), st.sampled_from(NODES), st.sampled_from([*State])),
        st.tuples(st.just("reboot"), st.sampled_from(NODES)),
        st.tuples(st.just("refuse"), st.sampled_from(NODES), DIGESTS),
        st.tuples(st.just("label"), st.sampled_from(NODES)),
        # So many steps, the last one of which is cut off at some point, as when the server is killed.
        st.tuples(st.just("work"), st.integers(1, 12), st.integers(0, 3)),
        st.tuples(st.just("sweep"), st.integers(0, 2)),
        st.tuples(st.just("time"), st.sampled_from([0.1, 1.0, 35.0, 400.0])),
    ),
    max_size=25,
)


def happen(model: Model, event: tuple[Any, ...]) -> None:
    kind, *rest = event
    if kind == "apply":
        model.apply(spec_of(*rest))
    elif kind == "remove" and rest[0] in model.deployments:
        model.remove(rest[0])
    elif kind == "state":
        node = model.nodes[rest[0]]
        node.state, node.since = rest[1], model.now
    elif kind == "reboot":
        model.nodes[rest[0]].reboot()
    elif kind == "refuse":
        model.nodes[rest[0]].refuses ^= {rest[1] * 64}
    elif kind == "time":
        model.now += rest[0]
    elif kind == "sweep":
        for record in model.all_placed():
            cut_off(model.sweep(record), rest[0])
    elif kind == "work":
        left = rest[0]
        for id in sorted(model.deployments):
            for step in model.plan(id).steps:
                left -= 1
                cut_off(model.do(id, step), 99 if left else rest[1])
                check_counts(model)
                if left == 0:
                    return


def cut_off(doing: Any, points: int) -> None:
    for count, _point in enumerate(doing):
        if count == points:
            doing.close()
            return


def check_counts(model: Model) -> None:
    """Never more than count have it, or are to have it: of the nodes that may be there."""
    for id, deployment in model.deployments.items():
        for one in deployment.spec.functions:
            if one.count is not None and deployment.generation == 1 and not deployment.removing:
                assert len(model.going_or_ready(id, one.on_node)) <= one.count


@settings(max_examples=300, deadline=None)
@given(st.sets(st.sampled_from(NODES)), st.sets(st.sampled_from(NODES)), EVENTS)
def test_plan_comes_to_what_should_be_from_wherever_it_was(
    foreign: set[str], keeping: set[str], events: list[tuple[Any, ...]]
) -> None:
    model = fleet(*NODES)
    for id in foreign:
        model.nodes[id].has["x0"] = "f" * 64  # somebody else's
    for id in keeping:
        model.nodes[id].keeps = True
    pushed = 0
    for event in events:
        happen(model, event)
        for at, name, digest, had in model.pushes[pushed:]:
            assert digest != had, f"{name} was pushed to {at}, which had it"
        pushed = len(model.pushes)
    # From now on nothing disturbs, and what was refused is allowed.
    for node in model.nodes.values():
        node.refuses.clear()
        if node.state is not State.UP:
            node.state = State.UP
    for id, deployment in model.deployments.items():
        if not deployment.removing:
            model.deployments[id] = deployment.changed(generation=deployment.generation + 1)
    model.settle()
    expect_at_rest(model, foreign)


def expect_at_rest(model: Model, foreign: set[str]) -> None:
    for node in model.nodes.values():
        owned = model.placed.get(node.id, {})
        for name, digest in node.has.items():
            if digest == "f" * 64:
                assert name not in owned
                continue
            assert owned[name].digest == digest
            assert owned[name].state is PlacedState.READY
        for name, record in owned.items():
            assert record.state is PlacedState.READY
            assert node.has[name] == record.digest
            assert record.boot == (node.boot, float(node.boot))
    kept = {id for id in foreign if model.nodes[id].boot == 1 or model.nodes[id].keeps}
    assert all(model.nodes[id].has.get("x0") == "f" * 64 for id in kept)
    for id, deployment in model.deployments.items():
        assert not deployment.removing
        for one in deployment.spec.functions:
            has = {node for node, of_node in model.placed.items() if one.on_node in of_node}
            fits = {
                node
                for node in NODES
                if (one.nodes is None or node in one.nodes)
                and not (one.on_node == "x0" and model.nodes[node].has.get("x0") == "f" * 64)
            }
            wanted = len(fits) if one.count is None else min(one.count, len(fits))
            assert has <= fits
            assert len(has) == wanted, (id, one.name, has, fits)
            assert all(model.placed[node][one.on_node].digest == one.digest for node in has)


@pytest.mark.parametrize("state", [*PlacedState])
def test_plan_a_record_survives_its_encoding(state: PlacedState) -> None:
    record = Placed(
        "n%20x", "f", A, ("d",), ("e",), state, True, False, B, 3, 1.5, "why", 2.5, (7, 3.25), 4.0, 5.0, 6
    )
    assert Placed.decode(record.key, record.encode()) == record
