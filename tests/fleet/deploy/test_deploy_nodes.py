"""Deployments on real nodes, reconciled in this process."""

from __future__ import annotations

from pathlib import Path

from deploy_world import deploy_world, nodes, on_node

from wasmote_fleet.deploy import Phase


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
        info = await world.gateway.function("b", "fib", deadline_s=5)
        assert info.sha256.hex() == second

        await world.deployments.remove("d")
        done = await world.deployments.wait("d", timeout_s=20)
        assert done.phase is Phase.REMOVED
        assert await on_node(fleet["b"]) == []
        assert not await world.engine.kv.keys("placed/")
        assert not await world.engine.kv.keys("deployments/")
        assert not await world.engine.kv.keys("rollouts/")
