"""What is kept: deployments and calls, and that it stays bounded."""

from __future__ import annotations

from wasmiot_world import readme_body

from wasmote_fleet.compat.wasmiot import bodies, records
from wasmote_fleet.compat.wasmiot.records import Call, Deployed
from wasmote_fleet.engine import Engine


def call(number: int, device: str) -> Call:
    return Call(f"{number:011x}", device, "d", "m", "f", "GET", {"n": "1"}, {}, 1_800_000_000.0)


def test_records_come_back_as_they_went() -> None:
    made = call(1, "n").changed(done=True, success=True, result=["233", None])
    assert Call.decode(made.encode()) == made
    assert made.as_json()["work_queued_at"] == "Fri, 15 Jan 2027 08:00:00 GMT"
    plan = bodies.parse(readme_body("0", "m", "f", "http://192.0.2.1/m"))
    deployed = Deployed("n", plan, {"m": "m"}, {"m": "00"}, {"m": {"a": "11"}}, "192.0.2.1")
    assert Deployed.decode(deployed.encode()) == deployed


async def test_the_oldest_calls_of_each_device_are_forgotten(engine: Engine) -> None:
    for number in range(12):
        for device in ("", "n"):
            made = call(number, device)
            await engine.kv.put(made.key, made.encode())
    await engine.kv.put(call(1, "quiet").key, call(1, "quiet").encode())
    assert await records.trim_history(engine, 5) == 14
    kept = [Call.decode(entry.value) for entry in await engine.kv.entries(f"{records.ROOT}history/")]
    assert sorted((made.device, int(made.id, 16)) for made in kept) == [
        *(("", number) for number in range(7, 12)),
        *(("n", number) for number in range(7, 12)),
        ("quiet", 1),
    ]


async def test_files_of_deployments_are_held(engine: Engine) -> None:
    plan = bodies.parse(readme_body("0", "m", "f", "http://192.0.2.1/m"))
    deployed = Deployed("n", plan, {"m": "m"}, {"m": "00"}, {"m": {"a": "11"}})
    assert not await records.holds(engine, "11")
    await engine.kv.put(deployed.key, deployed.encode())
    assert await records.holds(engine, "11") and not await records.holds(engine, "00")
