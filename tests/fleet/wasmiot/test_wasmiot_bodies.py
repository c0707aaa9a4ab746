"""What comes from outside, parsed: bodies, forms, values. Without a network."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wasmiot_world import FIBO, TURN, body, endpoint, readme_body, wat

from wasmote.protocol.answers import CallResult
from wasmote.protocol.module import parse_module
from wasmote.protocol.section import section_of
from wasmote_fleet.compat.wasmiot import bodies, multipart, values
from wasmote_fleet.compat.wasmiot.describe import describe
from wasmote_fleet.compat.wasmiot.errors import BadBody, CannotRun
from wasmote_fleet.compat.wasmiot.modules import prepared
from wasmote_fleet.compat.wasmiot.multipart import Part
from wasmote_fleet.compat.wasmiot.values import Output
from wasmote_fleet.repository import describe as describe_module

URL = "http://192.0.2.1:5000"


def today() -> dict[str, Any]:
    described = endpoint(URL, "1", "m", "f", method="post", files=("in",), parameters=("a", "b"))
    mounts = {"execution": ["in"], "deployment": ["model"], "output": ["out"]}
    return body(
        "1", "m", "f", URL + "/m", described, to=described, other={"model": URL + "/model"}, mounts=mounts
    )


def test_both_forms_are_understood() -> None:
    plan = bodies.parse(today())
    found = plan.functions["m", "f"]
    assert (plan.deployment_id, plan.readme, plan.modules[0].other) == ("1", False, {"model": URL + "/model"})
    assert (found.execution, found.deployment, found.output) == (("in",), ("model",), ("out",))
    assert found.endpoint.parameters == ("a", "b") and found.endpoint.files == ("in",)
    assert found.to is not None and found.to.url + found.to.path == URL + "/1/modules/m/f"

    plan = bodies.parse(readme_body("0", "fiboMod", "fibo", URL + "/f"))
    found = plan.functions["fiboMod", "fibo"]
    assert plan.readme and found.endpoint.parameters == ("iterations",) and found.to is None
    # As the README deploys a camera and a model: files in a list, an image as the answer.
    told = readme_body("2", "camera", "take_image", URL + "/c")
    told["modules"][0]["urls"]["other"] = [URL + "/models/ml.pb"]
    get = told["instructions"]["modules"]["camera"]["take_image"]["paths"][""]["get"]
    get["parameters"] = [{"name": "data", "in": "requestBody", "required": True, "schema": {}}]
    get["responses"]["200"]["content"] = {"image/jpeg": {}}
    found = bodies.parse(told).functions["camera", "take_image"]
    assert (found.deployment, found.execution, found.output) == (("ml.pb",), ("data",), ("take_image",))


def spots(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON value where something stands."""
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(value, key), *spots(value[key])]
    return found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(st.booleans(), st.integers(0, 200), JSON, st.booleans())
def test_a_body_is_parsed_or_refused(readme: bool, where: int, other: Any, drop: bool) -> None:
    told = copy.deepcopy(readme_body("0", "m", "f", URL) if readme else today())
    places = spots(told)
    holder, key = places[where % len(places)]
    if drop:
        del holder[key]
    else:
        holder[key] = other
    try:
        plan = bodies.parse(told)
    except BadBody:
        return
    assert json.loads(json.dumps(plan.raw)) == told
    assert all(module in {each.name for each in plan.modules} for module, _ in plan.functions)


@settings(max_examples=200, deadline=None)
@given(JSON)
def test_whatever_comes_is_no_bug(told: Any) -> None:
    with pytest.raises(BadBody):
        bodies.parse(told)
    with pytest.raises(BadBody):
        describe("m", {"f": told if isinstance(told, dict) and "method" not in told else {}}, {})


# ---- forms ----

PARTS = st.lists(
    st.builds(
        Part,
        st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=10),
        st.binary(max_size=200),
        st.none() | st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=10),
        st.sampled_from(["application/octet-stream", "image/png"]),
    ),
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(PARTS)
def test_a_form_comes_back_as_it_went(parts: list[Part]) -> None:
    kind, data = multipart.encode(parts)
    assert multipart.parse(kind, data) == parts


