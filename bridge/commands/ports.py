"""``at-bridge ports``: which serial ports there are, who holds them, and how to write them down."""

from __future__ import annotations

import argparse
import os

from bridge.commands import DONE, Commands, command
from bridge.ports import inventory
from bridge.trace import printable

_SNIPPET = """\
For the configuration, with the port of the host first:

  [bridge.NAME]
  upstream = {}
  downstream = {}"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Its options and help."""
    command(
        commands,
        "ports",
        "list the serial ports and who holds them",
        "List the serial ports that are there: names that last (by-id: the adapter,\n"
        "by-path: the socket it is plugged into), USB identity, and the processes that\n"
        "have them open.  Other users' processes are seen only as root.",
        "  at-bridge ports\n  sudo at-bridge ports\n",
    )


def run(args: argparse.Namespace) -> int:
    """Print them; none is no failure."""
    ports = inventory.listed()
    if not ports:
        print("No serial ports.  Is the adapter plugged in, and its driver there?  'dmesg | tail' tells.")
        return DONE
    held = inventory.holders(port.device for port in ports)
    for port in ports:
        print(port.device)
        for key, value in (
            ("by-id", port.by_id),
            ("by-path", port.by_path),
            ("usb", port.usb),
            ("says it is", port.product),
            ("held by", ", ".join(f"{holder.name} (process {holder.pid})" for holder in held[os.path.realpath(port.device)])),
        ):
            if value:
                print(f"  {key:<11}{printable(value)}")
        if not os.access(port.device, os.R_OK | os.W_OK):
            print("  not yours  join its group, as with: sudo adduser $USER dialout")
    _manager(ports)
    print()
    names = [f'"{dialect}@{printable(port.lasting)}"' for dialect, port in zip(("esp-at", "wip:c1"), ports, strict=False)]
    print(_SNIPPET.format(names[0], names[1] if len(names) > 1 else '"local"'))
    return DONE


def _manager(ports: list[inventory.Found]) -> None:
    if not inventory.modem_manager():
        return
    print("\nModemManager runs: it opens new ports and types AT commands at whatever is there, host or module.")
    if any(port.usb for port in ports):
        print("Keep it off these with the udev rules of 'at-bridge install', or stop it: systemctl disable --now ModemManager")
