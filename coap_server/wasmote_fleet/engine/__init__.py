"""The engine: keys and values, leases, blobs, queues, logs and calls, by SQLite or by NATS.

interface.py has the contract, coap_server/README.md what each driver's acknowledgement is worth.
"""

from wasmote_fleet.engine.blobs import BlobInfo, Blobs
from wasmote_fleet.engine.clock import Clock, SystemClock
from wasmote_fleet.engine.engine import Engine, open_engine
from wasmote_fleet.engine.errors import (
    Busy,
    CallFailed,
    CallTimeout,
    DataInUse,
    DataUnusable,
    DigestMismatch,
    EngineClosed,
    EngineError,
    EngineUnavailable,
    LeaseLost,
    NoSuchService,
    NotFound,
    RevisionConflict,
    RevisionTooOld,
    TooLarge,
)
from wasmote_fleet.engine.interface import (
    MAX_VALUE_BYTES,
    Call,
    Change,
    ChangeKind,
    EngineInfo,
    Entry,
    Job,
    KeyValue,
    Log,
    Queue,
    QueuePolicy,
    QueueStats,
    Record,
    SnapshotEnd,
)
from wasmote_fleet.engine.leases import Holding, Lease, Leases, holding

__all__ = [
    "MAX_VALUE_BYTES",
    "BlobInfo",
    "Blobs",
    "Busy",
    "Call",
    "CallFailed",
    "CallTimeout",
    "Change",
    "ChangeKind",
    "Clock",
    "DataInUse",
    "DataUnusable",
    "DigestMismatch",
    "Engine",
    "EngineClosed",
    "EngineError",
    "EngineInfo",
    "EngineUnavailable",
    "Entry",
    "Holding",
    "Job",
    "KeyValue",
    "Lease",
    "LeaseLost",
    "Leases",
    "Log",
    "NoSuchService",
    "NotFound",
    "Queue",
    "QueuePolicy",
    "QueueStats",
    "Record",
    "RevisionConflict",
    "RevisionTooOld",
    "SnapshotEnd",
    "SystemClock",
    "TooLarge",
    "holding",
    "open_engine",
]
