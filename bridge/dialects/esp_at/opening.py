"""The hooks that open links: TCP connections and UDP sockets."""

from __future__ import annotations

from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from bridge.dialects.esp_at.channels import Channel, TcpChannel, UdpChannel
from bridge.dialects.esp_at.command import Command, Hook
from bridge.dialects.esp_at.links import Link
from bridge.dialects.esp_at.pump import pump_after
from bridge.dialects.esp_at.sockets import connected_text, host_of
from bridge.model import Capability, Condition, Endpoint, Peers
from bridge.network import LinkLost

if TYPE_CHECKING:
    from bridge.dialects.esp_at.upstream import EspAtUpstream

KEEPALIVE_MOST = 7200  # seconds
ANYBODY = "0.0.0.0"  # a socket that only listens names no peer (WiFiEsp: "0",0)
PEERS = (Peers.FIXED, Peers.FIRST, Peers.LAST)  # by the mode of AT+CIPSTART


def connect(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSTART: refused at once where nothing has to be asked."""
    number = command.number("link")
    command.prefix = f"{number}," if unit.mux else ""
    if number not in unit.links.numbers():
        command.refuse(Condition.BAD_ARGUMENT, "no such id", about="link")
        return None
    return _begin(unit, command, number)


def connect_anywhere(unit: EspAtUpstream, command: Command) -> Coroutine[Any, Any, None] | None:
    """AT+CIPSTARTEX: the module chooses the id, and tells it in the CONNECT line."""
    return _begin(unit, command, unit.links.free() if unit.mux else 0)


def _begin(unit: EspAtUpstream, command: Command, number: int | None) -> Coroutine[Any, Any, None] | None:
    host, port = host_of(command.string("host")), command.number("port")
    local = command.string("local")
    udp = command.string("kind") == "UDP"
    if not host:
        command.refuse(Condition.BAD_ARGUMENT, "host name", about="host")
    elif not udp and (not port or command.number("option") > KEEPALIVE_MOST):
        command.refuse(Condition.BAD_ARGUMENT, "port or keepalive", about="port")
    elif not unit.station.up:
        command.refuse(Condition.BEARER_UNAVAILABLE, "not joined")
    elif local and local != unit.network.state.address:
        command.refuse(Condition.BAD_ARGUMENT, "not our address", about="host")
    elif udp and (why := _no_datagrams(unit, command)):
        command.refuse(Condition.NOT_SUPPORTED, why)
    elif udp and not command.number("mode") and _peer(command) is None:
        command.refuse(Condition.BAD_ARGUMENT, "a fixed peer is an address and a port", about="host")
    elif (link := unit.links.reserve(number, host, port)) is None:
        command.refuse(Condition.NO_FREE_LINK if number is None else Condition.INDEX_IN_USE, "the id is taken or none is free")
    else:
        command.link = str(link.number)
        return _connect(unit, command, link)
    return None


def _no_datagrams(unit: EspAtUpstream, command: Command) -> str:
    """Why the network below cannot do it; ``""`` where it can."""
    can = unit.network.limits.capabilities
    if Capability.UDP not in can:
        return "no datagrams"
    return "" if not command.number("mode") or Capability.UDP_PEERS in can else "a peer that changes"


def _peer(command: Command) -> Endpoint | None:
    host, port = host_of(command.string("host")), command.number("port")
    return Endpoint(host, port) if port and host != ANYBODY else None


async def _connect(unit: EspAtUpstream, command: Command, link: Link) -> None:
    option = command.number("option")
    if command.string("kind") == "UDP":
        link.again = partial(open_datagram, unit, _peer(command), option, PEERS[command.number("mode")])
    else:
        link.again = partial(open_stream, unit, link.host, link.port, option)
    try:
        channel = await link.again()
    except BaseException:
        unit.links.release(link)
        raise
    if not unit.links.open(link, channel):
        raise LinkLost(Condition.ABORTED)
    command.finish(lambda: connected_text(unit, link) + unit.say("ok"))
    assert command.written is not None
    unit.spawn(pump_after, command.written, unit, link)


async def open_stream(unit: EspAtUpstream, host: str, port: int, keepalive: int) -> Channel:
    """A TCP connection.  Raises NetworkError."""
    stream = await unit.network.open_stream(host, port, keepalive=keepalive)
    return TcpChannel(stream, unit.profile.seconds("fetch_again"))


async def open_datagram(unit: EspAtUpstream, peer: Endpoint | None, local_port: int, peers: Peers) -> Channel:
    """A UDP socket.  Raises NetworkError."""

    def report(counter: str, detail: str) -> None:
        unit.counters[counter] += 1
        unit.trace.note(counter, detail)

    link = await unit.network.open_datagram(peer, local_port=local_port, peers=peers)
    return UdpChannel(link, unit.profile.seconds("fetch_again"), report, fixed=peers is Peers.FIXED)


HOOKS: dict[str, Hook] = {"connect": connect, "connect_anywhere": connect_anywhere}
