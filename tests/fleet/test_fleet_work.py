"""What travels between servers arrives as it was: work, results and errors."""

from __future__ import annotations

import math

import pytest

from wasmote.errors import (
    ApplicationError,
    ExitCode,
    InputError,
    RefusedError,
    TrapError,
    UnansweredError,
    UnreachableError,
    WasmoteError,
)
from wasmote.node import Pushed
from wasmote.protocol.answers import CallResult, Export, FunctionInfo, FunctionLink
from wasmote_fleet.engine import EngineUnavailable
from wasmote_fleet.gateway.errors import DeadlinePassed, Lost, Overloaded, UnknownExport, WrongBody
from wasmote_fleet.gateway.http.problems import problem
from wasmote_fleet.gateway.work import (
    Result,
    Work,
    decode,
    decode_work,
    encode_error,
    encode_result,
    encode_work,
)
from wasmote_fleet.registry import NotHere, UnknownNode
from wasmote_fleet.repository import UnknownFunction

EXPORT = Export("predict", ("i32", "f32"), ("i64",), "numbers", pure=True, index=3)


@pytest.mark.parametrize(
    "work",
    [
        Work("call", "a%20b@x", "fib", None, None),
        Work("call", "a", "fib", ":3", [20, 2.5, "-9223372036854775808", 2**64 - 1], context="h=1"),
        Work("call", "a", "echo", "run", bytes(range(256))),
        Work("push", "a", "fib", digest="00" * 32),
    ],
)
def test_work_arrives(work: Work) -> None:
    assert decode_work(encode_work(work, 1.25)) == (work, 1.25)


@pytest.mark.parametrize(
    "result",
    [
        None,
        [],
        [FunctionLink("fib", 267, ("fib", ":2"))],
        CallResult("numbers", ("i64", "f64"), (2**64 - 1, -0.5), b"", 0.01),
        CallResult("bytes", (), (), bytes(1000), 0.01),
        Pushed("fib", True, 267, "00" * 32, b"\1\2", 0.5, resumed=1),
        FunctionInfo("fib", "1.0.0", 267, bytes(32), "predict", (EXPORT,), {"n": 1}, b"\3"),
    ],
)
def test_results_arrive(result: Result) -> None:
    assert decode(encode_result(result)) == result


def test_nan_stays_nan() -> None:
    arrived = decode(encode_result(CallResult("numbers", ("f32",), (math.nan,), b"", 0.0)))
    assert isinstance(arrived, CallResult) and math.isnan(arrived.numbers[0])


@pytest.mark.parametrize(
    "error",
    [
        InputError("no", cause="why", next_step="do"),
        RefusedError("no", next_step="do", details={"code": "4.13", "size": 100, "raw": b"\0\xff"}),
        TrapError("no", next_step="do", details={"trap": "div-zero", "at": [1, 2]}),
        ApplicationError("no", status=404, next_step="do"),
        UnreachableError("no", next_step="do"),
        UnansweredError("no", next_step="do"),
        WasmoteError("no", next_step="do", exit_code=ExitCode.BUILD),
        EngineUnavailable("no", next_step="do"),
        Overloaded("no", cause="why", retry_after_s=3, whole=True),
        DeadlinePassed("no", deadline_s=1.0, began=True),
        DeadlinePassed("no", deadline_s=1.0, began=False),
        Lost("no", next_step="do"),
        NotHere("no", next_step="do"),
        UnknownNode("n"),
        UnknownExport("no", next_step="do"),
        UnknownFunction("no", next_step="do"),
        WrongBody("no", next_step="do"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_arrive(error: WasmoteError) -> None:
    with pytest.raises(type(error)) as raised:
        decode(encode_error(error))
    arrived = raised.value
    assert type(arrived) is type(error)
    assert (str(arrived), arrived.as_json()) == (str(error), error.as_json())
    # And so what an HTTP client gets is the same, whichever server it asks.
    assert problem(arrived).body == problem(error).body
    assert problem(arrived).headers == problem(error).headers


def test_an_error_of_an_unknown_kind_arrives_as_the_nearest_one() -> None:
    class Odd(RefusedError):
        """Only one server knows it."""

    with pytest.raises(RefusedError, match="odd"):
        decode(encode_error(Odd("odd", next_step="do", details={"node": {1: object}})))
