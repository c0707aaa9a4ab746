"""Makes our devices known to an orchestrator elsewhere by HTTP, as wasmiot's supervisor does: when it starts, and again
when the orchestrator has not asked for the health of a device for 900 s."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from wasmote.errors import WasmoteError
from wasmote_fleet.compat.fetch import Limits, Reach, exchange
from wasmote_fleet.compat.wasmiot.errors import BadBody

log = logging.getLogger("wasmote.fleet.wasmiot")

AGAIN_S = 900.0
LOOK_S = 2.0
FAILED_S = 15.0  # before it is told again after a failure
_LIMITS = Limits(max_bytes=64 * 1024, timeout_s=10.0, redirects=0)


class Joining:
    """url: of the orchestrator. devices: the name and the URL of each device, by its id, as they are now. asked: when,
    by the event loop's clock, somebody last asked for a device's health."""

    def __init__(
        self,
        url: str,
        devices: Callable[[], Mapping[str, tuple[str, str]]],
        asked: Mapping[str, float],
        *,
        again_s: float = AGAIN_S,
    ) -> None:
        host = urlsplit(url).hostname
        if urlsplit(url).scheme not in ("http", "https") or not host:
            raise BadBody(f"'{url}' is no orchestrator's URL", next_step="write http://HOST:PORT")
        self._url = url.rstrip("/") + "/file/device/discovery/register"
        self._reach = Reach(hosts=[host])
        self._devices = devices
        self._asked = asked
        self._again_s = again_s
        self._next: dict[str, float] = {}

    async def run(self) -> None:
        """For ever."""
        while True:
            now = asyncio.get_running_loop().time()
            known = self._devices()
            self._next = {device: at for device, at in self._next.items() if device in known}
            for device, (name, url) in known.items():
                due = max(
                    self._next.get(device, now), self._asked.get(device, now - self._again_s) + self._again_s
                )
                if device not in self._next or due <= now:
                    self._next[device] = now + (self._again_s if await self._tell(name, url) else FAILED_S)
            await asyncio.sleep(LOOK_S)

    async def _tell(self, name: str, url: str) -> bool:
        parts = urlsplit(url)
        told = {
            "name": name,
            "type": "_webthing._tcp.local.",
            "port": parts.port,
            "properties": {"path": "/", "tls": "0", "address": parts.hostname},
            "addresses": [parts.hostname],
            "host": f"{parts.hostname}.local.",
        }
        try:
            answer = await exchange(
                "POST",
                self._url,
                reach=self._reach,
                limits=_LIMITS,
                headers={"Content-Type": "application/json"},
                body=json.dumps(told).encode(),
            )
        except WasmoteError as error:
            log.warning("the orchestrator was not told of %s: %s", name, error)
            return False
        if not 200 <= answer.status < 300:
            log.warning("the orchestrator was not told of %s: it answered %d", name, answer.status)
        return 200 <= answer.status < 300
