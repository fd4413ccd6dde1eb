"""Everything that comes out of a link, told to the host: with its bytes, or (passive mode) that some wait.

One pump a link, so that one link's flood or fault is that link's alone; exactly one CLOSED at its end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import trio

from bridge.dialects.esp_at.links import LOST, Link, LinkState
from bridge.model import Datagram, Endpoint
from bridge.ports import PortLost

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream
    from bridge.session import Gate


async def pump(unit: EspAtUpstream, link: Link) -> None:
    """Run until the link has ended and everything was told or read; then its CLOSED, unless its host closed it."""
    try:
        while link.state is LinkState.OPEN and not link.given_up:
            if unit.links.reads_passively(link):
                more = await _announce(unit, link)
            else:
                more = await _deliver(unit, link)
            if not more:
                break
    except LOST:
        pass
    except Exception:
        unit.crashed("pump")
    if link.state is LinkState.OPEN:
        await unit.writer.urc(lambda: unit.links.close(link), rule=f"closed: {link.channel.condition}", link=str(link.number))


async def pump_after(told: trio.Event, unit: EspAtUpstream, link: Link) -> None:
    """`pump`, once the host was told of the link."""
    await told.wait()
    await pump(unit, link)


async def _deliver(unit: EspAtUpstream, link: Link) -> bool:
    """Active mode: wait for bytes and tell one message of them.  False: nothing more will come."""
    with trio.move_on_after(link.patience) as link.scope:
        if not await link.channel.wait_readable():
            return False
        await link.channel.fetch()
        await learn_peer(unit, link)
    if link.scope.cancelled_caught:
        return False
    most = unit.profile.number("slice" if link.channel.linked else "datagram_slice")
    gap = unit.profile.seconds("message_gap")
    told: Datagram | None = None
    gate: Gate | None = None
    start = 0  # where in the message the link's bytes are

    def render() -> bytes | None:
        nonlocal told, gate, start
        if link.state is not LinkState.OPEN or unit.links.reads_passively(link):
            return None
        told = link.channel.take(most)
        if told is None:
            return None
        link.touch()
        if unit.through.raw(link):
            return told.data
        gate = unit.writer.shut() if gap else None
        peer = peer_text(unit, link, told.source, "ipd_peer")
        head = unit.say("ipd", id=unit.links.prefix(link), length=len(told.data), peer=peer)
        start = len(head)
        return head + told.data

    await unit.writer.urc(render, rule="data", carried=lambda: slice(start, None), link=str(link.number))
    if gate is not None:
        try:
            await unit.port.drain()  # the gap is one on the wire
        except PortLost:  # whoever reads the port knows it as well
            pass
        finally:
            gate.open(gap)
    return True


async def _announce(unit: EspAtUpstream, link: Link) -> bool:
    """Passive mode: wait for bytes and tell how many wait, or wait for the host to ask for those it was told of."""
    with trio.move_on_after(link.patience) as link.scope:
        if not await link.channel.wait_readable():
            return False
        await link.channel.look(unit.profile.number("window"))
    if link.scope.cancelled_caught:
        return False
    if _news(unit, link):
        await unit.writer.urc(lambda: _notification(unit, link), rule="data wait", link=str(link.number))
    elif link.channel.waiting():
        # The host was told, and has all the time it wants.  Nothing below tells that more came: hence a look now and then,
        # where the host may be told of it.
        with trio.move_on_after(unit.profile.seconds("passive_look") if _may(unit, link) else math.inf):
            await link.wait_stirred()
    return True


def readable(unit: EspAtUpstream, link: Link) -> int:
    """Bytes that a host may ask for: a module holds no more than its window."""
    return min(link.channel.waiting(), unit.profile.number("window"))


def _may(unit: EspAtUpstream, link: Link) -> bool:
    """Whether the host may be told of more: some generations wait until it asked for what it knows of."""
    return not link.unread or bool(unit.profile.number("passive_repeat"))


def _news(unit: EspAtUpstream, link: Link) -> bool:
    """Whether the host has to be told, of bytes that it does not know of."""
    return _may(unit, link) and readable(unit, link) > link.announced


def _notification(unit: EspAtUpstream, link: Link) -> bytes | None:
    if link.state is not LinkState.OPEN or not unit.links.reads_passively(link) or not _news(unit, link):
        return None
    link.announced = readable(unit, link)
    link.unread = True
    link.touch()
    return unit.say("ipd_waiting", id=unit.links.prefix(link), length=link.announced)


async def learn_peer(unit: EspAtUpstream, link: Link) -> None:
    """Have the peer's address known where it is to be told; data do not wait for it for long."""
    if unit.dinfo and not unit.through.raw(link):
        with trio.move_on_after(unit.profile.seconds("endpoints")):
            await link.channel.find_peer()


def peer_text(unit: EspAtUpstream, link: Link, source: Endpoint | None, row: str) -> str:
    """The sender's address as AT+CIPDINFO=1 has it told; nothing otherwise."""
    if not unit.dinfo:
        return ""
    peer = source or link.remote()
    return unit.say(row, address=peer.host, port=peer.port).decode("latin-1")
