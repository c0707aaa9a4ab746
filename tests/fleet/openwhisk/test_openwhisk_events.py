"""Sequences, triggers, rules and feeds by OpenWhisk's REST, on a real server with a real node."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from whisk_world import PATIENCE_S, Whisk, is_error, pairs, wasm

pytestmark = pytest.mark.slow
TRIGGER = {"namespace", "name", "parameters", "annotations", "limits", "version", "publish", "updated"}
RULE = {"namespace", "name", "status", "trigger", "action", "version", "publish", "annotations", "updated"}


def sequence(*components: str) -> dict[str, Any]:
    return {"exec": {"kind": "sequence", "components": list(components)}}


@pytest.fixture(scope="module", autouse=True)
def actions(whisk: Whisk) -> None:
    whisk.made("actions", "wrap", wasm("main"))
    whisk.made("actions", "echo", wasm("echo", parameters=pairs(lang="en")))
    whisk.made("actions", "fails", wasm("fails"))


def test_a_sequence(whisk: Whisk) -> None:
    made = whisk.made("actions", "twice", sequence("/_/wrap", "/guest/echo", "/_/wrap"))
    assert made["exec"] == {"kind": "sequence", "components": ["/guest/wrap", "/guest/echo", "/guest/wrap"]}
    done = whisk("POST", "actions/twice?blocking=true", {"a": 1})
    assert done.status_code == 200, done.text
    record = done.json()
    assert record["response"]["result"] == {"got": {"lang": "en", "got": {"a": 1}}}
    assert {"key": "kind", "value": "sequence"} in record["annotations"]
    assert {"key": "topmost", "value": True} in record["annotations"]
    parts = [whisk.activation(id) for id in record["logs"]]
    assert [part["name"] for part in parts] == ["wrap", "echo", "wrap"]
    assert {part["cause"] for part in parts} == {record["activationId"]}
    assert {"key": "causedBy", "value": "sequence"} in parts[0]["annotations"]

    accepted = whisk("POST", "actions/twice", {"a": 2}).json()["activationId"]
    later = whisk.activation(accepted)
    assert later["response"]["result"] == {"got": {"lang": "en", "got": {"a": 2}}}
    assert len(later["logs"]) == 3


def test_a_sequence_ends_at_an_error(whisk: Whisk) -> None:
    whisk.made("actions", "stops", sequence("/_/wrap", "/_/fails", "/_/wrap"))
    done = whisk("POST", "actions/stops?blocking=true", {})
    assert done.status_code == 502
    assert done.json()["response"]["result"] == {"error": "no such book"}
    assert done.json()["response"]["status"] == "application error"
    assert len(done.json()["logs"]) == 2


def test_sequences_within_sequences(whisk: Whisk) -> None:
    whisk.made("actions", "inner", sequence("/_/wrap", "/_/wrap"))
    whisk.made("actions", "outer", sequence("/_/inner", "/_/echo"))
    assert whisk.result("outer", {}) == {"got": {"got": {}}, "lang": "en"}
    is_error(
        whisk("PUT", "actions/inner?overwrite=true", sequence("/_/outer")), 400, "may not refer to itself"
    )
    is_error(whisk("PUT", "actions/own", sequence("/_/own")), 400, "may not refer to itself")
    is_error(whisk("PUT", "actions/none", sequence()), 400, "No component specified")
    is_error(whisk("PUT", "actions/none", sequence("/_/nobody")), 400, "component does not exist")
    is_error(whisk("PUT", "actions/none", sequence("nobody")), 400, "at least the namespace and the name")
    is_error(whisk("PUT", "actions/none", sequence(*["/_/wrap"] * 51)), 400, "Too many actions")
    whisk.made("actions", "many", sequence(*["/_/wrap"] * 26))
    is_error(whisk("PUT", "actions/none", sequence("/_/many", "/_/many")), 400, "Too many actions")


def test_triggers_and_rules(whisk: Whisk) -> None:
    created = whisk("PUT", "triggers/t", {"parameters": pairs(place="Bath", name="Anne")})
    assert created.status_code == 200 and set(created.json()) == TRIGGER
    is_error(whisk("PUT", "triggers/t", {}), 409, "already exists")
    assert whisk.made("triggers", "t", {})["version"] == "0.0.2"
    assert whisk("POST", "triggers/t", {}).status_code == 204  # no rule yet

    rule = whisk("PUT", "rules/r", {"trigger": "/_/t", "action": "/guest/wrap", "name": "r", "status": ""})
    assert rule.status_code == 200 and set(rule.json()) == RULE
    assert rule.json()["status"] == "active"
    assert rule.json()["trigger"] == {"path": "guest", "name": "t"}
    assert rule.json()["action"] == {"path": "guest", "name": "wrap"}
    whisk.made("rules", "s", {"trigger": "/_/t", "action": "/_/echo"})
    is_error(whisk("PUT", "rules/r", {"trigger": "/_/t", "action": "/_/wrap"}), 409, "already exists")
    is_error(
        whisk("PUT", "rules/x", {"trigger": "/_/none", "action": "/_/wrap"}),
        400,
        "trigger /guest/none does not exist",
    )
    is_error(
        whisk("PUT", "rules/x", {"trigger": "/_/t", "action": "/_/none"}),
        400,
        "action /guest/none does not exist",
    )
    is_error(whisk("PUT", "rules/x", {"trigger": "/_/t"}), 400, "requires a valid trigger and a valid action")
    is_error(whisk("PUT", "rules/x", {"trigger": "/other/t", "action": "/_/wrap"}), 403, "not authorized")

    rules = whisk("GET", "triggers/t").json()["rules"]
    assert {name: rules[name]["status"] for name in rules} == {"guest/r": "active", "guest/s": "active"}

    fired = whisk("POST", "triggers/t", {"name": "Frederick"})
    assert fired.status_code == 202 and set(fired.json()) == {"activationId"}
    record = whisk.activation(fired.json()["activationId"])
    assert record["name"] == "t" and "end" not in record and "duration" not in record
    assert record["response"]["result"] == {"name": "Frederick"}
    said = {entry["rule"]: entry for entry in map(json.loads, record["logs"])}
    assert set(said) == {"guest/r", "guest/s"} and all(entry["success"] for entry in said.values())
    wrapped = whisk.activation(said["guest/r"]["activationId"])
    assert wrapped["response"]["result"] == {"got": {"place": "Bath", "name": "Frederick"}}
    echoed = whisk.activation(said["guest/s"]["activationId"])
    assert echoed["response"]["result"] == {"lang": "en", "place": "Bath", "name": "Frederick"}

    disabled = whisk("POST", "rules/r", {"status": "inactive", "trigger": None, "action": None})
    assert disabled.status_code == 200 and disabled.content == b""
    assert whisk("GET", "rules/r").json()["status"] == "inactive"
    again = whisk.activation(whisk("POST", "triggers/t", {}).json()["activationId"])
    said = {entry["rule"]: entry for entry in map(json.loads, again["logs"])}
    assert "is inactive" in said["guest/r"]["error"] and said["guest/s"]["success"]
    assert whisk.made("rules", "r", {"trigger": "/_/t", "action": "/_/wrap"})["status"] == "inactive"
    is_error(whisk("POST", "rules/r", {"status": "perhaps"}), 400, "not a recognized rule state")
    assert whisk("POST", "rules/r", {"status": "active"}).status_code == 200

    assert {r["name"] for r in whisk("GET", "rules").json()} >= {"r", "s"}
    assert whisk("GET", "rules?count=true").json() == {"rules": 2}
    assert [t["name"] for t in whisk("GET", "triggers").json()] == ["t"]
    deleted = whisk("DELETE", "rules/s")
    assert deleted.status_code == 200 and deleted.json()["status"] == "inactive"
    is_error(whisk("GET", "rules/s"), 404, "does not exist")
    assert whisk("DELETE", "triggers/t").status_code == 200
    assert whisk("GET", "rules/r").json()["status"] == "inactive"
    is_error(whisk("POST", "rules/r", {"status": "active"}), 404, "existing triggers")
    is_error(whisk("POST", "triggers/t", {}), 404, "does not exist")
    is_error(whisk("GET", "triggers/t/more"), 404, "does not exist")
    is_error(whisk("PATCH", "rules/r", {}), 405, "supported methods")


def test_an_action_that_is_gone(whisk: Whisk) -> None:
    whisk.made("actions", "gone", wasm("echo"))
    whisk.made("triggers", "u", {})
    whisk.made("rules", "to-gone", {"trigger": "/_/u", "action": "/_/gone"})
    assert whisk("DELETE", "actions/gone").status_code == 200
    record = whisk.activation(whisk("POST", "triggers/u", {}).json()["activationId"])
    said = json.loads(record["logs"][0])
    assert not said["success"] and "may have been deleted" in said["error"]


FEED = "/api/v1/namespaces/whisk.system/actions/alarms"


def ask(whisk: Whisk, feed: str, event: str, trigger: str, status: int = 200, **parameters: Any) -> Any:
    """What a client does for `wsk trigger create --feed`: the result of the feed action."""
    body = {"lifecycleEvent": event, "triggerName": f"/_/{trigger}", "authKey": "a:b", **parameters}
    done = whisk("POST", f"{FEED}/{feed}?blocking=true&result=false", body)
    assert done.status_code == status, done.text
    assert done.json()["name"] == feed and done.json()["namespace"] == "guest"
    return done.json()["response"]["result"]


def test_a_rule_fired_by_the_alarm_feed(whisk: Whisk) -> None:
    """With six fields, so that a second is enough."""
    whisk.made("triggers", "tick", {"annotations": pairs(feed="/whisk.system/alarms/alarm")})
    whisk.made("rules", "on-tick", {"trigger": "/_/tick", "action": "/_/echo"})
    payload = {"name": "Odin"}
    made = ask(whisk, "alarm", "CREATE", "tick", cron="* * * * * *", trigger_payload=payload, maxTriggers=2)
    assert made == {"status": "success"}
    until = time.monotonic() + PATIENCE_S
    found: list[Any] = []
    while len(found) < 2 and time.monotonic() < until:
        time.sleep(0.2)
        found = whisk("GET", "activations?name=tick&docs=true").json()
    assert [record["response"]["result"] for record in found] == [payload, payload]
    ran = whisk.activation(json.loads(found[0]["logs"][0])["activationId"])
    assert ran["response"]["result"] == {"lang": "en", **payload}
    time.sleep(2.5)
    assert len(whisk("GET", "activations?name=tick").json()) == 2  # maxTriggers
    read = ask(whisk, "alarm", "READ", "tick")
    assert read["config"]["cron"] == "* * * * * *" and read["config"]["payload"] == payload
    assert read["status"]["active"] is False and read["status"]["fired"] == 2
    assert ask(whisk, "alarm", "UPDATE", "tick", cron="0 0 1 1 *", maxTriggers=-1) == {"status": "success"}
    assert ask(whisk, "alarm", "READ", "tick")["status"]["active"] is True
    assert ask(whisk, "alarm", "DELETE", "tick") == {"status": "success"}
    assert "does not exist" in ask(whisk, "alarm", "READ", "tick", 502)["error"]


@pytest.mark.parametrize(
    ("feed", "event", "parameters", "text"),
    [
        ("alarm", "CREATE", {}, "missing the cron parameter"),
        ("alarm", "CREATE", {"cron": "61 * * * *"}, "cron pattern '61 * * * *' is not valid"),
        ("alarm", "CREATE", {"cron": "0 0 1 1 *", "timezone": "Mars/Olympus"}, "Invalid timezone."),
        ("alarm", "CREATE", {"cron": "0 0 1 1 *", "timezone": "../../etc/passwd"}, "Invalid timezone."),
        ("alarm", "CREATE", {"cron": "0 0 1 1 *", "stopDate": "2001-01-01"}, "must be in the future"),
        ("alarm", "CREATE", {"cron": "0 0 1 1 *", "startDate": "soon"}, "is not a valid Date"),
        ("interval", "CREATE", {}, "missing the minutes parameter"),
        ("interval", "CREATE", {"minutes": -1}, "greater than zero"),
        ("interval", "CREATE", {"minutes": "two"}, "must be an integer"),
        ("once", "CREATE", {}, "missing the date parameter"),
        ("once", "CREATE", {"date": 4e12, "deleteAfterFire": "no"}, "must be one of [false, true, rules]"),
        ("alarm", "PAUSE", {}, "does not exist"),
        ("alarm", "UPDATE", {"cron": "0 0 1 1 *"}, "does not exist"),
    ],
)
def test_refused_alarms(whisk: Whisk, feed: str, event: str, parameters: dict[str, Any], text: str) -> None:
    whisk.made("triggers", "never", {})
    assert text in ask(whisk, feed, event, "never", 502, **parameters)["error"]


def test_whisk_system(whisk: Whisk) -> None:
    system = "/api/v1/namespaces/whisk.system"
    assert [p["name"] for p in whisk("GET", f"{system}/packages").json()] == ["alarms"]
    feeds = whisk("GET", f"{system}/packages/alarms").json()["feeds"]
    assert [feed["name"] for feed in feeds] == ["alarm", "interval", "once"]
    assert whisk("GET", f"{system}/actions/alarms/once").json()["name"] == "once"
    is_error(whisk("PUT", f"{system}/actions/alarms/mine", wasm("main")), 403, "not authorized")
    is_error(whisk("POST", f"{FEED}/never?blocking=true", {}), 404, "does not exist")
    is_error(whisk("PUT", "triggers/x", {"annotations": pairs(feed="")}), 400, "Feed name is not valid")
