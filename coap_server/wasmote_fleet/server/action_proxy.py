"""The action proxy as a process: a host node, and HTTP in front of it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable

from wasmote.adapters import build
from wasmote.adapters.boards import find_board
from wasmote.adapters.emulator import Emulator
from wasmote.adapters.project import Project
from wasmote.errors import InputError
from wasmote.node import Node
from wasmote_fleet.compat.openwhisk.proxy import ActionProxy
from wasmote_fleet.gateway.http.guard import Guard
from wasmote_fleet.server.addresses import Address, bind
from wasmote_fleet.server.http import HttpServer, configured

HOST = "host"


async def serve(at: Address, *, pool: str, started: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. pool: bytes of memory for the function, as the host node takes it. started: called
    with the address. Raises InputError, LocalError, MissingError."""
    project = Project.find()
    board = find_board(project, HOST)
    image = build.image_path(project, board)
    if not image.is_file():
        raise InputError("the host's node has not been built", next_step="`wasmote build host`")
    listening = bind(at, socket.SOCK_STREAM, "HTTP", "--port")
    try:
        arguments = ["--ep", "action-proxy", "--pool", pool]
        async with Emulator(board, image, arguments=arguments) as emulator:
            assert emulator.uri is not None
            async with Node(emulator.uri) as node:
                app = ActionProxy(node, _write).app()
                if at.loopback:
                    # There are no keys: at least no page in a browser of this machine gets here.
                    app.add_middleware(Guard, keys=None)
                config = configured(app)
                logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
                where = f"http://{Address(*listening.getsockname()[:2])}"
                server = HttpServer(config, lambda: started(where))
                loop = asyncio.get_running_loop()
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, _end, server)
                await server.serve(sockets=[listening])
    finally:
        listening.close()


def _end(server: HttpServer) -> None:
    """The activation that runs ends first; told again, it is dropped."""
    server.force_exit = server.should_exit
    server.should_exit = True


def _write(stream: str, line: str) -> None:
    out = sys.stdout if stream == "stdout" else sys.stderr
    out.write(line + "\n")
    out.flush()
