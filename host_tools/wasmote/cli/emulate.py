"""`wasmote emulate`"""

from __future__ import annotations

import asyncio
import contextlib
import signal

import click

from wasmote.adapters import build as builder
from wasmote.adapters.boards import find_board
from wasmote.adapters.coap import parse_address
from wasmote.adapters.emulator import Emulator, own_address
from wasmote.adapters.project import Project
from wasmote.cli.base import Session
from wasmote.cli.base import command as make_command
from wasmote.errors import InputError, WasmoteError
from wasmote.protocol.target import COAP_PORT


@make_command()
@click.argument("board")
@click.option("--udp", "port", type=click.IntRange(0, 65535), default=COAP_PORT, show_default=True,
              help="UDP port of its CoAP address on this machine; 0 takes any that is free.")  # fmt: skip
@click.option(
    "--serial",
    is_flag=True,
    help="Offer a serial device: beside UDP, or on a chip without Ethernet instead of it.",
)
@click.option(
    "--net",
    metavar="WORDS",
    help="Ethernet: the node's addresses: 'ADDRESS/BITS GATEWAY' instead of DHCP, an IPv6 address, or both.",
)
@click.option("--build", "build_first", is_flag=True, help="Build the image first.")
@click.option("--sanitize", is_flag=True, help="Host: the image with sanitizers.")
@click.option("--pool", metavar="BYTES", help="Host: memory for functions; a suffix k or M is understood.")
@click.option("--ep", metavar="NAME", help="Host: the node's identity.")
@click.option("--sensors", metavar="FILE", type=click.Path(exists=True, dir_okay=False),
              help="Host: what its sensors say, and when (boards/host/README.md).")  # fmt: skip
@click.option("--register", "directory", metavar="URI",
              help="CoAP resource directory that the node shall register with: coap://HOST[:PORT].")  # fmt: skip
@click.option("--lifetime", "lifetime_s", metavar="SECONDS", type=click.IntRange(1, 14 * 24 * 3600),
              help="Host: of that registration; it is renewed before.")  # fmt: skip
def command(
    session: Session,
    board: str,
    port: int,
    serial: bool,
    net: str | None,
    build_first: bool,
    sanitize: bool,
    pool: str | None,
    ep: str | None,
    sensors: str | None,
    directory: str | None,
    lifetime_s: int | None,
) -> None:
    """Run a node of BOARD on this machine until Ctrl-C.

    Prints its addresses on stdout, one a line, when it answers. What the node says goes to stderr. A chip has one
    serial port; a bridge makes a UDP address of it. A chip with Ethernet has its own UDP address first.
    """
    project = Project.find()
    found = find_board(project, board)
    variant = builder.Variant(sanitize=sanitize)
    image = builder.image_path(project, found, variant)
    if build_first:
        with session.output.progress(f"build {board}") as bar:
            image = builder.build(project, found, variant, progress=bar, log=session.output.warning)
    elif not image.is_file():
        raise InputError(
            f"{board} has not been built", next_step=f"`wasmote build {board}`, or give --build."
        )
    arguments: list[str] = []
    for option, value in (("--pool", pool), ("--ep", ep), ("--sensors", sensors), ("--lifetime", lifetime_s)):
        if value is not None:
            if not found.is_host:
                raise InputError(
                    f"{option} is for the host; {board} is a chip with settings of its own",
                    next_step="leave it out",
                )
            arguments += [option, str(value)]
    forward = None
    if directory is not None:
        host, at = parse_address(directory, COAP_PORT)
        if found.is_host:
            arguments += ["--register", f"coap://{f'[{host}]' if ':' in host else host}:{at}"]
        elif serial:
            raise InputError(
                "--register with --serial: nobody would pass on what the node says",
                next_step="leave out --serial, or connect it by `wasmote bridge PORT --forward URI`",
            )
        else:
            forward = (host, at)
    if net is not None and "settings" not in found.emulate:
        raise InputError(f"--net is for a chip with Ethernet, and {board} is none", next_step="leave it out")
    if net is not None:
        own_address(net)
    emulator = Emulator(
        found,
        image,
        udp_port=port,
        serial=serial,
        arguments=arguments,
        forward=forward,
        settings=net,
        on_text=session.output.note,
    )
    asyncio.run(_run(session, emulator))


async def _run(session: Session, emulator: Emulator) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(
            NotImplementedError
        ):  # Windows has no such handlers: KeyboardInterrupt does it there
            loop.add_signal_handler(number, stop.set)
    stopped = asyncio.create_task(stop.wait())
    starting = asyncio.create_task(emulator.start())
    await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        return
    starting.result()
    try:
        value = {"board": emulator.board.name, "addresses": emulator.addresses, "pid": emulator.pid}
        session.output.emit(value, "\n".join(emulator.addresses))
        ended = asyncio.create_task(emulator.wait())
        await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and not stop.is_set():
            raise WasmoteError(
                f"the node ended by itself with {ended.result()}",
                cause="see above",
                next_step="start it again, and report what it said",
            )
    finally:
        await emulator.stop()
    if emulator.exit_status:
        raise WasmoteError(
            f"the node ended with {emulator.exit_status} when it was stopped",
            cause="see above",
            next_step="report what it said: it should have ended with 0",
        )
