"""The gateway: functions of nodes, called and pushed by the names of the fleet. Bounded in time and in number.

    async with Gateway(nodes) as gateway:
        result = await gateway.call("kitchen", "fib", "fib", [20], deadline_s=5.0)

Errors are those of wasmote.node, and errors.py's. A deadline is counted from when a method is called.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from wasmote.adapters.validator import Validator
from wasmote.errors import InputError
from wasmote.node import Node, Pushed
from wasmote.protocol.answers import CallResult, Export, FunctionInfo, FunctionLink
from wasmote.protocol.values import Argument
from wasmote_fleet.gateway.errors import DeadlinePassed, Overloaded, UnknownExport, WrongBody
from wasmote_fleet.gateway.nodes import FleetNode, Nodes

AT_A_NODE = 4  # requests that a node works on at a time
WAITING_AT_A_NODE = 32  # requests that wait for these
IN_ALL = 512  # requests that run or wait in this gateway
CONNECTIONS = 256  # nodes whose sockets are kept open while nothing is sent


@dataclass
class _Connection:
    """A node's socket, and its gate. users: requests that run or wait."""

    node: Node
    turns: asyncio.Semaphore
    users: int = 0
    retired: bool = False
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    opened: bool = False


class Gateway:
    """`async with`. nodes: where the fleet's nodes are found. validator: looks at what is pushed before it is sent."""

    def __init__(self, nodes: Nodes, validator: Validator) -> None:
        self._nodes = nodes
        self._validator = validator
        self._connections: OrderedDict[tuple[str, str], _Connection] = OrderedDict()
        self._total = 0

    async def __aenter__(self) -> Gateway:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        connections, self._connections = self._connections, OrderedDict()
        for connection in connections.values():
            await connection.node.close()

    @property
    def busy(self) -> int:
        """Requests that run or wait now."""
        return self._total

    async def call(
        self,
        node_id: str,
        function: str,
        export: str | None,
        body: Sequence[Argument] | bytes | None,
        *,
        deadline_s: float,
        context: str | None = None,
    ) -> CallResult:
        """Call an export (None: the default) with numbers or bytes; None: no arguments, or no input. Never repeated
        unless the export is declared pure or idempotent. context: as Node.call has it. Raises UnknownNode, UnknownExport, WrongBody, InputError,
        Overloaded, DeadlinePassed, and what Node.call() raises."""
        wanted = function if export is None else f"{function}/{export}"
        async with self._turn(node_id, wanted, deadline_s) as node:
            try:
                _name, found = await node.find_export(wanted)
            except InputError as error:
                raise UnknownExport(
                    error.message, cause=error.cause, next_step="name an export that it has"
                ) from None
            _check_body(wanted, found, body)
            if found.kind == "bytes":
                assert body is None or isinstance(body, bytes)
                return await node.call(wanted, input=body, context=context)
            assert not isinstance(body, bytes)
            return await node.call(wanted, body or (), context=context)

    async def push(self, node_id: str, name: str, module: bytes, *, deadline_s: float) -> Pushed:
        """Install module as name on the node, or replace what is there. Raises UnknownNode, RefusedError with the
        node's reason, Overloaded, DeadlinePassed, UnreachableError, UnansweredError."""
        async with self._turn(node_id, f"push of {name}", deadline_s) as node:
            return await node.push(module, name=name, validator=self._validator)

    async def functions(self, node_id: str, *, deadline_s: float) -> list[FunctionLink]:
        """What is on the node."""
        async with self._turn(node_id, "the list of functions", deadline_s) as node:
            return await node.ls()

    async def function(self, node_id: str, name: str, *, deadline_s: float) -> FunctionInfo:
        """What the node knows about a function."""
        async with self._turn(node_id, f"function {name}", deadline_s) as node:
            return await node.info(name)

    async def remove(self, node_id: str, name: str, *, deadline_s: float) -> None:
        """Remove a function from the node; that there is none is no error."""
        async with self._turn(node_id, f"removal of {name}", deadline_s) as node:
            await node.rm(name)

    @contextlib.asynccontextmanager
    async def _turn(self, node_id: str, what: str, deadline_s: float) -> AsyncIterator[Node]:
        """The node, once it is this request's turn, until the deadline."""
        where = await self._nodes.get(node_id)
        if self._total >= IN_ALL:
            raise Overloaded(
                f"{what} was not begun", cause=f"{IN_ALL} requests run or wait at this server", whole=True
            )
        connection = self._connection(where)
        if connection.users >= AT_A_NODE + WAITING_AT_A_NODE:
            raise Overloaded(
                f"{what} was not begun", cause=f"{connection.users} requests run or wait at '{node_id}'"
            )
        connection.users += 1
        self._total += 1
        began = False
        try:
            async with asyncio.timeout(deadline_s) as timeout, connection.turns:
                began = True
                await _open(connection)
                yield connection.node
        except TimeoutError:
            if not timeout.expired():
                raise
            raise DeadlinePassed(f"{what} on '{node_id}'", deadline_s=deadline_s, began=began) from None
        finally:
            self._total -= 1
            connection.users -= 1
            if connection.retired and connection.users == 0:
                await connection.node.close()
            await self._close_idle()

    def _connection(self, where: FleetNode) -> _Connection:
        """The node's connection. One whose address has changed is a new node."""
        key = (where.id, where.uri)
        connection = self._connections.get(key)
        if connection is None:
            connection = _Connection(Node(where.uri), asyncio.Semaphore(AT_A_NODE))
            self._connections[key] = connection
        self._connections.move_to_end(key)
        return connection

    async def forget(self, node_id: str) -> None:
        """Close what is open to a node that left the fleet; its running requests end first."""
        for key in [key for key in self._connections if key[0] == node_id]:
            connection = self._connections.pop(key)
            connection.retired = True
            if connection.users == 0:
                await connection.node.close()

    async def _close_idle(self) -> None:
        while len(self._connections) > CONNECTIONS:
            idle = next((key for key, found in self._connections.items() if found.users == 0), None)
            if idle is None:
                return
            await self._connections.pop(idle).node.close()


async def _open(connection: _Connection) -> None:
    async with connection.opening:
        if not connection.opened:
            await connection.node.open()
            connection.opened = True


def _check_body(wanted: str, export: Export, body: Sequence[Argument] | bytes | None) -> None:
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
