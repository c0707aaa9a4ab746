"""Calls of deployments' functions, at once or queued: failover, history, results, chains."""

from wasmote_fleet.requests.context import Ambiguous as Ambiguous
from wasmote_fleet.requests.errors import Cancelled as Cancelled
from wasmote_fleet.requests.errors import HopLimit as HopLimit
from wasmote_fleet.requests.errors import MayHaveRun as MayHaveRun
from wasmote_fleet.requests.errors import NoAnswer as NoAnswer
from wasmote_fleet.requests.errors import NoPlace as NoPlace
from wasmote_fleet.requests.errors import NotFinished as NotFinished
from wasmote_fleet.requests.errors import RequestExists as RequestExists
from wasmote_fleet.requests.errors import TooLate as TooLate
from wasmote_fleet.requests.errors import UnknownRequest as UnknownRequest
from wasmote_fleet.requests.errors import UnknownTarget as UnknownTarget
from wasmote_fleet.requests.joints import check_chain as check_chain
from wasmote_fleet.requests.places import Place as Place
from wasmote_fleet.requests.places import Places as Places
from wasmote_fleet.requests.records import Hop as Hop
from wasmote_fleet.requests.records import Request as Request
from wasmote_fleet.requests.records import State as State
from wasmote_fleet.requests.records import Target as Target
from wasmote_fleet.requests.requests import Requests as Requests
from wasmote_fleet.requests.resolve import find_export as find_export
