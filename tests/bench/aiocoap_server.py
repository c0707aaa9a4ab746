"""A CoAP server on aiocoap with one resource that answers POST with 2.04 and nothing in it. Usage: PORT."""

import asyncio
import sys

import aiocoap
import aiocoap.resource


class Noop(aiocoap.resource.Resource):
    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        return aiocoap.Message(code=aiocoap.CHANGED)


async def main() -> None:
    site = aiocoap.resource.Site()
    site.add_resource(["f", "noop"], Noop())
    # simple6: the plainest of its UDP transports, one socket on one address.
    await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", int(sys.argv[1])), transports=["simplesocketserver"]
    )
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
