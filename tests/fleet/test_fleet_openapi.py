"""schemathesis against a real server with a real node: no answer that the document does not know, and no crash."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_server import FleetServer, fleet_server, run_cli
from support import HOST, built, start_node

from wasmote.adapters import build

# Beside what a schema can say there is what it cannot: an address, a name that is there, a module that is valid.
EXCLUDED = "positive_data_acceptance"
EXAMPLES = 10


@pytest.mark.slow
def test_the_server_answers_as_its_document_says(tmp_path: Path) -> None:
    built(HOST, build.Variant(sanitize=True))
    data = tmp_path / "fleet.db"
    key = json.loads(run_cli("keys", "add", "deploy", "--data", str(data)).stdout)["key"]
    for node in start_node(HOST, "--sanitize", "--ep", "n"):
        with fleet_server(data, "--http", "0.0.0.0:0") as server:
            _prepare(server, node.uri, key)
            command = [
                Path(sys.executable).with_name("schemathesis"),
                "run",
                f"{server.http}/openapi.json",
                f"--header=Authorization: Bearer {key}",
                f"--max-examples={EXAMPLES}",
                f"--exclude-checks={EXCLUDED}",
                "--seed=1",
                "--no-color",
                "--suppress-health-check=all",
            ]
            variables = {
                **os.environ,
                "SCHEMATHESIS_HOOKS": "schemathesis_hooks",
                "PYTHONPATH": str(Path(__file__).parent),
            }
            report = subprocess.run(
                command, capture_output=True, text=True, check=False, cwd=tmp_path, env=variables
            )
            assert report.returncode == 0, report.stdout[-6000:] + report.stderr[-2000:]
            _prepare(server, node.uri, key)  # it may have removed all of it
            call = server.request("POST", "/api/v1/nodes/n/functions/fib/fib", json=[20], key=key)
            assert call.json()["value"] == 6765, call.text


def _prepare(server: FleetServer, uri: str, key: str) -> None:
    for words in (("adopt", uri), ("publish", "fib", "--replace"), ("push", "n", "fib")):
        done = server.cli(*words, key=key)
        assert done.returncode == 0, done.stderr
    queued = server.request("POST", "/api/v1/nodes/n/functions/fib?queued=true&id=seen", json=[20], key=key)
    assert queued.status_code == 202, queued.text
