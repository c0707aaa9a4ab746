"""wasmote bridge: a serial node for any CoAP client."""

from __future__ import annotations

import logging

import click

from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.coap import parse_address
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.cli.node import run
from wasmote.errors import InputError
from wasmote.protocol.bridge import MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES
from wasmote.protocol.target import COAP_PORT, parse_target


@make_command()
@click.argument("port", metavar="PORT")
@click.option(
    "--udp", default=f"127.0.0.1:{COAP_PORT}", show_default=True, metavar="HOST:PORT", help="UDP side."
)
@click.option("--baud", type=click.IntRange(min=300), help="Baud rate; also PORT@BAUD. Otherwise 115200.")
@click.option("--forward", metavar="URI", help="CoAP server for the node's own requests: coap://HOST[:PORT].")
@click.option(
    "--in-flight",
    default=MAX_IN_FLIGHT,
    type=click.IntRange(1, 64),
    show_default=True,
    help="Messages that the node may have before it answers.",
)
@click.option(
    "--in-flight-bytes",
    default=MAX_IN_FLIGHT_BYTES,
    type=click.IntRange(min=64),
    show_default=True,
    help="Their bytes on the line; less than the node's receive buffer.",
)
@click.option(
    "--wait", "wait_s", default=10.0, show_default=True, metavar="SECONDS", help="For the node's answer."
)
def command(
    session: Session,
    port: str,
    udp: str,
    baud: int | None,
    forward: str | None,
    in_flight: int,
    in_flight_bytes: int,
    wait_s: float,
) -> None:
    """Connect the serial node at PORT to UDP, so that any CoAP client reaches it. Runs until Ctrl-C.

    PORT is a serial device, unix:PATH or tcp:HOST:PORT of an emulator, or a name from the configuration. The address
    is printed once the node has answered; what the node says besides goes to stderr.
    """
    target = parse_target(port, session.target_names)
    if target.kind != "serial":
        raise InputError(
            f"'{port}' is no serial port",
            cause=f"it is {target}",
            next_step="CoAP clients reach it without a bridge",
        )
    logging.getLogger("wasmote.bridge").addHandler(logging.NullHandler())
    run(
        _serve(
            session,
            SerialBridge(
                target.device,
                bind=parse_address(udp, COAP_PORT),
                baud=baud or target.baud,
                forward=None if forward is None else parse_address(forward, COAP_PORT),
                on_text=lambda text: session.output.note(f"node: {text}"),
                on_silence=session.output.note,
                ready_timeout_s=wait_s,
                max_in_flight=in_flight,
                max_in_flight_bytes=in_flight_bytes,
            ),
        )
    )


async def _serve(session: Session, bridge: SerialBridge) -> None:
    async with bridge:
        host, port = bridge.address
        uri = f"coap://{f'[{host}]' if ':' in host else host}:{port}"
        session.output.emit({"address": uri}, uri)
        await bridge.wait_closed()
