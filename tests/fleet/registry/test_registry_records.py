"""What is kept of a node."""

from __future__ import annotations

import json

from wasmote_fleet.registry import State
from wasmote_fleet.registry.records import Record, decode, device_facts


def test_record_comes_back_as_it_was() -> None:
    record = Record("a", "a", "coap://h:5683", labels={"x": "y"}, state=State.DOWN, boot=3, device={"ram": 5})
    assert decode(record.encode()) == record
    newer = {**json.loads(record.encode()), "later": 1}
    assert decode(json.dumps(newer).encode()) == record


def test_record_of_a_server_without_registry_is_an_adopted_node() -> None:
    value = {"ep": "a b", "uri": "coap://h:5683", "since": 1.0, "device": {"ep": "a b", "ram": {"total": 5}}}
    record = decode(json.dumps(value).encode())
    assert (record.id, record.adopted, record.state, record.memory_bytes) == ("a%20b", True, State.JOINED, 0)


def test_device_facts_of_something_that_only_calls_itself_a_node() -> None:
    """Whatever /d holds, the record can be written, and what reads it finds the types that it knows."""
    endless: object = "x"
    for _ in range(50):
        endless = [endless]
    strange = (
        b"bytes", float("nan"), float("inf"), 2**70, None, "a\x1b[2J\n" + "b" * 9000, {1: 2}, endless,
        ["f"] * 9999, {"features": "x"}, {"features": 7}, {str(n): n for n in range(9999)}, -1, True,
    )  # fmt: skip
    for name in (
        "board",
        "chip",
        "fw",
        "abi",
        "sec",
        "engine",
        "limits",
        "defaults",
        "validate",
        "imports",
        "ram",
        "flash",
    ):
        for value in strange:
            for said in (value, {"total": value}):
                record = Record("a", "a", "coap://192.0.2.7", device=device_facts({name: said}))
                again = decode(record.encode())
                assert len(record.encode()) < 20_000 and b"\\u001b" not in record.encode()
                assert all(isinstance(each, str) for each in again.imports) and len(again.imports) <= 64
                assert 0 <= again.memory_bytes < 2**53 and isinstance(again.features, tuple)
                assert again.flash_bytes is None or again.flash_bytes >= 0