@settings(max_examples=300, deadline=None)
@given(PARTS, st.integers(0, 2000), st.binary(max_size=4), st.integers(0, 60))
def test_a_damaged_form_is_parsed_or_refused(parts: list[Part], at: int, put: bytes, cut: int) -> None:
    kind, data = multipart.encode(parts)
    at %= len(data) + 1
    with contextlib.suppress(BadBody):
        multipart.parse(kind, data[:at] + put + data[at + cut :])


def test_forms_as_programs_send_them() -> None:
    data = (
        b'preamble\r\n--x y\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x y\r\n'
        b'content-disposition: form-data; filename="f.bin"; name="b"\r\nContent-Type: Image/PNG; q=1\r\n\r\n'
        b'\r\n--not\r\n\r\n--x y\r\nContent-Disposition: form-data; name="c"; filename=""\r\n\r\n\r\n--x y--\r\n'
    )
    assert multipart.parse('multipart/form-data; boundary="x y"', data) == [
        Part("a", b"1", None, ""),
        Part("b", b"\r\n--not\r\n", "f.bin", "image/png"),
    ]
    for kind in ("multipart/form-data", "multipart/form-data; boundary=other"):
        with pytest.raises(BadBody):
            multipart.parse(kind, data)


# ---- modules and values ----


def test_a_bare_module_gets_a_section() -> None:
    module = prepared(wat(FIBO), "fibo", gives_files=False)
    section = section_of(parse_module(module))
    # `answer` takes nothing: a node reads it as one of streams.
    assert section is not None and section.pure == ("fibo", "divide", "half", "nothing")
    assert prepared(module, "other", gives_files=True) == module
    section = section_of(parse_module(prepared(wat(TURN), "turn", gives_files=True)))
    assert section is not None and (section.pure, section.heap, section.output) == ((), 0, 16384)


def function(name: str, **more: Any) -> bodies.Function:
    return bodies.parse(body("1", "m", name, URL, endpoint(URL, "1", "m", name, **more))).functions["m", name]


@pytest.mark.parametrize(
    ("kind", "number", "text"),
    [
        ("i32", -1, "-1"),
        ("i64", 2**63 - 1, "9223372036854775807"),
        ("f64", 0.1, "0.1"),
        ("f32", 0.10000000149011612, "0.1"),
        ("f64", float("nan"), '"NaN"'),
    ],
)
def test_results_are_texts_of_json(kind: str, number: Any, text: str) -> None:
    export = describe_module(
        wat(f'(module (func (export "f") (param i32) (result {kind}) unreachable))')
    ).exports[0]
    given = values.output(function("f"), export, CallResult("numbers", (kind,), (number,), b"", 0.0))
    assert given == Output(text=text)
    assert given.result(readme=False) == [text, None]
    assert given.result(readme=True) == json.loads(text)


def test_an_output_goes_on_as_a_parameter_or_a_file() -> None:
    to = function("f", parameters=("a b", "c")).endpoint
    assert values.next_call(to, Output(text="-5")).url == URL + "/1/modules/m/f?a%20b=-5"
    sent = values.next_call(
        function("f", parameters=(), method="post").endpoint, Output(file="x.jpg", data=b"\xff")
    )
    assert sent.method == "POST"
    assert multipart.parse(sent.headers["Content-Type"], sent.body)[0].data == b"\xff"
    with pytest.raises(CannotRun):
        values.next_call(function("f", parameters=()).endpoint, Output(text="5"))


@pytest.mark.parametrize("said", [b"", b"[]", b'{"resultUrl": 5}', b'{"result": "no"}', b"\xff", b"[" * 5000])
def test_a_next_device_that_gives_no_result_url_is_named(said: bytes) -> None:
    with pytest.raises(BadBody, match="answered 200"):
        values.result_url(200, said)
    with pytest.raises(BadBody, match="answered 500"):
        values.result_url(500, b'{"resultUrl": "http://192.0.2.1/x"}')
