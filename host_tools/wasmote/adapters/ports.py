"""What is connected to this machine: serial ports and USB devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from wasmote.adapters.boards import Board

_SYS_USB = Path("/sys/bus/usb/devices")

# USB ids that MicroPython's own builds use: its vendor id, and the ones of chips' makers with a product of its own.
MICROPYTHON_USB = ("f055:9800", "f055:9801", "f055:9802", "2e8a:0005", "303a:4001", "239a:8021")


@dataclass(frozen=True)
class SerialPort:
    """usb: vendor:product in small hexadecimal letters, "" where the port is on no USB device. text: what the device
    says that it is."""

    device: str
    usb: str = ""
    text: str = ""
    serial_number: str = ""


def serial_ports() -> list[SerialPort]:
    """The serial ports of this machine, by name. Those that are soldered to a PC and lead nowhere are left out, as
    the system lists them whether something is there or not."""
    return sorted(
        (
            SerialPort(
                port.device,
                "" if port.vid is None else f"{port.vid:04x}:{port.pid:04x}",
                port.description if port.description not in (None, "n/a") else "",
                port.serial_number or "",
            )
            for port in list_ports.comports()
        ),
        key=lambda port: port.device,
    )


def usb_devices(root: Path = _SYS_USB) -> list[str]:
    """vendor:product of all USB devices, where the system lists them as files (Linux)."""
    found = []
    for vendor in sorted(root.glob("*/idVendor")):
        try:
            product = vendor.with_name("idProduct").read_text(encoding="ascii").strip()
            found.append(f"{vendor.read_text(encoding='ascii').strip()}:{product}".lower())
        except (OSError, UnicodeDecodeError):
            continue
    return found


def ids(board: Board, kind: str) -> Sequence[str]:
    """USB ids of a board: kind "serial", "programmer" or "bootloader"."""
    found: Mapping[str, Iterable[str]] = board.usb
    return tuple(str(one).lower() for one in found.get(kind, ()))


def guess_boards(port: SerialPort, boards: Iterable[Board]) -> list[str]:
    """Names of the boards that a port's USB id fits. A hint: one ST-LINK looks like another."""
    return [board.name for board in boards if port.usb and port.usb in ids(board, "serial")]
