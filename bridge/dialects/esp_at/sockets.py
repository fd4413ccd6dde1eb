"""The hooks of links that open and send nothing: modes, listings, options, closing; lookup and ping."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.links import Link
from bridge.model import Capability, Condition
from bridge.wire.addresses import aton, dotted, numeric
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

ALL = 5  # AT+CIPCLOSE=5
DETAILED = 2  # the bit of AT+SYSMSG
_NAMED = frozenset(map(chr, range(0x21, 0x7F))) - frozenset('",\\;')


def host_of(text: str) -> str:
    """A host argument as every Network takes it, a name or a dotted address; ``""``: neither.

    What these modules read as a number is one here, too, so ``192.168.010.1`` is 192.168.8.1: they give the text to lwIP
    first (``ipaddr_addr``), and only what that cannot read is a name (espressif/ESP8266_AT, at/user/at_ipCmd.c,
    at_setupCmdCipstart).  A name is printable, has nothing that could end an argument or a line in another dialect, and
    does not end in a number: lwIP's generations differ about 089.1.1.1, and no name server knows 1.2.3.4.5.
    """
    if (address := aton(text)) is not None:
        return address
    return text if _NAMED.issuperset(text) and not numeric(text) else ""


def mux(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPMUX: the same again is OK, a change with links open is not."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipmux", mux=int(unit.mux)))
        return
    wanted = bool(command.number("mux"))
    if wanted and not unit.mux and unit.through.on:
        command.refuse(Condition.WRONG_STATE, "AT+CIPMODE is 1", about="mode")
        return
    if wanted != unit.mux and (len(unit.links) or unit.server.running):
        what = "server" if unit.server.running else "links"
        command.refuse(Condition.WRONG_STATE, f"{what} first", about=what)
        return
    unit.mux = wanted
    command.ok()


def info(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPDINFO: the peer's address in +IPD."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipdinfo_on" if unit.dinfo else "cipdinfo_off"))
        return
    unit.dinfo = bool(command.number("on"))
    command.ok()


def close(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPCLOSE: CLOSED, then OK, from our own state; the module's work drains behind."""
    if (command.form is Form.SET) is not unit.mux:
        command.refuse(Condition.BAD_ARGUMENT, "an id exactly in multiple connection mode")
        return
    number = command.number("link")
    if unit.mux and number == ALL:
        command.finish(lambda: unit.links.close_all() + unit.say("ok"))
        return
    link = unit.links.find(number)
    if link is None:
        command.refuse(Condition.WRONG_STATE, "no such link", about="link" if unit.mux else "")
        return
    command.finish(lambda: unit.links.close(link) + unit.say("ok"))


def status(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTATUS: 5 not joined, 3 a connection is up, 4 all were closed, 2 there was none."""

    def answer() -> bytes:
        number = 2
        if not unit.station.up:
            number = 5
        elif any(link.channel.linked or unit.profile.number("status_udp") for link in unit.links.opened()):
            number = 3
        elif unit.links.used:
            number = 4
        return unit.say("status", status=number) + _listing(unit, "status_link") + unit.say("ok")

    command.finish(answer)


def state(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTATE?."""
    command.finish(lambda: _listing(unit, "state_link") + unit.say("ok"))


def _listing(unit: EspAtUpstream, row: str) -> bytes:
    return b"".join(_entry(unit, link, row) for link in unit.links.opened())


def _entry(unit: EspAtUpstream, link: Link, row: str) -> bytes:
    """A line that tells of one link."""
    peer, local = link.remote(), link.channel.local
    own = local.port if local is not None else unit.profile.number("local_port") + link.number
    kind, side = link.channel.kind, int(link.served)
    return unit.say(row, id=link.number, kind=kind, address=peer.host, port=peer.port, local=own, side=side)


def connected_text(unit: EspAtUpstream, link: Link) -> bytes:
    """The line that tells of a new link: short, or with everything about it (AT+SYSMSG)."""
    if unit.kept.number("SYSMSG", "bits") & DETAILED:
        return _entry(unit, link, "link_conn")
    return unit.say("connect", id=unit.links.prefix(link))


def options(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPTCPOPT: what a connection here has, which cannot be changed: setting it is OK, anything else is not."""
    if command.form is Form.QUERY:
        command.ok(b"".join(unit.say("ciptcpopt", id=number) for number in unit.links.numbers()))
    elif command.number("linger", -1) == -1 and not any(command.number(name) for name in ("nodelay", "timeout")):
        command.ok()
    else:
        command.refuse(Condition.NOT_SUPPORTED, "socket options are the network's own")


def close_mode(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPCLOSEMODE: links are closed in order; a reset in place of that there is none."""
    del unit
    if command.number("mode"):
        command.refuse(Condition.NOT_SUPPORTED, "closing by a reset")
    else:
        command.ok()


async def ping(unit: EspAtUpstream, command: Command) -> None:
    """AT+PING: whole milliseconds, at least 1."""
    host = host_of(command.string("host"))
    if not host:
        command.refuse(Condition.BAD_ARGUMENT, "host name")
    elif not unit.station.up:
        command.refuse(Condition.BEARER_UNAVAILABLE, "not joined")
    elif Capability.PING not in unit.network.limits.capabilities:
        command.refuse(Condition.NOT_SUPPORTED, "no echo requests")
    else:
        seconds = await unit.network.ping(host, unit.profile.seconds("ping"))
        command.ok(unit.say("ping", milliseconds=max(1, round(seconds * 1000))))


async def domain(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPDOMAIN: an address is its own answer."""
    host = host_of(command.string("host"))
    if not host:
        command.refuse(Condition.BAD_ARGUMENT, "host name")
    elif not unit.station.up:
        command.refuse(Condition.BEARER_UNAVAILABLE, "not joined")
    else:
        found = host if dotted(host) else await unit.network.resolve(host)
        command.ok(unit.say("cipdomain", address=found))


HOOKS: dict[str, Hook] = {
    "mux": mux,
    "info": info,
    "close": close,
    "status": status,
    "state": state,
    "options": options,
    "close_mode": close_mode,
    "ping": ping,
    "domain": domain,
}
