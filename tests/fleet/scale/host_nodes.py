"""Many host nodes, each a process of its own, started without anything around it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1


@dataclass
class HostNode:
    """ep: its endpoint name. port: of its UDP address on loopback, which it keeps when it starts again. process: None
    while it does not run."""

    ep: str
    port: int = 0
    process: subprocess.Popen[str] | None = None
    kills: int = 0

    @property
    def uri(self) -> str:
        return f"coap://127.0.0.1:{self.port}"


@dataclass
class HostNodes:
    """`with`. image: the host's node. register: the URI of a resource directory, None for none. All are killed at the
    end."""

    image: Path
    register: str | None = None
    lifetime_s: int = 600
    nodes: dict[str, HostNode] = field(default_factory=dict)

    async def add(self, ep: str) -> HostNode:
        """A new node, started."""
        node = self.nodes[ep] = HostNode(ep)
        await self.start(node)
        return node

    async def start(self, node: HostNode, *, moved: bool = False) -> None:
        """Start it (again). moved: at another address, as it is anyway where its own has been taken meanwhile."""
        for port in (0,) if moved or not node.port else (node.port, 0):
            if await self._start(node, port):
                return
        raise RuntimeError(f"node {node.ep} does not start")

    def kill(self, node: HostNode) -> None:
        """As kill -9 does."""
        process, node.process = node.process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        node.kills += 1

    def dead(self) -> list[str]:
        """Those that ended by themselves."""
        return [
            ep
            for ep, node in self.nodes.items()
            if node.process is not None and node.process.poll() is not None
        ]

    async def _start(self, node: HostNode, port: int) -> bool:
        command = [str(self.image), "--bind", "127.0.0.1", "--port", str(port), "--ep", node.ep]
        if self.register is not None:
            command += ["--register", self.register, "--lifetime", str(self.lifetime_s)]
        # In this thread: a child of another one would end with that thread.
        process = subprocess.Popen(  # noqa: ASYNC220
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=_die_with_parent
        )
        assert process.stdout is not None
        words = (await asyncio.to_thread(process.stdout.readline)).split()
        if not words:
            process.wait()
            process.stdout.close()
            return False
        node.port = int(words[-1].rpartition(":")[2])
        node.process = process
        return True

    def __enter__(self) -> HostNodes:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for node in self.nodes.values():
            with contextlib.suppress(ProcessLookupError):
                self.kill(node)


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
