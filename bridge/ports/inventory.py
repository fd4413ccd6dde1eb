"""Which serial ports there are: their lasting names, what is plugged in there, and who holds them.

The device's own name (`/dev/ttyUSB0`) goes to whoever is plugged in first.  Names that last are udev's links by-id (the
adapter, by its serial number) and by-path (the socket it is plugged into), and ``usb:VID:PID[:SERIAL]`` here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

__all__ = ["UNSTABLE", "USB", "Found", "Holder", "UsbError", "holders", "listed", "modem_manager", "resolve"]

USB = "usb:"
UNSTABLE = re.compile(r"/dev/tty(USB|ACM)\d+")
MODEM_MANAGER = "ModemManager"

_USB = re.compile(r"usb:([0-9A-Fa-f]{4}):([0-9A-Fa-f]{4})(?::(.+))?", re.DOTALL)


class UsbError(Exception):
    """A ``usb:`` name leads to no port, or to several."""

    def __init__(self, problem: str, remedy: str, *, final: bool) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy
        self.final = final  # plugging something in would not help


@dataclass(frozen=True, slots=True)
class Found:
    """One port that is there."""

    device: str
    by_id: str = ""
    by_path: str = ""
    vid: int | None = None
    pid: int | None = None
    serial: str = ""
    product: str = ""  # what the device says of itself: not to be printed unescaped

    @property
    def lasting(self) -> str:
        """The best name for a configuration."""
        return self.by_id or self.by_path or self.device

    @property
    def usb(self) -> str:
        """Its ``usb:`` name; "" where it is no USB adapter."""
        if self.vid is None or self.pid is None:
            return ""
        return f"{USB}{self.vid:04x}:{self.pid:04x}" + (f":{self.serial}" if self.serial else "")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has the port open."""

    pid: int
    name: str


def listed(links: Path = Path("/dev/serial")) -> list[Found]:
    """All serial ports, ordered by device."""
    by_id, by_path = _links(links / "by-id"), _links(links / "by-path")
    return sorted(
        (
            Found(
                port.device,
                by_id.get(os.path.realpath(port.device), ""),
                by_path.get(os.path.realpath(port.device), ""),
                port.vid,
                port.pid,
                port.serial_number or "",
                port.product or (port.description if port.description != "n/a" else "") or "",
            )
            for port in list_ports.comports()
        ),
        key=lambda found: [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", found.device)],
    )


def _links(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    with suppress(OSError):
        for link in sorted(folder.iterdir()):
            found.setdefault(os.path.realpath(link), str(link))
    return found


def resolve(name: str, ports: Iterable[Found] | None = None) -> str:
    """The lasting name of what ``usb:VID:PID[:SERIAL]`` means; any other name as it is.  Raises UsbError."""
    if not name.startswith(USB):
        return name
    form = _USB.fullmatch(name)
    if not form:
        raise UsbError(
            f"{name!a} is no USB name", "write usb:VID:PID or usb:VID:PID:SERIAL, as usb:0403:6001:A5069RR4", final=True
        )
    vid, pid, serial = int(form[1], 16), int(form[2], 16), form[3]
    there = [p for p in (listed() if ports is None else ports) if (p.vid, p.pid) == (vid, pid) and serial in {None, p.serial}]
    if not there:
        raise UsbError(f"{name}: no such adapter is plugged in", "'at-bridge ports' lists those that are", final=False)
    if len(there) > 1:
        names = ", ".join(p.lasting for p in there)
        raise UsbError(f"{name} means {len(there)} ports ({names})", "name one of these instead, or add its SERIAL", final=True)
    return there[0].lasting


def holders(devices: Iterable[str], proc: Path = Path("/proc")) -> dict[str, list[Holder]]:
    """Who has each device open, as far as we may see: other users' processes show nothing without root."""
    wanted: dict[str, list[Holder]] = {os.path.realpath(device): [] for device in devices}
    for process in _processes(proc):
        with suppress(OSError):
            targets = set()
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):  # it may have been closed since
                    targets.add(str(descriptor.readlink()))
            for device in targets & wanted.keys():
                wanted[device].append(Holder(int(process.name), _name(process)))
    return wanted


def modem_manager(proc: Path = Path("/proc")) -> bool:
    """Whether ModemManager runs: it opens new serial ports and types AT commands at whatever is there."""
    return any(_name(process) == MODEM_MANAGER for process in _processes(proc))


def _processes(proc: Path) -> list[Path]:
    with suppress(OSError):
        return sorted((p for p in proc.iterdir() if p.name.isdecimal()), key=lambda p: int(p.name))
    return []


def _name(process: Path) -> str:
    with suppress(OSError):
        return (process / "comm").read_text("utf-8", "backslashreplace").rstrip("\n")
    return "?"
