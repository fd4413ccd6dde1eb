"""The hooks of sends: accepted or refused at once, so that a payload that follows at once is never taken for a line."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at.command import Command, Hook, Payload
from bridge.dialects.esp_at.links import Link
from bridge.dialects.esp_at.sockets import host_of
from bridge.dialects.esp_at.transparent import enter
from bridge.model import Condition, Endpoint
from bridge.network import LinkLost, NetworkError
from bridge.wire.addresses import dotted
from bridge.wire.grammar import Form, Token

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

OPENING = frozenset({"CIPSTART", "CIPSTARTEX"})  # their limit is `HostSettings.connect` where that is set


def send(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSEND: exactly so many bytes; alone, all that follow (transparent mode)."""
    if command.form is Form.EXECUTE:
        enter(unit, command)
        return None
    return _begin(unit, command, escaped=False)


def send_escaped(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    r"""AT+CIPSENDEX: so many bytes, or up to ``\0``."""
    return _begin(unit, command, escaped=True)


def to_datagrams(unit: EspAtUpstream, name: str, tokens: Sequence[Token]) -> bool:
    """Whether the arguments that only UDP has may be there: of the kind that is to be opened, or of the id's link."""
    if name in OPENING:
        return any(token.quoted and token.text.upper() == "UDP" for token in tokens[:2])
    text = tokens[0].text if unit.mux else "0"
    link = unit.links.find(int(text)) if text.isdigit() and len(text) == 1 else None
    return link is not None and not link.channel.linked


def _begin(unit: EspAtUpstream, command: Command, *, escaped: bool) -> Coroutine[Any, Any, None] | None:
    link, length = unit.links.find(command.number("link")), command.number("length")
    host, port = command.string("host"), command.number("port")
    target = Endpoint(host_of(host), port) if host or port else None
    if unit.through.on:
        command.refuse(Condition.WRONG_STATE, "AT+CIPMODE is 1", about="mode")
        return None
    if link is None:
        command.refuse(Condition.WRONG_STATE, "no such link")
        return None
    limits = unit.network.limits
    if length > (limits.send_size if link.channel.linked else limits.datagram_size):
        command.refuse(Condition.TOO_LONG, "for this network")
        return None
    if target is not None and not (target.host and port):
        command.refuse(Condition.BAD_ARGUMENT, "a target is a host and a port", about="host")
        return None
    if target is not None and link.is_peer(target):
        target = None if link.channel.fixed else target  # it goes there by itself, unless there is another peer by then
    elif target is not None and not link.channel.targets:
        command.refuse(Condition.NOT_SUPPORTED, "a datagram of this link goes to its peer alone")
        return None
    if target is None and not link.channel.linked and link.channel.peer is None:
        command.refuse(Condition.WRONG_STATE, "nobody to send to yet")
        return None
    payload = Payload(command, length, escaped=escaped)
    unit.collect(payload)
    return _send(unit, link, payload, target)


async def _send(unit: EspAtUpstream, link: Link, payload: Payload, target: Endpoint | None) -> None:
    """A name is looked up while the host types: its failure is the send's, and nothing has gone out."""
    try:
        if target is not None and not dotted(target.host):
            target = Endpoint(await unit.network.resolve(target.host), target.port)
        await link.channel.send(payload, target)
    except BaseException as error:
        # NetworkError: nothing went out, the link lives.  Everything else leaves a hole in its stream.
        if isinstance(error, LinkLost) or (payload.begun and not isinstance(error, NetworkError)):
            link.expire(unit.profile.seconds("linger"))
        raise
    link.touch()
    payload.command.finish(lambda: unit.say("send_ok"))


HOOKS: dict[str, Hook] = {"send": send, "send_escaped": send_escaped}
