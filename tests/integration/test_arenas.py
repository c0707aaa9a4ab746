"""Memory never gets into pieces: after any history, a node refuses for want of memory only what a freshly booted one
would refuse too, and loses no byte.

A random sequence of installs, replacements, removals, calls, background jobs, aborted uploads and refused modules keeps
the pool nearly full. Whenever the node refuses for memory, a second node (the same image, the same pool) is asked: its
pool is emptied, which must make it one piece of the size it had at boot; then it gets what the first one holds and then
the request that was refused. It must refuse as well. To install takes more for a moment than what stays, so it may not
even hold what the first one holds in the order in which that came: then it gets it in other orders. Where none does,
nothing can be compared, and this is counted."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import cbor2
import pytest
from arena_modules import FUEL, Shape, shape
from nodes import HOST, STM32, host_port
from support import built, start_node

from wasmote.adapters.build import Variant
from wasmote.protocol import messages, problem

POOL = 98304  # what a chip of 128 KB has
NAMES = [f"f{n}" for n in range(12)]
KEEPER = "keeper"  # is always there; what is kept for jobs is its output
KEEPER_SHAPE = Shape(work=0, size_bytes=0, heap_bytes=0, stack_bytes=512, output_bytes=6000, has_start=False)
BLOCK_BYTES, SZX = 1024, 6


@dataclass
class Answer:
    code: str
    payload: bytes

    @property
    def ok(self) -> bool:
        return self.code.startswith("2.")

    @property
    def details(self) -> dict[Any, Any]:
        decoded = cbor2.loads(self.payload)
        return {**decoded, **decoded.get(problem.ENTRY, {})}

    @property
    def no_memory(self) -> bool:
        return (
            self.code == "4.13" or (self.code == "5.03" and "memory" in self.text) or "no room" in self.text
        )

    @property
    def text(self) -> str:
        return "" if self.ok else f"{self.code} {self.details}"


OPTIONS = {"if_none_match": 5, "content_format": 12, "block2": 23, "block1": 27, "size1": 60}


def options_of(values: list[tuple[int, Any]]) -> bytes:
    """Options in their encoding (RFC 7252, 3.1). A value is bytes, a number, True for empty, or a block."""
    encoded, before = b"", 0
    for number, value in sorted(values, key=lambda option: option[0]):
        if isinstance(value, tuple):
            num, more, szx = value
            value = num << 4 | more << 3 | szx
        if value is True:
            value = b""
        if isinstance(value, int):
            value = value.to_bytes((value.bit_length() + 7) // 8, "big")
        assert len(value) < 269
        delta, before = number - before, number
        nibbles = (13 if delta > 12 else delta) << 4 | (13 if len(value) > 12 else len(value))
        encoded += (
            bytes([nibbles] + [delta - 13] * (delta > 12) + [len(value) - 13] * (len(value) > 12)) + value
        )
    return encoded


def payload_of(message: bytes) -> bytes:
    """What follows the options; token and options are skipped."""
    at = 4 + (message[0] & 15)
    while at < len(message):
        if message[at] == 0xFF:
            return message[at + 1 :]
        delta, length = message[at] >> 4, message[at] & 15
        at += 1 + (delta == 13) + 2 * (delta == 14)
        if length == 13:
            length = 13 + message[at]
            at += 1
        assert length < 14 + 256
        at += length
    return b""


class Peer:
    """One node, asked one thing at a time: a message, its answer. Repeats what got lost (RFC 7252, 4.2)."""

    def __init__(self, uri: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(host_port(uri))
        self._ids = itertools.count(random.randrange(30000))
        self.boot = self.free

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: int, path: str, payload: bytes = b"", **options: Any) -> Answer:
        """path with a query, if any; options by their names in OPTIONS."""
        path, _, query = path.partition("?")
        values = [(11, part.encode()) for part in path.split("/")] + [(15, query.encode())] * bool(query)
        values += [(OPTIONS[name], value) for name, value in options.items()]
        mid = next(self._ids) & 0xFFFF
        token = mid.to_bytes(2, "big")
        message = (
            bytes((0x42, method)) + token + token + options_of(values) + (b"\xff" + payload) * bool(payload)
        )
        for timeout_s in (2, 4, 8, 16):
            self._socket.send(message)
            self._socket.settimeout(timeout_s)
            with contextlib.suppress(TimeoutError):
                while True:
                    reply = self._socket.recv(4096)
                    if reply[0] & 0x30 == 0:  # confirmable
                        self._socket.send(b"\x60\0" + reply[2:4])
                    if reply[1] != 0 and reply[4:6] == token:
                        return Answer(messages.code_text(reply[1]), payload_of(reply))
        raise TimeoutError(f"no answer to {path}")

    def upload(
        self,
        method: int,
        path: str,
        body: bytes,
        *,
        announce: bool = True,
        blocks: int | None = None,
        **options: Any,
    ) -> Answer:
        """The body in blocks, or the first few of them only; what the last one or the first that failed got."""
        if len(body) <= BLOCK_BYTES and blocks is None:
            return self.ask(method, path, body, **options)
        answer = Answer("", b"")
        for num, at in enumerate(range(0, len(body), BLOCK_BYTES)):
            if num == blocks:
                break
            more = at + BLOCK_BYTES < len(body)
            size1 = {"size1": len(body)} if num == 0 and announce else {}
            answer = self.ask(
                method, path, body[at : at + BLOCK_BYTES], block1=(num, more, SZX), **size1, **options
            )
            if not answer.ok:
                break
        return answer

    def read(self, path: str) -> Any:
        """A CBOR representation, block by block."""
        data = b""
        for num in itertools.count():
            reply = self.ask(messages.GET, path, block2=(num, False, SZX))
            assert reply.ok, reply.text
            data += reply.payload
            if len(reply.payload) < BLOCK_BYTES:
                break
        return cbor2.loads(data)

    def metrics(self) -> dict[str, int]:
        return {entry[0]: int(entry[2]) for entry in self.read("d/m")}

    @property
    def free(self) -> tuple[int, int]:
        """Bytes in all, and in the largest piece."""
        found = self.read("d")["ram"]
        return found["free"], found["largest"]

    def put(self, name: str, module: Shape, *, announce: bool = True) -> Answer:
        return self.upload(messages.PUT, f"f/{name}", module.data, content_format=42, announce=announce)

    def abort(self, path: str) -> Answer:
        """A transfer that was left starts again with what is no module, and so gives back its memory."""
        answer = self.ask(messages.PUT, path, b"no module", block1=(0, False, SZX), content_format=42)
        assert answer.code in ("4.22", "4.13"), answer.text
        return answer

    def start(self, job: str, size_bytes: int) -> Answer:
        """A job of the keeper, whose output is kept. What has become of it, if it has been started."""
        answer = self.upload(
            messages.PUT,
            f"j/{job}?f={KEEPER}/echo",
            filling(size_bytes),
            content_format=42,
            if_none_match=True,
        )
        if answer.ok:
            state = self.read(f"j/{job}")
            if state["state"] != "done":
                return Answer("5.03", cbor2.dumps({"job": state, "for want of": "memory"}))
            assert state["result"] == filling(size_bytes)
        return answer


def filling(size_bytes: int) -> bytes:
    return bytes(n * 31 & 0xFF for n in range(size_bytes))


@dataclass
class Installed:
    shape: Shape
    expected: int  # the sum that it has
    order: int


@dataclass
class Sequence:
    """What a node is to hold, and the ways to change it at random."""

    node: Peer
    oracle: Peer
    rng: random.Random
    functions: dict[str, Installed] = field(default_factory=dict)
    jobs: dict[str, int] = field(default_factory=dict)  # id -> bytes of its output
    open: dict[str, tuple[Shape, bool, int]] = field(
        default_factory=dict
    )  # path -> module, announced, blocks
    count: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    step: int = 0

    # ---- the oracle ----

    def fresh_takes(
        self, order: list[str], ask: str, name: str, shape: Shape | None, size: int, announce: bool
    ) -> bool | None:
        """Whether a fresh node that holds the same takes this too. None: it cannot even hold the same."""
        other = self.oracle
        for job in other.read("j"):
            other.ask(messages.DELETE, f"j/{job['id']}")
        for path in list(self.oracle_open):
            other.abort(path)
        self.oracle_open.clear()
        for held in self.oracle_names:  # also those that it had no room for: a DELETE of nothing succeeds
            assert other.ask(messages.DELETE, f"f/{held}").ok
        self.oracle_names.clear()
        assert other.free == other.boot, "the oracle lost memory"
        if not all(self.oracle_holds(one) for one in order):
            return None
        for path, (module, announced, blocks) in self.open.items():
            self.oracle_open.append(path)
            if not other.upload(
                messages.PUT, path, module.data, announce=announced, blocks=blocks, content_format=42
            ).ok:
                return None
        if ask == "put":
            assert shape is not None
            self.oracle_names.append(name)
            return other.put(name, shape, announce=announce).ok
        if ask == "job":
            return other.start("asked", size).ok
        if ask == "open":
            assert shape is not None
            self.oracle_open.append(f"f/{name}")
            return other.upload(
                messages.PUT, f"f/{name}", shape.data, announce=announce, blocks=size, content_format=42
            ).ok
        if ask == "fetch":
            return other.ask(messages.FETCH, f"f/{name}/twice", b"\x81\x05", content_format=60).ok
        other.ask(messages.POST, f"f/{name}/spin")
        return other.ask(messages.POST, f"f/{name}/add", b"\x81\x00", content_format=60).ok

    oracle_names: list[str] = field(default_factory=list)
    oracle_open: list[str] = field(default_factory=list)

    def oracle_holds(self, name: str) -> bool:
        """Whether the oracle has room for this function, or for the result of this job."""
        if name in self.jobs:
            return self.oracle.start(name, self.jobs[name]).ok
        self.oracle_names.append(name)
        return self.oracle.put(name, self.functions[name].shape).ok

    def orders(self) -> Iterator[list[str]]:
        """In which a fresh node may get what this one holds. What takes most beyond what stays should come first, but
        that is known of jobs alone, whose body is there beside the result."""
        others = [name for name in self.functions if name != KEEPER]
        others.sort(key=lambda held: self.functions[held].order)
        yield [KEEPER, *self.jobs, *others]
        others.sort(key=lambda held: -self.functions[held].shape.least_bytes)
        yield [KEEPER, *self.jobs, *others]
        yield [*others, KEEPER, *self.jobs]

    def refused(
        self,
        answer: Answer,
        ask: str,
        name: str,
        shape: Shape | None = None,
        size: int = 0,
        *,
        announce: bool = True,
    ) -> None:
        """The node has no memory for this. Ask the oracle."""
        assert answer.no_memory, answer.text
        self.count[f"{ask} refused"] += 1
        total = self.node.boot[0]
        held = sum(item.shape.least_bytes for item in self.functions.values()) + sum(self.jobs.values())
        if shape is not None and ask == "put" and held + shape.least_bytes > total:
            self.count["refused, as any node must"] += 1
            return
        verdict = None
        for order in self.orders():
            verdict = self.fresh_takes(order, ask, name, shape, size, announce)
            if verdict is not None:
                break
        if verdict is None:
            self.count["not comparable"] += 1
        elif verdict:
            self.count["a fresh node takes it"] += 1
            free = self.node.free
            self.failures.append(f"step {self.step}: {ask} {name} {shape} {size}: {answer.text}; free {free}")

    # ---- what can happen ----

    def restarted(self, name: str, answer: Answer) -> None:
        """A refused module may have cost the function its memory, if the answer says so."""
        if answer.details.get("restarted"):
            self.count["restarted"] += 1
            self.functions[name].expected = self.functions[name].shape.first_sum

    def install(self) -> None:
        name, module, announce = self.rng.choice(NAMES), shape(self.rng), self.rng.random() < 0.7
        self.close(f"f/{name}")
        before = self.node.free[0]
        known = self.functions.get(name)
        answer = self.node.put(name, module, announce=announce)
        if answer.ok:
            assert answer.code == ("2.01" if known is None else "2.04")
            self.count["installed" if known is None else "replaced"] += 1
            self.functions[name] = Installed(module, module.first_sum, self.step)
            return
        self.restarted(name, answer)
        assert self.node.free[0] == before, f"a refusal lost {before - self.node.free[0]} bytes"
        self.refused(answer, "put", name, module, announce=announce)
        self.call(name)

    def refuse(self) -> None:
        """A module that is no good: nothing changes."""
        name, module = self.rng.choice(NAMES), shape(self.rng)
        self.close(f"f/{name}")
        before = self.node.free[0]
        broken = bytearray(module.data[: self.rng.randrange(30, len(module.data))])
        broken[self.rng.randrange(len(broken))] ^= 0xFF
        answer = self.node.upload(messages.PUT, f"f/{name}", bytes(broken), content_format=42)
        if answer.ok:  # the damage was in what means nothing
            self.node.ask(messages.DELETE, f"f/{name}")
            self.functions.pop(name, None)
            return
        assert answer.code in ("4.22", "4.13"), answer.text
        self.restarted(name, answer)
        assert self.node.free[0] == before
        self.count["bad module"] += 1

    def remove(self) -> None:
        if self.functions:
            name = self.rng.choice(list(self.functions))
            if name != KEEPER:
                assert self.node.ask(messages.DELETE, f"f/{name}").code == "2.02"
                del self.functions[name]
                self.count["removed"] += 1

    def call(self, name: str | None = None) -> None:
        name = name or self.rng.choice(list(self.functions))
        held = self.functions.get(name)
        if held is None:
            return
        value = self.rng.randrange(1000)
        answer = self.node.ask(messages.POST, f"f/{name}/add", cbor2.dumps([value]), content_format=60)
        if not answer.ok:
            self.refused(answer, "call", name)
            return
        held.expected += value
        found = cbor2.loads(answer.payload)
        if found != held.expected:
            self.count["lost its memory"] += 1
            self.failures.append(f"step {self.step}: {name} has {found}, not {held.expected}")
            held.expected = found
        self.count["called"] += 1

    def spin(self) -> None:
        """It runs out of fuel, and its next call gets a fresh instance."""
        name = self.rng.choice(list(self.functions))
        answer = self.node.ask(messages.POST, f"f/{name}/spin")
        if answer.no_memory:
            self.refused(answer, "call", name)
            return
        assert answer.details["trap"] == "fuel", answer.text
        assert answer.details["fuel"] == FUEL
        self.functions[name].expected = self.functions[name].shape.first_sum
        self.count["stopped"] += 1

    def fetch(self) -> None:
        name = self.rng.choice(list(self.functions))
        answer = self.node.ask(messages.FETCH, f"f/{name}/twice", cbor2.dumps([21]), content_format=60)
        if not answer.ok:
            self.refused(answer, "fetch", name)
            return
        assert cbor2.loads(answer.payload) == 42
        self.count["fetched"] += 1

    def echo(self) -> None:
        body = filling(self.rng.randrange(600))
        answer = self.node.ask(messages.POST, f"f/{KEEPER}/echo", body, content_format=42)
        assert answer.payload == body, answer.text
        self.count["echoed"] += 1

    def job(self) -> None:
        """Start one whose output stays, or delete one."""
        if len(self.jobs) > 2 or (self.jobs and self.rng.random() < 0.4):
            job = self.rng.choice(list(self.jobs))
            del self.jobs[job]
            assert self.node.ask(messages.DELETE, f"j/{job}").code == "2.02"
            return
        job, size_bytes = f"j{self.step}", self.rng.choice((0, 20, 900, 2500, 5900))
        answer = self.node.start(job, size_bytes)
        if answer.ok:
            self.jobs[job] = size_bytes
            self.count["job kept"] += 1
        else:
            self.node.ask(messages.DELETE, f"j/{job}")
            if "job" in answer.details:  # it ran, and trapped: the next call gets a fresh instance
                self.functions[KEEPER].expected = KEEPER_SHAPE.first_sum
            self.refused(answer, "job", KEEPER, size=size_bytes)

    def upload(self) -> None:
        """Begin a transfer and leave it, or end one that was left."""
        if self.open:
            self.close(self.rng.choice(list(self.open)))
            return
        name, module, announce = self.rng.choice(NAMES), shape(self.rng), self.rng.random() < 0.5
        blocks = (len(module.data) - 1) // BLOCK_BYTES  # never the last one
        if blocks == 0:
            return
        blocks = self.rng.randrange(1, blocks + 1)
        answer = self.node.upload(
            messages.PUT, f"f/{name}", module.data, announce=announce, blocks=blocks, content_format=42
        )
        if answer.ok:
            self.open[f"f/{name}"] = (module, announce, blocks)
            self.count["upload left"] += 1
        else:
            self.refused(answer, "open", name, module, blocks, announce=announce)

    def close(self, path: str) -> None:
        if path in self.open:
            del self.open[path]
            self.restarted(path.removeprefix("f/"), self.node.abort(path))

    def run(self, steps: int) -> None:
        actions = {
            self.install: 40, self.remove: 12, self.call: 20, self.spin: 3, self.fetch: 6, self.echo: 5, self.job: 8,
            self.upload: 3, self.refuse: 3,
        }  # fmt: skip
        for self.step in range(1, steps + 1):
            if self.open and self.step % 8 == 0:
                self.close(next(iter(self.open)))
            self.rng.choices(list(actions), weights=list(actions.values()))[0]()

    def empty(self) -> None:
        for path in list(self.open):
            self.close(path)
        for job in self.jobs:
            assert self.node.ask(messages.DELETE, f"j/{job}").code == "2.02"
        for name in self.functions:
            self.call(name)
            assert self.node.ask(messages.DELETE, f"f/{name}").code == "2.02"


@contextlib.contextmanager
def two_nodes(board: str, *options: str) -> Iterator[tuple[Peer, Peer]]:
    with (
        contextlib.contextmanager(start_node)(board, *options) as one,
        contextlib.contextmanager(start_node)(board, *options) as two,
        contextlib.closing(Peer(one.uri)) as node,
        contextlib.closing(Peer(two.uri)) as oracle,
    ):
        yield node, oracle


@pytest.mark.slow
@pytest.mark.parametrize(
    ("board", "options", "steps", "seed"),
    [
        (HOST, ("--pool", str(POOL)), 10000, 1),
        (HOST, ("--pool", str(POOL), "--sanitize"), 1000, 2),
        (STM32, (), 500, 3),
    ],
)
def test_arenas_refuse_only_what_a_fresh_node_refuses(
    board: str, options: tuple[str, ...], steps: int, seed: int, say: Callable[[str], None]
) -> None:
    built(board, Variant(sanitize="--sanitize" in options))
    with two_nodes(board, *options) as (node, oracle):
        sequence = Sequence(node, oracle, random.Random(seed))
        assert node.put(KEEPER, KEEPER_SHAPE).ok
        sequence.functions[KEEPER] = Installed(KEEPER_SHAPE, 0, 0)
        sequence.run(steps)
        metrics = node.metrics()
        sequence.empty()
        say(f"{board}, {steps} steps: {dict(sequence.count)}, tidied {metrics['ram/tidied']} times")
        assert node.free == node.boot, "memory was lost"
        first = "\n".join(sequence.failures[:5])
        assert not sequence.failures, f"{len(sequence.failures)} times not as a fresh node:\n{first}"
        refusals = sum(number for what, number in sequence.count.items() if what.endswith(" refused"))
        assert refusals > steps / 20, "the pool was never full"
        assert sequence.count["not comparable"] + sequence.count["refused, as any node must"] < refusals / 5
        assert metrics["ram/tidied"] > steps / 50, "the pool was never in pieces"
