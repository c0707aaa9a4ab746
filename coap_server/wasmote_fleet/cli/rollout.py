"""A deployment's progress, as commands show it."""

from __future__ import annotations

import time
from typing import Any

from wasmote.cli.base import Session
from wasmote.errors import ExitCode, UnreachableError, WasmoteError
from wasmote_fleet.cli.client import Client

_AGAIN_S = 1.0
_DONE = ("ready", "removed")


def follow(session: Session, client: Client, id: str, timeout_s: float) -> dict[str, Any]:
    """Show how far it is until nothing more happens by itself, or for so long; what it is then. A server that is away
    for a moment is waited for."""
    end = time.monotonic() + timeout_s
    last: dict[str, Any] = client.get("deployments", id, "progress")
    with session.output.progress(f"deploy {id}", max(last["wanted"], 1), unit="places") as bar:
        while not last["settled"] and time.monotonic() < end:
            try:
                for found in client.stream("deployments", id, "progress"):
                    if found is not None:
                        last = found
                        bar.total(max(last["wanted"], 1))
                        bar.update(last["ready"])
                        bar.describe(_doing(last))
                    if last["settled"] or time.monotonic() >= end:
                        break
            except UnreachableError:
                time.sleep(_AGAIN_S)
            except WasmoteError as error:
                if error.details.get("kind") != "unknown-deployment":
                    raise
                return {**last, "phase": "removed", "settled": True, "nodes": []}
    return last


def _doing(progress: dict[str, Any]) -> str:
    wave = f", wave {progress['wave']} of {progress['waves']}" if progress["waves"] > 1 else ""
    return f"deploy {progress['id']}: {progress['phase']}{wave}"


def end_of(progress: dict[str, Any], timeout_s: float) -> None:
    """Raises WasmoteError unless all is as it should be."""
    if progress["phase"] in _DONE:
        return
    stopped = progress["settled"]
    id = progress["id"]
    raise WasmoteError(
        summary(progress).splitlines()[0] + ("" if stopped else f" after {timeout_s:g} s"),
        cause=progress["cause"],
        next_step=f"correct it and deploy it again, or go back: `wasmote fleet deployments {id} --rollback`"
        if stopped
        else f"it goes on; `wasmote fleet deployments {id}` shows how far it is",
        exit_code=ExitCode.REFUSED if stopped else ExitCode.UNANSWERED,
        details={"kind": progress["phase"], "progress": progress},
    )


def summary(progress: dict[str, Any], spec: dict[str, Any] | None = None) -> str:
    """In a few lines, for a person; with the versions of what nodes have, if spec is given."""
    versions = {one.get("digest"): one.get("version") for one in spec["functions"]} if spec else {}
    counts = f"{progress['ready']} of {progress['wanted']} ready"
    failed = f", {progress['failed']} failed" if progress["failed"] else ""
    lines = [f"{progress['id']}: {progress['phase']}, {counts}{failed}"]
    for one in progress.get("nodes", ()):
        cause = f" ({one['cause']})" if one["cause"] else ""
        version = versions.get(one["sha256"])
        module = one["sha256"][:12] if version is None else f"{version} ({one['sha256'][:12]})"
        lines.append(f"  {one['function']} on {one['node']}: {one['state']}, {module}{cause}")
    return "\n".join(lines)
