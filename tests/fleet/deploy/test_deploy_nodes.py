"""Deployments on real nodes, reconciled in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from deploy_world import DeployWorld, deploy_world, nodes, on_node

from wasmote.adapters.emulator import Emulator
from wasmote.node import Node
from wasmote_fleet.deploy import Phase, Refused, parse_mapping
from wasmote_fleet.deploy.records import PlacedState
from wasmote_fleet.registry import State


def kill(emulator: Emulator) -> int:
    """As a power cut; its port."""
    assert emulator.pid is not None
    os.kill(emulator.pid, signal.SIGKILL)
    return int(str(emulator.uri).rpartition(":")[2])


async def has(world: DeployWorld, node: str, name: str = "fib") -> str:
    return (await world.gateway.function(node, name, deadline_s=5)).sha256.hex()


async def test_places_without_preference_begin_with_the_node_that_does_least(tmp_path: Path) -> None:
    async def order(function: str) -> list[str]:
        return [place.node_id for place in await world.deployments.places("d", function)]

    async with nodes("a", "b") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        await world.publish("fib")
        preferring = {"name": "preferring", "function": "fib", "nodes": ["a", "b"], "count": 2}
        done = await world.apply("d", {"name": "fib", "count": 2}, preferring)
        assert done.phase is Phase.READY
        for busy, idle in (("a", "b"), ("b", "a")):
            calls = [
                asyncio.ensure_future(world.gateway.call(busy, "fib", "fib", [22], deadline_s=30))
                for _ in range(8)
            ]
            await asyncio.sleep(0)  # each has begun
            assert world.gateway.busy_at(busy) == len(calls)
            assert await order("fib") == [idle, busy]
            assert await order("preferring") == ["a", "b"]
            assert {(await call).value for call in calls} == {17711}
            assert (world.gateway.busy_at(busy), world.gateway.busy) == (0, 0)


async def test_a_function_comes_to_the_first_candidate_and_is_replaced_and_removed(tmp_path: Path) -> None:
    async with nodes("a", "b") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        first = await world.publish("fib", "1")
        done = await world.apply("d", {"name": "fib", "nodes": ["b", "a"]})
        assert (done.phase, done.ready, done.wanted) == (Phase.READY, 1, 1)
        assert await on_node(fleet["b"]) == ["fib"]
        assert await on_node(fleet["a"]) == []
        places = await world.deployments.places("d", "fib")
        assert [(place.node_id, place.digest) for place in places] == [("b", first)]
        result = await world.gateway.call("b", "fib", "fib", [20], deadline_s=5)
        assert result.value == 6765

        second = await world.publish("fib", "2")
        done = await world.apply("d", {"name": "fib", "nodes": ["b", "a"]})
        assert done.phase is Phase.READY
        assert await has(world, "b") == second
        assert await world.deployments.pinned(first)  # to go back to
        await world.deployments.rollback("d")
        done = await world.deployments.wait("d", timeout_s=30)
        assert done.phase is Phase.READY
        assert await has(world, "b") == first

        await world.deployments.remove("d")
        done = await world.deployments.wait("d", timeout_s=20)
        assert done.phase is Phase.REMOVED
        assert await on_node(fleet["b"]) == []
        for prefix in ("placed/", "deployments/", "rollouts/"):
            assert not await world.engine.kv.keys(prefix)


async def test_collect_leaves_what_a_deployment_refers_to(tmp_path: Path) -> None:
    async with nodes("a") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        digest = await world.publish("fib")
        await world.apply("d", {"name": "fib"})
        await world.repository.remove("fib")  # no name points at it any more
        assert await world.repository.collect(world.deployments.pinned, unused_s=0) == []
        # A node without a boot counter that has just begun cannot be told from its next life.
        await asyncio.sleep(1.5)
        port = kill(fleet["a"])
        async with nodes("a", port=port):
            await world.until_rebooted("a")
            await world.until("d", Phase.READY)
            assert await has(world, "a") == digest
            await world.deployments.remove("d")
            await world.deployments.wait("d", timeout_s=20)
            assert await world.repository.collect(world.deployments.pinned, unused_s=0) == [digest]


@pytest.mark.slow
async def test_another_node_takes_over_within_two_beats_and_the_first_one_loses_it(tmp_path: Path) -> None:
    async with nodes("a", "b") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        await world.publish("fib")
        await world.apply("d", {"name": "fib", "nodes": ["a", "b"]})
        assert await on_node(fleet["a"]) == ["fib"]
        assert fleet["a"].pid is not None
        os.kill(fleet["a"].pid, signal.SIGSTOP)  # it keeps what it has
        began = time.monotonic()
        await world.until_state("a", State.DOWN)
        down_s = time.monotonic() - began
        done = await world.until("d", Phase.READY, ready=1)
        taken_over_s = time.monotonic() - began
        assert [one.node for one in done.nodes] == ["b"]
        assert taken_over_s - down_s < 3
        places = await world.deployments.places("d", "fib")
        assert [place.node_id for place in places] == ["b"]
        os.kill(fleet["a"].pid, signal.SIGCONT)
        await world.until_state("a", State.UP)
        await world.until_gone("a", "fib")
        assert await on_node(fleet["a"]) == []
        assert await on_node(fleet["b"]) == ["fib"]


@pytest.mark.slow
async def test_nodes_that_reboot_in_the_middle_of_a_rollout_get_it_back(tmp_path: Path) -> None:
    eps = [f"n{index}" for index in range(6)]
    async with nodes(*eps) as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        await world.publish("fib", "1")
        spec = {"name": "fib", "count": "all"}
        assert (await world.apply("d", spec)).ready == 6
        second = await world.publish("fib", "2")
        rollout = {"waves": [1, 1, 2], "pause_s": 2}
        await world.deployments.apply(parse_mapping({"id": "d", "functions": [spec], "rollout": rollout}))
        await world.until_wave("d", 3)
        placed = world.deployments.records()
        new = [ep for ep in eps if placed[ep]["fib"].digest == second]
        old = [ep for ep in eps if placed[ep]["fib"].digest != second]
        assert new
        assert old
        ports = {ep: kill(fleet[ep]) for ep in (new[0], old[-1])}
        async with nodes(new[0], port=ports[new[0]]), nodes(old[-1], port=ports[old[-1]]):
            for ep in ports:
                await world.until_rebooted(ep)
            await world.until("d", Phase.READY, ready=6)
            for ep in eps:
                assert await has(world, ep) == second


@pytest.mark.slow
async def test_a_wave_stops_at_a_bad_node_and_the_same_again_goes_on(tmp_path: Path) -> None:
    eps = [f"n{index}" for index in range(8)]
    async with nodes(*eps) as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        first = await world.publish("fib", "1", stack=2_000)
        spec = {"name": "fib", "count": "all"}
        assert (await world.apply("d", spec)).phase is Phase.READY
        # Somebody fills the memory of one node behind the server's back.
        second = await world.publish("fib", "2", stack=150_000)
        assert fleet["n3"].uri is not None
        big = await world.repository.read(await world.publish("counter", "1", stack=150_000))
        async with Node(fleet["n3"].uri) as node:
            await node.push(big, name="mine")
        done = await world.apply("d", spec, rollout={"waves": [3, 3]})
        assert done.phase is Phase.STOPPED
        assert "n3" in done.cause
        assert done.failed == 1
        versions = [await has(world, ep) for ep in eps]
        assert versions[3] == first
        assert versions.count(second) >= 3  # the first wave, and what had begun of the second
        assert versions[6:] == [first, first]  # the third has not
        assert (await world.deployments.places("d", "fib"))[0].state is PlacedState.READY
        # Another one that cannot work either is nothing to go back to.
        await world.publish("fib", "3", stack=151_000)
        assert (await world.apply("d", spec)).phase is Phase.STOPPED
        await world.deployments.rollback("d")
        assert (await world.deployments.wait("d", timeout_s=30)).phase is Phase.READY
        assert [await has(world, ep) for ep in eps] == [first] * 8
        async with Node(fleet["n3"].uri) as node:
            await node.rm("mine")
        spec = {**spec, "version": "2"}
        done = await world.apply("d", spec, rollout={"waves": [3, 3]})
        assert done.phase is Phase.READY
        assert [await has(world, ep) for ep in eps] == [second] * 8


@pytest.mark.slow
async def test_twenty_nodes_at_a_time(tmp_path: Path) -> None:
    eps = [f"n{index:02}" for index in range(20)]
    async with nodes(*eps) as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        digest = await world.publish("fib")
        at_once = most = 0
        push = world.gateway.push

        async def counted(*args: object, **options: float) -> object:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            try:
                return await push(*args, **options)  # type: ignore[arg-type]
            finally:
                at_once -= 1

        world.gateway.push = counted  # type: ignore[assignment, method-assign]
        done = await world.apply("d", {"name": "fib", "count": "all"}, rollout={"waves": [], "parallel": 5})
        assert (done.phase, done.ready) == (Phase.READY, 20)
        assert 1 < most <= 5
        assert {await has(world, ep) for ep in eps} == {digest}


@pytest.mark.slow
async def test_what_others_put_on_a_node_is_never_touched(tmp_path: Path) -> None:
    async with nodes("a", "b") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        await world.publish("fib")
        await world.publish("counter")
        mine = await world.repository.read((await world.repository.find("counter")).digest)
        assert fleet["a"].uri is not None
        async with Node(fleet["a"].uri) as node:
            await node.push(mine, name="fib")
            await node.push(mine, name="other")
        with pytest.raises(Refused) as refused:
            await world.apply("d", {"name": "fib", "nodes": ["a"]})
        assert "no deployment put there" in refused.value.reasons["a"]
        done = await world.apply("d", {"name": "fib", "nodes": ["a", "b"]})
        assert [one.node for one in done.nodes] == ["b"]
        await world.deployments.remove("d")
        await world.deployments.wait("d", timeout_s=20)
        assert await on_node(fleet["a"]) == ["fib", "other"]
        assert await on_node(fleet["b"]) == []


async def test_admission_says_of_each_node_why_it_does_not_fit(tmp_path: Path) -> None:
    async with nodes("a", "b") as fleet, deploy_world(tmp_path) as world:
        with pytest.raises(Refused, match="no place for fib") as refused:
            await world.publish("fib")
            await world.apply("d", {"name": "fib"})
        assert refused.value.cause == "there are no nodes"
        await world.adopt(fleet, a={"room": "1"}, b={"room": "2"})
        await world.publish("counter", heap=60_000, stack=100_000)
        await world.apply("there", {"name": "fib", "nodes": ["a"]})

        async def reasons(**function: object) -> dict[str, str]:
            with pytest.raises(Refused) as refused:
                await world.apply("d", {"name": "fib", **function})
            assert refused.value.function == "fib"
            assert refused.value.next_step
            return refused.value.reasons

        found = await reasons(where={"labels": {"room": "3"}})
        assert found == {"a": "room is '1', '3' is wanted", "b": "room is '2', '3' is wanted"}
        found = await reasons(where={"labels": {"floor": "3"}})
        assert found["a"] == "it has no label floor, '3' is wanted"
        found = await reasons(where={"imports": ["camera"]})
        assert "it does not offer camera" in found["b"]
        found = await reasons(nodes=["b"], where={"ram": 10_000_000})
        assert "10000000 are needed" in found["b"]
        found = await reasons(nodes=["b"], where={"flash": 1000})
        assert found["b"] == "it has no flash for functions"
        found = await reasons(nodes=["a", "c"], count=2)
        assert found == {"c": "there is no such node"}
        await world.publish("fib", "2")
        found = await reasons(nodes=["a"])
        assert found["a"] == "'fib' is another module there, of deployment there"
        with pytest.raises(Refused) as clash:
            await world.apply("d", {"name": "fib", "nodes": ["a"]})
        assert "`as`" in (clash.value.next_step or "") and "none of them is up" not in (
            clash.value.cause or ""
        )
        # What two functions need together counts.
        with pytest.raises(Refused, match="no place for y") as together:
            await world.deployments.apply(
                parse_mapping(
                    {
                        "id": "d",
                        "functions": [
                            {"name": "x", "function": "counter", "nodes": ["b"]},
                            {"name": "y", "function": "counter", "nodes": ["b"]},
                        ],
                    }
                )
            )
        assert "bytes of memory free" in together.value.reasons["b"]
        with pytest.raises(Refused, match="was not admitted") as no_export:
            await world.apply("d", {"name": "fib"}, chains=[{"name": "c", "steps": ["fib/fob"]}])
        assert "no export 'fob'" in no_export.value.cause
        assert [found.id for found in await world.deployments.list()] == ["there"]
        assert await on_node(fleet["b"]) == []
        kill(fleet["b"])
        await world.until_state("b", State.DOWN)
        found = await reasons(nodes=["b"])
        assert found == {"b": "it fits, but is down"}


@pytest.mark.slow
async def test_a_function_that_somebody_removed_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wasmote_fleet.deploy.plan.VERIFY_S", 2.0)
    async with nodes("a") as fleet, deploy_world(tmp_path) as world:
        await world.adopt(fleet)
        await world.publish("fib")
        await world.apply("d", {"name": "fib"})
        assert fleet["a"].uri is not None
        async with Node(fleet["a"].uri) as node:
            await node.rm("fib")
            for _ in range(100):
                await asyncio.sleep(0.1)
                if await node.ls():
                    break
        assert await on_node(fleet["a"]) == ["fib"]
