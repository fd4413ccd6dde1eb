"""The hooks of transparent mode: into it by command, or at the next start.  What happens while it lasts: `passthrough`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.links import Link, LinkState
from bridge.dialects.esp_at.opening import ANYBODY, KEEPALIVE_MOST, open_datagram, open_stream
from bridge.dialects.esp_at.sockets import host_of
from bridge.model import Capability, Condition, Endpoint, Peers
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream


BROADCAST = "255.255.255.255"


def mode(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPMODE: from 1 on what comes is told raw, and a bare AT+CIPSEND makes data of what is typed."""
    if command.form is Form.QUERY:
        command.ok(unit.say("cipmode", mode=int(unit.through.on)))
    elif command.number("mode") and not _fits(unit):
        command.refuse(Condition.WRONG_STATE, "single connection mode and no server")
    else:
        unit.through.on = bool(command.number("mode"))
        for link in unit.links.opened():
            link.announced, link.unread = 0, False
            link.stir()
        command.ok()


def _fits(unit: EspAtUpstream) -> bool:
    """Whether there can be no more than one link; some generations know a server of one client, too."""
    if not unit.mux:
        return True
    return bool(unit.profile.number("through_server")) and unit.server.running and unit.server.most == 1


def enter(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPSEND alone: what follows is data, at once."""
    link = unit.through.candidate()
    if link is None:
        command.refuse(Condition.WRONG_STATE, "AT+CIPMODE is 0, or there is no link that can be transparent", about="through")
    else:
        command.link = str(link.number)
        command.finish(lambda: unit.say("through_prompt"))
        unit.through.begin(link)


def save(unit: EspAtUpstream, command: Command) -> None:
    """AT+SAVETRANSLINK: the link that transparent mode begins with after the next start; 0: none."""
    host, port, option = host_of(command.string("host")), command.number("port"), command.number("option")
    udp = command.string("kind") == "UDP"
    if not command.number("mode"):
        unit.through.saved = None
    elif not host or not port or host in {ANYBODY, BROADCAST}:
        command.refuse(Condition.BAD_ARGUMENT, "a link is a host and a port", about="host")
        return
    elif not udp and option > KEEPALIVE_MOST:
        command.refuse(Condition.BAD_ARGUMENT, "keepalive", about="port")
        return
    elif udp and Capability.UDP not in unit.network.limits.capabilities:
        command.refuse(Condition.NOT_SUPPORTED, "no datagrams")
        return
    else:
        link = unit.through.saved = Link(0, host, port)
        link.state = LinkState.CLOSED
        if udp:
            link.again = partial(open_datagram, unit, Endpoint(host, port), option, Peers.FIXED)
        else:
            link.again = partial(open_stream, unit, host, port, option)
    command.ok()


def resume(unit: EspAtUpstream) -> None:
    """The module has joined by itself: what was saved begins, once after each start, as a link that was lost does.

    Never waits: for use in what the writer renders.
    """
    link, unit.through.due = unit.through.due, None
    if link is None:
        return
    if unit.mux:
        unit.trace.note("passthrough", "what was saved does not begin: the host chose multiple connections")
        return
    unit.through.on = True
    unit.runner.forget_line()
    unit.through.begin(link)


HOOKS: dict[str, Hook] = {"transparent": mode, "save_link": save}
