"""Requests a second and latency: a closed loop, all servers in turn, medians over the rounds."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from servers import Running, Server, started


@dataclass(frozen=True)
class Mode:
    title: str
    outstanding: int
    cores: int  # 1: client and server share one


MODES = (Mode("1 outstanding, one core", 1, 1), Mode("16 outstanding, two cores", 16, 2))


@dataclass(frozen=True)
class Sample:
    rate: float  # good replies a second
    p50_us: float
    p99_us: float
    lost: int
    bad: int
    cpu_us: float  # that the server was on a core, a good reply


@dataclass(frozen=True)
class Result:
    server: Server
    mode: Mode
    rate: float  # median, as the two below
    p50_us: float
    p99_us: float
    of_echo: float  # median over the rounds of its rate against the echo's in the same round
    of_node: float  # likewise, against the node's
    cpu_us: float  # of the server, a reply; median. Suffers less from what else the machine does
    lost: int  # in all rounds, as bad
    bad: int


def _on_core_ns(pid: int) -> int:
    """What a process has used of a core so far, in user space and kernel (proc(5), schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def sample(load: Path, running: Running, mode: Mode, cores: list[int], seconds: float) -> Sample:
    running.pin(cores[mode.cores - 1])
    command = [load, "-p", running.port, "-o", mode.outstanding, "-t", seconds, *running.server.ask]
    before_ns = _on_core_ns(running.process.pid)
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {cores[0]}),
    )
    if not done.stdout:
        raise RuntimeError(f"the load client failed on {running.server.name}: {done.stderr.strip()}")
    figures = json.loads(done.stdout)
    cpu_us = (_on_core_ns(running.process.pid) - before_ns) / 1000 / max(1, figures["requests"])
    return Sample(*(figures[key] for key in ("rate", "p50_us", "p99_us", "lost", "bad")), cpu_us)


def measure(load: Path, servers: list[Server], rounds: int, seconds: float) -> list[Result]:
    """Every server in every mode. servers holds `echo` and `node`. A mode that needs more cores than there are is left
    out."""
    cores = sorted(os.sched_getaffinity(0))
    results = []
    with ExitStack() as stack:
        running = [stack.enter_context(started(server)) for server in servers]
        for mode in MODES:
            if mode.cores > len(cores):
                continue
            for one in running:  # warm up
                sample(load, one, mode, cores, 0.1)
            samples: dict[str, list[Sample]] = {server.name: [] for server in servers}
            for _ in range(rounds):
                for one in running:
                    samples[one.server.name].append(sample(load, one, mode, cores, seconds))
            for server in servers:
                own = samples[server.name]
                results.append(
                    Result(
                        server,
                        mode,
                        median(s.rate for s in own),
                        median(s.p50_us for s in own),
                        median(s.p99_us for s in own),
                        median(s.rate / e.rate for s, e in zip(own, samples["echo"], strict=True)),
                        median(
                            s.rate / n.rate if n.rate else 0.0
                            for s, n in zip(own, samples["node"], strict=True)
                        ),
                        median(s.cpu_us for s in own),
                        sum(s.lost for s in own),
                        sum(s.bad for s in own),
                    )
                )
    return results
