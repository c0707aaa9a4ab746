"""What needs no node: records, contexts, and how steps of a chain fit together."""

from __future__ import annotations

import math

import pytest

from wasmote.errors import ApplicationError, InputError, RefusedError, TrapError, WasmoteError
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.deploy.joints import misfit
from wasmote_fleet.requests import MayHaveRun, Request, State, Target, errors, records
from wasmote_fleet.requests.context import Context, parse
from wasmote_fleet.requests.joints import check_chain, fitted, output_of
from wasmote_fleet.requests.records import MAX_HOPS_KEPT, Hop, Stored

BYTES = Export("b", (), (), "bytes")


def export(params: str, results: str = "") -> Export:
    return Export("f", tuple(params.split()), tuple(results.split()), "numbers")


def hop(step: int = 0) -> Hop:
    return Hop(step, "d", "f", "g", "n", False, 10.0 + step)


def request(**changes: object) -> Request:
    made = Request("id", Target(deployment="d", function="f"), (("f", None),), Stored(None), 1.5, 61.5)
    return made.changed(**changes)


def test_a_record_is_read_as_it_was_written() -> None:
    whole = request(
        steps=(("f", "g"), ("h", None)),
        input=Stored({"kind": "numbers", "numbers": [1, 2.5, "9007199254740995"]}),
        state=State.MAY_HAVE_RUN,
        hops=(records.close_hop(request(hops=(hop(),)), 11.0, "done", "").hops[0], hop(1)),
        result=Stored({"kind": "numbers", "types": ["f64"], "numbers": [math.inf], "ms": 1.5}),
        error=MayHaveRun("what", cause="why", next_step="now", details={"code": "5.00"}),
        parent="p",
    )
    again = records.decode(whole.encode())
    assert again.changed(error=None) == whole.changed(error=None)
    assert again.open_hop == hop(1) and str(again.target) == "d:f"
    assert type(again.error) is MayHaveRun and str(again.error) == str(whole.error)


@pytest.mark.parametrize(
    "error",
    [
        ApplicationError("a", status=7, next_step="n"),
        TrapError("t", next_step="n", details={"trap": "fuel", "bytes": b"\x01"}),
        RefusedError("r", cause="c", next_step="n", details={"code": "4.13"}),
        InputError("i", next_step="n"),
    ],
)
def test_errors_are_kept(error: WasmoteError) -> None:
    again = errors.from_json(errors.to_json(error))
    assert type(again) is type(error) and again.exit_code == error.exit_code
    assert (again.message, again.cause, again.next_step) == (error.message, error.cause, error.next_step)
    assert again.details.get("code") == error.details.get("code")
    assert getattr(again, "status", None) == getattr(error, "status", None)


def test_of_very_many_hops_the_first_and_the_last_are_kept() -> None:
    made = request()
    for step in range(100):
        made = records.close_hop(records.open_hop(made, hop(step)), 200.0, "busy", "x" * 1000)
    assert len(made.hops) == MAX_HOPS_KEPT and made.hops_left_out == 100 - MAX_HOPS_KEPT
    assert made.hops[0].step == 0 and made.hops[-1].step == 99
    assert len(made.encode()) < 64 * 1024


def test_ids_are_in_the_order_of_time() -> None:
    ids = [records.new_id(at) for at in (0.001, 1.0, 1_800_000_000.0, 1_800_000_000.001)]
    assert ids == sorted(ids) and [records.made_at(rid) for rid in ids][:2] == [1, 1000]
    assert records.made_at("mine") is None
    for wrong in ("", "a/b", "x" * 41, "ü", "a b"):
        with pytest.raises(InputError):
            records.check_id(wrong)


def test_a_context_is_read_as_it_was_written() -> None:
    told = Context(3, 1_800_000_000.123, records.new_id(1.0))
    assert parse(told.text) == told and len(told.text) <= 64
    assert parse(parse(told.text).text).until == told.until
    for wrong in ("", "3", "3.zz.x", "3.1.", "-1.1.x", "1.1.a/b", "9999.1.x", "1.1.x\n"):
        with pytest.raises(InputError):
            parse(wrong)


@pytest.mark.parametrize(
    ("giver", "taker", "why"),
    [
        (export("", "i32"), export("i32"), None),
        (export("", "i64"), export("i32"), None),  # if the value fits
        (export("", "i32"), export("f32"), None),
        (export("", "f64"), export("f32"), None),
        (export(""), export(""), None),
        (export("", "f32"), export("i32"), "result 1 is f32, the parameter i32: () -> f32, then (i32)"),
        (export("", "i32 i32"), export("i32"), "2 results, 1 parameters"),
        (export(""), export("i32"), "0 results, 1 parameters"),
        (export("", "f32"), BYTES, None),
        (BYTES, export("i32 i32"), None),
    ],
)
def test_what_fits_by_its_types(giver: Export, taker: Export, why: str | None) -> None:
    found = misfit(giver, taker)
    assert found is None if why is None else found is not None and why in found
    if why is not None:
        with pytest.raises(InputError, match="no input for two"):
            check_chain([("one", giver), ("two", taker)])


def test_outputs_become_inputs() -> None:
    numbers = CallResult("numbers", ("i64", "f32", "f64"), (2**60, 0.10000000149011612, math.nan), b"", 0.0)
    assert output_of(numbers, BYTES) == b'["1152921504606846976",0.1,"NaN"]'
    kept = output_of(numbers, export("i64 f64 f64"))
    assert isinstance(kept, list) and kept[:2] == [2**60, 0.10000000149011612]
    assert output_of(CallResult("bytes", (), (), b"x", 0.0), BYTES) == b"x"
    assert fitted("f", b" [1, 2.5] ", export("i32 f64")) == [1, 2.5]
    assert fitted("f", b"7", export("i32")) == [7]
    assert fitted("f", b'["9223372036854775807"]', export("i64")) == ["9223372036854775807"]
    assert fitted("f", b"", export("")) == []
    assert fitted("f", None, BYTES) is None


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"{}",
        b"[true]",
        b"[null]",
        b"[[1]]",
        b"\xff",
        b"[1,2]",
        b"[2.5]",
        b"[4294967296]",
        b"[" * 100_000,
    ],
)
def test_a_stream_that_is_no_list_of_numbers(data: bytes) -> None:
    with pytest.raises(InputError):
        fitted("f", data, export("i32"))
