"""The hooks of links: connect, send, close, list, resolve."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at.command import Command, Hook, Payload
from bridge.dialects.esp_at.links import Link, is_address, pump, remote
from bridge.model import Condition
from bridge.network import LinkLost
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

ALL = 5  # AT+CIPCLOSE=5


def is_name(host: str) -> bool:
    """Printable, and nothing that could end an argument or a line in another dialect."""
    return bool(host) and all("!" <= char <= "~" and char not in '",\\;' for char in host)


def mux(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPMUX: the same again is OK, a change with links open is not."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipmux", mux=int(unit.mux)))
        return
    wanted = bool(command.number("mux"))
    if wanted != unit.mux and len(unit.links):
        command.refuse(Condition.WRONG_STATE, "links are open")
        return
    unit.mux = wanted
    command.ok()


def info(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPDINFO: the peer's address in +IPD."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipdinfo", word="true" if unit.dinfo else "false"))
        return
    unit.dinfo = bool(command.number("on"))
    command.ok()


def connect(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSTART: refused at once where nothing has to be asked."""
    number, host, port = command.number("link"), command.string("host"), command.number("port")
    local = command.string("local")
    if not is_name(host):
        command.refuse(Condition.BAD_ARGUMENT, "host name")
    elif not unit.station.up:
        command.refuse(Condition.BEARER_UNAVAILABLE, "not joined")
    elif local and local != unit.network.state.address:
        command.refuse(Condition.BAD_ARGUMENT, "not our address")
    elif (link := unit.links.reserve(number, host, port)) is None:
        command.refuse(Condition.NO_FREE_LINK, "the id is taken or none")
    else:
        return _connect(unit, command, link)
    return None


async def _connect(unit: EspAtUpstream, command: Command, link: Link) -> None:
    try:
        stream = await unit.network.open_stream(link.host, link.port, keepalive=command.number("keepalive"))
    except BaseException:
        unit.links.release(link)
        raise
    unit.links.open(link, stream)
    command.finish(lambda: unit.say("connect", id=unit.links.prefix(link)) + unit.say("ok"))
    assert command.written is not None
    unit.spawn(_pump_after, unit, command, link)


async def _pump_after(unit: EspAtUpstream, command: Command, link: Link) -> None:
    assert command.written is not None
    await command.written.wait()
    await pump(unit, link)


def send(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSEND: accepted or refused at once, so that a payload that follows at once is never taken for a line."""
    link, length = unit.links.find(command.number("link")), command.number("length")
    if link is None:
        command.refuse(Condition.WRONG_STATE, "no such link")
        return None
    if length > unit.network.limits.send_size:
        command.refuse(Condition.TOO_LONG, "for this network")
        return None
    unit.collect(payload := Payload(command, length))
    return _send(unit, command, link, payload)


async def _send(unit: EspAtUpstream, command: Command, link: Link, payload: Payload) -> None:
    assert link.stream is not None
    try:
        with link.stream.sending(payload.total) as sending:
            while piece := await payload.take():
                await sending.write(piece)
            await sending.commit()
    except BaseException as error:
        if isinstance(error, LinkLost) or payload.begun:
            link.expire(unit.profile.seconds("linger"))
        raise
    command.finish(lambda: unit.say("send_ok"))


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
        command.refuse(Condition.WRONG_STATE, "no such link")
        return
    command.finish(lambda: unit.links.close(link) + unit.say("ok"))


def status(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTATUS: 5 not joined, 3 a link is open, 4 all were closed, 2 there was none."""

    def answer() -> bytes:
        number = 2
        if not unit.station.up:
            number = 5
        elif unit.links.opened():
            number = 3
        elif unit.links.used:
            number = 4
        return unit.say("status", status=number) + _listing(unit, "status_link") + unit.say("ok")

    command.finish(answer)


def state(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSTATE?."""
    command.finish(lambda: _listing(unit, "state_link") + unit.say("ok"))


def _listing(unit: EspAtUpstream, row: str) -> bytes:
    lines = []
    for link in unit.links.opened():
        assert link.stream is not None
        peer, local = remote(link), link.stream.local
        own = local.port if local is not None else unit.profile.number("local_port") + link.number
        lines.append(unit.say(row, id=link.number, address=peer.host, port=peer.port, local=own))
    return b"".join(lines)


async def domain(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPDOMAIN: an address is its own answer."""
    host = command.string("host")
    if not is_name(host):
        command.refuse(Condition.BAD_ARGUMENT, "host name")
    elif not unit.station.up:
        command.refuse(Condition.BEARER_UNAVAILABLE, "not joined")
    else:
        found = host if is_address(host) else await unit.network.resolve(host)
        command.ok(unit.say("cipdomain", address=found))


HOOKS: dict[str, Hook] = {
    "mux": mux,
    "info": info,
    "connect": connect,
    "send": send,
    "close": close,
    "status": status,
    "state": state,
    "domain": domain,
}
