"""links.py, senml.py and problem.py: what a node writes, and what it never should."""

from __future__ import annotations

import contextlib

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wasmote.protocol import links, messages, problem, senml
from wasmote.protocol.links import Link, LinkFormatError
from wasmote.protocol.messages import Reply
from wasmote.protocol.senml import Measurement, SenmlError


def test_links_of_the_function_list() -> None:
    found = links.parse('</f/fib>;rt="wm.f";ct="42 60";sz=312,</f/fib/fib>;rt="wm.x"')
    assert found == [
        Link("/f/fib", {"rt": "wm.f", "ct": "42 60", "sz": "312"}),
        Link("/f/fib/fib", {"rt": "wm.x"}),
    ]
    assert found[0].words("ct") == ("42", "60")


def test_links_details_of_the_grammar() -> None:
    assert links.parse("") == []
    assert links.parse('</a>;obs;title="a,b;c\\"d" , </b>;ct=40;ct=41') == [
        Link("/a", {"obs": "", "title": 'a,b;c"d'}),
        Link("/b", {"ct": "40"}),
    ]


@pytest.mark.parametrize("text", ["x", "</a", "</a>,", '</a>;t="x', "</a> </b>", "</a>;=x;"])
def test_links_refuses(text: str) -> None:
    if text == "</a>;=x;":
        assert links.parse(text)[0].target == "/a"  # odd, but harmless
        return
    with pytest.raises(LinkFormatError):
        links.parse(text)


@given(st.text(max_size=60))
def test_links_takes_any_text(text: str) -> None:
    with contextlib.suppress(LinkFormatError):
        links.parse(text)


def test_senml_applies_base_fields() -> None:
    pack = [
        {-2: "wasmote:", 0: "ram/free", 1: "B", 2: 90000},
        {0: "calls", 2: 17},
        {-4: "s", 0: "up", 2: 1.5},
        {0: "version", 3: "0.1.0"},
    ]
    assert senml.decode(cbor2.dumps(pack)) == [
        Measurement("ram/free", 90000, "B", "wasmote:"),
        Measurement("calls", 17, "", "wasmote:"),
        Measurement("up", 1.5, "s", "wasmote:"),
        Measurement("version", "0.1.0", "s", "wasmote:"),
    ]


@pytest.mark.parametrize("data", [b"", b"\xff", cbor2.dumps({}), cbor2.dumps([1]), cbor2.dumps([{2: []}])])
def test_senml_refuses(data: bytes) -> None:
    with pytest.raises(SenmlError):
        senml.decode(data)


def reply(code: int, document: object) -> Reply:
    return Reply(code, cbor2.dumps(document), messages.FORMAT_PROBLEM)


def test_problem_of_a_trap() -> None:
    found = problem.decode(
        reply(
            0xA0,
            {-1: "trap", -2: "out of fuel in 'spin'", problem.ENTRY: {"trap": "fuel", "function": "spin"}},
        )
    )
    assert (found.trap, found.members["function"], found.code_text) == ("fuel", "spin", "5.00")
    assert found.text == "trap: out of fuel in 'spin'"
    assert "fuel" in problem.next_step(found) and "app.toml" in problem.next_step(found)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"reason": "import", "import": ["env", "puts"]}, "env.puts"),
        ({"reason": "memory"}, "--export=__heap_base"),
        ({"reason": "unsupported"}, "-mcpu=mvp"),
        ({"reason": "malformed", "offset": 12}, "damaged"),
        ({"reason": "limit"}, "limit"),
        ({"reason": "start"}, "start function"),
        ({"reason": "section"}, "wasmote compile"),
        ({}, "wasmote compile"),
    ],
)
def test_problem_of_an_invalid_module_says_what_to_do(members: dict[str, object], words: str) -> None:
    assert words in problem.next_step(
        problem.decode(reply(0x96, {-1: "invalid module", problem.ENTRY: members}))
    )


def test_problem_too_large_names_sizes() -> None:
    found = problem.decode(reply(0x8D, {-1: "too large", problem.ENTRY: {"need": 9000, "free": 4000}}))
    assert "9000" in problem.next_step(found) and "4000" in problem.next_step(found)


@pytest.mark.parametrize(
    ("given_reply", "text"),
    [
        (Reply(0x84), "not found"),
        (Reply(0x84, b"nothing here"), "not found: nothing here"),
        (Reply(0x84, b"\xff\xfe"), "not found"),
        (Reply(0x84, b"\xff", messages.FORMAT_PROBLEM), "not found"),
        (reply(0x84, ["odd"]), "not found"),
        (reply(0x84, {-1: "gone", problem.ENTRY: 5}), "gone"),
        (Reply(0xBF), "refused with 5.31"),
    ],
)
def test_problem_is_readable_whatever_comes(given_reply: Reply, text: str) -> None:
    found = problem.decode(given_reply)
    assert found.text == text
    assert isinstance(problem.next_step(found), str)
