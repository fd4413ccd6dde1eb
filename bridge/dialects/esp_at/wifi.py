"""The station that a host believes in: joining is the module's bearer, the rest is answered from memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition, Login, Phase
from bridge.network import NetworkError
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

NOWHERE = "0.0.0.0"


class Station:
    """Whether the host joined, and what it was told about it.  Credentials live in memory only."""

    def __init__(self) -> None:
        self.mode = 1
        self.autoconnect = True
        self.login: Login | None = None
        self.wanted = False  # the host joined and did not leave
        self.up = False  # WIFI GOT IP was the last that the host was told
        self.left = False  # it was joined once and is not any more
        self.epoch = 0  # grows with every join, leave and reset: work begun before it says nothing any more

    def joined(self, login: Login) -> None:
        """The host is on the network."""
        self.epoch += 1
        self.login = login
        self.wanted = self.up = True

    def leave(self) -> bool:
        """The host left; whether it has to be told WIFI DISCONNECT."""
        was, self.up = self.up, False
        self.left = self.left or self.wanted
        self.wanted = False
        self.epoch += 1
        return was


def leave(unit: EspAtUpstream) -> bytes:
    """CLOSED lines and WIFI DISCONNECT, as far as they are due.  For use in what the writer renders."""
    closed = unit.links.close_all()
    return closed + (unit.say("wifi_disconnect") if unit.station.leave() else b"")


async def bring_up(unit: EspAtUpstream, login: Login) -> None:
    """Attach, again whenever the network's state changes, until it works.  The caller has the deadline."""
    while True:
        seq = unit.network.state.seq
        try:
            await unit.network.attach(login)
        except NetworkError as error:
            if error.condition in {Condition.BEARER_REFUSED, Condition.NOT_SUPPORTED, Condition.BAD_ARGUMENT}:
                raise
            unit.trace.note("attach", str(error))
        else:
            return
        while True:
            state = await unit.network.wait_state(seq)
            if state.phase is Phase.UP:
                break
            seq = state.seq


async def join(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWJAP: any name and password will do, the bearer is the module's own."""
    if command.form is Form.QUERY:
        command.finish(lambda: _access_point(unit) + unit.say("ok"))
        return
    if unit.station.mode == 0:
        command.refuse(Condition.WRONG_STATE, "station mode is off")
        return
    login = Login(command.string("ssid"), command.string("password"))
    if unit.station.up:
        unit.writer.post_render(lambda: leave(unit))
    await bring_up(unit, login)

    def done() -> bytes:
        unit.station.joined(login)
        unit.links.used = False
        return unit.say("wifi_connected") + unit.say("wifi_got_ip") + unit.say("ok")

    command.finish(done)


def _access_point(unit: EspAtUpstream) -> bytes:
    if not unit.station.up or unit.station.login is None:
        return b""
    value = unit.profile.value
    return unit.say(
        "access_point",
        ssid=unit.station.login.name,
        bssid=value["bssid"].value,
        channel=value["channel"].value,
        rssi=value["rssi"].value,
    )


def quit_ap(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWQAP: the links' CLOSED, OK, then WIFI DISCONNECT."""

    def done() -> bytes:
        closed = unit.links.close_all()
        gone = unit.say("wifi_disconnect") if unit.station.leave() else b""
        return closed + unit.say("ok") + gone

    command.finish(done)
    unit.spawn(detach, unit)


async def detach(unit: EspAtUpstream) -> None:
    """Tell the Network that the host left; nobody waits for it."""
    with trio.move_on_after(unit.profile.seconds("close")):
        try:
            await unit.network.detach()
        except NetworkError as error:
            unit.trace.note("detach", str(error))


def mode(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWMODE: 0 leaves; 2 would be an access point alone, which there is none of."""
    if command.form is Form.QUERY:
        command.finish(lambda: unit.say("mode", mode=unit.station.mode) + unit.say("ok"))
        return
    wanted = command.number("mode")
    if wanted == 2:
        command.refuse(Condition.NOT_SUPPORTED, "no access point")
        return
    unit.station.mode = wanted
    if wanted == 0 and unit.station.wanted:
        command.finish(lambda: leave(unit) + unit.say("ok"))
        unit.spawn(detach, unit)
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
    """AT+CWDHCP: the address is always the network's; only switching that off is refused."""
    if command.form is Form.QUERY:
        command.ok(unit.say("dhcp"))
    elif command.number("on") == 0 and command.number("mask") & 1:
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
        return unit.say("cipsta", ip=own, gateway=gateway, netmask=netmask) + unit.say("ok")

    command.finish(answer)


def station_mac(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTAMAC?."""
    command.ok(unit.say("cipstamac", mac=unit.profile.value["mac"].value))


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


async def rejoin(unit: EspAtUpstream, login: Login) -> None:
    """After a reset with autoconnect: join as before, and say so if the host did nothing else meanwhile."""
    epoch = unit.station.epoch
    try:
        await bring_up(unit, login)
    except NetworkError as error:
        unit.trace.note("rejoin", str(error))
        return

    def announce() -> bytes | None:
        if unit.station.epoch != epoch or unit.station.mode == 0:
            return None
        unit.station.joined(login)
        return unit.say("wifi_connected") + unit.say("wifi_got_ip")

    await unit.writer.urc(announce, rule="joined")


async def watch(unit: EspAtUpstream) -> None:
    """Tell the host what became of the network.  Links end by their own condition; this only waits for their CLOSED.

    The host is told that it is back whatever CWAUTOCONN says: that is for power-up only.
    """
    station = unit.station
    linger = unit.profile.seconds("linger")
    state = unit.network.state
    while True:
        before, state = state, await unit.network.wait_state(state.seq)
        reborn = state.generation != before.generation
        if station.up and (reborn or state.phase is not Phase.UP):
            epoch = station.epoch
            for link in unit.links.opened() if reborn else []:
                link.expire(linger)
            with trio.move_on_after(linger * 2):
                await unit.links.wait_none()

            def lost(epoch: int = epoch) -> bytes | None:
                if station.epoch != epoch or not station.up:
                    return None
                station.up = False
                return unit.say("wifi_disconnect")

            await unit.writer.urc(lost, rule=f"network: {state.cause}")
        if unit.network.state.phase is Phase.UP and station.wanted and not station.up:

            def back() -> bytes | None:
                if not station.wanted or station.up or unit.network.state.phase is not Phase.UP:
                    return None
                station.up = True
                return unit.say("wifi_connected") + unit.say("wifi_got_ip")

            await unit.writer.urc(back, rule="network is back")


HOOKS: dict[str, Hook] = {
    "join": join,
    "quit_ap": quit_ap,
    "mode": mode,
    "autoconnect": autoconnect,
    "dhcp": dhcp,
    "addresses": addresses,
    "station_address": station_address,
    "station_mac": station_mac,
    "station_state": station_state,
}
