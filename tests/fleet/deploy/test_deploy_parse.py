"""Deployments as text: what is read, and what errors say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote_fleet.deploy import (
    ChainSpec,
    FunctionSpec,
    Rollout,
    Spec,
    SpecError,
    StepSpec,
    Wave,
    Where,
    parse_json,
    parse_toml,
    spec_json,
)

FULL = """\
id = "flood"

[[functions]]
name = "pre"
function = "preprocess"
version = "1.2.0"
nodes = ["a", "b"]
as = "pre-flood"
[functions.where]
labels = {room = "1"}
imports = ["dht"]
ram = 4096

[[functions]]
name = "predict"
count = "all"

[[chains]]
name = "alarm"
steps = ["pre/run", "predict"]

[rollout]
waves = [2, "25%"]
max_failures = 3
parallel = 4
pause_s = 1.5
"""
SPEC = Spec(
    "flood",
    (
        FunctionSpec(
            "pre",
            "preprocess",
            "1.2.0",
            nodes=("a", "b"),
            where=Where({"room": "1"}, ("dht",), 4096),
            as_name="pre-flood",
        ),
        FunctionSpec("predict", count=None),
    ),
    (ChainSpec("alarm", (StepSpec("pre", "run"), StepSpec("predict"))),),
    Rollout((Wave(2), Wave(part=0.25)), 3, 4, 1.5),
)


def test_parse_toml_reads_all_of_it() -> None:
    assert parse_toml(FULL) == SPEC


def test_parse_json_reads_what_spec_json_gives() -> None:
    assert parse_json(json.dumps(spec_json(SPEC))) == SPEC


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "words"),
    [
        ('id = "flood"', 'id = "flood', 1, "", "this is no TOML"),
        ('id = "flood"', 'id = "fl/ood"', 1, "id", "no id"),
        ('id = "flood"\n', "", None, "id", "missing"),
        ('version = "1.2.0"', 'versoin = "1.2.0"', 6, "functions[1].versoin", "nothing has this name"),
        ('nodes = ["a", "b"]', 'nodes = ["a", 7]', 7, "functions[1].nodes[2]", "a text is wanted"),
        ('nodes = ["a", "b"]', 'nodes = ["a", "a"]', 7, "functions[1].nodes", "twice"),
        ('labels = {room = "1"}', "labels = {room = 1}", 10, "functions[1].where.labels.room", "text"),
        ("ram = 4096", 'ram = "4096"', 12, "functions[1].where.ram", "no such number"),
        ("ram = 4096", "rom = 4096", 12, "functions[1].where.rom", "ram, flash"),
        ('count = "all"', 'count = "most"', 16, "functions[2].count", '"all"'),
        ('count = "all"', "count = true", 16, "functions[2].count", "no count"),
        ('name = "predict"', 'name = "pre"', 15, "functions[2].name", "twice"),
        ('name = "predict"\n', "", 14, "functions[2].name", "missing"),
        ('"pre/run", "predict"', '"pre/run", "predicts"', 20, "chains[1].steps[2]", "pre, predict"),
        ('"pre/run"', '"pre/"', 20, "chains[1].steps[1]", "no step"),
        ('"25%"', '"250%"', 23, "rollout.waves[2]", "no wave"),
        ("waves = [2,", "waves = [0,", 23, "rollout.waves[1]", "no wave"),
        ("max_failures = 3", "max_failures = 0", 24, "rollout.max_failures", "1 to"),
        ("pause_s = 1.5", "pause_s = nan", 26, "rollout.pause_s", "0 to 86400"),
        ("[rollout]", "[rollouts]", 22, "rollouts", "functions, chains, rollout"),
    ],
)
def test_parse_toml_names_the_line_and_the_field(
    old: str, new: str, line: int | None, field: str, words: str
) -> None:
    assert FULL.count(old) == 1
    with pytest.raises(SpecError) as raised:
        parse_toml(FULL.replace(old, new), "flood.toml")
    error = raised.value
    assert (error.line, error.field) == (line, field)
    assert error.message.startswith("flood.toml" if line is None else f"flood.toml, line {line}: ")
    assert words in f"{error.message} {error.cause}"
    assert error.next_step


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no JSON"),
        ('{"id": "d",\n "functions": [}', "line 2"),
        ('{"id": "d", "id": "e"}', "twice"),
        ("[]", "no object"),
        ('{"id": "d", "functions": {}}', "array of tables"),
        ('{"id": "d", "functions": []}', "no function"),
        ('{"id": "d", "functions": [1]}', "functions[1]: a table is wanted"),
        ('{"id": "d", "functions": [{"name": null}]}', "null"),
        ('{"id": "d", "functions": [{"name": "f", "digest": "12"}]}', "SHA-256"),
        ("[" * 100_000, "no JSON"),
        (f'{{"id": {"1" * 5000}}}', "a number has 5000 digits, and at most 640 are read"),
    ],
)
def test_parse_json_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(SpecError) as raised:
        parse_json(text)
    assert words in f"{raised.value.message} {raised.value.cause}"


def test_parse_toml_with_a_number_that_never_ends() -> None:
    with pytest.raises(SpecError, match="a whole number in it has thousands of digits"):
        parse_toml(f"id = {'1' * 5000}", "flood.toml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "functions",
                    "name",
                    "nodes",
                    "count",
                    "where",
                    "labels",
                    "chains",
                    "steps",
                    "rollout",
                    "waves",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_parse_json_raises_nothing_else(value: Any) -> None:
    try:
        spec = parse_json(json.dumps(value))
    except SpecError as error:
        assert error.message
    else:
        assert parse_json(json.dumps(spec_json(spec))) == spec


@given(st.text(max_size=200))
def test_parse_toml_raises_nothing_else(text: str) -> None:
    with pytest.raises(SpecError):
        parse_toml(text)  # nothing at random has an id and a function
