"""Runs a node on this machine: the host's image as a process, a chip's image in its emulator behind a serial bridge, or
with an Ethernet of its own.

async with Emulator(board, image, udp_port=0) as node:
    node.uri                     # coap://127.0.0.1:PORT, answering by now

Children end with this process, however it ends (on Linux also if it is killed).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import ipaddress
import re
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from wasmote.adapters.boards import Board
from wasmote.adapters.bridge import SerialBridge
from wasmote.adapters.tools import need_tool
from wasmote.errors import InputError, LocalError, UnreachableError, WasmoteError

_READY = re.compile(r"wasmote \S+ ready (\S+)")
_PTY = re.compile(r"char device redirected to (\S+)")
_LISTENING = "QEMU waiting for connection on"
_STOPPED = re.compile(r"terminating on signal \d+ from pid")
_STOP_S = 3.0
_LAST_WORDS_S = 0.3
_PING_EVERY_S = 0.1
_PING, _PONG = bytes.fromhex("40000001"), bytes.fromhex("70000001")  # RFC 7252, 4.3
_FORWARDING = "Could not set up host forwarding rule"
_EXIT_USAGE, _EXIT_ADDRESS_IN_USE = 64, 69  # of the host's node
_PR_SET_PDEATHSIG = 1


class Emulator:
    """A node that runs here.

    udp_port: of its CoAP address on loopback, 0 for any. serial: offer a raw serial device too (host, chips with
    Ethernet), or instead of the UDP address (chips with a serial port alone: without a bridge it is free for others).
    arguments: more options for the host's image or the chip's emulator. forward: host and port of the CoAP server that
    gets a chip's own requests, where a bridge leads to it. on_text: called with each line that the node or its emulator
    prints.

    Chips with Ethernet: network replaces the emulator's options for it in board.toml, which give the node an address on
    this machine; uri is then that of a bridge to its serial port. settings: the node's own addresses, as words
    (boards/mps2_an386/README.md), instead of DHCP's.
    """

    def __init__(
        self,
        board: Board,
        image: Path,
        *,
        udp_port: int = 0,
        serial: bool = False,
        arguments: Sequence[str] = (),
        forward: tuple[str, int] | None = None,
        network: Sequence[str] | None = None,
        settings: str | None = None,
        on_text: Callable[[str], None] | None = None,
        ready_timeout_s: float = 20.0,
    ) -> None:
        if not board.emulate:
            raise InputError(
                f"{board.name} has no emulator", next_step="`wasmote boards` shows which boards have one."
            )
        self.board = board
        self.image = image
        self.uri: str | None = None
        self.bridge_uri: str | None = None  # a chip's serial port, as a CoAP address
        self.serial_device: str | None = None
        self.pid: int | None = None
        self._port = udp_port
        self._serial = serial
        self._arguments = list(arguments)
        self._forward = forward
        self._network = None if network is None else list(network)
        self._settings = settings
        self._on_text = on_text or (lambda _line: None)
        self._ready_timeout_s = ready_timeout_s
        self._process: asyncio.subprocess.Process | None = None
        self._bridge: SerialBridge | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._last_lines: deque[str] = deque(maxlen=20)
        self._found = asyncio.Event()
        self._listening = False

    @property
    def addresses(self) -> list[str]:
        """How to reach it: coap://..., the best first, and serial:..."""
        serial = f"serial:{self.serial_device}" if self.serial_device else None
        return list(dict.fromkeys(address for address in (self.uri, self.bridge_uri, serial) if address))

    async def start(self) -> None:
        """Start it and wait until it answers. Raises MissingError (emulator), LocalError (port), WasmoteError."""
        try:
            if self.board.is_host:
                await self._start_host()
            else:
                await self._start_chip()
        except BaseException:
            await self.stop()
            raise

    @property
    def exit_status(self) -> int | None:
        """Of the process, once it has ended; 0 after stop() unless something is wrong (a sanitizer's finding)."""
        return None if self._process is None else self._process.returncode

    async def wait(self) -> int:
        """Until the process ends; its exit status."""
        assert self._process is not None, "not started"
        return await self._process.wait()

    async def stop(self) -> None:
        """Stop everything that start() started. May be called twice."""
        if self._bridge is not None:
            await self._bridge.close()
            self._bridge = None
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_S)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def __aenter__(self) -> Emulator:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start_host(self) -> None:
        command = self._fill(bind="127.0.0.1", port=str(self._port)) + self._arguments
        if self._serial:
            command += [str(word) for word in self.board.emulate.get("serial", [])]
        await self._spawn(command)
        await self._wait_found(
            lambda: self.uri is not None and (not self._serial or self.serial_device is not None)
        )

    async def _start_chip(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="wasmote-")
        ethernet = "network" in self.board.emulate
        port = 0
        if not ethernet:
            more = list(self._arguments)
        elif self._network is not None:
            more = self._network + self._arguments
        else:
            port = self._port or _free_port()
            guest = "" if self._settings is None else own_address(self._settings)
            more = self._fill_words("network", port=str(port), guest=guest) + self._arguments
        if self._settings is not None:
            file = Path(self._folder.name) / "settings"
            file.write_text(f"wasmote-net {self._settings}\n", encoding="ascii")
            more += self._fill_words("settings", settings=str(file))
        if self._serial:
            await self._spawn(self._fill(serial="pty") + more)
            await self._wait_found(lambda: self.serial_device is not None)
        else:
            await self._start_bridged(more, bridge_port=self._port if not port else 0)
        if port:
            await self._wait_answer(port)
            self.uri = f"coap://127.0.0.1:{port}"

    async def _start_bridged(self, more: list[str], bridge_port: int) -> None:
        assert self._folder is not None
        line = Path(self._folder.name) / "serial"
        # The emulator waits for the bridge before it starts the chip, so that the node's first words are not lost.
        await self._spawn(self._fill(serial=f"unix:{line},server=on,wait=on") + more)
        # Its line says that it listens; the socket's name alone may be there a moment earlier.
        await self._wait_found(lambda: self._listening)
        self._bridge = SerialBridge(
            f"unix:{line}",
            bind=("127.0.0.1", bridge_port),
            forward=self._forward,
            on_text=self._line,
            ready_timeout_s=self._ready_timeout_s,
        )
        try:
            await self._bridge.start()
        except UnreachableError:
            # A crash of the firmware can end the emulator: its last words then say more than the silent line.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.wait(), _LAST_WORDS_S)
            self._check_alive()
            raise
        host, port = self._bridge.address
        self.uri = self.bridge_uri = f"coap://{host}:{port}"

    async def _wait_answer(self, port: int) -> None:
        """Until the node has an address on the emulated network and answers a ping there."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as pinger:
            pinger.setblocking(False)
            pinger.connect(("127.0.0.1", port))
            deadline = loop.time() + self._ready_timeout_s
            while loop.time() < deadline:
                self._check_alive()
                with contextlib.suppress(ConnectionError, TimeoutError):
                    await loop.sock_sendall(pinger, _PING)
                    if await asyncio.wait_for(loop.sock_recv(pinger, 64), _PING_EVERY_S) == _PONG:
                        return
        raise WasmoteError(
            f"{self.board.name} does not answer over UDP in {self._ready_timeout_s:g} s",
            cause="\n".join(self._last_lines) or "it said nothing",
            next_step="try again when this machine is less busy; with addresses of your own, see whether they fit the "
            "emulated network (boards/README.md)",
        )

    def _fill(self, **values: str) -> list[str]:
        """The command of board.toml with its {words} filled in."""
        command = self._fill_words("command", image=str(self.image), **values)
        if not Path(command[0]).is_absolute():
            command[0] = str(need_tool(command[0]))
        return command

    def _fill_words(self, key: str, **values: str) -> list[str]:
        """A list of [emulate] in board.toml with its {words} filled in."""
        try:
            return [str(word).format(**values) for word in self.board.emulate[key]]
        except (KeyError, IndexError, ValueError) as err:
            raise InputError(
                f"[emulate] of {self.board.name} is wrong",
                cause=f"{key}: {err!r}",
                next_step="see boards/README.md",
            ) from err

    async def _spawn(self, command: list[str]) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
                start_new_session=True,  # Ctrl-C is for us: we stop it in order
            )
        except OSError as err:
            raise LocalError(
                f"cannot start {command[0]}",
                cause=err.strerror or str(err),
                next_step=f"build it again: `wasmote build {self.board.name}`",
            ) from err
        self.pid = self._process.pid
        self._reader = asyncio.create_task(self._read_lines(self._process))

    async def _read_lines(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while raw := await process.stdout.readline():
            self._line(raw.decode("utf-8", "replace").rstrip())
        await process.wait()
        self._found.set()

    def _line(self, line: str) -> None:
        if ready := _READY.match(line):
            if ready[1].startswith("serial:"):
                self.serial_device = ready[1].removeprefix("serial:")
            else:
                self.uri = ready[1]
            self._found.set()
        elif not self.board.is_host and (pty := _PTY.search(line)):
            self.serial_device = pty[1]
            self._found.set()
        if _LISTENING in line:
            self._listening = True
            self._found.set()
            return
        if _STOPPED.search(line):
            return
        self._last_lines.append(line)
        self._on_text(line)

    async def _wait_found(self, complete: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._ready_timeout_s):
                while not complete():
                    if (
                        self._process is not None
                        and self._process.returncode is not None
                        and self._reader is not None
                    ):
                        await self._reader  # its last words
                    self._check_alive()
                    await self._found.wait()
                    self._found.clear()
        except TimeoutError:
            raise WasmoteError(
                f"{self.board.name} did not get ready in {self._ready_timeout_s:g} s",
                cause="\n".join(self._last_lines) or "it said nothing",
                next_step=f"try again when this machine is less busy, or `wasmote build {self.board.name}`",
            ) from None

    def _check_alive(self) -> None:
        process = self._process
        if process is None or process.returncode is None:
            return
        said = "\n".join(self._last_lines)
        if _FORWARDING in said or (self.board.is_host and process.returncode == _EXIT_ADDRESS_IN_USE):
            raise LocalError(
                f"cannot use UDP port {self._port} of 127.0.0.1",
                cause=said,
                next_step="stop the program that uses it, or give another port (--udp 0 takes any that is free)",
            )
        if self.board.is_host and process.returncode == _EXIT_USAGE:
            raise InputError(
                f"{self.board.name} does not take these options",
                cause=said,
                next_step="`wasmote emulate --help` describes them",
            )
        raise WasmoteError(
            f"{self.board.name} ended at once with {process.returncode}",
            cause=said,
            next_step=f"build it again: `wasmote build {self.board.name}`",
        )


def die_with_parent() -> None:
    """In the child: the kernel ends it when its parent dies, whatever the parent dies of."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _free_port() -> int:
    """A UDP port of loopback that nobody used a moment ago: the emulator cannot tell which one it took."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def own_address(settings: str) -> str:
    """The node's IPv4 address among the words of its settings, "" if they leave that to DHCP. Raises InputError if they
    are none."""
    own = ""
    for word in settings.split():
        try:
            if "/" in word:
                own = str(ipaddress.IPv4Interface(word).ip)
            else:
                ipaddress.ip_address(word)
        except ValueError as err:
            raise InputError(
                f"'{word}' is no address for a node",
                cause=str(err),
                next_step="give ADDRESS/BITS and a gateway, or an IPv6 address without bits, or all three",
            ) from None
    return own
