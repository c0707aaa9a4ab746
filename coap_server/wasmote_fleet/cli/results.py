"""Results of calls as the commands print them."""

from __future__ import annotations

import requests

from wasmote.cli.base import Session
from wasmote.cli.calls import print_stream


def print_response(session: Session, response: requests.Response, out_file: str | None) -> None:
    """Numbers on one line, or the output stream as it is, into out_file if there is one."""
    if response.headers.get("content-type", "").startswith("application/json"):
        result = response.json()
        numbers = result["value"] if isinstance(result["value"], list) else [result["value"]]
        session.output.emit(result, " ".join(str(number) for number in numbers))
    else:
        ms = round(response.elapsed.total_seconds() * 1000, 1)
        print_stream(session, response.content, out_file, ms)
