"""The station that a host believes in: joining is the module's bearer.  What is asked about it: `station`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from bridge.command_log import Part
from bridge.dialects.esp_at import transparent
from bridge.dialects.esp_at.command import Command, Hook
from bridge.model import Condition, Login, Phase
from bridge.network import NetworkError

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream


class Station:
    """Whether the host joined, and what it was told about it.  Credentials live in memory only."""

    def __init__(self, rssi: int) -> None:
        self.mode = self.stored_mode = 1  # now, and after a reset
        self.autoconnect = True
        self.login: Login | None = None
        self.stored: Login | None = None  # that of the last join which outlives a reset
        self.wanted = False  # the host joined and did not leave
        self.up = False  # WIFI GOT IP was the last that the host was told
        self.left = False  # it was joined once and is not any more
        self.epoch = 0  # grows with every join, leave and reset: work begun before it says nothing any more
        self.rssi = rssi  # dBm, as last told
        self.behind = trio.CancelScope()  # the join that no command waits for
        self.leaving = trio.CancelScope()  # of the Network, which no command waits for either: one at a time

    def turn(self) -> None:
        """Something else begins: what was under way is out of date."""
        self.epoch += 1
        self.behind.cancel()

    def joined(self, login: Login) -> None:
        """The host is on the network."""
        self.turn()
        self.login = login
        self.wanted = self.up = True

    def leave(self) -> bool:
        """The host left; whether it has to be told WIFI DISCONNECT."""
        was, self.up = self.up, False
        self.left = self.left or self.wanted
        self.wanted = False
        self.turn()
        return was

    def forget(self) -> None:
        """Back to the factory: no network is known."""
        self.mode = self.stored_mode = 1
        self.autoconnect = True
        self.login = self.stored = None


def leave(unit: EspAtUpstream) -> bytes:
    """CLOSED lines and WIFI DISCONNECT, as far as they are due.  For use in what the writer renders."""
    closed = unit.links.close_all()
    return closed + (unit.say("wifi_disconnect") if unit.station.leave() else b"")


FINAL = frozenset({Condition.BEARER_REFUSED, Condition.NOT_SUPPORTED, Condition.BAD_ARGUMENT})
"""What a host that waits for its join is told at once; one that does not wait has time for a bearer to think again."""


async def bring_up(unit: EspAtUpstream, login: Login, *, final: frozenset[Condition] = FINAL) -> None:
    """Attach, again whenever the network's state changes, until it works.  The caller has the deadline."""
    unit.station.leaving.cancel()
    while True:
        seq = unit.network.state.seq
        try:
            await unit.network.attach(login)
        except NetworkError as error:
            if error.condition in final:
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
    """AT+CWJAP=: the bearer is the module's own, so any name and password will do, unless the operator named one.

    Where the bearer does not come up in time, the host is told that - and later, when it is up, that it is joined: a
    module goes on trying, too.
    """
    station, settings = unit.station, unit.settings
    if station.mode == 0:
        command.refuse(Condition.WRONG_STATE, "station mode is off")
        return
    if wait := command.number("timeout"):  # the host says itself how long it waits
        command.scope.deadline = trio.current_time() + wait
    unit.through.due = None  # a host that joins itself does not expect what was saved
    login = Login(command.string("ssid"), command.string("password"))
    if station.up:
        with command.event.waiting(Part.WIRE):
            await unit.writer.post_render(lambda: leave(unit)).wait()
    station.leave()
    if settings.ssid and login.name != settings.ssid:
        command.refuse(Condition.BEARER_REFUSED, "not the name of the network", about="ssid")
        return
    if settings.password is not None and login.password != settings.password:
        command.refuse(Condition.BEARER_REFUSED, "not the password of the network", about="password")
        return
    try:
        await bring_up(unit, login)
    except trio.Cancelled:
        if not command.abandoned and trio.current_time() >= command.scope.deadline:
            join_later(unit, login, store=unit.kept.stores(command))
        raise

    def done() -> bytes:
        unit.station.joined(login)
        if unit.kept.stores(command):
            station.stored = login
        unit.links.used = False
        return unit.say("wifi_connected") + unit.say("wifi_got_ip") + unit.say("ok")

    command.finish(done)


def quit_ap(unit: EspAtUpstream, command: Command) -> None:
    """AT+CWQAP: the links' CLOSED, OK, then WIFI DISCONNECT."""

    def done() -> bytes:
        closed = unit.links.close_all()
        gone = unit.say("wifi_disconnect") if unit.station.leave() else b""
        return closed + unit.say("ok") + gone

    command.finish(done)
    detach(unit)


def detach(unit: EspAtUpstream) -> None:
    """Tell the Network that the host left; nobody waits for it, and the next join or leave takes its place."""
    unit.station.leaving.cancel()
    unit.station.leaving = trio.CancelScope()
    unit.spawn(_detach, unit, unit.station.leaving)


async def _detach(unit: EspAtUpstream, scope: trio.CancelScope) -> None:
    with scope, trio.move_on_after(unit.profile.seconds("close")):
        try:
            await unit.network.detach()
        except NetworkError as error:
            unit.trace.note("detach", str(error))


def join_later(unit: EspAtUpstream, login: Login, *, store: bool) -> None:
    """Join, and say so whenever that works, unless the host does something else meanwhile."""
    unit.station.turn()
    unit.station.behind = trio.CancelScope()
    unit.spawn(_rejoin, unit, login, unit.station.behind, store)


async def _rejoin(unit: EspAtUpstream, login: Login, scope: trio.CancelScope, store: bool) -> None:
    def announce() -> bytes | None:
        if scope.cancel_called or unit.station.mode == 0:
            return None
        unit.station.joined(login)
        if store:
            unit.station.stored = login
        said = unit.through.tell(unit.say("wifi_connected") + unit.say("wifi_got_ip"))
        transparent.resume(unit)
        return said

    with scope:
        try:
            await bring_up(unit, login, final=FINAL - {Condition.BEARER_REFUSED})
        except NetworkError as error:
            unit.trace.note("rejoin", str(error))
            return
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
                return unit.through.tell(unit.say("wifi_disconnect"))

            await unit.writer.urc(lost, rule=f"network: {state.cause}")
        if unit.network.state.phase is Phase.UP and station.wanted and not station.up:

            def back() -> bytes | None:
                if not station.wanted or station.up or unit.network.state.phase is not Phase.UP:
                    return None
                station.up = True
                return unit.through.tell(unit.say("wifi_connected") + unit.say("wifi_got_ip"))

            await unit.writer.urc(back, rule="network is back")


HOOKS: dict[str, Hook] = {"quit_ap": quit_ap}
