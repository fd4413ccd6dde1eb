"""The hooks of passive receive: the host asks for what has come."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.links import LOST, Link
from bridge.dialects.esp_at.pump import learn_peer, peer_text, readable
from bridge.model import Condition
from bridge.wire.grammar import Form

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream


def receive_mode(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPRECVMODE: for the links that are open and for those to come."""
    if command.form is Form.QUERY:
        command.ok(unit.say("ciprecvmode", mode=int(unit.links.passive)))
        return
    unit.links.passive = bool(command.number("mode"))
    for link in unit.links.opened():
        link.announced, link.unread = 0, False
        link.stir()
    command.ok()


def receive_length(unit: EspAtUpstream, command: Command) -> None:
    """AT+CIPRECVLEN?: a number per id."""

    def answer() -> bytes:
        lengths = [_length(unit, unit.links.find(number)) for number in unit.links.numbers()]
        return unit.say("ciprecvlen", lengths=",".join(map(str, lengths))) + unit.say("ok")

    command.finish(answer)


def _length(unit: EspAtUpstream, link: Link | None) -> int:
    if link is None:
        return unit.profile.number("no_length")
    return readable(unit, link) if unit.links.reads_passively(link) else 0


def receive_data(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPRECVDATA: as much as there is, at most what is asked for."""
    link = unit.links.find(command.number("link"))
    if link is None or not unit.links.reads_passively(link):
        command.refuse(Condition.WRONG_STATE, "no such link, or not passive")
    elif not (count := min(command.number("length"), readable(unit, link))):
        command.refuse(Condition.WRONG_STATE, "nothing has come")
    else:
        return _read(unit, command, link, count)
    return None


async def _read(unit: EspAtUpstream, command: Command, link: Link, count: int) -> None:
    before = link.channel.waiting()
    lost: Exception | None = None
    try:
        await link.channel.pull(count)
        await learn_peer(unit, link)
    except LOST as error:
        link.give_up()
        lost = error
    found = link.channel.read(count)  # of a lost link, too: what had come up to here
    # What was read, and what was lost with it, was announced before what came since.
    link.announced = max(0, link.announced - max(len(found.data), before - link.channel.waiting()))
    link.unread = False
    link.touch()
    link.stir()
    if not found.data:
        if lost is not None:
            raise lost
        command.refuse(Condition.WRONG_STATE, "what waited could not be told")
        return
    head = unit.say("recvdata", length=len(found.data), peer=peer_text(unit, link, found.source, "recvdata_peer"))
    # One message and then OK, both given here and now: nothing comes between them.
    command.event.said(len(head) + len(found.data))
    unit.writer.post(head + found.data, carried=slice(len(head), None), rule="data", link=command.link)
    command.ok()


HOOKS: dict[str, Hook] = {
    "receive_mode": receive_mode,
    "receive_length": receive_length,
    "receive_data": receive_data,
}
