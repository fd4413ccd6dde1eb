"""What a host asks and sets about its station: answered from memory, about the network that is there."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at import wifi
from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

NOWHERE = "0.0.0.0"


def join(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CWJAP: asked what is joined, or told to join."""
    if command.form is not Form.QUERY:
        return wifi.join(unit, command)
    command.finish(lambda: _access_point(unit, command.name) + unit.say("ok"))
    return None


def _access_point(unit: EspAtUpstream, name: str) -> bytes:
    if not unit.station.up or unit.station.login is None:
        return unit.say("no_access_point")
    value = unit.profile.value
    return unit.say(
        "access_point",
        name=name,
        ssid=unit.station.login.name,
        bssid=value["bssid"].value,
        channel=value["channel"].value,
        rssi=unit.station.rssi,
    )


def mode(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWMODE: 0 leaves; 2 would be an access point alone, which there is none of."""
    if command.form is Form.TEST:
        command.ok(unit.say("modes", name=command.name))
        return
    if command.form is Form.QUERY:
        command.finish(lambda: unit.say("mode", name=command.name, mode=unit.station.mode) + unit.say("ok"))
        return
    wanted = command.number("mode")
    if wanted == 2:
        command.refuse(Condition.NOT_SUPPORTED, "no access point")
        return
    unit.station.mode = wanted
    if unit.kept.stores(command):
        unit.station.stored_mode = wanted
    if wanted == 0 and unit.station.wanted:
        command.finish(lambda: wifi.leave(unit) + unit.say("ok"))
        wifi.detach(unit)
        return
    command.ok()


def autoconnect(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWAUTOCONN: whether a reset is followed by a join."""
    if command.form is Form.QUERY:
        command.finish(lambda: unit.say("autoconn", on=int(unit.station.autoconnect)) + unit.say("ok"))
        return
    unit.station.autoconnect = bool(command.number("on"))
    command.ok()


def dhcp(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWDHCP: the address is always the network's; only switching that off is refused.

    One generation has a mask of interfaces (1: the station), the other a mode (0: not the station).
    """
    if command.form is Form.QUERY:
        command.ok(unit.say("dhcp", name=command.name))
    elif command.number("on") == 0 and (command.number("mask") & 1 or command.number("mode")):
        command.refuse(Condition.NOT_SUPPORTED, "the station's address is the network's")
    else:
        command.ok()


def addresses(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIFSR."""
    mac = unit.profile.value["mac"].value
    command.finish(lambda: unit.say("cifsr", ip=address(unit), mac=mac) + unit.say("ok"))


def station_address(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTA?: 0.0.0.0 three times where the host did not join."""

    def answer() -> bytes:
        own, value = address(unit), unit.profile.value
        gateway = value["gateway"].value if own != NOWHERE else NOWHERE
        netmask = value["netmask"].value if own != NOWHERE else NOWHERE
        return unit.say("cipsta", name=command.name, ip=own, gateway=gateway, netmask=netmask) + unit.say("ok")

    command.finish(answer)


def station_mac(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTAMAC?."""
    command.ok(unit.say("cipstamac", name=command.name, mac=unit.profile.value["mac"].value))


def station_state(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWSTATE?: 0 never joined, 2 joined, 3 lost and coming back, 4 left."""

    def answer() -> bytes:
        station = unit.station
        number = 2 if station.up else 3 if station.wanted else 4 if station.left else 0
        name = station.login.name if station.wanted and station.login is not None else ""
        return unit.say("cwstate", state=number, ssid=name) + unit.say("ok")

    command.finish(answer)


def address(unit: EspAtUpstream) -> str:
    """The host's address; 0.0.0.0 where it did not join or the network has none to tell."""
    return (unit.network.state.address or NOWHERE) if unit.station.up else NOWHERE


HOOKS: dict[str, Hook] = {
    "join": join,
    "mode": mode,
    "autoconnect": autoconnect,
    "dhcp": dhcp,
    "addresses": addresses,
    "station_address": station_address,
    "station_mac": station_mac,
    "station_state": station_state,
}
