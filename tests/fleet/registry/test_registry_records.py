"""What is kept of a node."""

from __future__ import annotations

import json

from wasmote_fleet.registry import State
from wasmote_fleet.registry.records import Record, decode


def test_record_comes_back_as_it_was() -> None:
    record = Record("a", "a", "coap://h:5683", labels={"x": "y"}, state=State.DOWN, boot=3, device={"ram": 5})
    assert decode(record.encode()) == record
    newer = {**json.loads(record.encode()), "later": 1}
    assert decode(json.dumps(newer).encode()) == record


def test_record_of_a_server_without_registry_is_an_adopted_node() -> None:
    value = {"ep": "a b", "uri": "coap://h:5683", "since": 1.0, "device": {"ep": "a b", "ram": {"total": 5}}}
    record = decode(json.dumps(value).encode())
    assert (record.id, record.adopted, record.state, record.memory_bytes) == ("a%20b", True, State.JOINED, 0)
