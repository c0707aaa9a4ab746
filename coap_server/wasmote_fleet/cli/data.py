"""Where the data is: an option of the commands that open it themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wasmote_fleet.server.addresses import default_data

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    """--data, as `data`."""
    return click.option(
        "--data",
        envvar="WASMOTE_FLEET_DATA",
        default=lambda: str(default_data()),
        metavar="FILE|nats://HOST",
        help=f"The fleet's data; otherwise {default_data()}. Also WASMOTE_FLEET_DATA.",
    )(function)
