"""A real `wasmote fleet serve` for tests, and the command line against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

STOP_S = 30.0


@dataclass
class FleetServer:
    """A server that runs. http, coap: its addresses. started: all that it said when it was ready."""

    http: str
    coap: str
    data: Path | str
    process: subprocess.Popen[str]
    started: dict[str, Any]

    def request(self, method: str, path: str, *, key: str | None = None, **options: Any) -> requests.Response:
        """One request; path is sent as it is."""
        headers = options.pop("headers", {}) | ({"Authorization": f"Bearer {key}"} if key else {})
        return requests.request(method, self.http + path, headers=headers, timeout=60, **options)

    def cli(self, *args: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """`wasmote --json fleet ARGS` against this server."""
        variables = {**os.environ, "WASMOTE_FLEET": self.http} | ({"WASMOTE_FLEET_KEY": key} if key else {})
        return run_cli(*args, variables=variables)

    def tell(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait(STOP_S)

    def end(self) -> str:
        """Wait until it has ended in order; what it wrote to stderr."""
        _out, err = self.process.communicate(timeout=STOP_S)
        assert self.process.returncode == 0, err
        return err


def run_cli(*args: str, variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """`wasmote --json fleet ARGS`."""
    return subprocess.run(
        [sys.executable, "-m", "wasmote", "--json", "fleet", *args],
        capture_output=True,
        text=True,
        check=False,
        env=variables,
        timeout=120,
    )


@contextmanager
def fleet_server(data: Path | str, *options: str, patience: Sequence[str] = ()) -> Iterator[FleetServer]:
    """A server at free ports, stopped afterwards unless it was already. It must not write anything to stderr. data: a
    file, or nats://HOST. patience: options of wasmote itself, such as --ack-timeout."""
    command = [sys.executable, "-m", "wasmote", *patience, "--json", "fleet", "serve", "--data", str(data)]
    for name in ("--coap", "--http"):
        if name not in options:
            command += [name, "127.0.0.1:0"]
    command += options
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"the server did not start: {process.communicate()[1]}")
        at = json.loads(line)
        server = FleetServer(at["http"].replace("0.0.0.0", "127.0.0.1"), at["coap"], data, process, at)
        try:
            yield server
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                try:
                    said = server.end()
                    assert said == "", said
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
