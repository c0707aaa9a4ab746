"""What this server does at the nodes that it speaks with: a few things at a time, the others in a queue that ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from wasmote.adapters.validator import Validator
from wasmote.errors import InputError, RefusedError, UnansweredError, UnreachableError
from wasmote.node import Node
from wasmote.protocol.answers import CallResult, Export
from wasmote_fleet.gateway.errors import DeadlinePassed, Lost, Overloaded, UnknownExport, WrongBody
from wasmote_fleet.gateway.work import Body, NodeLog, Result, Work
from wasmote_fleet.registry import Registry
from wasmote_fleet.repository import Repository

AT_A_NODE = 4  # requests that a node works on at a time
WAITING_AT_A_NODE = 32  # requests that wait for these


@dataclass
class _Gate:
    """users: requests that run or wait."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_A_NODE))
    users: int = 0


class Local:
    """The nodes whose leases registry holds. validator: looks at what is pushed before it is sent."""

    def __init__(self, registry: Registry, repository: Repository, validator: Validator) -> None:
        self._registry = registry
        self._repository = repository
        self._validator = validator
        self._gates: dict[str, _Gate] = {}

    async def do(self, work: Work, deadline_s: float) -> Result:
        """Raises NotHere, Lost, UnknownExport, WrongBody, Overloaded, DeadlinePassed, and what Node's methods raise."""
        async with self._turn(work, deadline_s):
            module = await self._repository.read(work.digest) if work.kind == "push" else b""
            node = await self._registry.node(work.node)
            try:
                return await self._at(node, work, module)
            except RefusedError as error:
                if error.details.get("code") != "4.04":
                    raise
                raise _not_there(work, error) from None
            except (UnreachableError, UnansweredError) as error:
                if self._registry.speaks_with(work.node) and await self._registry.node(work.node) is node:
                    raise
                raise Lost(error.message, cause=error.cause, next_step=error.next_step) from None

    async def _at(self, node: Node, work: Work, module: bytes) -> Result:
        match work.kind:
            case "call":
                return await _call(node, work)
            case "push":
                return await node.push(module, name=work.function, validator=self._validator)
            case "functions":
                return await node.ls()
            case "function":
                return await node.info(work.function)
            case "device":
                return await node.device()
            case "log":
                lines, following = await node.log(work.number)
                return NodeLog(tuple(lines), following)
            case "remove":
                await node.rm(work.function)
                return None

    @contextlib.asynccontextmanager
    async def _turn(self, work: Work, deadline_s: float) -> AsyncIterator[None]:
        """Once it is this work's turn, until the deadline."""
        gate = self._gates.setdefault(work.node, _Gate())
        if gate.users >= AT_A_NODE + WAITING_AT_A_NODE:
            raise Overloaded(
                f"{work.text} was not begun", cause=f"{gate.users} requests run or wait at '{work.node}'"
            )
        gate.users += 1
        began = False
        try:
            async with asyncio.timeout(deadline_s) as timeout, gate.turns:
                began = True
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlinePassed(
                f"{work.text} on '{work.node}'", deadline_s=deadline_s, began=began
            ) from None
        finally:
            gate.users -= 1
            if gate.users == 0:
                self._gates.pop(work.node, None)


def _not_there(work: Work, error: RefusedError) -> RefusedError:
    """What the node said, with a next step for who knows it as a node of a fleet."""
    return RefusedError(
        error.message,
        cause=error.cause,
        next_step=f"`wasmote fleet nodes {work.node}` shows the functions there, `wasmote fleet push` installs one",
        details=error.details,
    )


async def _call(node: Node, work: Work) -> CallResult:
    wanted, body = work.wanted, work.body
    try:
        _name, found = await node.find_export(wanted)
    except InputError as error:
        raise UnknownExport(
            error.message, cause=error.cause, next_step="name an export that it has"
        ) from None
    _check_body(wanted, found, body)
    if found.kind == "bytes":
        assert body is None or isinstance(body, bytes)
        return await node.call(wanted, input=body, context=work.context)
    assert not isinstance(body, bytes)
    return await node.call(wanted, body or (), context=work.context)


def _check_body(wanted: str, export: Export, body: Body) -> None:
    """Raises WrongBody."""
    given = "bytes" if isinstance(body, bytes) else "numbers"
    if body is None or given == export.kind:
        return
    if export.kind == "bytes":
        raise WrongBody(
            f"{wanted} takes bytes, not arguments",
            cause=f"its signature is {export.signature}",
            next_step="send its input as application/octet-stream",
        )
    raise WrongBody(
        f"{wanted} takes numbers, not an input stream",
        cause=f"its signature is {export.signature}",
        next_step="send its arguments as application/json: an array",
    )
