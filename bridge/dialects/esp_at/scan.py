"""The networks a host can join: one, by the name it knows, as strong as the module's bearer is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import trio

from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition
from bridge.wire.grammar import ArgumentError

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

OPEN = 0  # <ecn> of a network without a password
_NUMBER = re.compile(r"[0-9]{1,5}|0[xX][0-9a-fA-F]{1,4}")


async def scan(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWLAP: the network, if it has the name, address and channel that were asked for.

    Where any name can be joined, the name that was asked for is there: the host looks before it joins.
    """
    if unit.station.mode == 0:
        command.refuse(Condition.WRONG_STATE, "station mode is off")
        return
    await measure(unit)
    values, value, options = command.values, unit.profile.value, unit.kept.of("CWLAPOPT")
    name = network_name(unit, command.string("ssid"))
    asked_for = (
        values.get("ssid") in {None, name}
        and str(values.get("bssid", value["bssid"].value)).lower() == value["bssid"].value
        and values.get("channel", 0) in {0, value["channel"].value}
    )
    security = unit.profile.number("security")
    passes = unit.station.rssi >= int(options["rssi"]) and int(options["security"]) >> security & 1
    command.ok(_line(unit, name, security, int(options["mask"])) if asked_for and passes else b"")


def _line(unit: EspAtUpstream, name: str, security: int, mask: int) -> bytes:
    """The fields that the host wants, by the bits of AT+CWLAPOPT."""
    value = unit.profile.value
    fields = unit.profile.words("lap_fields").split("|")
    wanted = ",".join(field for bit, field in enumerate(fields) if mask >> bit & 1)
    row = unit.profile.words("lap").replace("{fields}", wanted)
    filled = row.format(ecn=security, ssid=name, rssi=unit.station.rssi, mac=value["bssid"].value, channel=value["channel"].value)
    return filled.encode("latin-1", "replace")


def network_name(unit: EspAtUpstream, asked: str = "") -> str:
    """The only one that can be joined; where any can: the one asked for, the one joined last, or the table's."""
    login = unit.station.login
    return unit.settings.ssid or asked or (login.name if login is not None else "") or str(unit.profile.value["ssid"].value)


async def measure(unit: EspAtUpstream) -> None:
    """Ask the module for its signal, for a limited time; without an answer the last strength stands."""
    with trio.move_on_after(unit.profile.seconds("signal")):
        heard = await unit.network.signal()
        if heard is not None:
            unit.station.rssi = heard


def options(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWLAPOPT: the mask may be hexadecimal."""
    mask = command.string("mask")
    if not _NUMBER.fullmatch(mask):
        raise ArgumentError("type", 1, "mask: not a whole number", "mask")
    number = int(mask, 16 if mask[:2].lower() == "0x" else 10)
    if not number < 1 << len(unit.profile.words("lap_fields").split("|")):
        raise ArgumentError("value", 1, "mask: a field that there is none of", "mask", "high")
    command.values["mask"] = number
    unit.kept.keep(command)
    command.ok()


HOOKS: dict[str, Hook] = {"scan": scan, "scan_options": options}
