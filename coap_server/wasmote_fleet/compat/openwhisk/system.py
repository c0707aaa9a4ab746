"""What the namespace whisk.system has: the package alarms with its feeds."""

from __future__ import annotations

from wasmote_fleet.compat.openwhisk.alarms import FEEDS
from wasmote_fleet.compat.openwhisk.bodies import KeyValues
from wasmote_fleet.compat.openwhisk.errors import not_found
from wasmote_fleet.compat.openwhisk.limits import ActionLimits
from wasmote_fleet.compat.openwhisk.names import SYSTEM
from wasmote_fleet.compat.openwhisk.store import Doc

PACKAGE = "alarms"
EVENTS = ("CREATE", "READ", "UPDATE", "DELETE")
_DESCRIPTIONS = {
    "alarm": "Fire trigger when alarm occurs",
    "interval": "Fire trigger at specified interval",
    "once": "Fire trigger once when alarm occurs",
}


def package_summary() -> Doc:
    return {
        "namespace": SYSTEM,
        "name": PACKAGE,
        "version": "0.0.1",
        "publish": True,
        "binding": False,
        "annotations": [{"key": "description", "value": "Alarms and periodic utility"}],
        "updated": 0,
    }


def package(name: str) -> Doc:
    """Raises Rejected (404)."""
    if name != PACKAGE:
        raise not_found()
    feeds = [{"name": feed, "version": "0.0.1", "annotations": _annotations(feed)} for feed in FEEDS]
    return {**package_summary(), "binding": {}, "parameters": [], "actions": [], "feeds": feeds}


def feed_action(package_name: str, name: str) -> Doc:
    """Raises Rejected (404)."""
    if package_name != PACKAGE or name not in FEEDS:
        raise not_found()
    return {
        "namespace": f"{SYSTEM}/{PACKAGE}",
        "name": name,
        "version": "0.0.1",
        "publish": True,
        "exec": {"kind": "builtin", "binary": False},
        "annotations": _annotations(name),
        "parameters": [],
        "limits": ActionLimits().as_json(),
        "updated": 0,
    }


def feed_actions() -> list[Doc]:
    return [feed_action(PACKAGE, name) for name in FEEDS]


def _annotations(feed: str) -> KeyValues:
    return [{"key": "description", "value": _DESCRIPTIONS[feed]}, {"key": "feed", "value": True}]
