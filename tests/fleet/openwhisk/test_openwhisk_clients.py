"""A client of OpenWhisk's that is not ours: npm's `openwhisk`, as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import filelock
import pytest
from fleet_server import fleet_server, run_cli
from support import RunningNode
from whisk_world import HERE, Whisk, words

from wasmote.adapters.project import Project

pytestmark = pytest.mark.slow
CLIENT = HERE / "node_openwhisk"


@pytest.fixture(scope="module")
def modules() -> Path:
    """node_modules with `openwhisk`, installed once from the versions and digests in package-lock.json."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    folder = Project.find().build / "node_openwhisk"
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / ".lock"):
        files = ("package.json", "package-lock.json", ".npmrc")
        stamp = b"".join((CLIENT / name).read_bytes() for name in files)
        done = folder / ".installed"
        if not done.is_file() or done.read_bytes() != stamp:
            for name in files:
                shutil.copy(CLIENT / name, folder / name)
            result = subprocess.run(["npm", "ci"], cwd=folder, capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stderr
            done.write_bytes(stamp)
    return folder / "node_modules"


def test_npms_client(node: RunningNode, modules: Path, tmp_path: Path) -> None:
    data, module = tmp_path / "fleet.db", tmp_path / "words.wasm"
    module.write_bytes(words())
    key = json.loads(run_cli("keys", "add", "deploy", "--data", str(data)).stdout)["key"]
    with fleet_server(data, "--http", "0.0.0.0:0") as server:
        assert Whisk(server, key)("POST", "/api/v1/nodes", {"uri": node.uri}).status_code == 201
        ran = subprocess.run(
            ["node", str(CLIENT / "client.js"), server.http, key, str(module)],
            env={**os.environ, "NODE_PATH": str(modules)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout) == {
            "version": "0.0.1",
            "result": {"got": {"a": 1, "b": 2}},
            "success": True,
            "logs": 2,
            "sequence": {"got": {"a": 1, "got": {"a": 1}}},
            "actions": ["js", "seq"],
            "fired": {"got": {"a": 1, "x": 1}},
            "rule": "inactive",
            "feed": {"status": "success"},
            "route": f"{server.http}/api/guest/js",
            "routes": 1,
            "none": [404, "The requested resource does not exist."],
            "left": 0,
        }
