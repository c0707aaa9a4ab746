"""One Starlette route behind uvicorn as the fleet server configures it: JSON in, JSON out, nothing between. Prints its
port."""

from __future__ import annotations

import json
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from wasmote_fleet.server.addresses import Address, bind
from wasmote_fleet.server.http import configured


async def call(request: Request) -> Response:
    """What a call by HTTP takes and gives, without a call."""
    args = json.loads(await request.body())
    return JSONResponse({"value": args[0], "ms": 0.0})


def main() -> None:
    with bind(Address("127.0.0.1", 0), socket.SOCK_STREAM, "HTTP", "--http") as listening:
        print(listening.getsockname()[1], flush=True)
        app = Starlette(routes=[Route("/{node}/{function}/{export}", call, methods=["POST"])])
        uvicorn.Server(configured(app)).run(sockets=[listening])


if __name__ == "__main__":
    main()
