"""Nodes: who, what they can, are they there. Registry is the part that runs; add_directory makes an aiocoap site a
resource directory (RFC 9176) whose registrations the registry follows."""

from wasmote_fleet.registry.directory import Directory
from wasmote_fleet.registry.errors import NodeExists, NotHere, UnknownNode, WrongNode
from wasmote_fleet.registry.events import Event
from wasmote_fleet.registry.feed import Feed
from wasmote_fleet.registry.presence import Change, State
from wasmote_fleet.registry.rd import add_directory
from wasmote_fleet.registry.records import Record
from wasmote_fleet.registry.registry import NodeView, Registry

__all__ = [
    "Change",
    "Directory",
    "Event",
    "Feed",
    "NodeExists",
    "NodeView",
    "NotHere",
    "Record",
    "Registry",
    "State",
    "UnknownNode",
    "WrongNode",
    "add_directory",
]
