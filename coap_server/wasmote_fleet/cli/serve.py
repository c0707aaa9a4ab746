"""`wasmote fleet serve`: run a fleet server."""

from __future__ import annotations

import asyncio
import logging

import click

from wasmote.cli.base import Session
from wasmote.cli.base import command as base_command
from wasmote.cli.node import tuning
from wasmote.cli.output import shown
from wasmote.errors import InputError
from wasmote_fleet.cli.data import data_option
from wasmote_fleet.compat.fetch import parse_network
from wasmote_fleet.registry.registry import BEAT_S, LEASE_S
from wasmote_fleet.server.addresses import check_addresses, check_name, default_name, parse_listen
from wasmote_fleet.server.mdns import MdnsSettings
from wasmote_fleet.server.serve import Settings, Started, serve
from wasmote_fleet.server.wasmiot import MAX_NODE_PORTS, WasmiotSettings


@base_command()
@click.option("--http", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS[:PORT]", help="HTTP.")
@click.option(
    "--coap",
    default="127.0.0.1:5683",
    show_default=True,
    metavar="ADDRESS[:PORT]",
    help="CoAP; loopback only, without --coap-open.",
)
@click.option(
    "--coap-open",
    is_flag=True,
    help="CoAP takes no keys. Let it listen elsewhere all the same: whoever reaches it can register "
    "nodes, and read published functions and events. It calls no function and changes none.",
)
@data_option
@click.option(
    "--name",
    default=default_name,
    metavar="NAME",
    help="This server among others; otherwise the machine's name. Behind it come 8 hexadecimal digits, others at each "
    "start.",
)
@click.option(
    "--beat",
    "beat_s",
    type=click.FloatRange(0.1, 3600),
    default=BEAT_S,
    show_default=True,
    metavar="SECONDS",
    help="How often a node is asked whether it is there, where nothing else was said for it.",
)
@click.option(
    "--lease",
    "lease_s",
    type=click.FloatRange(1, 3600),
    default=LEASE_S,
    show_default=True,
    metavar="SECONDS",
    help="How long after this server's death others take its nodes over.",
)
@click.option(
    "--wasmiot",
    metavar="ADDRESS[:PORT]",
    help="Be a supervisor and an orchestrator of wasmiot there; port 5000 if none is given.",
)
@click.option(
    "--wasmiot-nodes",
    metavar="FIRST-LAST",
    help="Ports at that address, one for each node, which is then a supervisor of its own.",
)
@click.option(
    "--wasmiot-trust",
    multiple=True,
    metavar="ADDRESS[/LENGTH]",
    help="Where wasmiot's programs are: they need no key, and are called and fetched from. May be repeated.",
)
@click.option(
    "--wasmiot-orchestrator",
    metavar="URL",
    help="Make our devices known to this orchestrator, as wasmiot's supervisor does.",
)
@click.option(
    "--wasmiot-discover",
    is_flag=True,
    help="Take in wasmiot's supervisors that announce themselves by mDNS, as far as they are trusted.",
)
@click.option(
    "--url-from",
    multiple=True,
    metavar="ADDRESS[/LENGTH]",
    help="Where objects that a parameter `url` of an OpenWhisk action names may be, beside public addresses. May be "
    "repeated.",
)
@click.option("--announce", is_flag=True, help="Announce the fleet's nodes by mDNS, as _coap._udp.")
@click.option(
    "--announce-webthing",
    is_flag=True,
    help="Announce the nodes that have a port of --wasmiot-nodes by mDNS, as _webthing._tcp.",
)
@click.option("--mdns-adopt", is_flag=True, help="Take in every node that announces itself by mDNS.")
@click.option(
    "--mdns-address",
    "mdns_addresses",
    multiple=True,
    metavar="ADDRESS",
    help="Of a network interface to use for mDNS; otherwise all. May be repeated.",
)
def command(
    session: Session,
    http: str,
    coap: str,
    coap_open: bool,
    data: str,
    name: str,
    beat_s: float,
    lease_s: float,
    wasmiot: str | None,
    wasmiot_nodes: str | None,
    wasmiot_trust: tuple[str, ...],
    wasmiot_orchestrator: str | None,
    wasmiot_discover: bool,
    url_from: tuple[str, ...],
    announce: bool,
    announce_webthing: bool,
    mdns_adopt: bool,
    mdns_addresses: tuple[str, ...],
) -> None:
    """Run a fleet server until Ctrl-C or SIGTERM.

    It listens on this machine only, where it asks for no key. With --http at any other address each request takes a key
    (`wasmote fleet keys add ROLE`), and there must be one. Nodes register by CoAP. When told to stop, it takes no more
    requests and lets those that run end; told again, it drops them. What it acknowledged is in its data, and there
    again when it starts. `wasmote --ack-timeout SECONDS --max-retransmit N fleet serve`: how patient it is with nodes.
    """
    for network in url_from:
        parse_network(network)
    settings = Settings(
        data,
        parse_listen(http, 8080),
        parse_listen(coap, 5683),
        check_name(name),
        beat_s,
        lease_s,
        _wasmiot(wasmiot, wasmiot_nodes, wasmiot_trust, wasmiot_orchestrator, wasmiot_discover),
        url_from,
        mdns=MdnsSettings(announce, announce_webthing, mdns_adopt, wasmiot_discover, mdns_addresses),
        tuning=tuning(session),
    )
    check_addresses(mdns_addresses)
    if announce_webthing and wasmiot_nodes is None:
        raise InputError(
            "--announce-webthing announces nodes for wasmiot, and none has an address for it",
            next_step="add --wasmiot ADDRESS --wasmiot-nodes FIRST-LAST",
        )
    if not settings.coap.loopback and not coap_open:
        raise InputError(
            f"CoAP does not listen at {settings.coap}",
            cause="it carries no keys here yet: whoever reaches it could register nodes, and read functions and events",
            next_step="give --coap a loopback address, such as 127.0.0.1:5683, or add --coap-open",
        )

    def started(at: Started) -> None:
        wasmiot_at = "" if at.wasmiot is None else f", wasmiot {at.wasmiot}"
        keys = "needs a key" if at.keys_needed else "this machine only"
        session.output.emit(
            {
                "http": at.http,
                "coap": at.coap,
                "data": at.data,
                "keys_needed": at.keys_needed,
                "server": at.server,
                **({} if at.wasmiot is None else {"wasmiot": at.wasmiot}),
            },
            f"{at.http} ({keys}), {at.coap}{wasmiot_at}; data in {at.data}. Ctrl-C stops.",
        )

    _log_to_stderr()
    asyncio.run(serve(settings, started, session.output.warning))


class _Shown(logging.Formatter):
    """Without what a terminal would obey: nodes and clients have a say in these lines."""

    def format(self, record: logging.LogRecord) -> str:
        return shown(super().format(record))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(_Shown())
    logging.getLogger().addHandler(handler)


def _wasmiot(
    listen: str | None,
    nodes: str | None,
    trusted: tuple[str, ...],
    orchestrator: str | None,
    discover: bool,
) -> WasmiotSettings | None:
    """Raises InputError."""
    if listen is None:
        if nodes is not None or trusted or orchestrator or discover:
            raise InputError(
                "--wasmiot-nodes, --wasmiot-trust, --wasmiot-orchestrator and --wasmiot-discover need --wasmiot",
                next_step="add --wasmiot 127.0.0.1:5000",
            )
        return None
    for network in trusted:
        parse_network(network)
    return WasmiotSettings(
        parse_listen(listen, 5000),
        range(0) if nodes is None else _port_range(nodes),
        trusted,
        orchestrator or "",
    )


def _port_range(text: str) -> range:
    first, _, last = text.partition("-")
    if first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536:
        found = range(int(first), int(last) + 1)
        if len(found) <= MAX_NODE_PORTS:
            return found
    raise InputError(
        f"'{text}' are no ports",
        cause=f"they are two numbers, at most {MAX_NODE_PORTS} ports",
        next_step="write them so: 5100-5131",
    )
