"""Runs a test suite against a node."""

from __future__ import annotations

import time
from collections.abc import Callable

from wasmote.adapters.coap import CoapClient
from wasmote.errors import UnansweredError
from wasmote.protocol import messages
from wasmote.protocol.conformance.judge import judge, relieved
from wasmote.protocol.conformance.node import run
from wasmote.protocol.conformance.results import FileResult
from wasmote.protocol.conformance.script import Script
from wasmote.protocol.conformance.suite import File
from wasmote.protocol.messages import Reply, Request
from wasmote.protocol.push import PushRejected

Progress = Callable[[int], None]


async def run_file(
    client: CoapClient, file: File, progress: Progress = lambda _requests: None
) -> list[FileResult]:
    """Do what a file asks for, and once more without some functions if the node refuses it for a limit.
    progress(n): n requests have been answered. Raises UnreachableError."""
    results = [await _run(client, file, progress)]
    for number, again in enumerate(file.again, 1):
        if not relieved(file, results[-1]):
            break
        if number > 1:  # that was not enough, so it says nothing
            results.pop()
        results.append(await _run(client, again, progress))
    return results


async def _run(client: CoapClient, file: File, progress: Progress) -> FileResult:
    began_s = time.monotonic()
    script = Script(file.commands)
    requests = run(script.steps)
    reply: Reply | None = None
    done = 0
    try:
        request = next(requests)
        while True:
            reply = await _reply(client, request)
            done += 1
            progress(done)
            request = requests.send(reply)
    except StopIteration as end:
        result = judge(file, script, end.value, fresh_after_trap=True)
    result.elapsed_s = time.monotonic() - began_s
    return result


async def _reply(client: CoapClient, request: Request) -> Reply | None:
    """None: a call that may have run was not answered. The others may run twice."""
    try:
        return await client.request(request, repeatable=request.method != messages.POST)
    except PushRejected as refused:
        return refused.reply
    except UnansweredError:
        return None
